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
        self.idle: set[_Waiting] = set()
        gevent.spawn(self._let_idle_go)
        super().run()

    def timeout_ctx(self) -> _Waiting:
        """Around each wait for a request."""
        return _Waiting(self.idle, self.cfg.keepalive)

    def _let_idle_go(self) -> None:
        while self.alive:
            gevent.sleep(LINGER)
        while True:  # until the process ends: connections that are busy now will be idle later
            gevent.sleep(LINGER)
            for waiting in self.idle:
                waiting.give_up()


class _Waiting:
    """A wait for the next request of a connection: at most `seconds`, and listed as idle so long.

    A client that has sent half a head counts as idle too.
    """

    def __init__(self, idle: set[_Waiting], seconds: float) -> None:
        self.idle, self.timeout = idle, gevent.Timeout(seconds, False)
        self.connection = gevent.getcurrent()
        self.end = gevent.get_hub().loop.timer(0)

    def give_up(self) -> None:
        """End the wait as if the client had gone; nothing happens if it ends by itself first."""
        # By a timer, which `__exit__` stops in time: thrown from here, the error might come too
        # late, and into a request that has begun.
        self.end.start(self.connection.throw, NoMoreData(b""))

    def __enter__(self) -> None:
        self.idle.add(self)
        self.timeout.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.end.close()
        self.idle.discard(self)
        return bool(self.timeout.__exit__(kind, error, trace))
