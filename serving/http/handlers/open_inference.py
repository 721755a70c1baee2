"""Routes of the Open Inference Protocol under `/v2`, which Triton and KServe use, too.

https://github.com/open-inference/open-inference-protocol (REST, with binary tensors)
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from serving.errors import NotReadyError
from serving.http.requests import answer_prediction, find_model, to_flask_response
from serving.inference.predictor import Predictor, build_tensor_metadata
from serving.repository import Repository
from serving.settings.options import VERSION, Settings

# Triton's names of the extensions.
OPEN_INFERENCE_EXTENSIONS = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
]
PLATFORM = "onnxruntime_onnx"


def create_open_inference_blueprint(
    repository: Repository, predictor: Predictor, settings: Settings
) -> Blueprint:
    """Return the blueprint of the protocol's core; its extensions are in the module `triton`.

    Args:
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        settings: Options of the server.
    """
    routes = Blueprint("inference_v2", __name__)

    @routes.get("/v2")
    def server() -> dict[str, Any]:
        return {"name": "forwardpass", "version": VERSION, "extensions": OPEN_INFERENCE_EXTENSIONS}

    @routes.get("/v2/health/live")
    def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/v2/health/ready")
    def ready() -> Response:
        # The protocol needs only the status, but KServe's client reads the body.
        return jsonify(ready=True) if repository.live_models else Response(status=503)

    @routes.get("/v2/models/<name>")
    @routes.get("/v2/models/<name>/versions/<version>")
    def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        manifest = find_model(repository, name, version).manifest
        return {
            "name": manifest.name,
            "versions": [str(number) for number in sorted(repository.get_versions(name))],
            "platform": PLATFORM,
            **build_tensor_metadata(manifest),
        }

    @routes.get("/v2/models/<name>/ready")
    @routes.get("/v2/models/<name>/versions/<version>/ready")
    def model_ready(name: str, version: str | None = None) -> tuple[dict[str, Any], int]:
        try:
            find_model(repository, name, version)
        except NotReadyError:
            return {"name": name, "ready": False}, 503
        return {"name": name, "ready": True}, 200

    @routes.post("/v2/models/<name>/infer")
    @routes.post("/v2/models/<name>/versions/<version>/infer")
    def infer(name: str, version: str | None = None) -> Response:
        model = find_model(repository, name, version)
        return to_flask_response(
            answer_prediction(request.environ, "inference_v2", model, predictor, settings)
        )

    return routes
