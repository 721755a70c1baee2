"""Requests that wait for a run: one queue a model, and what becomes of a batch."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from time import perf_counter

from gevent import Greenlet, monkey

from serving.bundle import Arrays, concatenate_rows
from serving.call_context import CallContext, make_deadline_error
from serving.errors import ClientGoneError, RunTooLongError
from serving.repository import ServedModel
from serving.runtime import GraphSession, RunTimeoutError

_system_poll = monkey.get_original(
    "select", "poll"
)  # gevent's own would wait in the loop, for the loop
# Of a connection that was reset. One whose client has closed looks like one whose client has only
# closed its sending side (POLLRDHUP), as HTTP allows after a request, and waits for the answer.
CONNECTION_RESET_EVENTS = select.POLLHUP | select.POLLERR


class PendingRequest:
    """Rows of a request that wait for their run."""

    __slots__ = (
        "is_unbatched",
        "call",
        "greenlet",
        "inputs",
        "rows",
        "pending_since",
        "is_pending",
    )

    def __init__(
        self,
        greenlet: Greenlet,
        inputs: Arrays,
        rows: int,
        call: CallContext,
        *,
        is_unbatched: bool,
    ) -> None:
        self.greenlet, self.inputs, self.rows, self.call = greenlet, inputs, rows, call
        self.is_unbatched = is_unbatched
        self.pending_since = perf_counter()
        self.is_pending = True


class ModelQueue:
    """The rows that wait for the same model, in the order they came."""

    def __init__(self, model: ServedModel, max_batch_rows: int) -> None:
        # Not the model itself: it goes when no request holds it any more.
        self.session: GraphSession = model.session
        self.latency_profile = model.latency_profile
        self.max_batch_rows = max_batch_rows or self.latency_profile.max_batch_rows
        self.min_unbatched_rows = min(self.max_batch_rows, self.latency_profile.min_unbatched_rows)
        self.pending: deque[PendingRequest] = deque()
        self.rows = 0
        self._last_was_unbatched = False

    @property
    def is_full(self) -> bool:
        """There is nothing that the first of them could wait for."""
        return self.rows >= self.max_batch_rows or (
            bool(self.pending) and self.pending[0].is_unbatched
        )

    def append(self, parked: PendingRequest) -> None:
        """One more waits."""
        self.pending.append(parked)
        self.rows += parked.rows

    def pop_batch(self) -> list[PendingRequest]:
        """The first of them, as many as one run takes; one alone that is to run alone."""
        if self.pending[0].is_unbatched and self._last_was_unbatched:
            # After a slice of one large request the small ones have their turn, not the next large
            # one: however many are large, a small one waits for one slice.
            self.pending = deque(sorted(self.pending, key=attrgetter("is_unbatched")))
        self._last_was_unbatched = self.pending[0].is_unbatched
        batch = [self.pending.popleft()]
        rows, join = batch[0].rows, not batch[0].is_unbatched
        while join and self.pending and rows + self.pending[0].rows <= self.max_batch_rows:
            if self.pending[0].is_unbatched:
                break
            batch.append(self.pending.popleft())
            rows += batch[-1].rows
        self.rows -= rows
        return batch


def drop_abandoned(batch: Sequence[PendingRequest]) -> Iterator[PendingRequest]:
    """Those whose answer someone waits for; the others are told, or their clients have gone."""
    gone = find_reset_connections(
        [p.call.client_descriptor for p in batch if p.call.client_descriptor is not None]
    )
    now = perf_counter()
    for parked in batch:
        deadline = parked.call.deadline
        if not parked.is_pending:
            continue
        if deadline is not None and now > deadline:
            parked.greenlet.throw(make_deadline_error(parked.call))
        elif parked.call.client_descriptor in gone:
            parked.greenlet.throw(ClientGoneError("expected a client that waits; it has hung up"))
        else:
            yield parked


def fail_expired(parked: Iterable[PendingRequest]) -> None:
    """End the wait of those whose time is over; they are passed over when their turn comes."""
    now = perf_counter()
    for late in parked:
        deadline = late.call.deadline
        if late.is_pending and deadline is not None and now > deadline:
            late.greenlet.throw(make_deadline_error(late.call))


def find_reset_connections(clients: Sequence[int]) -> set[int]:
    """Return those of the sockets whose connection has been reset."""
    poll = _system_poll()
    for client in clients:
        poll.register(client, CONNECTION_RESET_EVENTS)
    return {client for client, _ in poll.poll(0)}


def run_batch(lane: ModelQueue, batch: Sequence[PendingRequest]) -> None:
    """One run for all of them; what it raises, each of them raises."""
    started = perf_counter()
    try:
        outputs = lane.session.run(concatenate_rows([parked.inputs for parked in batch]))
    except Exception as error:  # noqa: BLE001 - whatever it is, no client may wait for ever
        told = RunTooLongError(str(error)) if isinstance(error, RunTimeoutError) else error
        for parked in batch:
            parked.greenlet.throw(told)
        return
    ran, rows, at = perf_counter(), sum(parked.rows for parked in batch), 0
    for parked in batch:
        call = parked.call
        call.run_started_at, call.run_ended_at, call.batch_rows = started, ran, rows
        own = outputs
        if len(batch) > 1:
            own = {name: array[at : at + parked.rows] for name, array in outputs.items()}
        at += parked.rows
        parked.greenlet.switch(own)
