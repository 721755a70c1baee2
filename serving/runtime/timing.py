"""How long graphs of the same inputs take on this machine, measured in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from serving.bundle import Arrays
from serving.runtime.session import GraphSession

TIMED_BATCH_SIZES = (1, 8, 64, 256)  # of a run that is timed
MAX_TIMED_RUNS = 200  # of each graph with so many rows, at most
MAX_TIMING_SECONDS = 0.3  # for all graphs with so many rows, after which no further turn begins


def measure_latencies(
    sessions: Mapping[str, GraphSession], inputs: Arrays, sizes: Sequence[int] = TIMED_BATCH_SIZES
) -> dict[str, dict[int, float]]:
    """Time graphs of the same inputs; they take turns, so that a busy moment slows them alike.

    Args:
        sessions: by name.
        inputs: at least one row, which is repeated to the sizes.
        sizes: rows of a run.

    Returns:
        By name and size, the median µs of one run.

    Raises:
        GraphError: the inputs do not fit a graph.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for size in sizes:
        rows = {name: np.resize(a, (size, *a.shape[1:])) for name, a in inputs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        end = time.perf_counter() + MAX_TIMING_SECONDS
        for _ in range(MAX_TIMED_RUNS):
            for name, session in sessions.items():
                session.run(rows)  # not timed: it finds the caches full of another's weights
                start = time.perf_counter()
                session.run(rows)
                seconds[name].append(time.perf_counter() - start)
            if time.perf_counter() > end:
                break
        for name, times in seconds.items():
            found[name][size] = round(float(np.median(times)) * 1e6, 1)
    return found
