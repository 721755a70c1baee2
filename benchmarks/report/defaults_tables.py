"""Tables of the benchmark of defaults: errors beside gradient boosting, time, memory and size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defaults.ranks import (
    compute_critical_difference,
    compute_friedman_statistic,
    compute_mean_ranks,
    find_equal_groups,
)
from benchmarks.defaults.ratios import SMALLEST_LOG_LOSS, compare_contenders
from benchmarks.machine import compute_quartiles
from benchmarks.report.comparisons import Comparison, compare_ratio
from benchmarks.report.contender_names import get_display_name
from benchmarks.report.formatting import NO_VALUE, format_number, format_table
from benchmarks.report.plots import draw_mean_ranks

BENCHMARK = "defaults"
OURS = ("best", "balanced", "fast")
DEFAULT_PRESET = "balanced"
CLEARLY_WORSE = 1.05
BATCH_SIZES = ("1", "8", "64", "256")
MEASURES = {"error": "error", "log_loss": "log loss"}
KILOBYTE = 1024

Result = Mapping[str, Any]


def list_contenders(result: Result) -> list[str]:
    """Return ours, the best preset first, then the rivals."""
    names = result["contenders"]
    ours = [name for name in OURS if name in names]
    return [*ours, *(name for name in names if name not in OURS)]


def get_values(result: Result, contender: str, measure: str) -> dict[str, list[float]]:
    """Return a measure of a contender by table, one entry for each seed.

    Tables on which it has failed are left out.
    """
    return {
        table: by_contender[contender][measure]
        for table, by_contender in result["results"].items()
        if measure in by_contender[contender]
    }


def compare(result: Result, ours: str, other: str, measure: str) -> dict[str, Any]:
    """Compare two contenders by the ratios of one measure; see `compare_contenders`."""
    return compare_contenders(
        get_values(result, ours, measure),
        get_values(result, other, measure),
        smallest=SMALLEST_LOG_LOSS if measure == "log_loss" else 0.0,
    )


def make_loss_table(result: Result) -> str:
    """Return the table of the contenders that `balanced` or `best` is behind, and on which tables.

    A ratio is shown if it is above 1, which means that the other is better.
    """
    rows = []
    for ours in ("balanced", "best"):
        for other in list_contenders(result):
            if ours not in result["contenders"] or (other in OURS and other != "fast"):
                continue
            compared = {measure: compare(result, ours, other, measure) for measure in MEASURES}
            ratios = [
                f"{entry['ratio']:.3f}" if entry["ratio"] > 1 else "" for entry in compared.values()
            ]
            tables = [
                table
                for table, ratio in compared["error"]["tables"].items()
                if other not in OURS and ratio > CLEARLY_WORSE
            ]
            if any(ratios) or tables:
                names = ", ".join(tables)
                rows.append([f"`{ours}`", get_display_name(other), *ratios, names])
    if not rows:
        return "Nothing is lost, neither on the mean nor on a table."
    headings = ("ours", "other", "error, ours ÷ other", "log loss, ours ÷ other")
    return format_table([*headings, "tables on which the error is more than 5 % higher"], rows)


def make_answer_table(result: Result) -> str:
    """Return the table of each preset's error as a multiple of each rival's."""
    rivals = [name for name in list_contenders(result) if name not in OURS]
    rows = [
        [
            f"`{ours}`",
            *(f"{compare(result, ours, rival, 'error')['ratio']:.3f}" for rival in rivals),
        ]
        for ours in list_contenders(result)
        if ours in OURS
    ]
    return format_table(["error, ours ÷ theirs", *map(get_display_name, rivals)], rows)


def describe_result(result: Result) -> str:
    """Return the error of the default preset as a multiple of each rival's, in one sentence."""
    parts = [
        f"{ratio:.2f} × {get_display_name(rival)}"
        for rival in list_contenders(result)
        if rival not in OURS
        for ratio in [compare(result, DEFAULT_PRESET, rival, "error")["ratio"]]
    ]
    return f"Error of the default, `{DEFAULT_PRESET}`: {', '.join(parts)}."


def describe_failures(result: Result) -> str:
    """Return the fits that have failed, in one sentence; empty if none has."""
    failures = [
        f"{get_display_name(contender)} on {table}"
        for table, by_contender in result["results"].items()
        for contender, measured in by_contender.items()
        if "failed" in measured
    ]
    return f"No result: {', '.join(failures)}." if failures else ""


def make_ratio_table(result: Result) -> str:
    """Return the table of ours against each other contender: mean ratios and counts of tables."""
    rows = [
        _list_ratio_cells(result, ours, other)
        for ours in OURS
        for other in list_contenders(result)
        if ours in result["contenders"] and other != ours and not (ours == "fast" and other in OURS)
    ]
    return format_table(
        [
            "ours",
            "other",
            "error, ours ÷ other",
            "better on",
            "worse on",
            "> 5 % worse on",
            "log loss",
        ],
        rows,
    )


def _list_ratio_cells(result: Result, ours: str, other: str) -> list[str]:
    error = compare(result, ours, other, "error")
    log_loss = compare(result, ours, other, "log_loss")
    counts = [str(error[name]) for name in ("better", "worse", "clearly_worse")]
    cells = [f"`{ours}`", get_display_name(other), f"{error['ratio']:.3f}", *counts]
    return [*cells, f"{log_loss['ratio']:.3f}"]


