"""The pace: how long runs of a model take on this machine, and what follows for batching.

Measured once, as the model is loaded, so that no one has to tune it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from time import thread_time

import numpy as np

from serving.bundle import Arrays
from serving.runtime import Session

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # rows of a run that is timed
SECONDS_A_SIZE = 0.004  # that it is repeated for
TIMES_A_SIZE = (3, 20)  # at least, and at most
HOLD = 0.01  # seconds for which a run may keep the event loop from everyone else
CHEAPER = 0.95  # a larger batch must bring a row below this share of its time
SAVING = 0.9  # two requests joined must take less than this share of what they took apart


@dataclass(frozen=True)
class Pace:
    """What the times of a model's runs come to.

    Attributes:
        seconds: of one run, by rows.
        batch_rows: that a joint run holds at most: more would hardly be quicker a row, or would
            keep the loop for longer than `HOLD`.
        alone_rows: from which on a request gains nothing from being joined with another.
        slice_rows: of a request of very many that are run before others have their turn.
        row_seconds: of one row among `batch_rows`.
    """

    seconds: Mapping[int, float]
    batch_rows: int
    alone_rows: int
    slice_rows: int
    row_seconds: float

    @classmethod
    def measure(cls, session: Session, inputs: Arrays) -> Pace:
        """The pace of a session.

        Args:
            session: of the model.
            inputs: at least one row, which is repeated to the sizes.

        Raises:
            GraphError: the inputs do not fit the graph.
        """
        seconds: dict[int, float] = {}
        for size in SIZES:
            rows = {name: np.resize(a, (size, *a.shape[1:])) for name, a in inputs.items()}
            seconds[size] = _quickest(session, rows)
            if seconds[size] > 2 * HOLD:
                break
        return cls.of(seconds)

    @classmethod
    def of(cls, seconds: Mapping[int, float]) -> Pace:
        """The pace that such times by rows come to; the rows double from one to the next."""
        seconds = _smooth(seconds)
        held = [size for size in seconds if seconds[size] <= HOLD] or [1]
        best = min(seconds[size] / size for size in held)
        batch = next(size for size in held if seconds[size] / size * CHEAPER <= best)
        row = seconds[batch] / batch
        alone = next(
            (
                size
                for size in seconds
                if 2 * size in seconds and seconds[2 * size] >= SAVING * 2 * seconds[size]
            ),
            batch,
        )
        most = int(HOLD / row)
        return cls(seconds, batch, alone, max(batch, min(most, 4096)), row)


def _smooth(seconds: Mapping[int, float]) -> dict[int, float]:
    """The times without what noise alone can have made of them.

    A run takes no longer than one of more rows does, nor than two of half its rows.
    """
    smooth = dict(seconds)
    for size, double in reversed(list(pairwise(smooth))):
        smooth[size] = min(smooth[size], smooth[double])
    for size, double in pairwise(smooth):
        smooth[double] = min(smooth[double], 2 * smooth[size])
    return smooth


def _quickest(session: Session, rows: Arrays) -> float:
    """Seconds of the processor that a run takes in this thread, where it runs as a whole.

    Other processes can only make it look slower than it is.
    """
    session.run(rows)
    least, most = TIMES_A_SIZE
    best, end = float("inf"), thread_time() + SECONDS_A_SIZE
    for time in range(most):
        start = thread_time()
        session.run(rows)
        now = thread_time()
        best = min(best, now - start)
        if now > end and time + 1 >= least:
            break
    return best
