"""The worker: gunicorn's gevent worker, with bounds on how long a client can keep it.

The stock one waits for idle connections when it is told to stop, half a minute for a client that
merely keeps its connection; a container's engine kills it before that. It also waits without end
for the rest of a body that has begun.
"""

from __future__ import annotations

import errno
import os
import signal
import ssl
from heapq import nsmallest
from time import perf_counter
from typing import Any

import gevent
from gevent import get_hub
from gunicorn import util
from gunicorn.http.errors import ConfigurationProblem, NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from serving.acceptor import Acceptor
from serving.call import ENVIRON, too_late
from serving.connection import Connection, TimeUpError
from serving.heap import trim_heap
from serving.observe.counts import count_evicted
from serving.observe.logs import log_failure
from serving.settings import Settings

LINGER = 1.0  # seconds in which a request on its way to an idle connection is still answered
LOOK = 0.25  # seconds between two looks at the connections
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ECONNABORTED)


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves as its parent does, and stops as soon as every request has been answered."""

    acceptor: Acceptor | None = None

    def init_process(self) -> None:
        """Become a server; a signal to stop counts from here on."""
        # Until gunicorn sets its own, this process still has the arbiter's handlers.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, lambda *_: os._exit(0))  # nothing has been begun
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Held back since before the fork: see `pre_fork` in gunicorn_conf.
        stop_signals = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals)
        super().init_process()

    def init_signals(self) -> None:
        """As the parent, but Ctrl-C, which a terminal sends to all, is left to the arbiter."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def load_wsgi(self) -> None:
        """Load the models; a worker that has many of them is not dead in the meantime."""
        sign_of_life = gevent.spawn(self._notify_until_killed)
        try:
            super().load_wsgi()
        finally:
            sign_of_life.kill()
        trim_heap()

    def _notify_until_killed(self) -> None:
        while True:
            self.notify()
            gevent.sleep(1)

    def run(self) -> None:
        """Serve until told to stop."""
        get_hub().print_exception = log_failure
        settings = Settings()
        self.request_seconds = settings.request_seconds
        self.connections: set[Connection] = set()
        self.unsent = 0  # bytes of answers that clients have not read yet
        self.limits = {
            "limit_request_line": self.cfg.limit_request_line,
            "limit_request_fields": self.cfg.limit_request_fields,
            "limit_request_field_size": self.cfg.limit_request_field_size,
        }
        self.stopped: float | None = None
        self.looked = perf_counter()
        get_hub().loop.timer(LOOK, LOOK).start(self._look_after)
        self.acceptor = Acceptor(
            self.handle,
            self._evict_idle,
            self._fail,
            limit=self.worker_connections,
            spare=settings.spare_descriptors,
            is_shared=not self.cfg.reuse_port,
        )
        self.server_class = self.acceptor.add
        super().run()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop: new connections are left to the other workers."""
        super().handle_exit(sig, frame)
        if self.acceptor is not None:
            self.acceptor.stop_competing()

    def _fail(self) -> None:
        self.alive = False  # the arbiter starts another worker

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection."""
        client.setblocking(1)
        connection = Connection(self, client, addr, listener.getsockname())
        self.connections.add(connection)
        try:
            if isinstance(client, ssl.SSLSocket):
                client.do_handshake()  # here, where it is looked after
            connection.serve()
        except (NoMoreData, StopIteration) as error:
            self.log.debug("connection ended: %s", error)
        except TimeUpError:
            self._time_is_up(connection, client)
        except ssl.SSLError as error:
            self.log.debug("TLS failed: %s", error)
        except ConfigurationProblem:
            fault = "its path does not begin with SCRIPT_NAME"
            util.write_error(client, 404, "Not Found", fault)
        except OSError as error:
            if error.errno not in GONE:
                self.log.exception("socket error")
        except Exception as error:  # noqa: BLE001 - gunicorn knows what it refuses and how
            self.handle_error(connection.request, client, addr, error)
        finally:
            self.connections.discard(connection)
            util.close(client)

    def _time_is_up(self, connection: Connection, client: Any) -> None:
        if getattr(connection.input, "length", 0) and not connection.answered:
            fault = f"its body was not complete after {self.request_seconds:g} s"
            util.write_error(client, 408, "Request Timeout", fault)

    def _look_after(self) -> None:
        """Let go of connections that have been idle for long, or busy with one request.

        Called by the loop, between two turns: every connection waits for something now, and what
        is thrown at it meets it there.
        """
        now = perf_counter()
        if now - self.looked > 2 * LOOK:
            self.notify()  # many long requests in a row are no reason to take the worker for dead
        self.looked = now
        if not self.alive and self.stopped is None:
            self.stopped = now
        if self.acceptor is not None:
            self.acceptor.look()
        if len(self.connections) >= self.worker_connections:
            self._evict_idle(max(1, self.worker_connections // 10), "connections", 0.0)
        for connection in list(self.connections):
            waited = now - connection.since
            if connection.busy:
                call = connection.environ.get(ENVIRON)
                if waited >= self.request_seconds:
                    connection.greenlet.throw(TimeUpError)
                elif call and call.deadline and now > call.deadline and not connection.answered:
                    connection.greenlet.throw(too_late(call))
            elif waited >= self.cfg.keepalive or (
                self.stopped is not None and min(waited, now - self.stopped) >= LINGER
            ):
                connection.greenlet.throw(NoMoreData(b""))

    def _evict_idle(self, count: int, reason: str, least: float) -> int:
        """Close the connections that have been idle for longest, to make room for new ones.

        Args:
            count: Number of connections to close, if so many are idle.
            reason: What ran out: "connections" or "descriptors".
            least: Seconds that a connection must have been idle.

        Returns:
            Number of connections closed.
        """
        latest = perf_counter() - least
        idle = (c for c in self.connections if not c.busy and c.since <= latest)
        evicted = 0
        # Some more than wanted: a connection whose next request has just arrived is not idle.
        for connection in nsmallest(2 * count + 8, idle, key=lambda connection: connection.since):
            if evicted < count and not connection.has_arrived():
                connection.greenlet.throw(NoMoreData(b""))
                evicted += 1
        if evicted:
            count_evicted(reason, evicted)
        return evicted
