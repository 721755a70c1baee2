"""`GET /healthz` and `GET /readyz`: probes for orchestrators such as Kubernetes."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from serving.http.api_keys import ApiKeys
from serving.repository import Repository


def create_status_blueprint(repository: Repository, api_keys: ApiKeys) -> Blueprint:
    """Return the blueprint of the probes.

    On a server with keys, a request without one learns only whether the server is ready.

    Args:
        repository: Loaded models, by name and version.
        api_keys: API keys that the server accepts.
    """
    routes = Blueprint("status", __name__)

    @routes.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"alive": True}

    @routes.get("/readyz")
    def readyz() -> tuple[dict[str, Any], int]:
        ready = bool(repository.live_models)
        if not api_keys.may_see_details(request.environ):
            return {"ready": ready}, 200 if ready else 503
        served = {name: model.manifest.version for name, model in repository.live_models.items()}
        body = {
            "ready": ready,
            "models": served,
            "refused": repository.refusal_reasons,
            "held": repository.hold_reasons,
        }
        return body, 200 if ready else 503

    return routes
