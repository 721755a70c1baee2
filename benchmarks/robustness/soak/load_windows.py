"""Windows: the load, a piece at a time, each summed up before the next, so that memory stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency.capacity_search import ahead
from benchmarks.robustness.soak.soak_requests import OK, Asked
from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator_health import assess_generator
from serving.loadtest.open_loop import generate_poisson_arrivals
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    STATUS_NAMES,
    TIMED_OUT,
    UNANSWERED,
    WRONG_ANSWER,
    RunRecord,
)

BAD_SHARE = 0.1  # of the requests


@dataclass(frozen=True)
class Window:
    """A piece of the load.

    Attributes:
        at: seconds from the start of the soak to its middle.
        requests: that were due.
        refused: of those, bad ones that got the status they must get.
        wrong: answers with status 200 that are not right.
        dropped: requests without an answer: the connection broke, or it took too long.
        unexpected: other statuses than each request must get, by name.
        p50_ms: latency of the good requests from the time they were due; NaN if none was answered.
        p99_ms: likewise.
        in_doubt: whether the generator itself was late, so that the latency is its own.
        faults: examples of what was wrong.
    """

    at: float
    requests: int
    refused: int
    wrong: int
    dropped: int
    unexpected: Counter[str]
    p50_ms: float
    p99_ms: float
    in_doubt: bool
    faults: tuple[str, ...]


def order(asked: Sequence[Asked], count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Which request each is, int32 `(count,)`: a tenth bad ones, all of a kind as likely."""
    is_good = np.array([one.status == OK for one in asked])
    kinds = np.flatnonzero(is_good), np.flatnonzero(~is_good)
    drawn = [rng.choice(places, size=count) for places in kinds]
    return np.where(rng.random(count) < BAD_SHARE, drawn[1], drawn[0]).astype(np.int32)


def load(
    engine: LoadEngine,
    asked: Sequence[Asked],
    rate: float,
    seconds: float,
    rng: np.random.Generator,
) -> RunRecord:
    """An open loop of Poisson arrivals, of `rate` requests a second.

    It comes before the servers, where it may: it must be in time to tell who is late.

    Raises:
        LoadEngineError: the server takes no connections.
    """
    due = generate_poisson_arrivals(rate, seconds, rng)
    which = order(asked, len(due), rng)
    with ahead():
        return engine.run_open_loop(due, which, seconds)


def window(record: RunRecord, asked: Sequence[Asked], at: float) -> Window:
    """Sum up a piece.

    Args:
        record: of it.
        asked: what its calls were, in their order.
        at: seconds from the start of the soak to its middle.
    """
    expected = np.array([one.status for one in asked], np.int16)[record.request_index]
    status = record.status
    as_expected = status == expected
    dropped = np.isin(status, (UNANSWERED, TIMED_OUT, CONNECTION_FAILED))
    wrong = status == WRONG_ANSWER
    others = status[~as_expected & ~dropped & ~wrong].tolist()
    answered = 1e3 * record.latency[as_expected & (expected == OK)]
    p50, p99 = np.percentile(answered, (50, 99)).tolist() if len(answered) else (float("nan"),) * 2
    return Window(
        at=at,
        requests=len(status),
        refused=int(np.count_nonzero(as_expected & (expected != OK))),
        wrong=int(np.count_nonzero(wrong)),
        dropped=int(np.count_nonzero(dropped)),
        unexpected=Counter(map(str, others)),
        p50_ms=p50,
        p99_ms=p99,
        in_doubt=assess_generator(record, None).warning is not None,
        faults=_faults(record, expected, as_expected),
    )


def _faults(
    record: RunRecord, expected: NDArray[np.int16], as_expected: NDArray[np.bool_]
) -> tuple[str, ...]:
    """What came instead of what, and what the engine noted but for the refusals that were due."""
    pairs = zip(expected[~as_expected].tolist(), record.status[~as_expected].tolist(), strict=True)
    came = {f"expected {due}; got {STATUS_NAMES.get(got, got)}" for due, got in pairs}
    due_refusals = tuple(f"{status}: " for status in set(expected.tolist()) - {OK})
    noted = (said for said in record.fault_counts if not said.startswith(due_refusals))
    return tuple(sorted(came)) + tuple(noted) if came else ()
