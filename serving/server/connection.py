"""One client connection: reads its requests one after the other, and sends the responses.

A request that `request_head` accepts is served directly: gunicorn's parser in C, a WSGI environ,
the application, one send. Every other request goes through gunicorn: its parser in Python reads it,
and its response object formats the response. The application sees no difference.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent
from gevent import get_hub
from gunicorn import http
from gunicorn.http import wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import SocketUnreader

from serving.call_context import CONTEXT_KEY, CallContext
from serving.event_loop import EV_READ, is_readable, yield_to_loop
from serving.server.request_body import ChunkedBody, SizedBody, drain_until_close
from serving.server.request_head import (
    build_base_environ,
    build_environ,
    has_close_option,
    normalize_path_info,
    require_valid_host,
)
from serving.server.responses import ResponseBuffer, refuse_write

try:
    import gunicorn_h1c
except ImportError:  # it is compiled when it is installed, and not every machine has a compiler
    gunicorn_h1c = None

CHUNK_BYTES = 64 * 2**10  # size of one read; also the largest body that is sent with its head
MAX_UNSENT_BYTES = 64 * 2**20  # responses that slow clients have not read yet, in one process


class ConnectionTimeoutError(BaseException):
    """The request or the connection has taken too long.

    It is not an `Exception`, so that the application does not catch it and send a response.
    """


class ServerConnection:
    """The server's side of one client connection.

    Args:
        worker: gunicorn worker that owns this connection.
        client: Socket of the connection.
        address: Address of the client: host and port, or the name of a Unix socket.
        server: Address of the listening socket: host and port, or the name of a Unix socket.

    Attributes:
        greenlet: Greenlet that serves this connection.
        phase_started_at: Time at which the current request, or the wait for the next one, began;
            during a lingering close the time of the client's last byte. In seconds of
            `perf_counter`.
        is_busy: Whether the head of a request has been read and its response is not sent yet.
        is_reading_head: Whether a head, or the TLS handshake, has begun and is not complete.
        has_timed_out: Whether the worker has raised a timeout in the current request.
        has_answered: Whether sending the response has begun, so that nothing else may be sent.
        lingering_since: Time at which the server began to discard bytes that the client sends after
            the response, in seconds of `perf_counter`; None at other times.
        context: Context of the current request; None until its head is complete.
        body: Body of the current request; None until its head is complete.
        request: gunicorn's request object if its Python parser read the request; else None.
    """

    def __init__(self, worker: Any, client: Any, address: Any, server: Any) -> None:
        self.greenlet = gevent.getcurrent()
        self.phase_started_at, self.is_busy, self.has_answered = perf_counter(), False, False
        self.is_reading_head, self.has_timed_out = worker.cfg.is_ssl, False
        self.lingering_since: float | None = None
        self.context: CallContext | None = None
        self.request: Any = None
        self.body: SizedBody | ChunkedBody | None = None
        self._worker, self._client = worker, client
        self._client_address, self._server_address = address, server
        self._base_environ = build_base_environ(worker.cfg, client, address, server)
        # With TLS, bytes may be buffered already when the socket is not readable.
        is_tls = worker.cfg.is_ssl
        self._read_watcher = None if is_tls else get_hub().loop.io(client.fileno(), EV_READ)
        self._response_head = ""

    def serve(self) -> None:
        """Serve requests until the client or the server ends the connection.

        Raises:
            ConnectionTimeoutError: If the worker ends the connection, by raising it here.
            OSError: If the client has disconnected.
            Exception: If gunicorn refuses a request, or the application fails.
        """
        data: bytes | None = b""
        try:
            while data is not None:
                self.phase_started_at, self.is_busy, self.has_answered = (
                    perf_counter(),
                    False,
                    False,
                )
                self.context = self.body = self.request = None
                self.is_reading_head = False
                data = self._answer_next_request(data)
        finally:
            if self._read_watcher is not None:
                self._read_watcher.close()

    def linger(self) -> None:
        """Wait until the client closes, if it may still be sending after the response.

        Raises:
            OSError: If the client has disconnected.
        """
        body = self.body
        if self.has_answered and (body is None or not body.is_complete or self.has_unread_bytes()):
            self._start_lingering()
            drain_until_close(self._client, self._record_progress)

    def _discard_body(self, body: SizedBody | ChunkedBody) -> bool:
        """Discard the unread rest of a body; return whether the whole body has arrived."""
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
        """Return whether the client has sent bytes, or closed, that the server has not read."""
        return is_readable(self._client.fileno())

    def _answer_next_request(self, data: bytes) -> bytes | None:
        """Read one request and send its response.

        Args:
            data: Bytes of the request that were read with the request before; may be empty.

        Returns:
            Bytes that were read beyond the request; None if the connection is to be closed.
        """
        if data:
            # The client has sent several requests at once: serve other clients in between.
            yield_to_loop()
        else:
            data = self._receive_bytes()
            if not data:
                return None
        parsed_length = 0
        while True:
            if gunicorn_h1c is None:
                return self._answer_through_gunicorn(data)
            try:
                head = gunicorn_h1c.parse_request(
                    data, last_len=parsed_length, **self._worker.parser_limits
                )
                break
            except gunicorn_h1c.IncompleteError:
                self._start_reading_head()
                if len(data) > CHUNK_BYTES or not (more := self._receive_bytes()):
                    return self._answer_through_gunicorn(data)
                parsed_length, data = len(data), data + more
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
        """Return the next bytes of the client, after other connections have been served."""
        if self._read_watcher is not None:
            # Always wait for the event loop instead of trying to read first. Mostly there is
            # nothing to read yet, and a client that never stops sending would block the loop.
            self._read_watcher.start(self.greenlet.switch)
            try:
                get_hub().switch()
            finally:
                self._read_watcher.stop()
        else:
            yield_to_loop()  # bytes that TLS has decrypted already do not make the socket readable
        data: bytes = self._client.recv(CHUNK_BYTES)
        return data

    def _answer_directly(self, environ: dict[str, Any], rest: bytes) -> bytes | None:
        """Serve a request without gunicorn's request and response objects.

        Args:
            environ: Result of `build_environ`.
            rest: Bytes that were read beyond the head.

        Returns:
            Bytes that were read beyond the request; None if the connection is to be closed.
        """
        length = int(environ["CONTENT_LENGTH"])
        environ["wsgi.input"] = self.body = body = SizedBody(self._client, rest, length)
        context = self._create_context(environ)
        parts = self._worker.wsgi(environ, self._start_response)
        try:
            content = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        # Comparing with 0 first is cheaper than `can_be_discarded`, and enough for nearly all.
        is_kept = (body.missing_bytes == 0 or body.can_be_discarded) and (
            self._worker.alive and not self.has_timed_out
        )
        date = self._worker.date_header.format()
        head = (
            f"HTTP/1.1 {self._response_head}Server: gunicorn\r\nDate: {date}\r\n"
            f"Connection: {'keep-alive' if is_kept else 'close'}\r\n\r\n"
        )
        self._send_response(context, head.encode("latin-1"), content)
        if is_kept and (body.missing_bytes == 0 or self._discard_body(body)):
            return body.following_bytes
        return None

    def _create_context(self, environ: dict[str, Any]) -> CallContext:
        """Create the context of the current request, which this connection and the application use.

        Args:
            environ: WSGI environ of the request.
        """
        context = CallContext(client_descriptor=self._client.fileno(), is_recorded_by_server=True)
        self.context = environ[CONTEXT_KEY] = context
        return context

    def _send_response(self, context: CallContext, head: bytes, content: bytes) -> None:
        """Have the request counted and logged, then send its response.

        The connection ends if the clients of this process read too slowly.

        Raises:
            OSError: If the client has disconnected, or too many bytes are unsent.
        """
        self.has_answered = True
        if (record := context.record) is not None:
            context.record = None  # breaks a reference cycle: it refers to the context
            record()
        if len(content) <= CHUNK_BYTES:  # send most responses in one packet
            head, content = head + content, b""
        sent = self._client.send(head)
        if sent == len(head) and not content:
            return
        unsent = len(head) - sent + len(content)
        if self._worker.unsent_bytes + unsent > MAX_UNSENT_BYTES:
            raise ConnectionAbortedError(errno.ECONNABORTED, "too many bytes are unsent")
        self._worker.unsent_bytes += unsent
        try:
            self._client.sendall(memoryview(head)[sent:])
            self._client.sendall(content)
        finally:
            self._worker.unsent_bytes -= unsent

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], _error: Any = None
    ) -> Callable[[bytes], None]:
        """Store status and headers until the body is complete (WSGI's `start_response`)."""
        head = f"{status}\r\n" + "".join([f"{name}: {value}\r\n" for name, value in headers])
        if head.count("\n") != len(headers) + 1 or head.count("\r") != len(headers) + 1:
            raise ValueError(f"expected headers without line breaks; got {headers!r}")
        self._response_head = head
        return refuse_write

    def _answer_through_gunicorn(self, data: bytes) -> bytes | None:
        """Serve a request with gunicorn's parser in Python and its response object.

        Args:
            data: Bytes of the request that have been read.

        Returns:
            Bytes that were read beyond the request; None if the connection is to be closed.
        """
        worker, client = self._worker, self._client
        self._start_reading_head()
        self.request = None
        unreader = SocketUnreader(client)
        unreader.unread(data)
        self.request = request = http.Request(worker.cfg, unreader, self._client_address)
        require_valid_host(request)
        self.phase_started_at, self.is_busy, self.is_reading_head = perf_counter(), True, False
        awaits_continue = request._expected_100_continue
        request._expected_100_continue = False  # the body sends it when it is first read
        body: SizedBody | ChunkedBody
        if isinstance(request.body.reader, ChunkedReader):
            body = ChunkedBody(client, request.body, unreader, awaits_continue=awaits_continue)
        else:
            buffered = unreader.take_buffered()
            length = request.body.reader.length
            body = SizedBody(client, buffered, length, awaits_continue=awaits_continue)
        self.body = request.body = body
        response, environ = wsgi.create(
            request, client, self._client_address, self._server_address, worker.cfg
        )
        normalize_path_info(environ)
        environ["wsgi.multithread"] = True
        # Nothing is upgraded here, and Flask would refuse a request for a WebSocket.
        environ.pop("HTTP_UPGRADE", None)
        context = self._create_context(environ)
        response.sock = answer = ResponseBuffer()
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
        self._send_response(context, b"", bytes(answer))
        if response.should_close() or not self._discard_body(body):
            return None
        return body.following_bytes
