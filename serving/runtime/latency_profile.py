"""Measure how long a graph runs on this machine, and derive the batch sizes that pay off.

`measure_latencies` compares several graphs, for example the variants of a bundle. `LatencyProfile`
is measured once when a model is loaded, so that nobody has to tune the batching by hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import thread_time

import numpy as np

from serving.bundle import Arrays
from serving.runtime.session import GraphSession

# For comparing graphs:
TIMED_BATCH_SIZES = (1, 8, 64, 256)  # numbers of rows of timed runs
MAX_TIMED_RUNS = 200  # largest number of timed runs of each graph with each batch size
MAX_TIMING_SECONDS = 0.3  # time for one batch size, all graphs together; then no new round begins

# For a profile:
PROFILED_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # numbers of rows of timed runs
SECONDS_PER_SIZE = 0.004  # time for which runs with one batch size are repeated
RUNS_PER_SIZE = (3, 20)  # smallest and largest number of runs with one batch size
MAX_BLOCKING_SECONDS = 0.01  # longest time for which one run may block the event loop
# A larger batch is worthwhile only if it reduces the time per row to less than this share.
MAX_ROW_TIME_RATIO = 0.95
# Batching two requests is worthwhile only if their joint run takes less than this share of the time
# of two separate runs.
MAX_JOINED_TIME_RATIO = 0.9
MAX_SLICE_ROWS = 4096  # largest number of rows of a slice, however fast the model is


def measure_latencies(
    sessions: Mapping[str, GraphSession], inputs: Arrays, sizes: Sequence[int] = TIMED_BATCH_SIZES
) -> dict[str, dict[int, float]]:
    """Time several graphs with the same inputs.

    Every round runs each graph once, so that all of them are slowed down alike if the machine is
    busy for a moment.

    Args:
        sessions: Loaded graphs by name.
        inputs: One or more rows, which are repeated to fill each size.
        sizes: Numbers of rows to time.

    Returns:
        Median duration of a run in µs, by the graph's name and the number of rows.

    Raises:
        GraphError: If the inputs do not fit a graph.
    """
    medians: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for size in sizes:
        rows = {name: np.resize(a, (size, *a.shape[1:])) for name, a in inputs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        end = time.perf_counter() + MAX_TIMING_SECONDS
        for _ in range(MAX_TIMED_RUNS):
            for name, session in sessions.items():
                # The first run is not timed, since the caches contain another graph's weights.
                session.run(rows)
                start = time.perf_counter()
                session.run(rows)
                seconds[name].append(time.perf_counter() - start)
            if time.perf_counter() > end:
                break
        for name, durations in seconds.items():
            medians[name][size] = round(float(np.median(durations)) * 1e6, 1)
    return medians


@dataclass(frozen=True)
class LatencyProfile:
    """The durations of a model's runs on this machine, and the batch sizes derived from them.

    Attributes:
        run_seconds: Duration of a run in seconds, by its number of rows.
        max_batch_rows: Largest number of rows of a batch. A larger batch would hardly be any faster
            per row, or would block the event loop for longer than `MAX_BLOCKING_SECONDS`.
        min_unbatched_rows: Smallest number of rows at which a request gains nothing from batching.
        slice_rows: Number of rows of a large request that run before other requests may run.
        seconds_per_row: Duration of one row in a batch of `max_batch_rows`, in seconds.
    """

    run_seconds: Mapping[int, float]
    max_batch_rows: int
    min_unbatched_rows: int
    slice_rows: int
    seconds_per_row: float

    @classmethod
    def measure(cls, session: GraphSession, inputs: Arrays) -> LatencyProfile:
        """Time a loaded graph and return its profile.

        Args:
            session: Session of the graph to time.
            inputs: One or more rows, which are repeated to fill each size.

        Raises:
            GraphError: If the inputs do not fit the graph.
        """
        seconds: dict[int, float] = {}
        for size in PROFILED_BATCH_SIZES:
            rows = {name: np.resize(a, (size, *a.shape[1:])) for name, a in inputs.items()}
            seconds[size] = _measure_fastest_run(session, rows)
            if seconds[size] > 2 * MAX_BLOCKING_SECONDS:
                break
        return cls.from_run_seconds(seconds)

    @classmethod
    def from_run_seconds(cls, seconds: Mapping[int, float]) -> LatencyProfile:
        """Derive a profile from measured durations.

        Args:
            seconds: Duration of a run in seconds, by its number of rows: 1, 2, 4, 8 and so on.
        """
        seconds = _smooth_noise(seconds)
        allowed = [size for size in seconds if seconds[size] <= MAX_BLOCKING_SECONDS] or [1]
        fastest = min(seconds[size] / size for size in allowed)
        max_batch_rows = next(
            size for size in allowed if seconds[size] / size * MAX_ROW_TIME_RATIO <= fastest
        )
        seconds_per_row = seconds[max_batch_rows] / max_batch_rows
        min_unbatched_rows = next(
            (
                size
                for size in seconds
                if 2 * size in seconds
                and seconds[2 * size] >= MAX_JOINED_TIME_RATIO * 2 * seconds[size]
            ),
            max_batch_rows,
        )
        slice_rows = min(int(MAX_BLOCKING_SECONDS / seconds_per_row), MAX_SLICE_ROWS)
        return cls(
            seconds,
            max_batch_rows,
            min_unbatched_rows,
            max(max_batch_rows, slice_rows),
            seconds_per_row,
        )


def _smooth_noise(seconds: Mapping[int, float]) -> dict[int, float]:
    """Return the durations after removing what only noise can explain.

    A run takes no longer than a run with more rows, and no longer than two runs with half the rows.
    """
    smooth = dict(seconds)
    for size, double in reversed(list(pairwise(smooth))):
        smooth[size] = min(smooth[size], smooth[double])
    for size, double in pairwise(smooth):
        smooth[double] = min(smooth[double], 2 * smooth[size])
    return smooth


def _measure_fastest_run(session: GraphSession, rows: Arrays) -> float:
    """Return the shortest of several runs, in seconds of processor time of this thread.

    A session has one thread by default, so this thread does all the work. The shortest run is the
    best estimate because other processes can only slow a run down.
    """
    session.run(rows)
    min_runs, max_runs = RUNS_PER_SIZE
    shortest, end = float("inf"), thread_time() + SECONDS_PER_SIZE
    for run in range(max_runs):
        start = thread_time()
        session.run(rows)
        now = thread_time()
        shortest = min(shortest, now - start)
        if now > end and run + 1 >= min_runs:
            break
    return shortest
