"""The worker: gunicorn's gevent worker, which lets idle connections go when it is told to stop.

The stock one waits for them until its graceful timeout is over, half a minute for a client that
merely keeps its connection; a container's engine kills it before that.
"""

from __future__ import annotations

import signal
from types import TracebackType

import gevent
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

LINGER = 1.0  # seconds in which a request on its way to an idle connection is still answered


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves as its parent does, and stops as soon as every request has been answered."""

    def init_process(self) -> None:
        """Become a server; a signal to stop counts from here on."""
        # Until gunicorn sets its own, this process still has the arbiter's handler, which would
        # put the signal into a queue that no one reads here.
        signal.signal(signal.SIGTERM, self.handle_exit)
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop."""
        self.idle: set[gevent.Greenlet] = set()
        gevent.spawn(self._let_idle_go)
        super().run()

    def timeout_ctx(self) -> _Waiting:
        """Around each wait for a request."""
        return _Waiting(self.idle, self.cfg.keepalive)

    def _let_idle_go(self) -> None:
        while self.alive:
            gevent.sleep(LINGER)
        while True:  # until the process ends: those that are busy now will be idle later
            gevent.sleep(LINGER)
            for connection in self.idle.copy():
                connection.kill(NoMoreData(b""), block=False)  # as if the client had gone


class _Waiting:
    """A wait for a request, given up without an error after `seconds`; meanwhile it counts as idle.

    A client that has sent half a head counts too.
    """

    def __init__(self, idle: set[gevent.Greenlet], seconds: float) -> None:
        self.idle, self.timeout = idle, gevent.Timeout(seconds, False)

    def __enter__(self) -> None:
        self.idle.add(gevent.getcurrent())
        self.timeout.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.idle.discard(gevent.getcurrent())
        return bool(self.timeout.__exit__(kind, error, trace))
