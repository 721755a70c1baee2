"""Batching: rows of many requests in one run, at the end of each turn of the event loop.

A request's greenlet parks its rows and lets the loop go on. When every connection that was ready
in this turn has been read, all parked rows are run at once, and each greenlet goes on with its
slice. A lone request waits for no one, a crowd becomes a batch by itself; there are no threads, no
locks and no waiting time. Outside a gevent loop, as in tests or under another server, each request
is run by itself, with the same answers.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from weakref import WeakKeyDictionary

import gevent
import numpy as np
from gevent import Greenlet, get_hub, getcurrent, monkey

from serving.bundle import Arrays
from serving.call import Call
from serving.errors import ClientGoneError, DeadlineError, OverloadedError
from serving.repository import ServedModel
from serving.runtime import Session

LAST = -2  # a priority below all that gevent uses: after every ready connection of a turn
_poll = monkey.get_original("select", "poll")  # gevent's own would wait in the loop, for the loop
HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class _Parked:
    """A request that waits for its run."""

    __slots__ = ("call", "greenlet", "inputs", "since", "waits")

    def __init__(self, greenlet: Greenlet, inputs: Arrays, call: Call) -> None:
        self.greenlet, self.inputs, self.call = greenlet, inputs, call
        self.since = perf_counter()
        self.waits = True


class _Lane:
    """The requests that wait for the same model, in the order they came."""

    def __init__(self, model: ServedModel, max_batch_rows: int) -> None:
        # Not the model itself: it goes when no request holds it any more.
        self.session: Session = model.session
        self.pace = model.pace
        self.most = max_batch_rows or self.pace.batch_rows
        self.alone = min(self.most, self.pace.alone_rows)
        self.parked: deque[_Parked] = deque()
        self.rows = 0

    def park(self, parked: _Parked) -> None:
        """One more waits."""
        self.parked.append(parked)
        self.rows += parked.call.rows

    def take(self) -> list[_Parked]:
        """The first of them, as many as one run takes."""
        batch: list[_Parked] = []
        room = self.most
        while self.parked and (not batch or self.parked[0].call.rows <= room):
            batch.append(self.parked.popleft())
            room -= batch[-1].call.rows
        self.rows -= self.most - room
        return batch


class Batcher:
    """Runs what requests ask for, joined where they meet.

    Args:
        max_batch_rows: of one joint run; 0 for what each model's pace makes worth it.
        max_delay: seconds that a request may wait for others.
        queue_rows: that may wait in this process.
        queue_seconds: that a request may have to wait.

    Attributes:
        rows: that wait or run now.
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
        self.rows = 0
        self._work = 0.0  # seconds that those rows are going to take
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
            ClientGoneError: its client has hung up.
            GraphError: the runtime refuses the run.
        """
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = _Lane(model, self.max_batch_rows)
        greenlet = getcurrent()
        if not isinstance(greenlet, Greenlet):
            outputs = _run_alone(lane, inputs, call)
        else:
            work = call.rows * lane.pace.row_seconds
            self.require_room(call.rows)
            self.rows += call.rows
            self._work += work
            try:
                if call.rows < lane.alone:
                    outputs = self._park(lane, _Parked(greenlet, inputs, call))
                else:
                    outputs = _run_alone(lane, inputs, call, between=_let_others_go)
            finally:
                self.rows -= call.rows
                self._work -= work
        if call.deadline is not None and perf_counter() > call.deadline:
            raise _too_late(call)
        return outputs

    def require_room(self, rows: int = 0) -> None:
        """Refuse at once what would have to wait for too long; what runs by itself never does.

        Args:
            rows: to be run; 0 as long as no one knows.

        Raises:
            OverloadedError: too many wait, or for too long.
        """
        if not isinstance(getcurrent(), Greenlet):
            return
        if self.rows and self.rows + rows > self.queue_rows - (rows == 0):
            raise OverloadedError(
                f"expected at most {self.queue_rows} rows to wait; got {rows or 'some'} more than "
                f"the {self.rows} that do; try again in a second, or send fewer"
            )
        # What is read in this turn of the loop has been there for as long as the turn lasts.
        wait = self._work + max(0.0, time.time() - get_hub().loop.now())
        if wait > self.queue_seconds:
            raise OverloadedError(
                f"expected to begin within {self.queue_seconds:g} seconds; got {wait:.2g} seconds "
                f"of work before this; try again in a second"
            )

    def _park(self, lane: _Lane, parked: _Parked) -> Arrays:
        """Wait for the end of the turn."""
        lane.park(parked)
        self._crowd[lane] = None
        if self._turns is None:
            self._turns = _Turns(self._flush, self.max_delay)
        self._turns.watch(full=lane.rows >= lane.most)
        try:
            outputs: Arrays = get_hub().switch()
        finally:
            parked.waits = False
        return outputs

    def _flush(self) -> tuple[bool, bool]:
        """Run what has waited long enough, once a lane; whether someone is parked, and full."""
        latest = perf_counter() - self.max_delay
        for lane in list(self._crowd):
            if lane.rows < lane.most and lane.parked[0].since > latest:
                continue
            del self._crowd[lane]
            batch = list(_still_wanted(lane.take()))
            if lane.parked:
                self._crowd[lane] = None  # behind the others
            if batch:
                _run_together(lane, batch)
        return bool(self._crowd), any(lane.rows >= lane.most for lane in self._crowd)


class _Turns:
    """Calls `flush` at the end of each turn of the event loop, until no one is parked."""

    def __init__(self, flush: Callable[[], tuple[bool, bool]], delay: float) -> None:
        loop = get_hub().loop
        self._flush = flush
        self._end = loop.check(priority=LAST)
        # The loop would sleep until something comes in; with these it does not. They do nothing
        # else: an idle watcher is called only when no connection is ready, which may be never.
        self._awake = loop.idle(priority=LAST)
        self._late = loop.timer(delay, repeat=delay / 4) if delay else None

    def watch(self, *, full: bool) -> None:
        """From now on someone is parked; there is nothing to wait for if a batch is full."""
        if not self._end.active:
            self._end.start(self._over)
            if self._late is not None:
                self._late.start(_nothing)
        if (full or self._late is None) and not self._awake.active:
            self._awake.start(_nothing)

    def _over(self) -> None:
        waits, full = self._flush()
        if not waits or not (full or self._late is None):
            self._awake.stop()
        if not waits:
            self._end.stop()
            if self._late is not None:
                self._late.stop()


def _nothing() -> None:
    pass


def _let_others_go() -> None:
    # A timer, if the shortest: without one the loop would come back before it looked at anyone.
    gevent.sleep(1e-9)


def _still_wanted(batch: Sequence[_Parked]) -> Iterator[_Parked]:
    """Those whose answer someone waits for; the others are told, or their clients have gone."""
    gone = _gone([p.call.client for p in batch if p.call.client is not None])
    now = perf_counter()
    for parked in batch:
        deadline = parked.call.deadline
        if not parked.waits:
            continue
        if deadline is not None and now > deadline:
            parked.greenlet.throw(_too_late(parked.call))
        elif parked.call.client in gone:
            parked.greenlet.throw(ClientGoneError("expected a client that waits; it has hung up"))
        else:
            yield parked


def _gone(clients: Sequence[int]) -> set[int]:
    """Those of the sockets whose other end has hung up."""
    poll = _poll()
    for client in clients:
        poll.register(client, HUNG_UP)
    return {client for client, _ in poll.poll(0)}


def _too_late(call: Call) -> DeadlineError:
    waited = perf_counter() - call.began
    return DeadlineError(
        f"expected to answer within {(call.deadline or 0) - call.began:.3g} seconds; it took "
        f"{waited:.3g}; ask again later, or allow more with X-Request-Timeout"
    )


def _run_together(lane: _Lane, batch: Sequence[_Parked]) -> None:
    """One run for all of them; what it raises, each of them raises."""
    rows = sum(parked.call.rows for parked in batch)
    started = perf_counter()
    try:
        if len(batch) == 1:
            outputs = lane.session.run(batch[0].inputs)
        else:
            outputs = lane.session.run(
                {name: np.concatenate([p.inputs[name] for p in batch]) for name in batch[0].inputs}
            )
    except Exception as error:  # noqa: BLE001 - whatever it is, no client may wait for ever
        for parked in batch:
            parked.greenlet.throw(error)
        return
    ran, at = perf_counter(), 0
    for parked in batch:
        call = parked.call
        call.started, call.ran, call.batch_rows = started, ran, rows
        if len(batch) == 1:
            own = outputs
        else:
            own = {name: array[at : at + call.rows] for name, array in outputs.items()}
        at += call.rows
        parked.greenlet.switch(own)


def _run_alone(
    lane: _Lane, inputs: Arrays, call: Call, between: Callable[[], None] | None = None
) -> Arrays:
    """A run for one request, in slices: what the runtime once took for a large one, it keeps."""
    call.started, call.batch_rows = perf_counter(), call.rows
    slices: list[Arrays] = []
    for at in range(0, max(call.rows, 1), lane.pace.slice_rows):
        if slices and between is not None:
            between()
            if call.deadline is not None and perf_counter() > call.deadline:
                raise _too_late(call)
            if call.client is not None and _gone([call.client]):
                raise ClientGoneError("expected a client that waits; it has hung up")
        part = {name: array[at : at + lane.pace.slice_rows] for name, array in inputs.items()}
        slices.append(lane.session.run(part))
    call.ran = perf_counter()
    if len(slices) == 1:
        return slices[0]
    return {name: np.concatenate([part[name] for part in slices]) for name in slices[0]}
