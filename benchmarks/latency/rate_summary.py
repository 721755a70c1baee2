"""The report: rates held by bound, medians of the rounds with quartiles, and their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.latency.capacity_search import Held
from benchmarks.latency.scenarios import BOUNDS_MS, NETWORK, Scenario
from benchmarks.training.steps_per_second import quartiles

NO_RATIO = {"median": None, "low": None, "high": None}


def document(
    scenario: Scenario,
    found: Mapping[tuple[str, str], Sequence[Held]],
    memory: Mapping[str, float],
) -> dict[str, Any]:
    """All there is to say of a scenario.

    Args:
        scenario: which.
        found: by scenario and side, one a round.
        memory: of the sides, MB.
    """
    held = {side: rounds for (name, side), rounds in found.items() if name == scenario.name}
    return {
        "load": scenario.name,
        "rows": scenario.rows,
        "form": scenario.form,
        "network": NETWORK,
        "rounds": max(map(len, held.values()), default=0),
        "sides": {
            side: {
                "held": {str(bound): _rates(rounds, bound) for bound in sorted(BOUNDS_MS)},
                "probes": [_probe(probe) for one in rounds for probe in one.probes],
                "memory_mb": round(memory[side], 1),
            }
            for side, rounds in held.items()
        },
        "ratios": {
            f"{mine} / {other}": {
                str(bound): _ratio(held[mine], held[other], bound) for bound in sorted(BOUNDS_MS)
            }
            for mine in held
            if mine.startswith("ours")
            for other in held
            if other != mine
        },
    }


def _of(rounds: Sequence[Held], bound: int) -> np.ndarray:
    return np.array([one.rates[bound] for one in rounds if bound in one.rates])


def _rates(rounds: Sequence[Held], bound: int) -> dict[str, Any]:
    low, median, high = np.quantile(_of(rounds, bound), [0.25, 0.5, 0.75]).round(1).tolist()
    return {
        "median": median,
        "low": low,
        "high": high,
        "rounds": _of(rounds, bound).round(1).tolist(),
        "limited": any(bound in one.limited for one in rounds),
    }


def _ratio(mine: Sequence[Held], other: Sequence[Held], bound: int) -> Mapping[str, float | None]:
    """Of nothing, `NO_RATIO`: the other held no rate in some round."""
    ours, theirs = _of(mine, bound), _of(other, bound)
    rounds = min(len(ours), len(theirs))
    found = quartiles(ours[:rounds] / theirs[:rounds]) if (theirs > 0).all() else NO_RATIO
    return {**found, "rounds": rounds}


def _probe(probe: Any) -> dict[str, Any]:
    percentiles = probe.statistics.latency.percentiles
    return {
        "rate": round(probe.rate, 1),
        "p50_ms": round(percentiles["p50"] * 1e3, 3),
        "p99_ms": round(percentiles["p99"] * 1e3, 3),
        "errors": round(probe.statistics.error_share, 5),
        "held": probe.is_sustained,
        "generator": probe.generator.warning is not None,
    }


def show(results: Sequence[Mapping[str, Any]]) -> None:
    """A table for each scenario, the one that holds most within 20 ms first."""
    for result in results:
        table = Table(title=f"requests/s held: {result['load']}")
        table.add_column("")
        for bound in sorted(BOUNDS_MS):
            table.add_column(f"p99 ≤ {bound} ms", justify="right")
        ranked = sorted(result["sides"].items(), key=lambda s: -s[1]["held"]["20"]["median"])
        for side, found in ranked:
            rates = (found["held"][str(bound)] for bound in sorted(BOUNDS_MS))
            table.add_row(
                side, *(f"{r['median']:,.0f} ({r['low']:,.0f}–{r['high']:,.0f})" for r in rates)
            )
        Console(width=100).print(table)
