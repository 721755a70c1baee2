"""What the server says of itself: alive, ready, which models."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from serving.repository import Repository, ServedModel


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

    @routes.get("/models")
    def models() -> dict[str, Any]:
        return {"models": [_describe(model) for model in repository.served.values()]}

    return routes


def _describe(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.manifest.name,
        "version": model.manifest.version,
        "variant": model.variant,
        "task": model.manifest.task,
        "classes": model.manifest.classes,
        "targets": model.manifest.data.target,
        "features": list(model.fields),
        "selftest": {
            "rows": model.selftest.rows,
            "max_abs": model.selftest.max_abs,
            "label_agreement": model.selftest.label_agreement,
        },
    }
