"""Batching: the rows of many requests share one run, at the end of each event loop iteration.

A request's greenlet queues its rows and switches to the event loop. Once every connection that was
ready in this iteration has been read, all queued rows are run at once, and each greenlet resumes
with the outputs of its own rows. So a single request is not delayed, and concurrent requests form
a batch; there are no threads, no locks and, unless `max_delay` is set, no waiting time. Outside a
gevent loop, as in tests or under another server, each request is run by itself, with the same
outputs.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from gevent import Greenlet, get_hub, getcurrent

from serving.bundle import Arrays, concatenate_rows, iter_row_slices, pluralize
from serving.call_context import CallContext, make_deadline_error
from serving.errors import OverloadedError, RunTooLongError
from serving.inference.queues import (
    ModelQueue,
    PendingRequest,
    drop_abandoned,
    fail_expired,
    run_batch,
)
from serving.repository import ServedModel
from serving.runtime import RunTimeoutError, run_in_slices
from serving.telemetry.shared_counters import OLDEST_QUEUED_TIME, QUEUED_ROWS, WorkerSlot

# Time for which the event loop polls its connections instead of sleeping, after a batch of a single
# request. Waking up takes longer than this, because another core has to interrupt this one and
# the caches are cold, and a client that sends its next request at once would wait for it.
BUSY_POLL_SECONDS = 50e-6
# Longest time between two checks of the deadlines of requests that wait for others to join them.
DEADLINE_CHECK_SECONDS = 0.01
# gevent's own watchers have higher priorities, so these run after every ready connection was read.
LOWEST_LOOP_PRIORITY = -2


class Batcher:
    """Runs requests, and joins several pending requests for the same model into a batch.

    Args:
        max_batch_rows: Largest number of rows of one batch; 0 for the number that each model's
            latency profile recommends.
        max_delay: Longest time that a request waits for others to join its batch, in seconds.
        queue_rows: Largest number of rows that may be pending in this process.
        queue_seconds: Longest estimated waiting time with which a request is accepted, in seconds.

    Attributes:
        pending_rows: Number of rows that are pending, without those of unbatched requests.
        last_batch_size: Number of requests in the last batch.
    """

    def __init__(
        self,
        *,
        max_batch_rows: int = 0,
        max_delay: float = 0,
        queue_rows: int = 4096,
        queue_seconds: float = 1,
    ) -> None:
        self.max_batch_rows, self.max_delay = max_batch_rows, max_delay
        self.queue_rows, self.queue_seconds = queue_rows, queue_seconds
        self.pending_rows = self.last_batch_size = 0
        self._pending_seconds = 0.0  # estimated run time of all pending rows
        # Not a field of the model: a queue belongs to one batcher, and the repository, which makes
        # the models, must not import this package.
        self._queues: WeakKeyDictionary[ServedModel, ModelQueue] = WeakKeyDictionary()
        # Queues that hold a request, in the order in which they are flushed.
        self._active_queues: dict[ModelQueue, None] = {}
        self._flush_scheduler: FlushScheduler | None = None

    def run(self, model: ServedModel, inputs: Arrays, context: CallContext) -> Arrays:
        """Return the graph's outputs for the rows of one request.

        The outputs do not depend on the rows of other requests in the same batch.

        Args:
            model: Loaded model to run.
            inputs: Inputs of the graph, with `context.rows` rows.
            context: Context of the request; the times of its run are stored there.

        Raises:
            OverloadedError: If too many rows are pending, or would run too late.
            DeadlineError: If the deadline of the request has passed.
            RunTooLongError: If the run took longer than `--run-seconds` and was ended.
            ClientGoneError: If the client has reset the connection.
            GraphError: If ONNX Runtime cannot run the graph on these inputs.
        """
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = ModelQueue(model, self.max_batch_rows)
        if not isinstance(getcurrent(), Greenlet):
            context.run_started_at, context.batch_rows = perf_counter(), context.rows
            try:
                outputs = run_in_slices(queue.session, inputs, queue.latency_profile.slice_rows)
            except RunTimeoutError as error:
                raise RunTooLongError(str(error)) from error
            context.run_ended_at = perf_counter()
        else:
            self._check_capacity_for(queue, context.rows)
            outputs = self._run_in_loop(queue, inputs, context)
        if context.deadline is not None and perf_counter() > context.deadline:
            raise make_deadline_error(context)
        return outputs

    def _run_in_loop(self, queue: ModelQueue, inputs: Arrays, context: CallContext) -> Arrays:
        """Run a small request in a batch, and a large one in slices with other runs between."""
        if context.rows < queue.min_unbatched_rows:
            return self._enqueue_and_wait(queue, inputs, context.rows, context, is_unbatched=False)
        parts, run_started_at = [], 0.0
        for part in iter_row_slices(inputs, queue.latency_profile.slice_rows):
            rows = len(next(iter(part.values())))
            parts.append(self._enqueue_and_wait(queue, part, rows, context, is_unbatched=True))
            run_started_at = run_started_at or context.run_started_at
        context.run_started_at, context.batch_rows = run_started_at, context.rows
        return concatenate_rows(parts)

    def check_capacity(self) -> None:
        """Refuse a new request if the queue is full or would delay it for too long.

        It is called before the body is read, so that a refused request costs little. Outside a
        gevent loop nothing is queued, and nothing refused.

        Raises:
            OverloadedError: If too many rows are pending, or would run too late.
        """
        if not isinstance(getcurrent(), Greenlet):
            return
        if self.pending_rows >= self.queue_rows:
            raise self._queue_full_error("another request")
        # A request that is read in this loop iteration has waited since the iteration began.
        self._check_queue_time(self._pending_seconds + max(0.0, time.time() - get_hub().loop.now()))

    def _check_capacity_for(self, queue: ModelQueue, rows: int) -> None:
        """Refuse a request once its number of rows is known."""
        # An unbatched request queues one slice at a time, so only its waiting time is limited.
        if (
            rows < queue.min_unbatched_rows
            and self.pending_rows
            and self.pending_rows + rows > self.queue_rows
        ):
            raise self._queue_full_error(f"{rows} more")
        self._check_queue_time(self._pending_seconds)

    def _queue_full_error(self, refused: str) -> OverloadedError:
        return OverloadedError(
            f"expected at most {pluralize(self.queue_rows, 'row')} in the queue; got {refused} "
            f"while {self.pending_rows} are queued; try again in a second, or send fewer rows"
        )

    def _check_queue_time(self, seconds: float) -> None:
        if seconds > self.queue_seconds:
            raise OverloadedError(
                f"expected to run the request within {self.queue_seconds:g} s; got {seconds:.2g} s "
                f"of work that is queued before it; try again in a second"
            )

    def _enqueue_and_wait(
        self,
        queue: ModelQueue,
        inputs: Arrays,
        rows: int,
        context: CallContext,
        *,
        is_unbatched: bool,
    ) -> Arrays:
        """Queue rows, switch to the event loop, and return the outputs once they have run."""
        request = PendingRequest(getcurrent(), inputs, rows, context, is_unbatched=is_unbatched)
        queue.append(request)
        self._active_queues[queue] = None
        if self._flush_scheduler is None:
            self._flush_scheduler = FlushScheduler(self, self.max_delay)
        self._flush_scheduler.schedule(is_full=queue.is_full)
        batched_rows = 0 if is_unbatched else rows
        seconds = rows * queue.latency_profile.seconds_per_row
        self.pending_rows += batched_rows
        self._pending_seconds += seconds
        try:
            outputs: Arrays = get_hub().switch()
        finally:
            request.is_pending = False
            self.pending_rows -= batched_rows
            self._pending_seconds -= seconds
        return outputs

    def flush(self) -> tuple[bool, bool]:
        """Run at most one batch per model, of requests that need not wait any longer.

        Returns:
            any_pending: Whether a request is still pending.
            any_full: Whether the next batch of a queue need not wait for more rows.
        """
        latest = perf_counter() - self.max_delay
        for queue in list(self._active_queues):
            if not queue.is_full and queue.pending[0].pending_since > latest:
                fail_expired(queue.pending)
                continue
            del self._active_queues[queue]
            batch = list(drop_abandoned(queue.pop_batch()))
            if queue.pending:
                self._active_queues[queue] = None  # at the end, after the other models
            if batch:
                self.last_batch_size = len(batch)
                run_batch(queue, batch)
        return bool(self._active_queues), any(queue.is_full for queue in self._active_queues)


class FlushScheduler:
    """Flushes a batcher at the end of each event loop iteration while requests are pending.

    Args:
        batcher: Batcher whose pending requests are run.
        max_delay: Longest time that a request waits for others, in seconds; if it is 0, the loop
            does not sleep while a request is pending.
    """

    def __init__(self, batcher: Batcher, max_delay: float) -> None:
        loop = get_hub().loop
        self._batcher = batcher
        self._iteration_end_watcher = loop.check(priority=LOWEST_LOOP_PRIORITY)
        # It only keeps the loop from sleeping until a connection is ready. It cannot flush: an idle
        # watcher is called when no connection is ready, which may never happen in heavy traffic.
        self._keep_awake_watcher = loop.idle(priority=LOWEST_LOOP_PRIORITY)
        self._idle_since = 0.0  # time since which no request is pending; 0 while one is
        self._deadline_timer = None
        if max_delay:
            self._deadline_timer = loop.timer(
                min(max_delay, DEADLINE_CHECK_SECONDS),
                repeat=min(max_delay / 4, DEADLINE_CHECK_SECONDS),
            )

    def schedule(self, *, is_full: bool) -> None:
        """Start flushing, since a request is pending.

        Args:
            is_full: Whether the next batch of its model's queue need not wait for more rows.
        """
        self._idle_since = 0.0
        if not self._iteration_end_watcher.active:
            self._iteration_end_watcher.start(self._on_iteration_end)
            if self._deadline_timer is not None:
                self._deadline_timer.start(_do_nothing)
        if (is_full or self._deadline_timer is None) and not self._keep_awake_watcher.active:
            self._keep_awake_watcher.start(_do_nothing)

    def _on_iteration_end(self) -> None:
        any_pending, any_full = self._batcher.flush()
        if any_pending:
            if not (any_full or self._deadline_timer is None):
                self._keep_awake_watcher.stop()
        elif self._deadline_timer is not None:
            self._stop_watchers()
            self._deadline_timer.stop()
        elif not self._idle_since:
            self._idle_since = perf_counter()
        elif (
            self._batcher.last_batch_size > 1
            or perf_counter() - self._idle_since > BUSY_POLL_SECONDS
        ):
            self._stop_watchers()
        else:
            os.sched_yield()  # another process may be waiting for this core

    def _stop_watchers(self) -> None:
        self._keep_awake_watcher.stop()
        self._iteration_end_watcher.stop()


def _do_nothing() -> None:
    pass


class InstrumentedBatcher(Batcher):
    """A batcher that publishes its number of rows and the time of its oldest request.

    Args:
        slot: Slot of this worker in the shared counters.
        limits: Keyword arguments of `Batcher`.
    """

    def __init__(self, slot: WorkerSlot, **limits: Any) -> None:
        super().__init__(**limits)
        self._values = slot.values
        # In order of arrival, so that the first is the oldest.
        self._contexts_in_progress: OrderedDict[CallContext, None] = OrderedDict()
        self._rows_in_progress = 0

    def run(self, model: ServedModel, inputs: Arrays, context: CallContext) -> Arrays:
        """Run a request as `Batcher.run` does, and publish its rows until it has finished."""
        values, contexts = self._values, self._contexts_in_progress
        if not contexts:
            values[OLDEST_QUEUED_TIME] = context.decoded_at
        contexts[context] = None
        self._rows_in_progress += context.rows
        values[QUEUED_ROWS] = self._rows_in_progress
        try:
            return super().run(model, inputs, context)
        finally:
            del contexts[context]
            self._rows_in_progress -= context.rows
            values[QUEUED_ROWS] = self._rows_in_progress
            values[OLDEST_QUEUED_TIME] = next(iter(contexts)).decoded_at if contexts else 0.0
