"""What is served: a short list of the models, and the whole face of each."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from serving.bundle import Boolean, Category, Input, Number
from serving.repository import Repository, ServedModel


def models_routes(repository: Repository) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("models", __name__)

    @routes.get("/models")
    def models() -> dict[str, Any]:
        return {"models": [_short(model) for model in repository.served.values()]}

    @routes.get("/models/<name>")
    def model(name: str) -> dict[str, Any]:
        return _whole(repository.find(name))

    return routes


def _short(model: ServedModel) -> dict[str, Any]:
    features = [column.name for column in model.manifest.inputs]
    return {**_head(model), "features": features, "selftest": _selftest(model)}


def _whole(model: ServedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        **_head(model),
        "threshold": manifest.threshold,
        "aim": manifest.aim,
        "inputs": [column.model_dump() for column in manifest.inputs],
        "example": manifest.example or {c.name: _middle(c) for c in manifest.inputs},
        "metrics": manifest.variants[model.variant].metrics,  # on the held-out rows
        "intervals": manifest.intervals,
        "selftest": _selftest(model),
    }


def _head(model: ServedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "variant": model.variant,
        "task": manifest.task,
        "classes": manifest.classes,
        "targets": manifest.data.target,
    }


def _selftest(model: ServedModel) -> dict[str, Any]:
    return {
        "rows": model.selftest.rows,
        "max_abs": model.selftest.max_abs,
        "label_agreement": model.selftest.label_agreement,
    }


def _middle(column: Input) -> float | bool | str:
    """An ordinary value of a column."""
    match column:
        case Number():
            return column.minimum / 2 + column.maximum / 2  # whose sum might overflow
        case Boolean():
            return True
        case Category():
            return column.categories[0]
        case _:
            return column.minimum
