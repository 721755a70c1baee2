"""Handlers of TensorFlow Serving's REST protocol under `/v1/models`.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typing_extensions import TypedDict

from serving.codec.messages import EncodedAnswer
from serving.http.components import ServerComponents
from serving.http.requests import encode_json, find_model
from serving.inference.predictor import TensorMetadata, build_tensor_metadata

TENSORFLOW_DTYPES = {
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "INT64": "DT_INT64",
    "BYTES": "DT_STRING",
}


class VersionStatus(TypedDict):
    """State of one version: `AVAILABLE`, with the status `OK`."""

    version: str
    state: str
    status: dict[str, str]


class ModelStatus(TypedDict):
    """Answer of `GET /v1/models/NAME`."""

    model_version_status: list[VersionStatus]


class SignatureMetadata(TypedDict):
    """Answer of `GET /v1/models/NAME/metadata`.

    Attributes:
        model_spec: Name, version and signature of the model.
        metadata: Inputs and outputs of the signature, below `signature_def`.
    """

    model_spec: dict[str, str]
    metadata: dict[str, Any]


def model_status(
    server: ServerComponents, _environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer with the served versions of a model."""
    found_version = find_model(server.repository, name, version).manifest.version
    numbers = server.repository.get_versions(name) if version is None else [found_version]
    return encode_json(
        ModelStatus(
            model_version_status=[_describe_version_status(number) for number in sorted(numbers)]
        )
    )


def signature_metadata(
    server: ServerComponents, _environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer with the inputs and outputs of a model."""
    manifest = find_model(server.repository, name, version).manifest
    tensors = build_tensor_metadata(manifest)
    signature = {
        "inputs": _describe_tensors(tensors["inputs"]),
        "outputs": _describe_tensors(tensors["outputs"]),
        "method_name": "tensorflow/serving/predict",
    }
    return encode_json(
        SignatureMetadata(
            model_spec={"name": name, "signature_name": "", "version": str(manifest.version)},
            metadata={"signature_def": {"signature_def": {"serving_default": signature}}},
        )
    )


def _describe_version_status(version: int) -> VersionStatus:
    ok = {"error_code": "OK", "error_message": ""}
    return VersionStatus(version=str(version), state="AVAILABLE", status=ok)


def _describe_tensors(tensors: Iterable[TensorMetadata]) -> dict[str, Any]:
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
