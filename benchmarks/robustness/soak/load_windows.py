"""Windows of the load: each is summed up before the next begins, so that memory does not grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency.capacity_search import raise_priority
from benchmarks.robustness.background_client import NO_ANSWER
from benchmarks.robustness.soak.soak_requests import OK, SoakRequest
from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator_health import assess_generator
from serving.loadtest.open_loop import generate_poisson_arrivals
from serving.loadtest.run_record import STATUS_NAMES, WRONG_ANSWER, RunRecord

FAULTY_SHARE = 0.1  # of the requests


@dataclass(frozen=True)
class LoadWindow:
    """A window of the load.

    Attributes:
        at: Seconds from the start of the soak to the middle of the window.
        requests: Number of requests that were due.
        refused: Number of faulty requests that were answered with their expected status.
        wrong: Number of answers with status 200 whose content is wrong.
        dropped: Number of requests without an answer: the connection broke, or it timed out.
        unexpected: Number of answers by status, for statuses other than expected.
        p50_ms: Median latency of the correct requests from their due time, in ms; NaN if none was
            answered.
        p99_ms: 99th percentile of the same latency, in ms.
        is_generator_late: Whether the load generator itself was late and delayed requests.
        faults: Examples of faults.
    """

    at: float
    requests: int
    refused: int
    wrong: int
    dropped: int
    unexpected: Counter[str]
    p50_ms: float
    p99_ms: float
    is_generator_late: bool
    faults: tuple[str, ...]


def draw_order(
    requests: Sequence[SoakRequest], count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw the positions of the requests to send, int32 `(count,)`; a tenth of them is faulty."""
    is_correct = np.array([request.expected_status == OK for request in requests])
    correct, faulty = (
        rng.choice(positions, size=count)
        for positions in (np.flatnonzero(is_correct), np.flatnonzero(~is_correct))
    )
    return np.where(rng.random(count) < FAULTY_SHARE, faulty, correct).astype(np.int32)


def run_load(
    engine: LoadEngine,
    requests: Sequence[SoakRequest],
    rate: float,
    seconds: float,
    rng: np.random.Generator,
) -> RunRecord:
    """Run an open loop with Poisson arrivals, with priority over the servers if permitted.

    Args:
        engine: Load engine for the requests.
        requests: The requests.
        rate: Mean number of requests per second.
        seconds: Duration, in seconds.
        rng: NumPy random generator of arrivals and order.

    Raises:
        LoadEngineError: If the server accepts no connections.
    """
    due_at = generate_poisson_arrivals(rate, seconds, rng)
    order = draw_order(requests, len(due_at), rng)
    with raise_priority():
        return engine.run_open_loop(due_at, order, seconds)


def summarize_window(record: RunRecord, requests: Sequence[SoakRequest], at: float) -> LoadWindow:
    """Sum up a window of the load.

    Args:
        record: Record of the window.
        requests: The requests, in the order of the engine.
        at: Seconds from the start of the soak to the middle of the window.
    """
    statuses = np.array([request.expected_status for request in requests], np.int16)
    expected, status = statuses[record.request_index], record.status
    is_expected = status == expected
    is_dropped, is_wrong = np.isin(status, NO_ANSWER), status == WRONG_ANSWER
    unexpected = status[~is_expected & ~is_dropped & ~is_wrong].tolist()
    latency_ms = 1e3 * record.latency[is_expected & (expected == OK)]
    p50, p99 = (
        np.percentile(latency_ms, (50, 99)).tolist() if len(latency_ms) else (float("nan"),) * 2
    )
    return LoadWindow(
        at=at,
        requests=len(status),
        refused=int(np.count_nonzero(is_expected & (expected != OK))),
        wrong=int(np.count_nonzero(is_wrong)),
        dropped=int(np.count_nonzero(is_dropped)),
        unexpected=Counter(map(str, unexpected)),
        p50_ms=p50,
        p99_ms=p99,
        is_generator_late=assess_generator(record, None).warning is not None,
        faults=_list_faults(record, expected, is_expected),
    )


def _list_faults(
    record: RunRecord, expected: NDArray[np.int16], is_expected: NDArray[np.bool_]
) -> tuple[str, ...]:
    """List the unexpected statuses, and what the engine noted except for expected refusals."""
    pairs = zip(expected[~is_expected].tolist(), record.status[~is_expected].tolist(), strict=True)
    statuses = {f"expected {wanted}; got {STATUS_NAMES.get(got, got)}" for wanted, got in pairs}
    if not statuses:
        return ()
    expected_refusals = tuple(f"{status}: " for status in set(expected.tolist()) - {OK})
    noted = (fault for fault in record.fault_counts if not fault.startswith(expected_refusals))
    return tuple(sorted(statuses)) + tuple(noted)
