"""The README's table of fits of real tables: without options, with chosen ones, and baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report.formatting import NO_VALUE, format_table

Result = Mapping[str, Any]

METRIC_NAMES = {
    "roc_auc": "ROC AUC",
    "r2": "R²",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}
# Columns of baselines, by the names of the manifest.
BASELINES = {
    "constant": ("majority", "mean"),
    "linear": ("logistic_regression", "ridge"),
    "trees": ("gradient_boosting",),
}


def make_summary_table(result: Result) -> str:
    """Return the table of all fits."""
    headings = ["table, training rows", "no options", "chosen options", *BASELINES, "training, s"]
    return format_table(
        headings, [_make_row(name, fits) for name, fits in result["results"].items()]
    )


def _make_row(name: str, fits: Mapping[str, Any]) -> list[str]:
    default, tuned = fits["default"], fits["tuned"]
    metric = next(iter(default["metrics"]))
    return [
        f"{name}, {default['rows']['train']:,}",
        f"**{METRIC_NAMES[metric]} {_format_metric(default['metrics'][metric])}**",
        _format_metric(tuned["metrics"][metric]),
        *(_format_baseline(default["baselines"], names) for names in BASELINES.values()),
        f"{default['training_seconds']:.0f}, {tuned['training_seconds']:.0f}",
    ]


def _format_metric(entry: Mapping[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{entry['value']:.3f} ({low:.3f}–{high:.3f})"


def _format_baseline(baselines: Mapping[str, float], names: tuple[str, ...]) -> str:
    found = [baselines[name] for name in names if name in baselines]
    return f"{found[0]:.3f}" if found else NO_VALUE
