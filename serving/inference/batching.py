"""Batching: rows of many requests in one run, at the end of each turn of the event loop.

A request's greenlet parks its rows and lets the loop go on. When every connection that was ready
in this turn has been read, all parked rows are run at once, and each greenlet goes on with its
slice. A lone request waits for no one, a crowd becomes a batch by itself; there are no threads, no
locks and no waiting time. Outside a gevent loop, as in tests or under another server, each request
is run by itself, with the same answers.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from time import perf_counter
from weakref import WeakKeyDictionary

from gevent import Greenlet, get_hub, getcurrent, monkey

from serving.bundle import Arrays, counted, join, slices
from serving.call_context import Call, too_late
from serving.errors import ClientGoneError, OverloadedError, RunTooLongError
from serving.repository import ServedModel
from serving.runtime import RunTimeoutError, Session, run_in_slices

# Seconds for which the loop looks for more before it sleeps, after it has answered a lone request.
# A client that asks again at once would else wait for longer than that until this process is
# woken: for another core's signal, and for caches that have gone cold.
LINGER = 50e-6
LATE = 0.01  # seconds that a deadline may be over before who waits for others is told
LAST = -2  # a priority below all that gevent uses: after every ready connection of a turn
_poll = monkey.get_original("select", "poll")  # gevent's own would wait in the loop, for the loop
# Of a connection that was reset. One whose client has closed looks like one whose client has only
# closed its sending side (POLLRDHUP), as HTTP allows after a request, and waits for the answer.
HUNG_UP = select.POLLHUP | select.POLLERR


class _Parked:
    """Rows of a request that wait for their run."""

    __slots__ = ("alone", "call", "greenlet", "inputs", "rows", "since", "waits")

    def __init__(
        self, greenlet: Greenlet, inputs: Arrays, rows: int, call: Call, *, alone: bool
    ) -> None:
        self.greenlet, self.inputs, self.rows, self.call = greenlet, inputs, rows, call
        self.alone = alone
        self.since = perf_counter()
        self.waits = True


class _Lane:
    """The rows that wait for the same model, in the order they came."""

    def __init__(self, model: ServedModel, max_batch_rows: int) -> None:
        # Not the model itself: it goes when no request holds it any more.
        self.session: Session = model.session
        self.pace = model.pace
        self.most = max_batch_rows or self.pace.batch_rows
        self.alone = min(self.most, self.pace.alone_rows)
        self.parked: deque[_Parked] = deque()
        self.rows = 0
        self._ran_alone = False

    @property
    def full(self) -> bool:
        """There is nothing that the first of them could wait for."""
        return self.rows >= self.most or (bool(self.parked) and self.parked[0].alone)

    def park(self, parked: _Parked) -> None:
        """One more waits."""
        self.parked.append(parked)
        self.rows += parked.rows

    def take(self) -> list[_Parked]:
        """The first of them, as many as one run takes; one alone that is to run alone."""
        if self.parked[0].alone and self._ran_alone:
            # After a slice of one large request the small ones have their turn, not the next large
            # one: however many are large, a small one waits for one slice.
            self.parked = deque(sorted(self.parked, key=attrgetter("alone")))
        self._ran_alone = self.parked[0].alone
        batch = [self.parked.popleft()]
        rows, join = batch[0].rows, not batch[0].alone
        while join and self.parked and rows + self.parked[0].rows <= self.most:
            if self.parked[0].alone:
                break
            batch.append(self.parked.popleft())
            rows += batch[-1].rows
        self.rows -= rows
        return batch


class Batcher:
    """Runs what requests ask for, joined where they meet.

    Args:
        max_batch_rows: of one joint run; 0 for what each model's pace makes worth it.
        max_delay: seconds that a request may wait for others.
        queue_rows: that may wait in this process.
        queue_seconds: that a request may have to wait.

    Attributes:
        rows: that wait now, of requests that are joined.
        met: requests of the last run.
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
        self.rows = self.met = 0
        self._work = 0.0  # seconds that all who wait are going to take
        self._lanes: WeakKeyDictionary[ServedModel, _Lane] = WeakKeyDictionary()
        self._crowd: dict[_Lane, None] = {}  # where someone is parked, in the order of their turns
        self._turns: _Turns | None = None

    def run(self, model: ServedModel, inputs: Arrays, call: Call) -> Arrays:
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
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = _Lane(model, self.max_batch_rows)
        if not isinstance(getcurrent(), Greenlet):
            call.started, call.batch_rows = perf_counter(), call.rows
            try:
                outputs = run_in_slices(lane.session, inputs, lane.pace.slice_rows)
            except RunTimeoutError as error:
                raise RunTooLongError(str(error)) from error
            call.ran = perf_counter()
        else:
            self._admit(lane, call.rows)
            outputs = self._wait_for_run(lane, inputs, call)
        if call.deadline is not None and perf_counter() > call.deadline:
            raise too_late(call)
        return outputs

    def _wait_for_run(self, lane: _Lane, inputs: Arrays, call: Call) -> Arrays:
        """Joined with others, or alone: then a slice at a time, with others in between."""
        if call.rows < lane.alone:
            return self._park(lane, inputs, call.rows, call, alone=False)
        parts, started = [], 0.0
        for part in slices(inputs, lane.pace.slice_rows):
            rows = len(next(iter(part.values())))
            parts.append(self._park(lane, part, rows, call, alone=True))
            started = started or call.started
        call.started, call.batch_rows = started, call.rows
        return join(parts)

    def require_room(self) -> None:
        """Refuse at once what would have to wait for too long; what runs by itself never does.

        For a request that has only been seen to come: before it costs anything.

        Raises:
            OverloadedError: too many wait, or for too long.
        """
        if not isinstance(getcurrent(), Greenlet):
            return
        if self.rows >= self.queue_rows:
            raise self._too_many("some")
        # What is read in this turn of the loop has been there for as long as the turn lasts.
        self._require_time(self._work + max(0.0, time.time() - get_hub().loop.now()))

    def _admit(self, lane: _Lane, rows: int) -> None:
        """The same once it is known how many rows there are."""
        # One that runs alone is parked a slice at a time, and bounded by the time that takes.
        if rows < lane.alone and self.rows and self.rows + rows > self.queue_rows:
            raise self._too_many(str(rows))
        self._require_time(self._work)

    def _too_many(self, came: str) -> OverloadedError:
        return OverloadedError(
            f"expected at most {counted(self.queue_rows, 'row')} to wait; got {came} more than the "
            f"{self.rows} that do; try again in a second, or send fewer"
        )

    def _require_time(self, wait: float) -> None:
        if wait > self.queue_seconds:
            raise OverloadedError(
                f"expected to begin within {self.queue_seconds:g} s; got {wait:.2g} s "
                f"of work before this; try again in a second"
            )

    def _park(self, lane: _Lane, inputs: Arrays, rows: int, call: Call, *, alone: bool) -> Arrays:
        """Wait for the end of the turn."""
        parked = _Parked(getcurrent(), inputs, rows, call, alone=alone)
        lane.park(parked)
        self._crowd[lane] = None
        if self._turns is None:
            self._turns = _Turns(self, self.max_delay)
        self._turns.watch(full=lane.full)
        joined, work = 0 if alone else rows, rows * lane.pace.row_seconds
        self.rows += joined
        self._work += work
        try:
            outputs: Arrays = get_hub().switch()
        finally:
            parked.waits = False
            self.rows -= joined
            self._work -= work
        return outputs

    def flush(self) -> tuple[bool, bool]:
        """Run what has waited long enough, once a lane; whether someone is parked, and full."""
        latest = perf_counter() - self.max_delay
        for lane in list(self._crowd):
            if not lane.full and lane.parked[0].since > latest:
                _tell_the_late(lane.parked)
                continue
            del self._crowd[lane]
            batch = list(_still_wanted(lane.take()))
            if lane.parked:
                self._crowd[lane] = None  # behind the others
            if batch:
                self.met = len(batch)
                _run_together(lane, batch)
        return bool(self._crowd), any(lane.full for lane in self._crowd)


