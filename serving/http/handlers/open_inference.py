"""Handlers of the Open Inference Protocol under `/v2`, which Triton and KServe use, too.

Its extensions are in the modules `triton` and `repository`.
https://github.com/open-inference/open-inference-protocol (REST, with binary tensors)
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from serving.codec.messages import EncodedAnswer
from serving.errors import NotReadyError
from serving.http.components import ServerComponents
from serving.http.requests import encode_json, find_model
from serving.inference.predictor import TensorMetadata, build_tensor_metadata
from serving.settings.options import VERSION

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


class ServerMetadata(TypedDict):
    """Answer of `GET /v2`."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(TypedDict):
    """Answer of `GET /v2/health/live`."""

    live: bool


class ServerReady(TypedDict):
    """Answer of `GET /v2/health/ready`."""

    ready: bool


class ModelReady(TypedDict):
    """Answer of `GET /v2/models/NAME/ready`."""

    name: str
    ready: bool


class ModelMetadata(TypedDict):
    """Answer of `GET /v2/models/NAME`.

    Attributes:
        name: Name of the model.
        versions: Numbers of the versions that can be requested.
        platform: Name of the framework, as Triton calls it.
        inputs: Tensors that a request has, with -1 for the number of instances.
        outputs: Tensors that an answer has.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def server_metadata(_server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the name and version of the server, and its extensions of the protocol."""
    return encode_json(
        ServerMetadata(name="forwardpass", version=VERSION, extensions=OPEN_INFERENCE_EXTENSIONS)
    )


def server_live(_server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer that the process is alive."""
    return encode_json(ServerLive(live=True))


def server_ready(server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer whether a model is ready."""
    # The protocol needs only the status, but KServe's client reads the body of a success.
    if server.repository.live_models:
        return encode_json(ServerReady(ready=True))
    return EncodedAnswer(b"", media_type="", status=503)


def model_metadata(
    server: ServerComponents, _environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer with the tensors of a model."""
    manifest = find_model(server.repository, name, version).manifest
    versions = [str(number) for number in sorted(server.repository.get_versions(name))]
    tensors = build_tensor_metadata(manifest)
    return encode_json(
        ModelMetadata(
            name=manifest.name,
            versions=versions,
            platform=PLATFORM,
            inputs=tensors["inputs"],
            outputs=tensors["outputs"],
        )
    )


def model_ready(
    server: ServerComponents, _environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer whether a model can serve predictions."""
    try:
        find_model(server.repository, name, version)
    except NotReadyError:
        return encode_json(ModelReady(name=name, ready=False), 503)
    return encode_json(ModelReady(name=name, ready=True))
