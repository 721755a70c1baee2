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
from operator import attrgetter
from time import perf_counter
from typing import Any

import gevent
from gevent import get_hub
from gunicorn import util
from gunicorn.http.errors import ConfigurationProblem, NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from serving.call_context import CONTEXT_KEY, CallContext, make_deadline_error, make_timeout_error
from serving.errors import ServingError
from serving.runtime.heap import trim_heap
from serving.server import tls as handshake
from serving.server.acceptor import Acceptor
from serving.server.connection import ConnectionTimeoutError, ServerConnection
from serving.server.request_body import MAX_LINGER_SECONDS, MAX_SILENT_SECONDS
from serving.settings.options import Settings
from serving.telemetry.logs import log_uncaught_error
from serving.telemetry.request_metrics import count_evicted_connections

# Seconds in which, after the stop, a request on its way to an idle connection is still answered, a
# client still gets its last answer, and in which a late request is to be answered by itself.
GRACE_SECONDS = 1.0
CHECK_INTERVAL_SECONDS = 0.25  # seconds between two looks at the connections
DISCONNECT_ERRNOS = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ECONNABORTED)


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
        get_hub().print_exception = log_uncaught_error
        settings = Settings()
        self.request_seconds = settings.request_seconds
        self.connections: set[ServerConnection] = set()
        self.unsent_bytes = 0  # bytes of answers that clients have not read yet
        self.parser_limits = {
            "limit_request_line": self.cfg.limit_request_line,
            "limit_request_fields": self.cfg.limit_request_fields,
            "limit_request_field_size": self.cfg.limit_request_field_size,
        }
        self.stopped_at: float | None = None
        self.last_check_at = perf_counter()
        get_hub().loop.timer(CHECK_INTERVAL_SECONDS, CHECK_INTERVAL_SECONDS).start(
            self._reap_connections
        )
        self.acceptor = Acceptor(
            self.handle,
            self.evict_idle_connections,
            self._stop_after_failure,
            max_connections=self.worker_connections,
            spare_descriptors=settings.spare_descriptors,
            is_shared=not self.cfg.reuse_port,
        )
        self.server_class = self.acceptor.add_listener
        super().run()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop: new connections are left to the other workers."""
        super().handle_exit(sig, frame)
        if self.acceptor is not None:
            self.acceptor.stop_competing()

    def _stop_after_failure(self) -> None:
        self.alive = False  # the arbiter starts another worker

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection."""
        client.setblocking(1)
        connection = ServerConnection(self, client, addr, listener.getsockname())
        self.connections.add(connection)
        try:
            if handshake.complete_handshake(client):  # here, where it is looked after
                self._serve_requests(connection, client, addr)
                connection.linger()
        except (NoMoreData, StopIteration, ConnectionTimeoutError) as error:
            self.log.debug("connection ended: %s", error)
        except ssl.SSLError as error:
            self.log.debug("TLS failed: %s", error)
        except OSError as error:
            if error.errno not in DISCONNECT_ERRNOS:
                self.log.exception("socket error")
        finally:
            self.connections.discard(connection)
            util.close(client)

    def _serve_requests(self, connection: ServerConnection, client: Any, addr: Any) -> None:
        """Answer requests, and say what was wrong with the last one if no answer has begun."""
        try:
            connection.serve()
        except (OSError, StopIteration):  # NoMoreData is an OSError
            raise
        except (ConnectionTimeoutError, ServingError) as error:
            if connection.has_answered:
                raise ConnectionTimeoutError from error
            connection.has_answered = True
            self._write_timeout_error(connection, client)
        except ConfigurationProblem:
            connection.has_answered = True
            fault = "its path does not begin with SCRIPT_NAME"
            util.write_error(client, 404, "Not Found", fault)
        except Exception as error:  # gunicorn knows what it refuses and how
            if connection.has_answered:
                self.log.exception("an answer was broken off")
                return
            connection.has_answered = True
            self.handle_error(connection.request, client, addr, error)

    def _write_timeout_error(self, connection: ServerConnection, client: Any) -> None:
        """Answer for an application that has not: with 408 if the client is slow, else 504."""
        body = connection.body
        is_complete = body is not None and body.is_complete
        error = make_timeout_error(self.request_seconds, is_complete=is_complete)
        reason = "Gateway Timeout" if is_complete else "Request Timeout"
        util.write_error(client, error.status, reason, error.message)

    def _reap_connections(self) -> None:
        """Let go of connections that have been idle for long, or busy with one request.

        Called by the loop, between two turns: every connection waits for something now, and what
        is thrown at it meets it there.
        """
        now = perf_counter()
        if now - self.last_check_at > 2 * CHECK_INTERVAL_SECONDS:
            self.notify()  # many long requests in a row are no reason to take the worker for dead
        self.last_check_at = now
        if not self.alive and self.stopped_at is None:
            self.stopped_at = now
        if self.acceptor is not None:
            self.acceptor.run_maintenance()
        if len(self.connections) >= self.worker_connections:
            self.evict_idle_connections(max(1, self.worker_connections // 10), "connections", 0.0)
        for connection in list(self.connections):
            if error := self._find_timeout(connection, now):
                connection.greenlet.throw(error)

    def _find_timeout(self, connection: ServerConnection, now: float) -> BaseException | None:
        """Return the exception that ends a connection which took too long; None for others."""
        waited = now - connection.phase_started_at
        if connection.lingering_since is not None:
            lingered = now - connection.lingering_since
            limit = MAX_LINGER_SECONDS if self.stopped_at is None else GRACE_SECONDS
            return (
                ConnectionTimeoutError()
                if lingered >= limit or waited >= MAX_SILENT_SECONDS
                else None
            )
        if connection.is_busy:
            return self._find_request_timeout(connection, now)
        if connection.is_reading_head and waited >= self.request_seconds:
            return ConnectionTimeoutError()
        is_idle = not connection.is_reading_head and waited >= self.cfg.keepalive
        if is_idle or (
            self.stopped_at is not None and min(waited, now - self.stopped_at) >= GRACE_SECONDS
        ):
            error: BaseException = NoMoreData(b"")
            return error
        return None

    def _find_request_timeout(
        self, connection: ServerConnection, now: float
    ) -> BaseException | None:
        """Return the same for a connection whose request is being answered.

        The application is told first, and answers for itself: in the form of the protocol, and
        counted and logged like any other answer.
        """
        waited = now - connection.phase_started_at
        call: CallContext | None = connection.environ.get(
            CONTEXT_KEY
        )  # none before the application runs
        if waited >= self.request_seconds:
            if connection.has_answered or waited >= self.request_seconds + GRACE_SECONDS:
                return ConnectionTimeoutError()
            if not connection.has_timed_out:
                connection.has_timed_out = True
                body = connection.body
                is_complete = body is None or body.is_complete
                return make_timeout_error(self.request_seconds, is_complete=is_complete)
        elif call and call.deadline and now > call.deadline and not connection.has_answered:
            return make_deadline_error(call)
        return None

    def evict_idle_connections(self, count: int, reason: str, min_idle_seconds: float) -> int:
        """Close the connections that have been idle for longest, to make room for new ones.

        First those that have their last answer and only wait for their client to close.

        Args:
            count: Number of connections to close, if so many are idle.
            reason: What ran out: "connections" or "descriptors".
            min_idle_seconds: Seconds that a connection must have been idle.

        Returns:
            Number of connections closed.
        """
        latest = perf_counter() - min_idle_seconds
        lingering = [
            c
            for c in self.connections
            if c.lingering_since is not None and c.lingering_since <= latest
        ]
        evicted = 0
        for connection in sorted(lingering, key=attrgetter("lingering_since"))[:count]:
            connection.greenlet.throw(NoMoreData(b""))
            evicted += 1
        idle = (
            c
            for c in self.connections
            if not c.is_busy and c.lingering_since is None and c.phase_started_at <= latest
        )
        # Some more than wanted: a connection whose next request has just arrived is not idle.
        for connection in nsmallest(
            2 * count + 8, idle, key=lambda connection: connection.phase_started_at
        ):
            if evicted < count and not connection.has_unread_bytes():
                connection.greenlet.throw(NoMoreData(b""))
                evicted += 1
        if evicted:
            count_evicted_connections(reason, evicted)
        return evicted
