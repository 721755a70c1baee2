"""Batching: rows of many requests in one run, at the end of each turn of the event loop.

A request's greenlet parks its rows and lets the loop go on. When every connection that was ready
in this turn has been read, all parked rows are run at once, and each greenlet goes on with its
slice. A lone request waits for no one, a crowd becomes a batch by itself; there are no threads, no
locks and no waiting time. Outside a gevent loop, as in tests or under another server, each request
is run by itself, with the same answers.
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

# Seconds for which the loop looks for more before it sleeps, after it has answered a lone request.
# A client that asks again at once would else wait for longer than that until this process is
# woken: for another core's signal, and for caches that have gone cold.
BUSY_POLL_SECONDS = 50e-6
DEADLINE_CHECK_SECONDS = (
    0.01  # seconds that a deadline may be over before who waits for others is told
)
LOWEST_LOOP_PRIORITY = (
    -2
)  # a priority below all that gevent uses: after every ready connection of a turn


class Batcher:
    """Runs what requests ask for, joined where they meet.

    Args:
        max_batch_rows: of one joint run; 0 for what each model's pace makes worth it.
        max_delay: seconds that a request may wait for others.
        queue_rows: that may wait in this process.
        queue_seconds: that a request may have to wait.

    Attributes:
        pending_rows: that wait now, of requests that are joined.
        last_batch_size: requests of the last run.
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
        self._pending_seconds = 0.0  # seconds that all who wait are going to take
        self._queues: WeakKeyDictionary[ServedModel, ModelQueue] = WeakKeyDictionary()
        self._active_queues: dict[
            ModelQueue, None
        ] = {}  # where someone is parked, in the order of their turns
        self._flush_scheduler: FlushScheduler | None = None

    def run(self, model: ServedModel, inputs: Arrays, call: CallContext) -> Arrays:
        """The graph's outputs for these rows, whoever else's were run with them.

        Args:
            model: who answers.
            inputs: the graph's, `call.rows` of them.
            call: whose they are; it is told when its run began and ended.

        Raises:
            OverloadedError: too much waits already.
            DeadlineError: its time is over.
            RunTooLongError: If a run of its rows, with those of others, was ended.
            ClientGoneError: its client has hung up.
            GraphError: the runtime refuses the run.
        """
        lane = self._queues.get(model)
        if lane is None:
            lane = self._queues[model] = ModelQueue(model, self.max_batch_rows)
        if not isinstance(getcurrent(), Greenlet):
            call.run_started_at, call.batch_rows = perf_counter(), call.rows
            try:
                outputs = run_in_slices(lane.session, inputs, lane.latency_profile.slice_rows)
            except RunTimeoutError as error:
                raise RunTooLongError(str(error)) from error
            call.run_ended_at = perf_counter()
        else:
            self._check_capacity_for(lane, call.rows)
            outputs = self._run_in_loop(lane, inputs, call)
        if call.deadline is not None and perf_counter() > call.deadline:
            raise make_deadline_error(call)
        return outputs

    def _run_in_loop(self, lane: ModelQueue, inputs: Arrays, call: CallContext) -> Arrays:
        """Joined with others, or alone: then a slice at a time, with others in between."""
        if call.rows < lane.min_unbatched_rows:
            return self._enqueue_and_wait(lane, inputs, call.rows, call, alone=False)
        parts, started = [], 0.0
        for part in iter_row_slices(inputs, lane.latency_profile.slice_rows):
            rows = len(next(iter(part.values())))
            parts.append(self._enqueue_and_wait(lane, part, rows, call, alone=True))
            started = started or call.run_started_at
        call.run_started_at, call.batch_rows = started, call.rows
        return concatenate_rows(parts)

    def check_capacity(self) -> None:
        """Refuse at once what would have to wait for too long; what runs by itself never does.

        For a request that has only been seen to come: before it costs anything.

        Raises:
            OverloadedError: too many wait, or for too long.
        """
        if not isinstance(getcurrent(), Greenlet):
            return
        if self.pending_rows >= self.queue_rows:
            raise self._queue_full_error("some")
        # What is read in this turn of the loop has been there for as long as the turn lasts.
        self._check_queue_time(self._pending_seconds + max(0.0, time.time() - get_hub().loop.now()))

    def _check_capacity_for(self, lane: ModelQueue, rows: int) -> None:
        """The same once it is known how many rows there are."""
        # One that runs alone is parked a slice at a time, and bounded by the time that takes.
        if (
            rows < lane.min_unbatched_rows
            and self.pending_rows
            and self.pending_rows + rows > self.queue_rows
        ):
            raise self._queue_full_error(str(rows))
        self._check_queue_time(self._pending_seconds)

    def _queue_full_error(self, came: str) -> OverloadedError:
        return OverloadedError(
            f"expected at most {pluralize(self.queue_rows, 'row')} to wait; got {came} more than the "
            f"{self.pending_rows} that do; try again in a second, or send fewer"
        )

    def _check_queue_time(self, wait: float) -> None:
        if wait > self.queue_seconds:
            raise OverloadedError(
                f"expected to begin within {self.queue_seconds:g} s; got {wait:.2g} s "
                f"of work before this; try again in a second"
            )

    def _enqueue_and_wait(
        self, lane: ModelQueue, inputs: Arrays, rows: int, call: CallContext, *, alone: bool
    ) -> Arrays:
        """Wait for the end of the turn."""
        parked = PendingRequest(getcurrent(), inputs, rows, call, is_unbatched=alone)
        lane.append(parked)
        self._active_queues[lane] = None
        if self._flush_scheduler is None:
            self._flush_scheduler = FlushScheduler(self, self.max_delay)
        self._flush_scheduler.schedule(full=lane.is_full)
        joined, work = 0 if alone else rows, rows * lane.latency_profile.seconds_per_row
        self.pending_rows += joined
        self._pending_seconds += work
        try:
            outputs: Arrays = get_hub().switch()
        finally:
            parked.is_pending = False
            self.pending_rows -= joined
            self._pending_seconds -= work
        return outputs

    def flush(self) -> tuple[bool, bool]:
        """Run what has waited long enough, once a lane; whether someone is parked, and full."""
        latest = perf_counter() - self.max_delay
        for lane in list(self._active_queues):
            if not lane.is_full and lane.pending[0].pending_since > latest:
                fail_expired(lane.pending)
                continue
            del self._active_queues[lane]
            batch = list(drop_abandoned(lane.pop_batch()))
            if lane.pending:
                self._active_queues[lane] = None  # behind the others
            if batch:
                self.last_batch_size = len(batch)
                run_batch(lane, batch)
        return bool(self._active_queues), any(lane.is_full for lane in self._active_queues)


