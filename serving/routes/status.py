"""What the server says of itself: alive, ready."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from serving.repository import Repository


def status_routes(repository: Repository) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("status", __name__)

    @routes.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"alive": True}

    @routes.get("/readyz")
    def readyz() -> tuple[dict[str, Any], int]:
        ready = bool(repository.served)
        served = {name: model.manifest.version for name, model in repository.served.items()}
        body = {"ready": ready, "models": served, "refused": repository.refused}
        return body, 200 if ready else 503

    return routes
