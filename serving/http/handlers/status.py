"""Handlers of probes: `/healthz` and `/readyz` for Kubernetes, `/ping` for SageMaker."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from serving.codec.messages import EncodedAnswer
from serving.http.components import ServerComponents
from serving.http.requests import encode_json


class Liveness(TypedDict):
    """Answer of `GET /healthz`."""

    alive: bool


class Readiness(TypedDict):
    """Answer of `GET /readyz`; only `ready` if the request needs a key and has none.

    Attributes:
        ready: Whether a model is served.
        models: Number of the live version of each model.
        refused: Reason for each refused version, by `NAME/VERSION`.
        held: Reason for each held version, by `NAME/VERSION`.
    """

    ready: bool
    models: NotRequired[dict[str, int]]
    refused: NotRequired[dict[str, str]]
    held: NotRequired[dict[str, str]]


def healthz(_server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer that the process is alive."""
    return encode_json(Liveness(alive=True))


def readyz(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Answer whether a model is ready, and with the versions that are refused or held."""
    repository = server.repository
    body = Readiness(ready=bool(repository.live_models))
    if server.api_keys.may_see_details(environ):
        body["models"] = {
            name: model.manifest.version for name, model in repository.live_models.items()
        }
        body["refused"] = repository.refusal_reasons
        body["held"] = repository.hold_reasons
    return encode_json(body, 200 if body["ready"] else 503)


def ping(server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer whether a model is ready, by the status alone: 200 or 503."""
    return EncodedAnswer(b"", media_type="", status=200 if server.repository.live_models else 503)
