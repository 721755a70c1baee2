"""What is served: a short list of the models, and the whole face of each."""

from __future__ import annotations

import math
from typing import Any

from flask import Blueprint

from serving.bundle import DateColumn, InputColumn, Manifest, describe_date_numbers
from serving.http.openapi import build_example_record
from serving.http.requests import find_model, parse_query
from serving.repository import Repository, ServedModel
from serving.runtime.variant_selection import VariantCheck


def create_models_blueprint(repository: Repository) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("models", __name__)

    @routes.get("/models")
    def models() -> dict[str, Any]:
        default = repository.default_model
        return {
            "models": [
                _summarize_model(model, default) for model in repository.live_models.values()
            ]
        }

    @routes.get("/models/<name>")
    def model(name: str) -> dict[str, Any]:
        return _describe_model(find_model(repository, name, parse_query("version").get("version")))

    return routes


def _summarize_model(model: ServedModel, default: str | None) -> dict[str, Any]:
    """Return a model's entry in the list.

    Args:
        model: The version that answers by default.
        default: Name of the model that answers requests that name none, or None.
    """
    features = [column.name for column in model.manifest.inputs]
    return {
        **_identify_model(model),
        "default": model.manifest.name == default,
        "features": features,
        "selftest": _describe_selftest(_get_served_check(model)),
    }


def _describe_model(model: ServedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        **_identify_model(model),
        "positive": manifest.positive_class,  # answered where its probability reaches the threshold
        "threshold": manifest.variants[model.variant].threshold or manifest.threshold,
        "aim": manifest.aim,
        "aim_unmet": manifest.aim_unmet,
        "inputs": [_describe_column(column) for column in manifest.inputs],
        "example": build_example_record(manifest),
        "metrics": manifest.variants[model.variant].metrics,  # on the held-out rows
        "macro_averages": _list_macro_averages(manifest),
        "intervals": manifest.intervals,
        "class_shares": manifest.class_shares,  # of the training rows, in the order of classes
        "selftest": _describe_selftest(_get_served_check(model)),
        "why": model.variant_reason,
        "variants": {name: _describe_variant(model, name) for name in model.variant_checks},
    }


def _list_macro_averages(manifest: Manifest) -> list[str]:
    """Return the metrics that are means over the classes, each of which counts alike."""
    return [] if manifest.classes is None else ["precision", "recall", "f1"]


def _describe_column(column: InputColumn) -> dict[str, Any]:
    """Describe a column as the manifest does, and for a date what its numbers are.

    Fields that are as in every column of earlier versions are left out, and so is the name of the
    graph's input, which no client needs.
    """
    described = column.model_dump(exclude_defaults=True, exclude={"tensor"})
    if isinstance(column, DateColumn):
        numbers = describe_date_numbers(column.format).removeprefix("a number of ")
        described["numbers"] = f"{numbers}, years 1 to 9999"
    return described


def _identify_model(model: ServedModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "variant": model.variant,
        "task": manifest.task,
        "classes": manifest.classes,
        "targets": manifest.data.target,
    }


def _get_served_check(model: ServedModel) -> VariantCheck:
    return model.variant_checks[model.variant]


def _describe_variant(model: ServedModel, name: str) -> dict[str, Any]:
    trial, described = model.variant_checks[name], model.manifest.variants[name]
    times = trial.microseconds
    return {
        "served": name == model.variant,
        "passed": trial.passed,
        "reason": trial.failure or None,
        "size_bytes": described.size_bytes,
        "microseconds": {str(rows): time for rows, time in times.items()} or None,
        "metrics": described.metrics,  # on the held-out rows
        "never_answered": described.never_answered,  # classes that held-out rows are of
        "selftest": _describe_selftest(trial),
    }


def _describe_selftest(trial: VariantCheck) -> dict[str, Any] | None:
    found = trial.difference
    if found is None:
        return None
    return {
        "rows": found.rows,
        # JSON has no word for infinity, which an answer that is no number is off by.
        "max_abs": found.max_abs if math.isfinite(found.max_abs) else None,
        "label_agreement": found.label_agreement,
    }
