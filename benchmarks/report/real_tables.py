"""Tables of the fits of real tables: without options, with chosen ones, and baselines."""

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
MIN_ACCURACY_ROWS = 1000  # with fewer, what the test rows say depends on which they are
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


def describe_result(result: Result) -> str:
    """Return on how many tables the default network is ahead of the baselines, in one sentence."""
    fits = [fits["default"] for fits in result["results"].values()]
    ahead = {
        name: sum(
            next(iter(fit["metrics"].values()))["value"]
            > next(fit["baselines"][n] for n in BASELINES[name] if n in fit["baselines"])
            for fit in fits
        )
        for name in ("linear", "trees")
    }
    return (
        f"The default network is ahead of a linear model on {ahead['linear']} of {len(fits)} "
        f"tables, and of gradient boosting on {ahead['trees']}."
    )


def make_accuracy_table(result: Result) -> str:
    """Return the README's table: the tables of more than 1,000 training rows, no chosen options."""
    rows = []
    for name, fits in result["results"].items():
        default = fits["default"]
        if default["rows"]["train"] <= MIN_ACCURACY_ROWS:
            continue
        metric = next(iter(default["metrics"]))
        baselines = (
            _format_baseline(default["baselines"], BASELINES[kind]) for kind in ("linear", "trees")
        )
        rows.append(
            [
                f"{name}, {default['rows']['train']:,}",
                METRIC_NAMES[metric],
                _format_metric(default["metrics"][metric]),
                *baselines,
            ]
        )
    headings = ("table, training rows", "metric", "default network (95 % interval)")
    return format_table([*headings, "linear model", "gradient boosting"], rows)
