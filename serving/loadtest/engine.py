"""The engine: runs an open or a closed loop against a server and returns the raw measurements.

See `serving.loadtest.open_loop` for the difference, and for why an open loop is the honest one.
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
    """Runs loads against one server, one at a time, in the calling thread.

    Args:
        address: Address of the server.
        requests: The different requests that are sent.
        connections: Number of connections of an open loop.
        timeout: Seconds after the due time at which a request is given up.
        on_progress: Function called about ten times a second with the seconds since the start of
            the run and the number of requests that have ended; None for no progress.
    """

    def __init__(
        self,
        address: ServerAddress,
        requests: Sequence[PreparedRequest],
        *,
        connections: int = 64,
        timeout: float = 10.0,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        self.requests, self.connections = requests, connections
        self._options = LoadOptions(address, requests, timeout, on_progress)

    def run_open_loop(
        self,
        due_at: NDArray[np.float64],
        request_indices: NDArray[np.int32],
        load_seconds: float,
    ) -> RunRecord:
        """Send requests when they are due, and wait for their answers.

        Args:
            due_at: Times at which requests are due, in seconds since the start, ascending, `(n,)`.
            request_indices: Position of each request in `requests`, int32 `(n,)`.
            load_seconds: Duration of the load, in seconds.

        Raises:
            LoadEngineError: If the server does not accept the connections at the start.
        """
        run = OpenLoopRun(self._options, due_at, request_indices, load_seconds)
        return _execute(run, self.connections)

    def run_closed_loop(
        self, users: int, load_seconds: float, request_indices: NDArray[np.int32]
    ) -> RunRecord:
        """Let users send a request each time they are answered.

        Args:
            users: Number of users; each has one connection and one request in flight.
            load_seconds: Duration of the load, in seconds.
            request_indices: Positions in `requests`, in the order of sending and repeated as often
                as needed, int32 `(k,)`.

        Raises:
            LoadEngineError: If the server does not accept the connections at the start.
        """
        return _execute(ClosedLoopRun(self._options, load_seconds, request_indices), users)


def _execute(run: LoadRun, connections: int) -> RunRecord:
    with _garbage_collection_off(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run.execute(connections))


@contextmanager
def _garbage_collection_off() -> Iterator[None]:
    """Turn garbage collection off: its pauses of milliseconds would count as server latency."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
