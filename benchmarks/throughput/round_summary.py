"""The report: medians of the rounds, and of the ratios within a round, with quartiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.workloads import Load
from benchmarks.throughput.wrk_client import Heard
from benchmarks.training.steps_per_second import quartiles

OURS = ("ours", "ours-binary")
MEASURES = ("requests_per_second", "p50_ms", "p99_ms", "memory_mb")


@dataclass(frozen=True)
class Turns:
    """What was measured, round by round.

    Attributes:
        heard: of each load's name and side's name, one for each round.
        floor_us: of each network and number of rows, µs of ONNX Runtime alone, for each round.
    """

    heard: Mapping[tuple[str, str], Sequence[Heard]]
    floor_us: Mapping[tuple[str, int], Sequence[float]]


def of_load(load: Load, turns: Turns) -> dict[str, Any]:
    """All there is to say of a load."""
    heard = {side: found for (name, side), found in turns.heard.items() if name == load.name}
    floor = turns.floor_us[load.network, load.rows]
    result: dict[str, Any] = {
        "load": load.name,
        "network": load.network,
        "rows": load.rows,
        "connections": load.connections,
        "onnxruntime_us": round(float(np.median(floor)), 1),
        "sides": {side: _summary(found) for side, found in heard.items()},
        "ratios": {
            f"{mine} / {other}": _ratios(heard[mine], heard[other])
            for mine in OURS
            for other in heard
            if mine in heard and other != mine
        },
    }
    if load.latency_only:
        p50 = np.array([h.p50_ms * 1e3 for h in heard.get("ours", ())])
        result["added_us"] = quartiles(p50 - np.array(floor)) if len(p50) else None
    return result


def _values(heard: Sequence[Heard], measure: str) -> np.ndarray:
    return np.array([getattr(one, measure) for one in heard])


def _summary(heard: Sequence[Heard]) -> dict[str, Any]:
    medians = {m: round(float(np.median(_values(heard, m))), 3) for m in MEASURES}
    # The median of memory too: in the first round a server may still compile its sources.
    return medians | {
        "memory_mb": round(medians["memory_mb"], 1),
        "errors": sum(one.errors for one in heard),
        "rounds": [round(float(rate)) for rate in _values(heard, "requests_per_second")],
    }


def _ratios(mine: Sequence[Heard], other: Sequence[Heard]) -> dict[str, Any]:
    return {m: quartiles(_values(mine, m) / _values(other, m)) for m in MEASURES}


def show(results: Sequence[Mapping[str, Any]]) -> None:
    """A table for each load, the fastest side first."""
    for result in results:
        title = f"{result['load']}; ONNX Runtime alone: {result['onnxruntime_us']} µs"
        if added := result.get("added_us"):
            title += f"; added by the server: {added['median']:.0f} µs"
        table = Table(title=title)
        for heading in ("", "requests/s", "p50 ms", "p99 ms", "MB", "errors", "ours / this"):
            table.add_column(heading, justify="right")
        ranked = sorted(result["sides"].items(), key=lambda s: -s[1]["requests_per_second"])
        for side, s in ranked:
            ratio = result["ratios"].get(f"ours / {side}", {}).get("requests_per_second")
            table.add_row(
                side,
                f"{s['requests_per_second']:.0f}",
                f"{s['p50_ms']:.2f}",
                f"{s['p99_ms']:.2f}",
                f"{s['memory_mb']:.0f}",
                str(s["errors"] or ""),
                f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})" if ratio else "",
            )
        Console(width=100).print(table)
