"""Routes of TensorFlow Serving's REST protocol under `/v1/models`.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from serving.http.requests import answer_prediction, find_model, to_flask_response
from serving.inference.predictor import Predictor, build_tensor_metadata
from serving.repository import Repository
from serving.settings.options import Settings

TENSORFLOW_DTYPES = {
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "INT64": "DT_INT64",
    "BYTES": "DT_STRING",
}


class _ModelConverter(BaseConverter):
    """Matches a model's name or version, up to a slash or to the colon of `:predict`."""

    regex = "[^/:]+"


def create_tensorflow_blueprint(
    repository: Repository, predictor: Predictor, settings: Settings
) -> Blueprint:
    """Return the blueprint of the protocol.

    Args:
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        settings: Options of the server.
    """
    routes = Blueprint("tensorflow", __name__)

    @routes.record
    def _register_converter(state: BlueprintSetupState) -> None:
        state.app.url_map.converters["model"] = _ModelConverter

    @routes.get("/v1/models/<model:name>")
    @routes.get("/v1/models/<model:name>/versions/<model:version>")
    def status(name: str, version: str | None = None) -> dict[str, Any]:
        found_version = find_model(repository, name, version).manifest.version
        numbers = repository.get_versions(name) if version is None else [found_version]
        return {
            "model_version_status": [_describe_version_status(number) for number in sorted(numbers)]
        }

    @routes.get("/v1/models/<model:name>/metadata")
    @routes.get("/v1/models/<model:name>/versions/<model:version>/metadata")
    def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        manifest = find_model(repository, name, version).manifest
        tensors = build_tensor_metadata(manifest)
        signature = {
            "inputs": _describe_tensors(tensors["inputs"]),
            "outputs": _describe_tensors(tensors["outputs"]),
            "method_name": "tensorflow/serving/predict",
        }
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(manifest.version)},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }

    @routes.post("/v1/models/<model:name>:predict")
    @routes.post("/v1/models/<model:name>/versions/<model:version>:predict")
    def predictions(name: str, version: str | None = None) -> Response:
        model = find_model(repository, name, version)
        return to_flask_response(
            answer_prediction(request.environ, "tensorflow", model, predictor, settings)
        )

    return routes


def _describe_version_status(version: int) -> dict[str, Any]:
    ok = {"error_code": "OK", "error_message": ""}
    return {"version": str(version), "state": "AVAILABLE", "status": ok}


def _describe_tensors(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return tensors as a signature lists them; protobuf writes 64-bit integers as strings."""
    return {
        tensor["name"]: {
            "dtype": TENSORFLOW_DTYPES[tensor["datatype"]],
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in tensor["shape"]],
                "unknown_rank": False,
            },
            "name": tensor["name"],
        }
        for tensor in tensors
    }
