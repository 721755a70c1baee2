"""gunicorn's gevent worker, with limits on how long a client can occupy it.

When gunicorn's own worker has to stop, it waits half a minute for idle keep-alive connections, and
a container engine kills it before that. It also waits without a limit for the rest of a request
that has begun.
"""

from __future__ import annotations

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

from serving.call_context import make_deadline_error, make_timeout_error
from serving.errors import ServingError
from serving.http.components import SharedResources
from serving.runtime.heap import trim_heap
from serving.server.acceptor import Acceptor
from serving.server.connection import ConnectionTimeoutError, ServerConnection
from serving.server.descriptors import ConnectionLimits
from serving.server.gunicorn_overrides import write_error_response
from serving.server.request_body import MAX_LINGER_SECONDS, MAX_SILENT_SECONDS
from serving.server.responses import DateHeader
from serving.server.socket_errors import DISCONNECT_ERRNOS
from serving.server.tls import TlsHandshakes
from serving.settings.options import Settings
from serving.telemetry.event_metrics import EventMetrics
from serving.telemetry.logs import log_uncaught_error

# Extra time after a limit. A worker that stops uses it to serve a request that arrives on an idle
# connection, and to finish a lingering close; an application whose request has timed out uses it to
# send an error response.
GRACE_SECONDS = 1.0
CHECK_INTERVAL_SECONDS = 0.25  # time between two checks of all connections