class _Turns:
    """Has a batcher flush at the end of each turn of the event loop, until no one is parked."""

    def __init__(self, batcher: Batcher, delay: float) -> None:
        loop = get_hub().loop
        self._batcher = batcher
        self._end = loop.check(priority=LAST)
        # The loop would sleep until something comes in; with these it does not. They do nothing
        # else: an idle watcher is called only when no connection is ready, which may be never.
        self._awake = loop.idle(priority=LAST)
        self._since = 0.0  # when the last one was answered; 0 as long as someone is parked
        self._late = loop.timer(min(delay, LATE), repeat=min(delay / 4, LATE)) if delay else None

    def watch(self, *, full: bool) -> None:
        """From now on someone is parked; there is nothing to wait for if a batch is full."""
        self._since = 0.0
        if not self._end.active:
            self._end.start(self._over)
            if self._late is not None:
                self._late.start(_nothing)
        if (full or self._late is None) and not self._awake.active:
            self._awake.start(_nothing)

    def _over(self) -> None:
        waits, full = self._batcher.flush()
        if waits:
            if not (full or self._late is None):
                self._awake.stop()
        elif self._late is not None:
            self._rest()
            self._late.stop()
        elif not self._since:
            self._since = perf_counter()
        elif self._batcher.met > 1 or perf_counter() - self._since > LINGER:
            self._rest()
        else:
            os.sched_yield()  # to another process that wants this core

    def _rest(self) -> None:
        self._awake.stop()
        self._end.stop()


