"""Accepts connections, so that each worker holds as many as the others.

All workers wait on the same listening sockets, and the kernel wakes all of them for a connection.
Left to themselves, the first to wake takes nearly all connections that arrive together. Here a
worker takes a connection only if no other worker that accepts holds fewer; otherwise it stops
listening for a moment, so that the other gets there first. It never waits for long: a worker that
leaves a connection waiting, because it is stopped or in a long run, is passed over until its event
loop turns again.

A connection needs a file descriptor. Before the last ones are used, those that have been idle for
the longest time are closed. If there are none, new connections wait in the kernel's queue.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import ssl
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Any

from gevent import get_hub
from gevent import socket as gevent_socket
from gevent.monkey import get_original
from gevent.pool import Group

from serving.server.accept_turns import PeerWaits
from serving.server.descriptors import DescriptorBudget
from serving.telemetry.request_metrics import count_accept_error
from serving.telemetry.shared_counters import SharedCounters

EV_READ = 1  # libev's EV_READ
MAX_ACCEPTS_PER_TURN = (
    100  # connections accepted before the connections that are open get their turn
)
CATCH_UP_CONNECTIONS = (
    8  # connections fewer than the others hold, with which a worker accepts several at once
)
YIELD_TURN_SECONDS = (
    0.001  # seconds without listening, while a worker with fewer connections may accept
)
SILENT_WORKER_SECONDS = (
    1.0  # seconds without a sign of life, after which a worker is not waited for at all
)
RETRY_SECONDS = 0.05  # seconds between two attempts while there is no room
MIN_IDLE_SECONDS = 0.1  # seconds in which a connection is not closed again for being idle
LOG_INTERVAL_SECONDS = 60.0  # seconds between two log lines about the same shortage

OUT_OF_RESOURCES_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# The client was gone before its connection could be accepted, or its network was (accept(2)).
CLIENT_GONE_ERRNOS = tuple(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "ETIMEDOUT",
        "EINTR",
    )
    if hasattr(errno, name)
)
LISTENER_UNUSABLE_ERRNOS = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

_unpatched_poll = get_original("select", "poll")


def is_readable(file: int) -> bool:
    """Return whether a read, or an accept, of this file descriptor would find something now."""
    poll = _unpatched_poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(0))


class Acceptor:
    """Accepts the connections of one worker, on all its listening sockets.

    Args:
        handle: Serves a connection: called with its listening socket, its socket and its address,
            in a greenlet of its own.
        evict_idle: Closes idle connections: called with the least number to close, what they make room
            for, and the least seconds they have been idle. Returns how many it closed.
        on_unusable_listener: Called when a listening socket is unusable: the worker should end.
        max_connections: Largest number of open connections.
        spare_descriptors: File descriptors that are left free for other files.
        is_shared: Whether other workers accept on the same sockets.
    """

    size = 0  # as a pool of gevent's has it: see `free_count`

    def __init__(
        self,
        handle: Callable[[Any, Any, Any], None],
        evict_idle: Callable[[int, str, float], int],
        on_unusable_listener: Callable[[], None],
        *,
        max_connections: int,
        spare_descriptors: int,
        is_shared: bool = True,
    ) -> None:
        self._max_connections, self._open_count, self._greenlets = max_connections, 0, Group()
        self._handle, self._evict, self._fail = handle, evict_idle, on_unusable_listener
        self._descriptor_budget, self._is_shared = DescriptorBudget(spare_descriptors), is_shared
        table = SharedCounters.get_current()
        self._loads, self._slot = table.worker_loads, table.own_slot_number
        self._loads.pids[self._slot] = os.getpid()
        self._candidates, self._open_counts = self._loads.candidates, self._loads.open
        self._other_candidates = self._candidates[: self._slot], self._candidates[self._slot + 1 :]
        self._listeners: list[Listener] = []
        # Repeating ones, of which `again` starts a whole interval; each is stopped when it is over.
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

    def add_listener(self, listener: Any, *, ssl_context: Any = None, **_: Any) -> Listener:
        """Return what accepts on one more listening socket, as gunicorn's `server_class` does."""
        return Listener(self, listener, ssl_context)

    def start_listener(self, server: Listener) -> None:
        """Begin to accept on a listening socket."""
        self._listeners.append(server)
        if self._is_listening:
            server.watcher.start(self._on_readable, server)
        else:
            self.resume_listening()

    def run_maintenance(self) -> None:
        """Show a sign of life, and see to it that there are file descriptors to spare.

        To be called several times in `SILENT_WORKER_SECONDS` seconds.
        """
        self._loads.seen[self._slot] = perf_counter()
        if too_many := self._descriptor_budget.count_excess_connections(self._open_count):
            self._evict_and_pause("descriptors", too_many)

    def stop_competing(self) -> None:
        """Accept from now on only what no other worker takes: this worker is about to end."""
        self._is_stopping = True
        self._publish_load()

    def resume_listening(self) -> None:
        """Listen again."""
        self._stop_timers()
        self._is_full = False
        if self._listeners and not self._is_listening:
            self._is_listening = True
            for server in self._listeners:
                server.watcher.start(self._on_readable, server)
        self._publish_load()

    def close_listener(self, server: Listener) -> None:
        """Close a listening socket."""
        if server in self._listeners:
            self._listeners.remove(server)
            server.watcher.stop()
            server.watcher.close()
            server.socket.close()
        if not self._listeners:
            self._stop_timers()
            self._is_listening = False
        self._publish_load()

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.stop()

    def _pause_listening(self, seconds: float) -> None:
        """Stop listening: a socket that stays readable would keep the event loop spinning."""
        self._is_listening = False
        for server in self._listeners:
            server.watcher.stop()
        self._stop_timers()
        self._timers[seconds].again(self.resume_listening)

    def _publish_load(self) -> None:
        """Tell the other workers how many connections this one holds, or is about to."""
        self._open_counts[self._slot] = self._open_count
        competes = self._listeners and not (self._is_stopping or self._is_full)
        self._candidates[self._slot] = self._open_count if competes else inf

    def _on_readable(self, server: Listener) -> None:
        """Accept what is waiting, as far as it is this worker's turn."""
        self._loads.seen[self._slot] = now = perf_counter()
        for _ in range(MAX_ACCEPTS_PER_TURN):
            if not self._check_capacity() or not self._claim_turn(server, now):
                return
            if not self._accept_one(server):
                return
            if not self._is_listening:  # there were errors
                return
            if self._is_shared and not self._is_far_behind():
                return

    def _is_far_behind(self) -> bool:
        """Return whether every other worker that accepts holds many more connections."""
        return self._open_count + CATCH_UP_CONNECTIONS < min(
            self._other_candidates[0], default=inf
        ) and (
            self._open_count + CATCH_UP_CONNECTIONS < min(self._other_candidates[1], default=inf)
        )

    def _claim_turn(self, server: Listener, now: float) -> bool:
        """Return whether no other worker should accept; otherwise step aside for a moment."""
        loads = self._loads
        own = inf if self._is_stopping else self._open_count
        if not self._is_shared or own <= min(self._candidates):
            self._peer_waits.clear()
            return True
        alive = [
            slot
            for slot, held in enumerate(self._candidates)
            if held < own and now - loads.seen[slot] < SILENT_WORKER_SECONDS
        ]
        if not alive:
            return True
        accepted = sum(loads.accepted)  # read first: whatever is readable after it is still there
        if not is_readable(server.descriptor):
            return False
        # Also before a connection is taken for a worker that is passed over: it may come back at
        # any time, and should find most of what has arrived at once.
        self._pause_listening(YIELD_TURN_SECONDS)
        return not self._peer_waits.should_keep_waiting(alive, accepted, now)

    def _check_capacity(self) -> bool:
        """Return whether one more connection may be open; otherwise make room, or wait for it."""
        if self._open_count >= self._max_connections:
            self._evict_and_pause("connections")
        elif self._open_count >= self._descriptor_budget.capacity:
            self._evict_and_pause(
                "descriptors", self._open_count - int(self._descriptor_budget.capacity) + 1
            )
        else:
            return True
        return False

    def _evict_and_pause(self, short_of: str, missing: int = 1) -> None:
        """Close connections that have been idle for longest; listen again once one has ended."""
        count = max(missing, self._open_count // 100)
        self._is_full = True
        self._pause_listening(RETRY_SECONDS)
        self._publish_load()
        closed = self._evict(count, short_of, MIN_IDLE_SECONDS)
        self._warn_limited(
            short_of,
            "out of %s with %d connections open: %s; raise %s or add workers",
            short_of,
            self._open_count,
            "idle ones are closed" if closed else "none is idle, new ones wait",
            "the limit of open files" if short_of == "descriptors" else "worker_connections",
        )

    def _accept_one(self, server: Listener) -> bool:
        """Accept a connection; return False if there was none, or none could be accepted."""
        self._open_count += 1  # before it is so: two workers see each other's claim
        self._publish_load()
        try:
            file, address = server.unpatched_socket._accept()
        except OSError as error:
            self._open_count -= 1
            self._publish_load()
            return not isinstance(error, BlockingIOError) and self._handle_accept_error(error)
        self._descriptor_budget.record_descriptor(file, self._open_count - 1)
        self._loads.accepted[self._slot] += 1.0
        client = gevent_socket.socket(
            server.socket.family, server.socket.type, server.socket.proto, fileno=file
        )
        self._greenlets.spawn(self._serve_client, server, client, address)
        return True

    def _handle_accept_error(self, error: OSError) -> bool:
        """Go on after an error of accept; return whether to try the next connection at once."""
        name = errno.errorcode.get(error.errno or 0, "other")
        count_accept_error(name)
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
            self._fail()
        else:  # such as EPERM of a firewall: the connection may still be there
            self._pause_listening(RETRY_SECONDS)
        self._warn_limited(name, "a connection could not be accepted: %s", error)
        return False

    def _warn_limited(self, about: str, message: str, *values: object) -> None:
        now = perf_counter()
        if now - self._last_logged.get(about, -inf) >= LOG_INTERVAL_SECONDS:
            self._last_logged[about] = now
            logging.getLogger(__name__).warning(message, *values)

    def _serve_client(self, server: Listener, client: Any, address: Any) -> None:
        try:
            if server.ssl_context is not None:
                client = server.ssl_context.wrap_socket(client, server_side=True)
            self._handle(server.socket, client, address)
        except (OSError, ssl.SSLError) as error:  # the client was gone before it was served
            logging.getLogger(__name__).debug("connection ended: %s", error)
        finally:
            # First this: a client that has its answer may connect again at any moment.
            self._open_count -= 1
            if self._is_listening:
                self._publish_load()
            else:
                self.resume_listening()
            client.close()

    def free_count(self) -> int:
        """Return the number of open connections.

        gunicorn waits at the end until this equals `size`, as it does in a pool without greenlets.
        """
        return self._open_count

    def end_connections(self, timeout: float) -> None:
        """End the connections that are still open after `timeout` seconds."""
        self._greenlets.join(timeout=timeout)
        self._greenlets.kill(block=True, timeout=1)


class Listener:
    """One listening socket, with the methods that gunicorn's worker calls of a gevent server.

    Args:
        acceptor: Accepts on it.
        listener: gevent's socket.
        ssl_context: How its connections are encrypted; None if they are not.
    """

    def __init__(self, acceptor: Acceptor, listener: Any, ssl_context: Any) -> None:
        self.socket, self.ssl_context = listener, ssl_context
        self.unpatched_socket = getattr(
            listener, "_sock", listener
        )  # its accept does not wait in gevent
        self.descriptor = listener.fileno()
        self.watcher = get_hub().loop.io(self.descriptor, EV_READ)
        self.pool = self._acceptor = acceptor

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor.start_listener(self)

    def close(self) -> None:
        """Accept no more."""
        self._acceptor.close_listener(self)

    def stop(self, timeout: float) -> None:
        """Accept no more, and end the connections that are still open after `timeout` seconds."""
        self.close()
        self._acceptor.end_connections(timeout)