class Worker(GeventWorker):  # type: ignore[misc]
    """A gevent worker that stops as soon as the response to every request has been sent.

    Attributes:
        shared: Resources that all workers share, set by gunicorn's hook `pre_fork`.
        acceptor: Object that accepts the connections; None until the worker serves.
    """

    shared: SharedResources
    acceptor: Acceptor | None = None

    def init_process(self) -> None:
        """Initialise the process after the fork; from here on signals stop it."""
        # Until gunicorn installs the worker's handlers, the process has those of the arbiter.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, lambda *_: os._exit(0))  # there is nothing to clean up yet
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # They have been blocked since before the fork: see `pre_fork` in gunicorn_conf.
        stop_signals = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals)
        super().init_process()

    def init_signals(self) -> None:
        """Install gunicorn's signal handlers, but ignore Ctrl-C.

        A terminal sends SIGINT to every process; the arbiter then stops its workers by SIGTERM.
        """
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def load_wsgi(self) -> None:
        """Load the application and its models, with a heartbeat so that gunicorn does not kill it.

        Loading many models can take longer than gunicorn's `timeout`.
        """
        heartbeat = gevent.spawn(self._notify_until_killed)
        try:
            super().load_wsgi()
        finally:
            heartbeat.kill()
        trim_heap()

    def _notify_until_killed(self) -> None:
        while True:
            self.notify()
            gevent.sleep(1)

    def run(self) -> None:
        """Serve until the worker is stopped."""
        get_hub().print_exception = log_uncaught_error
        settings, counters = Settings(), self.shared.counters
        self.metrics = EventMetrics(counters.own_slot)
        self.tls_handshakes = TlsHandshakes(self.metrics)
        self.date_header = DateHeader()
        self.request_seconds = settings.request_seconds
        self.connections: set[ServerConnection] = set()
        self.unsent_bytes = 0  # size of the responses that clients have not read yet
        self.parser_limits = {
            "limit_request_line": self.cfg.limit_request_line,
            "limit_request_fields": self.cfg.limit_request_fields,
            "limit_request_field_size": self.cfg.limit_request_field_size,
        }
        self.stopped_at: float | None = None
        self.last_check_at = perf_counter()
        interval = CHECK_INTERVAL_SECONDS
        get_hub().loop.timer(interval, interval).start(self._reap_connections)
        self.acceptor = Acceptor(
            self.handle,
            self.evict_idle_connections,
            self._stop_after_failure,
            ConnectionLimits(
                max_connections=self.worker_connections,
                spare_descriptors=settings.spare_descriptors,
                is_shared=not self.cfg.reuse_port,
            ),
            counters,
        )
        self.server_class = self.acceptor.add_listener
        super().run()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop, on SIGTERM: leave new connections to the other workers."""
        super().handle_exit(sig, frame)
        if self.acceptor is not None:
            self.acceptor.stop_competing()

    def _stop_after_failure(self) -> None:
        self.alive = False  # the arbiter starts another worker

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection until it ends.

        Args:
            listener: Listening socket that accepted it.
            client: Socket of the connection.
            addr: Address of the client.
        """
        client.setblocking(1)
        connection = ServerConnection(self, client, addr, listener.getsockname())
        self.connections.add(connection)
        try:
            # Do this after the connection was registered, so that the handshake can time out.
            if self.tls_handshakes.complete(client):
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
        """Serve requests; send an error response if the last one ends without a response."""
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
            write_error_response(self.metrics, client, 404, "Not Found", fault)
        except Exception as error:  # gunicorn chooses status and text if its parser has failed
            if connection.has_answered:
                self.log.exception("an answer was sent only in part")
                return
            connection.has_answered = True
            self.handle_error(connection.request, client, addr, error)

    def _write_timeout_error(self, connection: ServerConnection, client: Any) -> None:
        """Send the error response for a timed out request in place of the application.

        The status is 408 if the client has not sent the whole request, else 504.
        """
        body = connection.body
        is_complete = body is not None and body.is_complete
        error = make_timeout_error(self.request_seconds, is_complete=is_complete)
        reason = "Gateway Timeout" if is_complete else "Request Timeout"
        write_error_response(self.metrics, client, error.status, reason, error.message)

    def _reap_connections(self) -> None:
        """End the connections that have been idle, or busy with one request, for too long.

        The event loop calls this between two iterations. Every greenlet of a connection is waiting
        then, so that an exception can be raised only where it waits.
        """
        now = perf_counter()
        if now - self.last_check_at > 2 * CHECK_INTERVAL_SECONDS:
            # The event loop is slow. Without this, several long batches in a row could delay
            # gunicorn's own heartbeat until the arbiter kills the worker.
            self.notify()
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
        """Return the exception that ends a connection if it has taken too long; else None.

        Args:
            connection: Any connection of this worker.
            now: Current time of `perf_counter`, in seconds.
        """
        waited = now - connection.phase_started_at
        if connection.lingering_since is not None:
            lingered = now - connection.lingering_since
            limit = MAX_LINGER_SECONDS if self.stopped_at is None else GRACE_SECONDS
            has_ended = lingered >= limit or waited >= MAX_SILENT_SECONDS
            return ConnectionTimeoutError() if has_ended else None
        if connection.is_busy:
            return self._find_request_timeout(connection, now)
        if connection.is_reading_head and waited >= self.request_seconds:
            return ConnectionTimeoutError()
        is_idle = not connection.is_reading_head and waited >= self.cfg.keepalive
        is_stopping = self.stopped_at is not None and (
            min(waited, now - self.stopped_at) >= GRACE_SECONDS
        )
        if is_idle or is_stopping:
            error: BaseException = NoMoreData(b"")
            return error
        return None

    def _find_request_timeout(
        self, connection: ServerConnection, now: float
    ) -> BaseException | None:
        """Return the exception for a connection whose request has taken too long; else None.

        The first exception is an error for which the application sends a response in the format of
        the request's protocol, and which it counts and logs. If the application does not respond,
        the next exception ends the connection.
        """
        waited = now - connection.phase_started_at
        context = connection.context
        if waited >= self.request_seconds:
            if connection.has_answered or waited >= self.request_seconds + GRACE_SECONDS:
                return ConnectionTimeoutError()
            if not connection.has_timed_out:
                connection.has_timed_out = True
                body = connection.body
                is_complete = body is None or body.is_complete
                return make_timeout_error(self.request_seconds, is_complete=is_complete)
        elif (
            context and context.deadline and now > context.deadline and not connection.has_answered
        ):
            return make_deadline_error(context)
        return None

    def evict_idle_connections(self, count: int, reason: str, min_idle_seconds: float) -> int:
        """Close the connections that have been idle for longest, in favour of new ones.

        Connections in a lingering close are closed first: their last response has been sent.

        Args:
            count: Largest number of connections to close.
            reason: Resource that is exhausted: "connections" or "descriptors".
            min_idle_seconds: Time that a connection must have been idle, in seconds.

        Returns:
            Number of connections closed.
        """
        latest = perf_counter() - min_idle_seconds
        lingering = [
            connection
            for connection in self.connections
            if connection.lingering_since is not None and connection.lingering_since <= latest
        ]
        evicted = 0
        for connection in sorted(lingering, key=attrgetter("lingering_since"))[:count]:
            connection.greenlet.throw(NoMoreData(b""))
            evicted += 1
        idle = (
            connection
            for connection in self.connections
            if not connection.is_busy
            and connection.lingering_since is None
            and connection.phase_started_at <= latest
        )
        # A few more candidates than needed, since some have just received their next request.
        for connection in nsmallest(2 * count + 8, idle, key=attrgetter("phase_started_at")):
            if evicted < count and not connection.has_unread_bytes():
                connection.greenlet.throw(NoMoreData(b""))
                evicted += 1
        if evicted:
            self.metrics.count_evicted_connections(reason, evicted)
        return evicted