def _nothing() -> None:
    pass


def _still_wanted(batch: Sequence[_Parked]) -> Iterator[_Parked]:
    """Those whose answer someone waits for; the others are told, or their clients have gone."""
    gone = _gone([p.call.client for p in batch if p.call.client is not None])
    now = perf_counter()
    for parked in batch:
        deadline = parked.call.deadline
        if not parked.waits:
            continue
        if deadline is not None and now > deadline:
            parked.greenlet.throw(too_late(parked.call))
        elif parked.call.client in gone:
            parked.greenlet.throw(ClientGoneError("expected a client that waits; it has hung up"))
        else:
            yield parked


def _tell_the_late(parked: Iterable[_Parked]) -> None:
    """End the wait of those whose time is over; they are passed over when their turn comes."""
    now = perf_counter()
    for late in parked:
        deadline = late.call.deadline
        if late.waits and deadline is not None and now > deadline:
            late.greenlet.throw(too_late(late.call))


def _gone(clients: Sequence[int]) -> set[int]:
    """Return those of the sockets whose connection has been reset."""
    poll = _poll()
    for client in clients:
        poll.register(client, HUNG_UP)
    return {client for client, _ in poll.poll(0)}


def _run_together(lane: _Lane, batch: Sequence[_Parked]) -> None:
    """One run for all of them; what it raises, each of them raises."""
    started = perf_counter()
    try:
        outputs = lane.session.run(join([parked.inputs for parked in batch]))
    except Exception as error:  # noqa: BLE001 - whatever it is, no client may wait for ever
        told = RunTooLongError(str(error)) if isinstance(error, RunTimeoutError) else error
        for parked in batch:
            parked.greenlet.throw(told)
        return
    ran, rows, at = perf_counter(), sum(parked.rows for parked in batch), 0
    for parked in batch:
        call = parked.call
        call.started, call.ran, call.batch_rows = started, ran, rows
        own = outputs
        if len(batch) > 1:
            own = {name: array[at : at + parked.rows] for name, array in outputs.items()}
        at += parked.rows
        parked.greenlet.switch(own)
