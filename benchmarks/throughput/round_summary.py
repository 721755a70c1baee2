"""Summary of the rounds: medians of the measurements, and ratios within a round with quartiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.workloads import Workload
from benchmarks.machine import compute_quartiles
from benchmarks.throughput.wrk_client import WrkResult

OUR_CONTENDERS = ("ours", "ours-binary")
MEASURES = ("requests_per_second", "p50_ms", "p99_ms", "memory_mb")


@dataclass(frozen=True)
class RoundMeasurements:
    """All measurements, round by round.

    Attributes:
        results: wrk's results by name of the workload and of the contender, one per round.
        onnxruntime_us: Time of a run of ONNX Runtime alone, in microseconds, by network and number
            of rows, one per round.
    """

    results: Mapping[tuple[str, str], Sequence[WrkResult]]
    onnxruntime_us: Mapping[tuple[str, int], Sequence[float]]


def summarize_workload(workload: Workload, measurements: RoundMeasurements) -> dict[str, Any]:
    """Return the entry of a workload in the results."""
    by_contender = {
        contender: results
        for (name, contender), results in measurements.results.items()
        if name == workload.name
    }
    onnxruntime_us = measurements.onnxruntime_us[workload.network, workload.rows]
    entry: dict[str, Any] = {
        "load": workload.name,
        "network": workload.network,
        "rows": workload.rows,
        "connections": workload.connections,
        "onnxruntime_us": round(float(np.median(onnxruntime_us)), 1),
        "sides": {name: _summarize(results) for name, results in by_contender.items()},
        "ratios": {
            f"{ours} / {other}": _compute_ratios(by_contender[ours], by_contender[other])
            for ours in OUR_CONTENDERS
            for other in by_contender
            if ours in by_contender and other != ours
        },
    }
    if workload.is_latency_only:
        p50_us = np.array([result.p50_ms * 1e3 for result in by_contender.get("ours", ())])
        has_results = len(p50_us) > 0
        added_us = compute_quartiles(p50_us - np.array(onnxruntime_us)) if has_results else None
        entry["added_us"] = added_us
    return entry


def _list_values(results: Sequence[WrkResult], measure: str) -> NDArray[np.float64]:
    return np.array([getattr(result, measure) for result in results])


def _summarize(results: Sequence[WrkResult]) -> dict[str, Any]:
    medians = {m: round(float(np.median(_list_values(results, m))), 3) for m in MEASURES}
    # The median of the memory, too: in the first round a server may still compile its sources.
    return medians | {
        "memory_mb": round(medians["memory_mb"], 1),
        "errors": sum(result.errors for result in results),
        "rounds": [round(float(rate)) for rate in _list_values(results, "requests_per_second")],
    }


def _compute_ratios(ours: Sequence[WrkResult], other: Sequence[WrkResult]) -> dict[str, Any]:
    return {m: compute_quartiles(_list_values(ours, m) / _list_values(other, m)) for m in MEASURES}


def print_tables(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each workload, the fastest contender first."""
    for entry in entries:
        title = f"{entry['load']}; ONNX Runtime alone: {entry['onnxruntime_us']} µs"
        if added := entry.get("added_us"):
            title += f"; added by the server: {added['median']:.0f} µs"
        table = Table(title=title)
        for heading in ("", "requests/s", "p50 ms", "p99 ms", "MB", "errors", "ours / this"):
            table.add_column(heading, justify="right")
        ranked = sorted(entry["sides"].items(), key=lambda item: -item[1]["requests_per_second"])
        for name, summary in ranked:
            ratio = entry["ratios"].get(f"ours / {name}", {}).get("requests_per_second")
            table.add_row(
                name,
                f"{summary['requests_per_second']:.0f}",
                f"{summary['p50_ms']:.2f}",
                f"{summary['p99_ms']:.2f}",
                f"{summary['memory_mb']:.0f}",
                str(summary["errors"] or ""),
                f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})" if ratio else "",
            )
        Console(width=100).print(table)
