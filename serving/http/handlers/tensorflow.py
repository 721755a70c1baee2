"""`/v1/models`: TensorFlow Serving's REST protocol.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from serving.http.requests import answer, find, respond
from serving.inference.predictor import Predictor, face
from serving.repository import Repository
from serving.settings.options import Settings

TYPES = {"FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "INT64": "DT_INT64", "BYTES": "DT_STRING"}


class _ModelConverter(BaseConverter):
    """What comes before `:predict`."""

    regex = "[^/:]+"


def tensorflow_routes(repository: Repository, predict: Predictor, settings: Settings) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("tensorflow", __name__)

    @routes.record
    def _teach(state: BlueprintSetupState) -> None:
        state.app.url_map.converters["model"] = _ModelConverter

    @routes.get("/v1/models/<model:name>")
    @routes.get("/v1/models/<model:name>/versions/<model:version>")
    def status(name: str, version: str | None = None) -> dict[str, Any]:
        chosen = find(repository, name, version).manifest.version
        served = repository.versions(name) if version is None else [chosen]
        return {"model_version_status": [_status(number) for number in sorted(served)]}

    @routes.get("/v1/models/<model:name>/metadata")
    @routes.get("/v1/models/<model:name>/versions/<model:version>/metadata")
    def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        manifest = find(repository, name, version).manifest
        tensors = face(manifest)
        signature = {
            "inputs": _tensors(tensors["inputs"]),
            "outputs": _tensors(tensors["outputs"]),
            "method_name": "tensorflow/serving/predict",
        }
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(manifest.version)},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }

    @routes.post("/v1/models/<model:name>:predict")
    @routes.post("/v1/models/<model:name>/versions/<model:version>:predict")
    def predictions(name: str, version: str | None = None) -> Response:
        found = find(repository, name, version)
        return respond(answer(request.environ, "tensorflow", found, predict, settings))

    return routes


def _status(version: int) -> dict[str, Any]:
    fine = {"error_code": "OK", "error_message": ""}
    return {"version": str(version), "state": "AVAILABLE", "status": fine}


def _tensors(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """The tensors of a face as a signature's JSON, where 64-bit integers are texts."""
    return {
        tensor["name"]: {
            "dtype": TYPES[tensor["datatype"]],
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in tensor["shape"]],
                "unknown_rank": False,
            },
            "name": tensor["name"],
        }
        for tensor in tensors
    }