def make_error_table(result: Result, measure: str) -> str:
    """Return a table of a measure with a row for each judged table, the lowest in bold.

    Args:
        result: Results of the benchmark.
        measure: `error` or `log_loss`.
    """
    names = list_contenders(result)
    rows = []
    for table, by_contender in result["results"].items():
        means = [
            float(np.mean(by_contender[name][measure])) if measure in by_contender[name] else None
            for name in names
        ]
        lowest = min(mean for mean in means if mean is not None)
        rows.append([table, *(_format_mean(mean, lowest) for mean in means)])
    return format_table(["table", *map(get_display_name, names)], rows)


def _format_mean(mean: float | None, lowest: float) -> str:
    if mean is None:
        return NO_VALUE
    return f"**{mean:.4f}**" if mean == lowest else f"{mean:.4f}"


def make_judged_table(result: Result) -> str:
    """Return the table of the judged tables: stratum, rows, columns and classes."""
    return format_table(
        [
            "table",
            "kind",
            "training rows",
            "test rows",
            "columns",
            "categories",
            "classes",
            "rarest class",
        ],
        [
            [
                name,
                f"{entry['kind']}, {entry['size']}",
                *(f"{entry[key]:,}" for key in ("training_rows", "test_rows")),
                *(str(entry[key]) for key in ("columns", "categories", "classes")),
                f"{100 * entry['rarest_share']:.1f} %",
            ]
            for name, entry in result["tables"].items()
        ],
    )


def make_cost_table(result: Result) -> str:
    """Return the table of training time and memory of each contender."""
    rows = []
    for name in list_contenders(result):
        values = {m: _flatten(get_values(result, name, m)) for m in ("seconds", "peak_mb")}
        rows.append(
            [
                get_display_name(name),
                *(
                    format_number(summarize(values[measure]))
                    for measure in values
                    for summarize in (np.median, max)
                ),
            ]
        )
    return format_table(["", "seconds, median", "longest", "peak MB, median", "largest"], rows)


def make_bundle_table(result: Result) -> str:
    """Return the table of each preset's latency without a server, and the size of its bundle."""
    rows = []
    for preset in OURS:
        entries = [by[preset] for by in result["bundles"].values() if preset in by]
        if not entries:
            continue
        sizes = [entry["bundle_bytes"] / KILOBYTE for entry in entries]
        latencies = [
            f"{np.median([entry['latency_us'][size] for entry in entries]):,.0f}"
            for size in BATCH_SIZES
        ]
        rows.append([f"`{preset}`", *latencies, f"{np.median(sizes):,.0f}", f"{max(sizes):,.0f}"])
    headings = [f"{size} row{'' if size == '1' else 's'}, µs" for size in BATCH_SIZES]
    return format_table(["", *headings, "bundle KB, median", "largest"], rows)


def compute_ranks(result: Result) -> tuple[dict[str, float], float]:
    """Return the mean rank of each contender, and the critical difference.

    A rank is that of the mean error over the seeds; a contender that has failed has the last.
    """
    errors = {
        name: [
            float(np.mean(by_contender[name].get("error", np.inf)))
            for by_contender in result["results"].values()
        ]
        for name in list_contenders(result)
    }
    difference = compute_critical_difference(len(errors), len(result["results"]))
    return compute_mean_ranks(errors), difference


def describe_ranks(result: Result) -> str:
    """Return Friedman's statistic and the critical difference, in one sentence."""
    ranks, difference = compute_ranks(result)
    n_tables = len(result["results"])
    statistic = compute_friedman_statistic(list(ranks.values()), n_tables)
    return (
        f"Friedman's χ² is {statistic:.1f} with {len(ranks) - 1} degrees of freedom; mean ranks "
        f"over {n_tables} tables differ at 5 % from {difference:.2f} on."
    )


def draw(result: Result, folder: Path) -> None:
    """Draw the mean ranks with the critical difference."""
    ranks, difference = compute_ranks(result)
    groups = find_equal_groups(ranks, difference)
    draw_mean_ranks(
        folder / "defaults.svg",
        {get_display_name(name): rank for name, rank in ranks.items()},
        groups=[[get_display_name(name) for name in group] for group in groups],
        critical_difference=difference,
    )


def list_comparisons(result: Result) -> Iterator[Comparison]:
    """Yield the comparisons of each preset's errors with the rivals', over all tables."""
    names = list_contenders(result)
    for ours in (name for name in names if name in OURS):
        for other in (name for name in names if name not in OURS):
            for measure, title in MEASURES.items():
                ratios = list(compare(result, ours, other, measure)["tables"].values())
                yield compare_ratio(
                    compute_quartiles(np.array(ratios)) | {"rounds": len(ratios)},
                    is_more_better=False,
                    benchmark=BENCHMARK,
                    workload=f"{len(ratios)} tables",
                    measure=title,
                    ours=ours,
                    other=other,
                )


def _flatten(values: Mapping[str, Sequence[float]]) -> list[float]:
    return [value for by_seed in values.values() for value in by_seed]
