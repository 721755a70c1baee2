"""Summary of the rounds: sustained rates by bound, medians with quartiles, and their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.latency.capacity_search import SustainedRates
from benchmarks.latency.scenarios import NETWORK, PRECISION_BY_BOUND_MS, Scenario
from benchmarks.machine import compute_quartiles
from serving.loadtest.capacity import RateProbe

BOUNDS_MS = sorted(PRECISION_BY_BOUND_MS)
NO_RATIO = {"median": None, "low": None, "high": None}

# Results by name of the scenario and of the contender, one per round.
RatesByContender = Mapping[tuple[str, str], Sequence[SustainedRates]]


def summarize_scenario(
    scenario: Scenario, results: RatesByContender, memory_mb: Mapping[str, float]
) -> dict[str, Any]:
    """Return the entry of a scenario in the results.

    Args:
        scenario: The scenario.
        results: Results of all scenarios.
        memory_mb: Memory of each contender's server, in MB.
    """
    by_contender = {
        contender: rounds for (name, contender), rounds in results.items() if name == scenario.name
    }
    return {
        "load": scenario.name,
        "rows": scenario.rows,
        "form": scenario.format_name,
        "network": NETWORK,
        "rounds": max(map(len, by_contender.values()), default=0),
        "sides": {
            contender: {
                "held": {str(bound): _summarize_rates(rounds, bound) for bound in BOUNDS_MS},
                "probes": [_probe_as_json(probe) for one in rounds for probe in one.probes],
                "memory_mb": round(memory_mb[contender], 1),
            }
            for contender, rounds in by_contender.items()
        },
        "ratios": {
            f"{ours} / {other}": {
                str(bound): _compute_ratio(by_contender[ours], by_contender[other], bound)
                for bound in BOUNDS_MS
            }
            for ours in by_contender
            if ours.startswith("ours")
            for other in by_contender
            if other != ours
        },
    }


def _list_rates(rounds: Sequence[SustainedRates], bound: int) -> NDArray[np.float64]:
    return np.array([one.rates[bound] for one in rounds if bound in one.rates])


def _summarize_rates(rounds: Sequence[SustainedRates], bound: int) -> dict[str, Any]:
    rates = _list_rates(rounds, bound)
    low, median, high = np.quantile(rates, [0.25, 0.5, 0.75]).round(1).tolist()
    return {
        "median": median,
        "low": low,
        "high": high,
        "rounds": rates.round(1).tolist(),
        "limited": any(bound in one.limited_bounds_ms for one in rounds),
    }


def _compute_ratio(
    ours: Sequence[SustainedRates], other: Sequence[SustainedRates], bound: int
) -> Mapping[str, float | None]:
    """Return the quartiles of the ratios; null if the other sustained no rate in some round."""
    our_rates, other_rates = _list_rates(ours, bound), _list_rates(other, bound)
    rounds = min(len(our_rates), len(other_rates))
    ratio: Mapping[str, float | None] = NO_RATIO
    if (other_rates > 0).all():
        ratio = compute_quartiles(our_rates[:rounds] / other_rates[:rounds])
    return {**ratio, "rounds": rounds}


def _probe_as_json(probe: RateProbe) -> dict[str, Any]:
    percentiles = probe.statistics.latency.percentiles
    return {
        "rate": round(probe.rate, 1),
        "p50_ms": round(percentiles["p50"] * 1e3, 3),
        "p99_ms": round(percentiles["p99"] * 1e3, 3),
        "errors": round(probe.statistics.error_share, 5),
        "held": probe.is_sustained,
        "generator": probe.generator.warning is not None,
    }


def print_tables(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each scenario, the contender with the highest rate within 20 ms first."""
    for entry in entries:
        table = Table(title=f"sustained requests/s: {entry['load']}")
        table.add_column("")
        for bound in BOUNDS_MS:
            table.add_column(f"p99 ≤ {bound} ms", justify="right")
        ranked = sorted(entry["sides"].items(), key=lambda item: -item[1]["held"]["20"]["median"])
        for name, summary in ranked:
            rates = (summary["held"][str(bound)] for bound in BOUNDS_MS)
            table.add_row(
                name, *(f"{r['median']:,.0f} ({r['low']:,.0f}–{r['high']:,.0f})" for r in rates)
            )
        Console(width=100).print(table)
