"""Handlers of `GET /models`, the list of the served models, and of one model in detail."""

from __future__ import annotations

import math
from typing import Any

from typing_extensions import TypedDict

from serving.bundle import DateColumn, InputColumn, Manifest, describe_date_numbers
from serving.codec.messages import EncodedAnswer
from serving.http.components import ServerComponents
from serving.http.openapi import build_example_record
from serving.http.requests import encode_json, find_model, parse_query
from serving.repository import ServedModel
from serving.runtime.variant_selection import VariantCheck


class ModelList(TypedDict):
    """Answer of `GET /models`, with a summary of each served model."""

    models: list[dict[str, Any]]


def list_models(server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with a summary of each served model."""
    default = server.repository.default_model
    models = server.repository.live_models.values()
    return encode_json(ModelList(models=[_summarize_model(model, default) for model in models]))


def describe_model(server: ServerComponents, environ: dict[str, Any], name: str) -> EncodedAnswer:
    """Answer with all that is known of a model."""
    version = parse_query(environ, "version").get("version")
    return encode_json(_describe_model(find_model(server.repository, name, version)))


def _summarize_model(model: ServedModel, default: str | None) -> dict[str, Any]:
    """Return a model's entry in the list.

    Args:
        model: Live version of the model.
        default: Name of the default model; None if there is none.
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
        # The positive class is predicted if its probability reaches the threshold.
        "positive": manifest.positive_class,
        "threshold": manifest.variants[model.variant].threshold or manifest.threshold,
        "aim": manifest.aim,
        "aim_unmet": manifest.aim_unmet,
        "inputs": [_describe_column(column) for column in manifest.inputs],
        "example": build_example_record(manifest),
        "metrics": manifest.variants[model.variant].metrics,  # on the test rows
        "macro_averages": _list_macro_averages(manifest),
        "intervals": manifest.intervals,
        "class_shares": manifest.class_shares,  # among the training rows, in the order of classes
        "selftest": _describe_selftest(_get_served_check(model)),
        "why": model.variant_reason,
        "variants": {name: _describe_variant(model, name) for name in model.variant_checks},
    }


def _list_macro_averages(manifest: Manifest) -> list[str]:
    """Return the names of the metrics that are unweighted means over the classes."""
    return [] if manifest.classes is None else ["precision", "recall", "f1"]


def _describe_column(column: InputColumn) -> dict[str, Any]:
    """Return a column's entry of the manifest, and for a date the meaning of its numbers.

    Fields with their default value are left out, so that columns look as in earlier versions of
    this server. The name of the graph's input is left out, since no client needs it.
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
    check, variant = model.variant_checks[name], model.manifest.variants[name]
    times = check.microseconds
    return {
        "served": name == model.variant,
        "passed": check.passed,
        "reason": check.failure or None,
        "size_bytes": variant.size_bytes,
        "microseconds": {str(rows): time for rows, time in times.items()} or None,
        "metrics": variant.metrics,  # on the test rows
        # Classes that occur in the test rows and were never predicted.
        "never_answered": variant.never_answered,
        "selftest": _describe_selftest(check),
    }


def _describe_selftest(check: VariantCheck) -> dict[str, Any] | None:
    difference = check.difference
    if difference is None:
        return None
    return {
        "rows": difference.rows,
        # The difference is infinite if an output is NaN, and JSON has no infinity.
        "max_abs": difference.max_abs if math.isfinite(difference.max_abs) else None,
        "label_agreement": difference.label_agreement,
    }
