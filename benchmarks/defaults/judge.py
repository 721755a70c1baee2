"""Fit all contenders on the judged tables, and return the results of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from benchmarks.defaults.fit_processes import FitRunner, TrainingContender
from benchmarks.defaults.judged_tables import JudgedTable

SEEDS = (1, 2, 3)
LIST_MEASURES = ("error", "log_loss", "seconds", "peak_mb")
BUNDLE_MEASURES = ("bundle_bytes", "graph_bytes", "latency_us")
DIGITS = 6  # significant digits of a figure in the results


def judge(
    runner: FitRunner,
    contenders: Sequence[TrainingContender],
    tables: Sequence[JudgedTable],
    *,
    seeds: Sequence[int] = SEEDS,
    processes: int = 1,
) -> dict[str, Any]:
    """Fit all contenders on all tables with all seeds.

    Args:
        runner: Runner of the fits.
        contenders: Contenders.
        tables: Judged tables.
        seeds: Seeds of split and fit.
        processes: Number of fits that run at a time.

    Returns:
        `tables`, a description of each; `results` by table and contender: lists of measures, one
        entry for each seed, or `failed`; `bundles` by table and preset; and `fit_minutes`, the
        duration of all fits one after the other, kept ones included.
    """
    results: dict[str, dict[str, Any]] = {}
    bundles: dict[str, dict[str, Any]] = {}
    fit_seconds = 0.0
    for table in tables:
        shared = {seed: table.share(seed) for seed in seeds}
        with ThreadPoolExecutor(processes) as pool:
            fits = {
                (contender.name, seed): pool.submit(
                    runner.run,
                    contender,
                    shared[seed],
                    seed,
                    measure_bundle=contender.options is not None and seed == seeds[0],
                )
                for seed in seeds
                for contender in contenders
            }
        done = {key: fit.result() for key, fit in fits.items()}
        fit_seconds += sum(result["process_seconds"] for result in done.values())
        results[table.name] = {
            contender.name: merge_seeds([done[contender.name, seed] for seed in seeds])
            for contender in contenders
        }
        bundles[table.name] = {
            contender.name: {name: first[name] for name in BUNDLE_MEASURES}
            for contender in contenders
            if BUNDLE_MEASURES[0] in (first := done[contender.name, seeds[0]])
        }
        errors = ", ".join(
            f"{name} {sum(result['error']) / len(seeds):.4f}" if "error" in result else f"{name} –"
            for name, result in results[table.name].items()
        )
        click.echo(f"{table.name}: {errors}")
    return {
        "tables": {table.name: table.describe() for table in tables},
        "results": results,
        "bundles": bundles,
        "fit_minutes": round(fit_seconds / 60, 1),
    }


def merge_seeds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the measures of several fits as lists; `failed` if one of them has failed.

    Args:
        results: Result of the fit with each seed.
    """
    failures = [result["failed"] for result in results if "failed" in result]
    if failures:
        return {"failed": failures[0]}
    return {
        measure: [float(f"{result[measure]:.{DIGITS}g}") for result in results]
        for measure in LIST_MEASURES
        if measure in results[0]
    }