class FlushScheduler:
    """Has a batcher flush at the end of each turn of the event loop, until no one is parked."""

    def __init__(self, batcher: Batcher, delay: float) -> None:
        loop = get_hub().loop
        self._batcher = batcher
        self._turn_end_watcher = loop.check(priority=LOWEST_LOOP_PRIORITY)
        # The loop would sleep until something comes in; with these it does not. They do nothing
        # else: an idle watcher is called only when no connection is ready, which may be never.
        self._keep_awake_watcher = loop.idle(priority=LOWEST_LOOP_PRIORITY)
        self._idle_since = 0.0  # when the last one was answered; 0 as long as someone is parked
        self._deadline_timer = (
            loop.timer(
                min(delay, DEADLINE_CHECK_SECONDS), repeat=min(delay / 4, DEADLINE_CHECK_SECONDS)
            )
            if delay
            else None
        )

    def schedule(self, *, full: bool) -> None:
        """From now on someone is parked; there is nothing to wait for if a batch is full."""
        self._idle_since = 0.0
        if not self._turn_end_watcher.active:
            self._turn_end_watcher.start(self._on_turn_end)
            if self._deadline_timer is not None:
                self._deadline_timer.start(_do_nothing)
        if (full or self._deadline_timer is None) and not self._keep_awake_watcher.active:
            self._keep_awake_watcher.start(_do_nothing)

    def _on_turn_end(self) -> None:
        waits, full = self._batcher.flush()
        if waits:
            if not (full or self._deadline_timer is None):
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
            os.sched_yield()  # to another process that wants this core

    def _stop_watchers(self) -> None:
        self._keep_awake_watcher.stop()
        self._turn_end_watcher.stop()


def _do_nothing() -> None:
    pass


class InstrumentedBatcher(Batcher):
    """A batcher that shows what it holds.

    Args:
        slot: where.
        limits: of `Batcher`.
    """

    def __init__(self, slot: WorkerSlot, **limits: Any) -> None:
        super().__init__(**limits)
        self._values = slot.values
        self._calls_in_progress: OrderedDict[CallContext, None] = (
            OrderedDict()
        )  # in the order they came
        self._rows_in_progress = 0

    def run(self, model: ServedModel, inputs: Arrays, call: CallContext) -> Arrays:
        """As `Batcher`."""
        numbers, calls = self._values, self._calls_in_progress
        if not calls:
            numbers[OLDEST_QUEUED_TIME] = call.decoded_at
        calls[call] = None
        self._rows_in_progress += call.rows
        numbers[QUEUED_ROWS] = self._rows_in_progress
        try:
            return super().run(model, inputs, call)
        finally:
            del calls[call]
            self._rows_in_progress -= call.rows
            numbers[QUEUED_ROWS] = self._rows_in_progress
            numbers[OLDEST_QUEUED_TIME] = next(iter(calls)).decoded_at if calls else 0.0
