"""What is served: a short list of the models, and the whole face of each."""

from __future__ import annotations

import math
from typing import Any

from flask import Blueprint

from serving.bundle import Date, Input, Manifest, words_of_numbers
from serving.http.openapi import example_of
from serving.http.requests import find, query_of
from serving.repository import Repository, ServedModel
from serving.runtime.variant_selection import Trial


def models_routes(repository: Repository) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("models", __name__)

    @routes.get("/models")
    def models() -> dict[str, Any]:
        default = repository.default_model
        return {"models": [_short(model, default) for model in repository.served.values()]}

    @routes.get("/models/<name>")
    def model(name: str) -> dict[str, Any]:
        return _whole(find(repository, name, query_of("version").get("version")))

    return routes


def _short(model: ServedModel, default: str | None) -> dict[str, Any]:
    """Return a model's entry in the list.

    Args:
        model: The version that answers by default.
        default: Name of the model that answers requests that name none, or None.
    """
    features = [column.name for column in model.manifest.inputs]
    return {
        **_head(model),
        "default": model.manifest.name == default,
        "features": features,
        "selftest": _selftest(_served(model)),
    }


def _whole(model: ServedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        **_head(model),
        "positive": manifest.positive_class,  # answered where its probability reaches the threshold
        "threshold": manifest.variants[model.variant].threshold or manifest.threshold,
        "aim": manifest.aim,
        "aim_unmet": manifest.aim_unmet,
        "inputs": [_column(column) for column in manifest.inputs],
        "example": example_of(manifest),
        "metrics": manifest.variants[model.variant].metrics,  # on the held-out rows
        "macro_averages": _macro_averages(manifest),
        "intervals": manifest.intervals,
        "class_shares": manifest.class_shares,  # of the training rows, in the order of classes
        "selftest": _selftest(_served(model)),
        "why": model.why,
        "variants": {name: _variant(model, name) for name in model.trials},
    }


def _macro_averages(manifest: Manifest) -> list[str]:
    """Return the metrics that are means over the classes, each of which counts alike."""
    return [] if manifest.classes is None else ["precision", "recall", "f1"]


def _column(column: Input) -> dict[str, Any]:
    """Describe a column as the manifest does, and for a date what its numbers are.

    Fields that are as in every column of earlier versions are left out, and so is the name of the
    graph's input, which no client needs.
    """
    described = column.model_dump(exclude_defaults=True, exclude={"tensor"})
    if isinstance(column, Date):
        numbers = words_of_numbers(column.format).removeprefix("a number of ")
        described["numbers"] = f"{numbers}, years 1 to 9999"
    return described


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


def _served(model: ServedModel) -> Trial:
    return model.trials[model.variant]


def _variant(model: ServedModel, name: str) -> dict[str, Any]:
    trial, described = model.trials[name], model.manifest.variants[name]
    times = trial.microseconds
    return {
        "served": name == model.variant,
        "passed": trial.passed,
        "reason": trial.reason or None,
        "size_bytes": described.size_bytes,
        "microseconds": {str(rows): time for rows, time in times.items()} or None,
        "metrics": described.metrics,  # on the held-out rows
        "never_answered": described.never_answered,  # classes that held-out rows are of
        "selftest": _selftest(trial),
    }


def _selftest(trial: Trial) -> dict[str, Any] | None:
    found = trial.difference
    if found is None:
        return None
    return {
        "rows": found.rows,
        # JSON has no word for infinity, which an answer that is no number is off by.
        "max_abs": found.max_abs if math.isfinite(found.max_abs) else None,
        "label_agreement": found.label_agreement,
    }
