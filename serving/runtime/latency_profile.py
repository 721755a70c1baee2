"""The pace: how long runs of a model take on this machine, and what follows for batching.

Measured once, as the model is loaded, so that no one has to tune it.
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


PROFILED_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # rows of a run that is timed
SECONDS_PER_SIZE = 0.004  # that it is repeated for
RUNS_PER_SIZE = (3, 20)  # at least, and at most
MAX_BLOCKING_SECONDS = 0.01  # seconds for which a run may keep the event loop from everyone else
MAX_ROW_TIME_RATIO = 0.95  # a larger batch must bring a row below this share of its time
MAX_JOINED_TIME_RATIO = (
    0.9  # two requests joined must take less than this share of what they took apart
)


@dataclass(frozen=True)
class LatencyProfile:
    """What the times of a model's runs come to.

    Attributes:
        run_seconds: of one run, by rows.
        max_batch_rows: that a joint run holds at most: more would hardly be quicker a row, or would
            keep the loop for longer than `MAX_BLOCKING_SECONDS`.
        alone_rows: from which on a request gains nothing from being joined with another.
        slice_rows: of a request of very many that are run before others have their turn.
        row_seconds: of one row among `batch_rows`.
    """

    run_seconds: Mapping[int, float]
    max_batch_rows: int
    min_unbatched_rows: int
    slice_rows: int
    seconds_per_row: float

    @classmethod
    def measure(cls, session: GraphSession, inputs: Arrays) -> LatencyProfile:
        """The pace of a session.

        Args:
            session: of the model.
            inputs: at least one row, which is repeated to the sizes.

        Raises:
            GraphError: the inputs do not fit the graph.
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
        """The pace that such times by rows come to; the rows double from one to the next."""
        seconds = _smooth_noise(seconds)
        held = [size for size in seconds if seconds[size] <= MAX_BLOCKING_SECONDS] or [1]
        best = min(seconds[size] / size for size in held)
        batch = next(size for size in held if seconds[size] / size * MAX_ROW_TIME_RATIO <= best)
        row = seconds[batch] / batch
        alone = next(
            (
                size
                for size in seconds
                if 2 * size in seconds
                and seconds[2 * size] >= MAX_JOINED_TIME_RATIO * 2 * seconds[size]
            ),
            batch,
        )
        most = int(MAX_BLOCKING_SECONDS / row)
        return cls(seconds, batch, alone, max(batch, min(most, 4096)), row)


def _smooth_noise(seconds: Mapping[int, float]) -> dict[int, float]:
    """The times without what noise alone can have made of them.

    A run takes no longer than one of more rows does, nor than two of half its rows.
    """
    smooth = dict(seconds)
    for size, double in reversed(list(pairwise(smooth))):
        smooth[size] = min(smooth[size], smooth[double])
    for size, double in pairwise(smooth):
        smooth[double] = min(smooth[double], 2 * smooth[size])
    return smooth


def _measure_fastest_run(session: GraphSession, rows: Arrays) -> float:
    """Seconds of the processor that a run takes in this thread, where it runs as a whole.

    Other processes can only make it look slower than it is.
    """
    session.run(rows)
    least, most = RUNS_PER_SIZE
    best, end = float("inf"), thread_time() + SECONDS_PER_SIZE
    for run in range(most):
        start = thread_time()
        session.run(rows)
        now = thread_time()
        best = min(best, now - start)
        if now > end and run + 1 >= least:
            break
    return best
