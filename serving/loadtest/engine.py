"""The engine: sends calls over connections that are kept open, and writes down what became of them.

Two ways to ask. In an open loop each request has its time in advance; it leaves then, answered or
not what came before, and where all connections are busy it waits for one with the clock running.
Gil Tene calls what happens otherwise coordinated omission: a client that waits for its answer
before it asks again asks less while the server stalls, and those who would have waited are not in
its figures. In a closed loop so many users ask again as soon as they are answered.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import uvloop
from numpy.typing import NDArray

from serving.loadtest.closed_loop import ClosedLoopRun
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.open_loop import OpenLoopRun
from serving.loadtest.run import LoadEngineError, LoadOptions, LoadRun, ProgressCallback
from serving.loadtest.run_record import PreparedRequest, RunRecord

__all__ = ["LoadEngine", "LoadEngineError", "ProgressCallback"]


class LoadEngine:
    """One load on one server.

    Args:
        address: of the server.
        calls: what is asked.
        connections: kept open in an open loop.
        timeout: seconds from the due time after which a request is given up.
        tell: told now and then how many seconds of the run are over, and how many answers came.
    """

    def __init__(
        self,
        address: ServerAddress,
        calls: Sequence[PreparedRequest],
        *,
        connections: int = 64,
        timeout: float = 10.0,
        tell: ProgressCallback | None = None,
    ) -> None:
        self.calls, self.connections = calls, connections
        self._load = LoadOptions(address, calls, timeout, tell)

    def open_loop(
        self, due: NDArray[np.float64], order: NDArray[np.int32], seconds: float
    ) -> RunRecord:
        """Send requests when they are due, and wait for their answers.

        Args:
            due: seconds from the start, ascending, `(n,)`.
            order: which call each is, `(n,)`.
            seconds: in which they are due.

        Raises:
            EngineError: the server takes no connection at the start.
        """
        return _execute(OpenLoopRun(self._load, due, order, seconds), self.connections)

    def closed_loop(self, users: int, seconds: float, order: NDArray[np.int32]) -> RunRecord:
        """Let users ask again as soon as they are answered.

        Args:
            users: each with a connection and one request at a time.
            seconds: to go on for.
            order: which calls they are, again and again, `(k,)`.

        Raises:
            EngineError: the server takes no connection at the start.
        """
        return _execute(ClosedLoopRun(self._load, seconds, order), users)


def _execute(run: LoadRun, connections: int) -> RunRecord:
    with _no_garbage_collection(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run.measure(connections))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection takes milliseconds, which would be the server's; a run leaves little behind."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
