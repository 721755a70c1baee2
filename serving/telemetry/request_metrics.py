"""Counts: what a finished request adds to the table.

It is on the way of every request, and costs 3 µs there: where its numbers are is looked up once a
kind of request, and a histogram is a bisection and two stores.
"""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter
from typing import NamedTuple

from serving.call_context import CallContext
from serving.telemetry.metric_definitions import (
    ACCEPT_ERRORS,
    BATCH_ROWS,
    BATCH_ROWS_BUCKETS,
    CONNECTIONS_EVICTED,
    DURATION_BUCKETS,
    RELOADS,
    REQUEST_SECONDS,
    REQUESTS,
    ROWS_ANSWERED,
    STAGE_SECONDS,
    TLS_FAILURES,
)
from serving.telemetry.shared_counters import SharedCounters, WorkerSlot

DURATION_SUM_OFFSET, BATCH_ROWS_SUM_OFFSET = (
    len(DURATION_BUCKETS) + 1,
    len(BATCH_ROWS_BUCKETS) + 1,
)  # after the buckets
NO_PROTOCOL = "none"  # the protocol of what no route took


class _SeriesIndices(NamedTuple):
    """Where the numbers of one kind of request are."""

    requests: int
    rows: int
    request: int
    decode: int
    queue: int
    run: int
    encode: int
    batch: int


class RequestMetrics:
    """Counts the requests of one process.

    Args:
        slot: where.
    """

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot, self._values = slot, slot.values
        self._indices_by_kind: dict[tuple[str, tuple[str, str, str], int], _SeriesIndices] = {}

    def count_request(self, call: CallContext, status: int) -> None:
        """A request is about to be answered.

        Args:
            call: the request.
            status: of the answer.
        """
        now, kind = perf_counter(), (call.protocol, call.model_label, status)
        places = self._indices_by_kind.get(kind) or self._look_up_indices(kind)
        numbers = self._values
        if call.decoded_at:
            _observe_seconds(numbers, places.decode, call.decoded_at - call.started_at)
            if call.run_ended_at:
                _observe_seconds(numbers, places.queue, call.run_started_at - call.decoded_at)
                _observe_seconds(numbers, places.run, call.run_ended_at - call.run_started_at)
                at = places.batch + bisect_left(BATCH_ROWS_BUCKETS, call.batch_rows)
                numbers[at] += 1.0
                numbers[places.batch + BATCH_ROWS_SUM_OFFSET] += call.batch_rows
                if call.encoded_at:
                    _observe_seconds(numbers, places.encode, call.encoded_at - call.run_ended_at)
        if status < 400:
            numbers[places.rows] += call.rows
        _observe_seconds(numbers, places.request, now - call.started_at)
        # The last: a worker may be killed at any time, and what follows is the answer.
        numbers[places.requests] += 1.0

    def _look_up_indices(self, kind: tuple[str, tuple[str, str, str], int]) -> _SeriesIndices:
        protocol, model, status = kind
        protocol = protocol or NO_PROTOCOL
        series = self._slot.get_series_index
        stages = {
            stage: series(STAGE_SECONDS, (stage, protocol, model[0]))
            for stage in ("decode", "queue", "run", "encode")
        }
        places = self._indices_by_kind[kind] = _SeriesIndices(
            requests=series(REQUESTS, (protocol, *model, str(status))),
            rows=series(ROWS_ANSWERED, (protocol, *model)),
            request=series(REQUEST_SECONDS, (protocol, model[0])),
            batch=series(BATCH_ROWS, (model[0],)),
            **stages,
        )
        return places


def count_refused_request(status: int) -> None:
    """A request is about to be refused that never came to be a call, such as a malformed one."""
    slot = SharedCounters.get_current().own_slot
    slot.values[slot.get_series_index(REQUESTS, (NO_PROTOCOL, "", "", "", str(status)))] += 1.0


def count_accept_error(name: str) -> None:
    """Count a failed attempt to accept a connection.

    Args:
        name: The system's name of the error, such as `EMFILE`.
    """
    slot = SharedCounters.get_current().own_slot
    slot.values[slot.get_series_index(ACCEPT_ERRORS, (name,))] += 1.0


def count_evicted_connections(reason: str, connections: int) -> None:
    """Count idle connections that were closed to make room for new ones.

    Args:
        reason: What ran out: "connections" or "descriptors".
        connections: Number of connections closed.
    """
    slot = SharedCounters.get_current().own_slot
    slot.values[slot.get_series_index(CONNECTIONS_EVICTED, (reason,))] += connections


def count_tls_failure(cause: str) -> None:
    """Count a TLS handshake that failed.

    Args:
        cause: One of a few words for the cause.
    """
    slot = SharedCounters.get_current().own_slot
    slot.values[slot.get_series_index(TLS_FAILURES, (cause,))] += 1.0


def _observe_seconds(numbers: memoryview[float], at: int, seconds: float) -> None:
    numbers[at + bisect_left(DURATION_BUCKETS, seconds)] += 1.0
    numbers[at + DURATION_SUM_OFFSET] += seconds


def count_reload(model: str, outcome: str) -> None:
    """One more attempt to serve another version of a model.

    Args:
        model: its name, as a folder of the repository has it.
        outcome: one of "served", "held", "refused", "unloaded".
    """
    slot = SharedCounters.get_current().own_slot
    slot.values[slot.get_series_index(RELOADS, (model, outcome))] += 1.0
