"""Pending requests: one queue per model, and the run of a batch taken from a queue.

A request is pending from the moment its rows are in a queue until its greenlet is resumed, either
with the outputs of its rows or with an error.
"""

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

# gevent's poll switches to the hub and waits for it. This code runs in a callback of the hub
# (`Batcher.flush`), so the hub would wait for itself.
_unpatched_poll = monkey.get_original("select", "poll")
# Events of a connection that was reset. POLLRDHUP is not one of them: it is also set when a client
# closes only its sending side, as HTTP allows after a request, and still waits for the response.
CONNECTION_RESET_EVENTS = select.POLLHUP | select.POLLERR


class PendingRequest:
    """Rows of one request, or one slice of a large request, that wait for a run.

    Args:
        greenlet: Greenlet that waits for the outputs.
        inputs: Inputs of the graph for these rows.
        rows: Number of rows.
        context: Context of the request.
        is_unbatched: Whether these rows must run without rows of other requests.

    Attributes:
        pending_since: Time at which the rows were queued, in seconds of `perf_counter`.
        is_pending: Whether the greenlet still waits.
    """

    __slots__ = (
        "context",
        "greenlet",
        "inputs",
        "is_pending",
        "is_unbatched",
        "pending_since",
        "rows",
    )

    def __init__(
        self,
        greenlet: Greenlet,
        inputs: Arrays,
        rows: int,
        context: CallContext,
        *,
        is_unbatched: bool,
    ) -> None:
        self.greenlet, self.inputs, self.rows, self.context = greenlet, inputs, rows, context
        self.is_unbatched = is_unbatched
        self.pending_since = perf_counter()
        self.is_pending = True


class ModelQueue:
    """The pending requests of one model, in order of arrival.

    Args:
        model: Loaded model that the requests are for.
        max_batch_rows: Largest number of rows of one batch; 0 for that of the latency profile.

    Attributes:
        session: Session that runs the graph.
        latency_profile: Measured run times of the model.
        max_batch_rows: Largest number of rows of one batch.
        min_unbatched_rows: Smallest number of rows at which a request runs unbatched.
        pending: Requests in the queue, the next one to run first.
        rows: Number of rows of all pending requests.
    """

    def __init__(self, model: ServedModel, max_batch_rows: int) -> None:
        # A reference to the model itself would keep it in memory after its last request.
        self.session: GraphSession = model.session
        self.latency_profile = model.latency_profile
        self.max_batch_rows = max_batch_rows or self.latency_profile.max_batch_rows
        self.min_unbatched_rows = min(self.max_batch_rows, self.latency_profile.min_unbatched_rows)
        self.pending: deque[PendingRequest] = deque()
        self.rows = 0
        self._last_was_unbatched = False

    @property
    def is_full(self) -> bool:
        """Whether no further row can join the next batch, so that it need not wait."""
        return self.rows >= self.max_batch_rows or (
            bool(self.pending) and self.pending[0].is_unbatched
        )

    def append(self, request: PendingRequest) -> None:
        """Add a request at the end of the queue."""
        self.pending.append(request)
        self.rows += request.rows

    def pop_batch(self) -> list[PendingRequest]:
        """Remove the requests of the next batch from the queue and return them.

        Returns:
            Requests that share a run, up to `max_batch_rows` rows in total; or a single request if
            it runs unbatched or is larger than that.
        """
        if self.pending[0].is_unbatched and self._last_was_unbatched:
            # Small requests go before the next slice of a large one, so that a small request waits
            # for one slice at most, however many large requests are queued.
            self.pending = deque(sorted(self.pending, key=attrgetter("is_unbatched")))
        self._last_was_unbatched = self.pending[0].is_unbatched
        batch = [self.pending.popleft()]
        rows, can_grow = batch[0].rows, not batch[0].is_unbatched
        while can_grow and self.pending and rows + self.pending[0].rows <= self.max_batch_rows:
            if self.pending[0].is_unbatched:
                break
            batch.append(self.pending.popleft())
            rows += batch[-1].rows
        self.rows -= rows
        return batch


def drop_abandoned(batch: Sequence[PendingRequest]) -> Iterator[PendingRequest]:
    """Yield the requests of a batch that still need to run.

    Skip a request whose greenlet no longer waits. If the deadline has passed or the client has
    reset the connection, raise that error in the greenlet and skip the request.

    Args:
        batch: Requests taken from a queue.
    """
    reset_clients = find_reset_connections(
        [
            request.context.client_descriptor
            for request in batch
            if request.context.client_descriptor is not None
        ]
    )
    now = perf_counter()
    for request in batch:
        deadline = request.context.deadline
        if not request.is_pending:
            continue
        if deadline is not None and now > deadline:
            request.greenlet.throw(make_deadline_error(request.context))
        elif request.context.client_descriptor in reset_clients:
            request.greenlet.throw(
                ClientGoneError(
                    "expected the client to keep the connection open until the response is sent; "
                    "got a connection reset; send the request again"
                )
            )
        else:
            yield request


def fail_expired(pending: Iterable[PendingRequest]) -> None:
    """Raise the deadline error in every pending request whose deadline has passed.

    The requests stay in their queue, and `drop_abandoned` drops them later.

    Args:
        pending: Requests of one queue.
    """
    now = perf_counter()
    for request in pending:
        deadline = request.context.deadline
        if request.is_pending and deadline is not None and now > deadline:
            request.greenlet.throw(make_deadline_error(request.context))


def find_reset_connections(descriptors: Sequence[int]) -> set[int]:
    """Return the descriptors of sockets whose connection has been reset.

    Args:
        descriptors: File descriptors of sockets.
    """
    poller = _unpatched_poll()
    for descriptor in descriptors:
        poller.register(descriptor, CONNECTION_RESET_EVENTS)
    return {descriptor for descriptor, _ in poller.poll(0)}


def run_batch(queue: ModelQueue, batch: Sequence[PendingRequest]) -> None:
    """Run the graph once for a batch, and resume each greenlet with the outputs of its rows.

    If the run fails, its error is raised in all of them.

    Args:
        queue: Queue of the model.
        batch: Requests that share the run, at least one.
    """
    run_started_at = perf_counter()
    try:
        outputs = queue.session.run(concatenate_rows([request.inputs for request in batch]))
    except Exception as error:  # noqa: BLE001 - whatever fails, no greenlet may wait for ever
        raised = RunTooLongError(str(error)) if isinstance(error, RunTimeoutError) else error
        for request in batch:
            request.greenlet.throw(raised)
        return
    run_ended_at, batch_rows = perf_counter(), sum(request.rows for request in batch)
    start = 0
    for request in batch:
        context = request.context
        context.run_started_at, context.run_ended_at = run_started_at, run_ended_at
        context.batch_rows = batch_rows
        own_outputs = outputs
        if len(batch) > 1:
            stop = start + request.rows
            own_outputs = {name: array[start:stop] for name, array in outputs.items()}
        start += request.rows
        request.greenlet.switch(own_outputs)
