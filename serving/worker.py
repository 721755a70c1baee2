"""The worker: gunicorn's gevent worker, with bounds on how long a client can keep it.

The stock one waits for idle connections when it is told to stop, half a minute for a client that
merely keeps its connection; a container's engine kills it before that. It also waits without end
for the rest of a body that has begun.
"""

from __future__ import annotations

import os
import signal
import time
from types import TracebackType
from typing import Any

import gevent
from gunicorn import util
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from serving.settings import Settings

LINGER = 1.0  # seconds in which a request on its way to an idle connection is still answered


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves as its parent does, and stops as soon as every request has been answered."""

    def init_process(self) -> None:
        """Become a server; a signal to stop counts from here on."""
        # Until gunicorn sets its own, this process still has the arbiter's handlers, which would
        # put the signals into a queue that no one reads here.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, lambda *_: os._exit(0))  # nothing has been begun
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().init_process()

    def init_signals(self) -> None:
        """As the parent, but Ctrl-C, which a terminal sends to all, is left to the arbiter."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until told to stop."""
        self.settings = Settings()
        self.idle: set[_Waiting] = set()
        gevent.spawn(self._let_idle_go)
        super().run()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request, in `request_seconds` at most."""
        self.notify()  # many long requests in a row are no reason to take the worker for dead
        seconds = self.settings.request_seconds
        in_time = False
        with gevent.Timeout(seconds, False):
            super().handle_request(listener_name, req, sock, addr)
            in_time = True
        if in_time:
            return
        if getattr(req.body.reader, "length", 0):  # the rest of it never came
            fault = f"its body was not complete after {seconds:g} seconds"
            util.write_error(sock, 408, "Request Timeout", fault)
        raise StopIteration  # which closes the connection

    def timeout_ctx(self) -> _Waiting:
        """Around each wait for a request."""
        return _Waiting(self.idle, self.cfg.keepalive)

    def _let_idle_go(self) -> None:
        while self.alive:
            gevent.sleep(LINGER)
        while True:  # until the process ends: connections that are busy now will be idle later
            gevent.sleep(LINGER / 4)
            for waiting in self.idle:
                if time.monotonic() - waiting.since >= LINGER:
                    waiting.give_up()


class _Waiting:
    """A wait for the next request of a connection: at most `seconds`, and listed as idle so long.

    A client that has sent half a head counts as idle too.
    """

    def __init__(self, idle: set[_Waiting], seconds: float) -> None:
        self.idle, self.timeout = idle, gevent.Timeout(seconds, False)
        self.since = time.monotonic()
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
