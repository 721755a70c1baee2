"""Count the requests that the application answers, in the shared counters.

`RequestMetrics.count_request` runs in every request and takes about 3 µs: the indices of its values
are looked up once per kind of request, and a histogram costs one bisection and two stores.
"""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter
from typing import NamedTuple

from serving.call_context import CallContext
from serving.telemetry.metric_definitions import (
    BATCH_ROWS,
    BATCH_ROWS_BUCKETS,
    DURATION_BUCKETS,
    NO_PROTOCOL,
    REQUEST_SECONDS,
    REQUESTS,
    ROWS_ANSWERED,
    STAGE_SECONDS,
)
from serving.telemetry.shared_counters import WorkerSlot

# A histogram's sum follows its buckets, the last of which has no bound.
DURATION_SUM_OFFSET = len(DURATION_BUCKETS) + 1
BATCH_ROWS_SUM_OFFSET = len(BATCH_ROWS_BUCKETS) + 1


class _SeriesIndices(NamedTuple):
    """Indices of the series of one kind of request, in the values of a slot."""

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
        slot: Slot of this worker in the shared counters.
    """

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot, self._values = slot, slot.values
        self._indices_by_kind: dict[tuple[str, tuple[str, str, str], int], _SeriesIndices] = {}

    def count_request(self, context: CallContext, status: int) -> None:
        """Count a request just before its response is sent.

        Args:
            context: Context of the request.
            status: HTTP status of the response.
        """
        now, kind = perf_counter(), (context.protocol, context.model_label, status)
        indices = self._indices_by_kind.get(kind) or self._look_up_indices(kind)
        values = self._values
        if context.decoded_at:
            _observe_seconds(values, indices.decode, context.decoded_at - context.started_at)
            if context.run_ended_at:
                _observe_seconds(values, indices.queue, context.run_started_at - context.decoded_at)
                _observe_seconds(values, indices.run, context.run_ended_at - context.run_started_at)
                bucket = indices.batch + bisect_left(BATCH_ROWS_BUCKETS, context.batch_rows)
                values[bucket] += 1.0
                values[indices.batch + BATCH_ROWS_SUM_OFFSET] += context.batch_rows
                if context.encoded_at:
                    _observe_seconds(
                        values, indices.encode, context.encoded_at - context.run_ended_at
                    )
        if status < 400:
            values[indices.rows] += context.rows
        _observe_seconds(values, indices.request, now - context.started_at)
        # Counted last, just before the response is sent: if the worker is killed earlier, the
        # request gets no response and is not counted.
        values[indices.requests] += 1.0

    def _look_up_indices(self, kind: tuple[str, tuple[str, str, str], int]) -> _SeriesIndices:
        protocol, model, status = kind
        protocol = protocol or NO_PROTOCOL
        get_index = self._slot.get_series_index
        stages = {
            stage: get_index(STAGE_SECONDS, (stage, protocol, model[0]))
            for stage in ("decode", "queue", "run", "encode")
        }
        indices = self._indices_by_kind[kind] = _SeriesIndices(
            requests=get_index(REQUESTS, (protocol, *model, str(status))),
            rows=get_index(ROWS_ANSWERED, (protocol, *model)),
            request=get_index(REQUEST_SECONDS, (protocol, model[0])),
            batch=get_index(BATCH_ROWS, (model[0],)),
            **stages,
        )
        return indices


def _observe_seconds(values: memoryview[float], index: int, seconds: float) -> None:
    values[index + bisect_left(DURATION_BUCKETS, seconds)] += 1.0
    values[index + DURATION_SUM_OFFSET] += seconds
