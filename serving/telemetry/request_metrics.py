"""Counts: what a finished request adds to the table.

It is on the way of every request, and costs 3 µs there: where its numbers are is looked up once a
kind of request, and a histogram is a bisection and two stores.
"""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter
from typing import NamedTuple

from serving.call_context import Call
from serving.telemetry.metric_definitions import (
    ACCEPT_ERRORS,
    BATCH_ROWS,
    CONNECTIONS_EVICTED,
    REQUEST_SECONDS,
    REQUESTS,
    ROWS,
    ROWS_ANSWERED,
    SECONDS,
    STAGE_SECONDS,
    TLS_FAILURES,
)
from serving.telemetry.shared_counters import Slot, Table

SUM_OF_SECONDS, SUM_OF_ROWS = len(SECONDS) + 1, len(ROWS) + 1  # after the buckets
NONE = "none"  # the protocol of what no route took


class _Places(NamedTuple):
    """Where the numbers of one kind of request are."""

    requests: int
    rows: int
    request: int
    decode: int
    queue: int
    run: int
    encode: int
    batch: int


class Counts:
    """Counts the requests of one process.

    Args:
        slot: where.
    """

    def __init__(self, slot: Slot) -> None:
        self._slot, self._numbers = slot, slot.numbers
        self._places: dict[tuple[str, tuple[str, str, str], int], _Places] = {}

    def add(self, call: Call, status: int) -> None:
        """A request is about to be answered.

        Args:
            call: the request.
            status: of the answer.
        """
        now, kind = perf_counter(), (call.protocol, call.model, status)
        places = self._places.get(kind) or self._find(kind)
        numbers = self._numbers
        if call.decoded:
            _add_seconds(numbers, places.decode, call.decoded - call.began)
            if call.ran:
                _add_seconds(numbers, places.queue, call.started - call.decoded)
                _add_seconds(numbers, places.run, call.ran - call.started)
                at = places.batch + bisect_left(ROWS, call.batch_rows)
                numbers[at] += 1.0
                numbers[places.batch + SUM_OF_ROWS] += call.batch_rows
                if call.encoded:
                    _add_seconds(numbers, places.encode, call.encoded - call.ran)
        if status < 400:
            numbers[places.rows] += call.rows
        _add_seconds(numbers, places.request, now - call.began)
        # The last: a worker may be killed at any time, and what follows is the answer.
        numbers[places.requests] += 1.0

    def _find(self, kind: tuple[str, tuple[str, str, str], int]) -> _Places:
        protocol, model, status = kind
        protocol = protocol or NONE
        series = self._slot.series
        stages = {
            stage: series(STAGE_SECONDS, (stage, protocol, model[0]))
            for stage in ("decode", "queue", "run", "encode")
        }
        places = self._places[kind] = _Places(
            requests=series(REQUESTS, (protocol, *model, str(status))),
            rows=series(ROWS_ANSWERED, (protocol, *model)),
            request=series(REQUEST_SECONDS, (protocol, model[0])),
            batch=series(BATCH_ROWS, (model[0],)),
            **stages,
        )
        return places


def count_refused(status: int) -> None:
    """A request is about to be refused that never came to be a call, such as a malformed one."""
    slot = Table.here().own
    slot.numbers[slot.series(REQUESTS, (NONE, "", "", "", str(status)))] += 1.0


def count_accept_error(name: str) -> None:
    """Count a failed attempt to accept a connection.

    Args:
        name: The system's name of the error, such as `EMFILE`.
    """
    slot = Table.here().own
    slot.numbers[slot.series(ACCEPT_ERRORS, (name,))] += 1.0


def count_evicted(reason: str, connections: int) -> None:
    """Count idle connections that were closed to make room for new ones.

    Args:
        reason: What ran out: "connections" or "descriptors".
        connections: Number of connections closed.
    """
    slot = Table.here().own
    slot.numbers[slot.series(CONNECTIONS_EVICTED, (reason,))] += connections


def count_tls_failure(cause: str) -> None:
    """Count a TLS handshake that failed.

    Args:
        cause: One of a few words for the cause.
    """
    slot = Table.here().own
    slot.numbers[slot.series(TLS_FAILURES, (cause,))] += 1.0


def _add_seconds(numbers: memoryview[float], at: int, seconds: float) -> None:
    numbers[at + bisect_left(SECONDS, seconds)] += 1.0
    numbers[at + SUM_OF_SECONDS] += seconds
