"""Accepts connections, so that every worker holds about the same number of them.

All workers accept on the same listening sockets, and the kernel wakes all of them for every new
connection. Left to themselves, the first to wake up takes nearly all of a burst. So a worker
accepts only if no other worker that accepts holds fewer connections. Otherwise it pauses for a
moment, in which the other worker can accept. The wait is short: a worker that leaves a connection
waiting, because it is stopped or busy with a long batch, is ignored until its event loop runs
again (see `accept_turns`).

Every connection needs a file descriptor. Before the last ones are used, the connections that have
been idle for longest are closed. If none is idle, new connections wait in the kernel's queue.
"""

from __future__ import annotations

import errno
import logging
import os
import ssl
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Any

from gevent import get_hub
from gevent import socket as gevent_socket
from gevent.pool import Group

from serving.event_loop import EV_READ, is_readable
from serving.server.accept_turns import PeerWaits
from serving.server.descriptors import ConnectionLimits, DescriptorBudget
from serving.server.socket_errors import (
    CLIENT_GONE_ERRNOS,
    LISTENER_UNUSABLE_ERRNOS,
    OUT_OF_RESOURCES_ERRNOS,
    get_error_name,
)
from serving.telemetry.event_metrics import EventMetrics
from serving.telemetry.shared_counters import SharedCounters

MAX_ACCEPTS_PER_TURN = 100  # connections accepted before the event loop serves open ones again
# A worker accepts several connections in a row if every other worker holds this many more.
CATCH_UP_CONNECTIONS = 8
YIELD_TURN_SECONDS = 0.001  # pause in which a worker with fewer connections can accept
SILENT_WORKER_SECONDS = 1.0  # age of the last heartbeat at which a worker is ignored
RETRY_SECONDS = 0.05  # pause after an error, or while no more connections can be open
MIN_IDLE_SECONDS = 0.1  # idle time before a connection can be closed in favour of a new one
LOG_INTERVAL_SECONDS = 60.0  # shortest time between two log lines about the same problem


