"""A connection: its requests, one after the other.

A plain request, a POST with nothing unusual in its head, is read and answered here with little
ceremony: gunicorn's parser in C, an environ, the application, one send. Every other request is
read by gunicorn's parser in Python, and its answer written by gunicorn. The application gets the
same from both.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from time import perf_counter, time
from typing import Any

import gevent
from gevent import get_hub
from gunicorn import http, util
from gunicorn.http import wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import SocketUnreader

from serving.event_loop import yield_to_loop
from serving.http.middleware import FINISH_KEY, WORKER_KEY
from serving.server.acceptor import is_readable
from serving.server.request_body import ChunkedBody, SizedBody, drain_until_close
from serving.server.request_head import (
    build_base_environ,
    build_environ,
    has_close_option,
    normalize_path_info,
    require_valid_host,
)

try:
    import gunicorn_h1c
except ImportError:  # it comes as source, and not everyone has a compiler: then all go the long way
    gunicorn_h1c = None
CHUNK_BYTES = 64 * 2**10  # bytes of one read
MAX_UNSENT_BYTES = 64 * 2**20  # bytes of answers that wait in a process for clients to read them


class ConnectionTimeoutError(BaseException):
    """A request took longer than it may; no error of the application's, which could answer it."""


class ServerConnection:
    """One client's.

    Args:
        worker: whose it is.
        client: its socket.
        address: of the client, host and port.
        server: the address it came to, likewise.

    Attributes:
        greenlet: that serves it.
        phase_started_at: When its request, or its wait for one, began, or while it lingers, when bytes last
            came; on `perf_counter`'s clock, in seconds.
        is_busy: Whether a request's head has been read, and it is not answered yet, or its answer is
            not sent.
        is_reading_head: Whether a head, or a TLS handshake, has begun and is not complete.
        is_late: Whether its request has been told that its time is up.
        has_answered: its answer is on its way: nothing else may be sent.
        lingers_since: When, on the same clock, it began to throw away what its client still sends
            though it has its answer: the rest of the body, or all until it closes; else None.
        environ: of the request.
        input: The body of its request; None until its head is complete.
        request: The request, if gunicorn's parser in Python read it; else None.
    """

    def __init__(self, worker: Any, client: Any, address: Any, server: Any) -> None:
        self.greenlet = gevent.getcurrent()
        self.phase_started_at, self.is_busy, self.has_answered = perf_counter(), False, False
        self.is_reading_head, self.has_timed_out = worker.cfg.is_ssl, False
        self.lingering_since: float | None = None
        self.environ: dict[str, Any] = {}
        self.request: Any = None
        self.body: SizedBody | ChunkedBody | None = None
        self._worker, self._client = worker, client
        self._client_address, self._server_address = address, server
        self._tls = worker.cfg.is_ssl
        self._base_environ = build_base_environ(worker.cfg, client, address, server)
        self._read_watcher = None if self._tls else get_hub().loop.io(client.fileno(), 1)
        self._response_head = ""

    def serve(self) -> None:
        """Answer until either side has enough.

        Raises:
            TimeUpError: thrown in by the worker.
            OSError: the client is gone.
            Exception: gunicorn's, of a request it refuses; and what the application raises.
        """
        data: bytes | None = b""
        try:
            while data is not None:
                self.phase_started_at, self.is_busy, self.has_answered = (
                    perf_counter(),
                    False,
                    False,
                )
                self.environ, self.body, self.is_reading_head = {}, None, False
                data = self._answer_next_request(data)
        finally:
            if self._read_watcher is not None:
                self._read_watcher.close()

    def linger(self) -> None:
        """Wait until the client closes, if an answer was sent to it and it may still be sending.

        Raises:
            OSError: If the client is gone.
        """
        body = self.body
        if self.has_answered and (body is None or not body.is_complete or self.has_unread_bytes()):
            self._start_lingering()
            drain_until_close(self._client, self._record_progress)

    def _discard_body(self, body: SizedBody | ChunkedBody) -> bool:
        """Read what the answer did not need of a body; return whether all of it has come."""
        if not body.is_complete:
            self._start_lingering()
            body.discard(self._record_progress)
            self.lingering_since = None
        return body.is_complete

    def _start_lingering(self) -> None:
        self.is_busy = False
        self.lingering_since = self.phase_started_at = perf_counter()

    def _record_progress(self) -> None:
        self.phase_started_at = perf_counter()

    def has_unread_bytes(self) -> bool:
        """Return whether bytes of the client, or its end, wait to be read."""
        return is_readable(self._client.fileno())

    def _answer_next_request(self, data: bytes) -> bytes | None:
        """Answer one request that begins with `data`; what came after it, None to close."""
        if data:
            yield_to_loop()  # a client that sends many at once has to wait for others, too
        else:
            data = self._receive_bytes()
            if not data:
                return None
        seen = 0
        while True:
            if gunicorn_h1c is None:
                return self._answer_through_gunicorn(data)
            try:
                head = gunicorn_h1c.parse_request(data, last_len=seen, **self._worker.parser_limits)
                break
            except gunicorn_h1c.IncompleteError:
                self._start_reading_head()
                if len(data) > CHUNK_BYTES or not (more := self._receive_bytes()):
                    return self._answer_through_gunicorn(data)
                seen, data = len(data), data + more
            except (gunicorn_h1c.ParseError, ValueError):
                return self._answer_through_gunicorn(data)
        environ = build_environ(head, data, self._base_environ)
        if environ is None:
            return self._answer_through_gunicorn(data)
        self.phase_started_at, self.is_busy = perf_counter(), True
        return self._answer_directly(environ, data[head["consumed"] :])

    def _start_reading_head(self) -> None:
        if not self.is_reading_head:
            self.phase_started_at, self.is_reading_head = perf_counter(), True

    def _receive_bytes(self) -> bytes:
        """What comes next, after whoever is ready now had a turn."""
        if self._read_watcher is not None:
            # Not tried before: most often there is nothing yet, and where there is, a client that
            # is never idle would keep the loop to itself.
            self._read_watcher.start(self.greenlet.switch)
            try:
                get_hub().switch()
            finally:
                self._read_watcher.stop()
        else:
            yield_to_loop()  # what TLS has read already makes no socket ready
        data: bytes = self._client.recv(CHUNK_BYTES)
        return data

    def _answer_directly(self, environ: dict[str, Any], rest: bytes) -> bytes | None:
        length = int(environ["CONTENT_LENGTH"])
        environ["wsgi.input"] = self.body = body = SizedBody(self._client, rest, length)
        self.environ = environ
        parts = self._worker.wsgi(environ, self._start_response)
        try:
            content = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        # The first question answers for nearly all requests.
        stays = (body.missing_bytes == 0 or body.can_be_discarded) and (
            self._worker.alive and not self.has_timed_out
        )
        head = (
            f"HTTP/1.1 {self._response_head}Server: gunicorn\r\nDate: {_format_date()}\r\n"
            f"Connection: {'keep-alive' if stays else 'close'}\r\n\r\n"
        )
        self._send_response(environ, head.encode("latin-1"), content)
        return (
            body.following_bytes
            if stays and (body.missing_bytes == 0 or self._discard_body(body))
            else None
        )

    def _send_response(self, environ: dict[str, Any], head: bytes, content: bytes) -> None:
        """Answer; a client that does not read is let go when too much waits for such as it.

        Raises:
            OSError: the client is gone, or was let go.
        """
        self.has_answered = True
        if (finish := environ.get(FINISH_KEY)) is not None:
            finish()
        if len(content) <= CHUNK_BYTES:  # most answers: in one packet
            head, content = head + content, b""
        sent = self._client.send(head)
        if sent == len(head) and not content:
            return
        left = len(head) - sent + len(content)
        if self._worker.unsent_bytes + left > MAX_UNSENT_BYTES:
            raise ConnectionAbortedError(errno.ECONNABORTED, "too much is unsent")
        self._worker.unsent_bytes += left
        try:
            self._client.sendall(memoryview(head)[sent:])
            self._client.sendall(content)
        finally:
            self._worker.unsent_bytes -= left

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], _error: Any = None
    ) -> Callable[[bytes], None]:
        """WSGI's; the response is written whole, once it is whole."""
        head = f"{status}\r\n" + "".join([f"{name}: {value}\r\n" for name, value in headers])
        if head.count("\n") != len(headers) + 1 or head.count("\r") != len(headers) + 1:
            raise ValueError(f"expected headers of a line each; got {headers!r}")
        self._response_head = head
        return _refuse_write

    def _answer_through_gunicorn(self, data: bytes) -> bytes | None:
        """Answer a request as gunicorn does."""
        worker, client = self._worker, self._client
        self._start_reading_head()
        self.request = None
        unreader = SocketUnreader(client)
        unreader.unread(data)
        self.request = request = http.Request(worker.cfg, unreader, self._client_address)
        require_valid_host(request)
        self.phase_started_at, self.is_busy, self.is_reading_head = perf_counter(), True, False
        awaits_continue = request._expected_100_continue
        request._expected_100_continue = False  # told when the body is first read
        body: SizedBody | ChunkedBody
        if isinstance(request.body.reader, ChunkedReader):
            body = ChunkedBody(client, request.body, unreader, awaits_continue=awaits_continue)
        else:
            begun = unreader.take_buffered()
            length = request.body.reader.length
            body = SizedBody(client, begun, length, awaits_continue=awaits_continue)
        self.body = request.body = body
        response, environ = wsgi.create(
            request, client, self._client_address, self._server_address, worker.cfg
        )
        normalize_path_info(environ)
        environ.update({"wsgi.multithread": True, WORKER_KEY: True})
        environ.pop("HTTP_UPGRADE", None)  # nothing is upgraded here; Flask would refuse WebSocket
        self.environ = environ
        response.sock = answer = _ResponseBuffer()
        parts = worker.wsgi(environ, response.start_response)
        try:
            if (
                not (worker.alive and body.can_be_discarded)
                or self.has_timed_out
                or has_close_option(request)
            ):
                response.force_close()
            for part in parts:
                response.write(part)
            response.close()
        finally:
            if hasattr(parts, "close"):
                parts.close()
        self._send_response(environ, b"", bytes(answer))
        if response.should_close() or not self._discard_body(body):
            return None
        return body.following_bytes


class _ResponseBuffer(bytearray):
    """What gunicorn would send in several parts: here it goes at once, after it is counted."""

    sendall = bytearray.extend


_cached_date: tuple[int, str] = (0, "")


def _format_date() -> str:
    """The time as HTTP writes it; formatted once a second."""
    global _cached_date  # noqa: PLW0603
    second = int(time())
    if _cached_date[0] != second:
        _cached_date = second, util.http_date(second)
    return _cached_date[1]


def _refuse_write(_data: bytes) -> None:
    raise NotImplementedError("expected an application that returns its body; it wrote it instead")