class Acceptor:
    """Accepts the connections of one worker, on all its listening sockets.

    Args:
        handle: Function that serves a connection, called in a new greenlet with the listening
            socket, the client's socket and the client's address.
        evict_idle: Function that closes idle connections, called with the number to close, the
            resource they free ("connections" or "descriptors") and the least idle time in seconds.
            It returns the number of connections closed.
        on_unusable_listener: Function that is called when a listening socket cannot be used any
            more, so that the worker ends.
        limits: Limits on the connections.
        counters: Shared memory with the counters and connections of all workers.
    """

    # gunicorn treats the acceptor as a gevent pool: before it exits, it waits until `free_count()`
    # is equal to `size`.
    size = 0

    def __init__(
        self,
        handle: Callable[[Any, Any, Any], None],
        evict_idle: Callable[[int, str, float], int],
        on_unusable_listener: Callable[[], None],
        limits: ConnectionLimits,
        counters: SharedCounters,
    ) -> None:
        self._handle, self._evict_idle = handle, evict_idle
        self._on_unusable_listener = on_unusable_listener
        self._max_connections, self._is_shared = limits.max_connections, limits.is_shared
        self._descriptor_budget = DescriptorBudget(limits.spare_descriptors)
        self._open_count, self._greenlets = 0, Group()
        self._metrics = EventMetrics(counters.own_slot)
        self._loads, self._slot = counters.worker_loads, counters.own_slot_number
        self._loads.pids[self._slot] = os.getpid()
        self._candidates, self._open_counts = self._loads.candidates, self._loads.open
        # Views of the slots before and after this worker's own.
        self._other_candidates = self._candidates[: self._slot], self._candidates[self._slot + 1 :]
        self._listeners: list[Listener] = []
        # The timers repeat, because libev's `again` restarts only repeating ones. When one fires,
        # `resume_listening` stops it.
        self._timers = {
            seconds: get_hub().loop.timer(seconds, seconds)
            for seconds in (YIELD_TURN_SECONDS, RETRY_SECONDS)
        }
        self._is_listening = False
        self._is_stopping = False
        self._is_full = False
        self._peer_waits = PeerWaits(self._loads)
        self._last_logged: dict[str, float] = {}
        self.run_maintenance()

    def add_listener(self, listening_socket: Any, *, ssl_context: Any = None, **_: Any) -> Listener:
        """Return an object that accepts on a listening socket.

        gunicorn calls this as its worker's `server_class`.

        Args:
            listening_socket: gevent's listening socket.
            ssl_context: TLS settings of its connections; None for plain HTTP.
        """
        return Listener(self, listening_socket, ssl_context)

    def start_listener(self, listener: Listener) -> None:
        """Begin to accept on a listening socket."""
        self._listeners.append(listener)
        if self._is_listening:
            listener.watcher.start(self._on_readable, listener)
        else:
            self.resume_listening()

    def run_maintenance(self) -> None:
        """Record a heartbeat, and evict idle connections if file descriptors run short.

        Must be called several times in `SILENT_WORKER_SECONDS`.
        """
        self._loads.seen[self._slot] = perf_counter()
        if excess := self._descriptor_budget.count_excess_connections(self._open_count):
            self._evict_and_pause("descriptors", excess)

    def stop_competing(self) -> None:
        """From now on accept only connections that no other worker accepts; this one ends soon."""
        self._is_stopping = True
        self._publish_open_count()

    def resume_listening(self) -> None:
        """Listen again after a pause."""
        self._stop_timers()
        self._is_full = False
        if self._listeners and not self._is_listening:
            self._is_listening = True
            for listener in self._listeners:
                listener.watcher.start(self._on_readable, listener)
        self._publish_open_count()

    def close_listener(self, listener: Listener) -> None:
        """Close a listening socket."""
        if listener in self._listeners:
            self._listeners.remove(listener)
            listener.watcher.stop()
            listener.watcher.close()
            listener.socket.close()
        if not self._listeners:
            self._stop_timers()
            self._is_listening = False
        self._publish_open_count()

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.stop()

    def _pause_listening(self, seconds: float) -> None:
        # A socket that stays readable would otherwise wake the event loop again and again.
        self._is_listening = False
        for listener in self._listeners:
            listener.watcher.stop()
        self._stop_timers()
        self._timers[seconds].again(self.resume_listening)

    def _publish_open_count(self) -> None:
        """Write this worker's number of connections to the memory that all workers share."""
        self._open_counts[self._slot] = self._open_count
        competes = self._listeners and not (self._is_stopping or self._is_full)
        self._candidates[self._slot] = self._open_count if competes else inf

    def _on_readable(self, listener: Listener) -> None:
        """Accept waiting connections, as long as no other worker should accept them."""
        self._loads.seen[self._slot] = now = perf_counter()
        for _ in range(MAX_ACCEPTS_PER_TURN):
            if not self._check_capacity() or not self._claim_turn(listener, now):
                return
            if not self._accept_one(listener):
                return
            if not self._is_listening:  # errors have led to a pause
                return
            if self._is_shared and not self._is_far_behind():
                return

    def _is_far_behind(self) -> bool:
        """Return whether every other worker that accepts holds many more connections."""
        least = self._open_count + CATCH_UP_CONNECTIONS
        before, after = self._other_candidates
        return least < min(before, default=inf) and least < min(after, default=inf)

    def _claim_turn(self, listener: Listener, now: float) -> bool:
        """Return whether this worker should accept; if another one should, pause for a moment."""
        loads = self._loads
        own_count = inf if self._is_stopping else self._open_count
        if not self._is_shared or own_count <= min(self._candidates):
            self._peer_waits.clear()
            return True
        peers = [
            slot
            for slot, count in enumerate(self._candidates)
            if count < own_count and now - loads.seen[slot] < SILENT_WORKER_SECONDS
        ]
        if not peers:
            return True
        # Read before the socket is checked, so that a connection that is found waiting there is
        # not among those counted.
        accepted = sum(loads.accepted)
        if not is_readable(listener.descriptor):
            return False
        # Pause also if this worker is going to accept in place of one that does not respond: that
        # one may run again at any time, and should then find most of the waiting connections.
        self._pause_listening(YIELD_TURN_SECONDS)
        return not self._peer_waits.should_keep_waiting(peers, accepted, now)

    def _check_capacity(self) -> bool:
        """Return whether one more connection may be open; if not, evict idle ones and pause."""
        if self._open_count >= self._max_connections:
            self._evict_and_pause("connections")
        elif self._open_count >= self._descriptor_budget.capacity:
            excess = self._open_count - int(self._descriptor_budget.capacity) + 1
            self._evict_and_pause("descriptors", excess)
        else:
            return True
        return False

    def _evict_and_pause(self, resource: str, missing: int = 1) -> None:
        """Close the connections that have been idle for longest, and pause until one has ended."""
        count = max(missing, self._open_count // 100)
        self._is_full = True
        self._pause_listening(RETRY_SECONDS)
        self._publish_open_count()
        closed = self._evict_idle(count, resource, MIN_IDLE_SECONDS)
        self._warn_limited(
            resource,
            "out of %s with %d connections open: %s; raise %s or add workers",
            resource,
            self._open_count,
            "idle ones are closed" if closed else "none is idle, new ones wait",
            "the limit of open files" if resource == "descriptors" else "worker_connections",
        )

    def _accept_one(self, listener: Listener) -> bool:
        """Accept a connection; return False if none was there or none could be accepted."""
        # Count and publish it first, so that two workers do not accept at the same time.
        self._open_count += 1
        self._publish_open_count()
        try:
            descriptor, address = listener.unpatched_socket._accept()
        except OSError as error:
            self._open_count -= 1
            self._publish_open_count()
            return not isinstance(error, BlockingIOError) and self._handle_accept_error(error)
        self._descriptor_budget.record_descriptor(descriptor, self._open_count - 1)
        self._loads.accepted[self._slot] += 1.0
        client = gevent_socket.socket(
            listener.socket.family, listener.socket.type, listener.socket.proto, fileno=descriptor
        )
        self._greenlets.spawn(self._serve_client, listener, client, address)
        return True

    def _handle_accept_error(self, error: OSError) -> bool:
        """Count and log an error of accept; return whether to try the next connection at once."""
        name = get_error_name(error)
        self._metrics.count_accept_error(name)
        if error.errno in CLIENT_GONE_ERRNOS:
            return True
        if error.errno == errno.EMFILE:
            self._descriptor_budget.record_exhaustion(self._open_count)
            if self._check_capacity():
                self._pause_listening(RETRY_SECONDS)
        elif error.errno in OUT_OF_RESOURCES_ERRNOS:
            self._evict_and_pause("descriptors")
        elif error.errno in LISTENER_UNUSABLE_ERRNOS:
            self._is_stopping = True
            self._pause_listening(RETRY_SECONDS)
            self._on_unusable_listener()
        else:  # for example EPERM of a firewall: the connection may still be there
            self._pause_listening(RETRY_SECONDS)
        self._warn_limited(name, "a connection could not be accepted: %s", error)
        return False

    def _warn_limited(self, topic: str, message: str, *values: object) -> None:
        """Log a warning, unless one about the same topic was logged a short time ago."""
        now = perf_counter()
        if now - self._last_logged.get(topic, -inf) >= LOG_INTERVAL_SECONDS:
            self._last_logged[topic] = now
            logging.getLogger(__name__).warning(message, *values)

    def _serve_client(self, listener: Listener, client: Any, address: Any) -> None:
        try:
            if listener.ssl_context is not None:
                client = listener.ssl_context.wrap_socket(client, server_side=True)
            self._handle(listener.socket, client, address)
        except (OSError, ssl.SSLError) as error:  # the client closed before it was served
            logging.getLogger(__name__).debug("connection ended: %s", error)
        finally:
            # Count it as closed first, since the client may connect again right after the close.
            self._open_count -= 1
            if self._is_listening:
                self._publish_open_count()
            else:
                self.resume_listening()
            client.close()

    def free_count(self) -> int:
        """Return the number of open connections, under the name that gunicorn expects."""
        return self._open_count

    def end_connections(self, timeout: float) -> None:
        """End the connections that are still open after `timeout` seconds."""
        self._greenlets.join(timeout=timeout)
        self._greenlets.kill(block=True, timeout=1)


class Listener:
    """One listening socket, with the methods of a gevent server that gunicorn's worker calls.

    Args:
        acceptor: Acceptor of the worker.
        listening_socket: gevent's listening socket.
        ssl_context: TLS settings of its connections; None for plain HTTP.
    """

    def __init__(self, acceptor: Acceptor, listening_socket: Any, ssl_context: Any) -> None:
        self.socket, self.ssl_context = listening_socket, ssl_context
        # The socket below gevent's: its accept returns at once instead of waiting in the loop.
        self.unpatched_socket = getattr(listening_socket, "_sock", listening_socket)
        self.descriptor = listening_socket.fileno()
        self.watcher = get_hub().loop.io(self.descriptor, EV_READ)
        self.pool = self._acceptor = acceptor

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor.start_listener(self)

    def close(self) -> None:
        """Accept no more connections."""
        self._acceptor.close_listener(self)

    def stop(self, timeout: float) -> None:
        """Accept no more, and end the connections that are still open after `timeout` seconds."""
        self.close()
        self._acceptor.end_connections(timeout)
