"""Limits on how long clients can occupy a worker, tested on one worker in this process."""

import errno
import fcntl
import logging
import os
import select
import struct
import termios
from contextlib import suppress
from http.client import HTTPResponse
from types import SimpleNamespace

import gevent
import gevent.event
import gevent.socket
import gevent.ssl
import pytest
from gunicorn.config import Config
from gunicorn.workers.ggevent import GeventWorker

from serving.errors import ServingError
from serving.http.components import SharedResources
from serving.server import connection, gunicorn_conf, tls, worker
from serving.server.request_body import MAX_LINGER_SECONDS, MAX_SILENT_SECONDS
from serving.telemetry.shared_counters import SharedCounters
from tests.processes import HANG_SECONDS

CHECK_SECONDS = 0.02  # between two checks of all connections
GRACE = 0.3  # seconds
DEFAULT_GRACE_SECONDS = worker.GRACE_SECONDS


class Clock:
    """A clock that advances by one microsecond at each reading, and otherwise only by a test."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        self.seconds += 1e-6
        return self.seconds


class WorkerHarness:
    """A worker connected to clients by socket pairs, with a clock that a test advances."""

    def __init__(self, monkeypatch):
        self.clock = Clock()
        for module in (connection, worker):
            monkeypatch.setattr(module, "perf_counter", self.clock)
        self.timers, self.clients, self.greenlets = [], [], []
        self.cfg = Config()
        # Timers are collected, since otherwise they would go on firing in later tests.
        loop = SimpleNamespace(timer=self._timer)
        monkeypatch.setattr(worker, "get_hub", lambda: SimpleNamespace(loop=loop))
        monkeypatch.setattr(worker, "CHECK_INTERVAL_SECONDS", CHECK_SECONDS)
        monkeypatch.setattr(worker, "GRACE_SECONDS", GRACE)
        monkeypatch.setattr(GeventWorker, "run", lambda _: None)
        self.worker = worker.Worker(
            1, os.getppid(), [], None, 30, self.cfg, logging.getLogger("worker")
        )
        self.worker.shared = SharedResources(SharedCounters())

    def _timer(self, *seconds):
        self.timers.append(gevent.get_hub().loop.timer(*seconds))
        return self.timers[-1]

    def serve(self, application, **settings):
        for name, value in settings.items():
            self.cfg.settings[name].value = value
        self.worker.wsgi = application
        self.worker.worker_connections = self.cfg.worker_connections
        self.worker.run()

    def connect(self, *, wrap=lambda server: server):
        """Return a new client, after the worker has registered its connection."""
        client, server = gevent.socket.socketpair()
        client.settimeout(HANG_SECONDS)
        self.clients.append(client)
        listener = SimpleNamespace(getsockname=lambda: ("127.0.0.1", 2))
        self.greenlets.append(
            gevent.spawn(self.worker.handle, listener, wrap(server), ("127.0.0.1", 1))
        )
        gevent.sleep(0)
        return client

    def wait(self, seconds):
        """Advance the clock, and let the worker check its connections."""
        self.clock.seconds += seconds
        gevent.sleep(3 * CHECK_SECONDS)

    def close(self):
        for timer in self.timers:
            timer.close()
        gevent.killall(self.greenlets)
        for client in self.clients:
            client.close()
        self.worker.tmp.close()


@pytest.fixture
def harness(monkeypatch):
    harness = WorkerHarness(monkeypatch)
    yield harness
    harness.close()


def answer_bytes(environ, start_response):
    """Application that answers with the number of bytes that the path names."""
    content = bytes(int(environ["PATH_INFO"][1:]))
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


def send(client, content):
    """Send bytes, and let the worker read them before the clock is advanced."""
    client.sendall(content)
    with gevent.Timeout(HANG_SECONDS):
        while has_unread_bytes(client):
            gevent.sleep(CHECK_SECONDS / 10)
    gevent.sleep(CHECK_SECONDS / 2)


def has_unread_bytes(client):
    """Return whether the other end of a socket pair has not read all bytes (unix(7), SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4)))
    return count > 0


def send_request(client, size=1):
    send(client, b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % size)


def read_answer(client):
    """Return the length of the answer in bytes, and whether the connection is kept."""
    response = HTTPResponse(client, method="POST")
    response.begin()
    return len(response.read()), response.headers["Connection"] == "keep-alive"


def is_closed(client):
    """Return whether the server has closed the connection; all answers must have been read."""
    return bool(select.select([client.fileno()], [], [], 0)[0])


@pytest.mark.parametrize(
    ("name", "is_logged"),
    [
        ("EPIPE", False),
        ("ECONNRESET", False),
        ("ENOTCONN", False),
        ("EBADF", False),
        ("ECONNABORTED", False),
        ("EIO", True),
        ("ENOMEM", True),
    ],
)
def test_worker_socket_error_is_logged_unless_the_client_is_gone(name, is_logged, harness, caplog):
    harness.serve(answer_bytes)

    class FailingSocket:
        def __init__(self, server):
            self.server = server

        def __getattr__(self, attribute):
            return getattr(self.server, attribute)

        def sendall(self, *_):
            raise OSError(getattr(errno, name), name)

        send = sendmsg = sendall

    client = harness.connect(wrap=FailingSocket)
    send_request(client)
    gevent.joinall(harness.greenlets, timeout=HANG_SECONDS)
    assert ("socket error" in caplog.text) == is_logged


def test_connection_application_calls_write_answers_500_without_its_bytes(harness):
    def write(environ, start_response):
        start_response("200 OK", [("Content-Length", "7")])(b"written")
        return []

    harness.serve(write)
    client = harness.connect()
    send_request(client)
    answer = client.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"written" not in answer


def test_connection_too_many_unsent_bytes_closes_the_client_that_exceeds_them(harness, monkeypatch):
    size = 2**20
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", size * 3 // 2)
    harness.serve(answer_bytes)
    slow, rejected, other = (harness.connect() for _ in range(3))
    send_request(slow, size)
    unsent = harness.worker.unsent_bytes
    assert size // 2 < unsent <= size
    send_request(rejected, size)
    # The second was closed and is not counted any more.
    assert harness.worker.unsent_bytes == unsent
    received = b"".join(iter(lambda: rejected.recv(size), b""))
    assert len(received) < size
    send_request(other)  # other clients are not affected
    assert read_answer(other) == (1, True)
    assert read_answer(slow) == (size, True)
    assert harness.worker.unsent_bytes == 0
    send_request(slow)
    assert read_answer(slow) == (1, True)


def test_worker_full_closes_longest_idle_connections(harness):
    finish = gevent.event.Event()

    def slow(environ, start_response):
        if environ["PATH_INFO"] == "/2":
            finish.wait()
        return answer_bytes(environ, start_response)

    harness.serve(slow, worker_connections=20)
    busy = harness.connect()
    send_request(busy, 2)
    idle = [harness.connect() for _ in range(18)]
    send_request(idle[0])
    # From now on it has been idle for a shorter time than the others.
    assert read_answer(idle[0]) == (1, True)
    gevent.sleep(3 * CHECK_SECONDS)
    assert not any(map(is_closed, [busy, *idle]))  # the worker is not full
    newest = harness.connect()
    gevent.sleep(3 * CHECK_SECONDS)
    assert [place for place, client in enumerate(idle) if is_closed(client)] == [1, 2]
    finish.set()
    assert read_answer(busy) == (2, True)
    send_request(newest)
    assert read_answer(newest) == (1, True)


@pytest.mark.parametrize("limit", [1, 9])
def test_worker_full_with_few_connections_closes_one(limit, harness):
    harness.serve(answer_bytes, worker_connections=limit)
    idle = [harness.connect() for _ in range(limit)]
    assert idle[0].recv(1) == b""


def test_evict_idle_connections_request_has_arrived_keeps_connection(harness):
    harness.serve(answer_bytes)
    asking, idle = harness.connect(), harness.connect()
    asking.sendall(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")  # not yet read
    evicted = []
    # In the hub, where the event loop calls it, and before any connection reads.
    gevent.get_hub().loop.run_callback(
        lambda: evicted.append(harness.worker.evict_idle_connections(2, "descriptors", 0.0))
    )
    assert idle.recv(1) == b""
    assert evicted == [1]
    assert read_answer(asking) == (1, True)


def test_worker_tls_handshake_incomplete_times_out(harness, monkeypatch):
    # gunicorn's worker patches the library in the same way.
    monkeypatch.setattr(worker, "ssl", gevent.ssl)
    monkeypatch.setattr(tls, "ssl", gevent.ssl)
    harness.serve(answer_bytes, certfile="cert.pem")
    harness.worker.request_seconds = 0.2
    context = gunicorn_conf.ssl_context(
        None, lambda: gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    )

    def wrap(server):
        # So that only the worker can end the handshake in time.
        server.settimeout(10 * HANG_SECONDS)
        return context.wrap_socket(server, server_side=True)

    silent, halfway = harness.connect(wrap=wrap), harness.connect(wrap=wrap)
    halfway.sendall(b"\x16\x03\x01")  # first bytes of a TLS record
    harness.wait(0.1)
    assert not any(map(is_closed, [silent, halfway]))
    harness.wait(0.1)
    assert [silent.recv(1), halfway.recv(1)] == [b"", b""]
    assert not harness.worker.connections


def test_worker_stopped_answers_request_within_grace(harness):
    harness.serve(answer_bytes)
    late, never = harness.connect(), harness.connect()
    harness.wait(GRACE)  # both have been idle for this long
    harness.worker.alive = False
    harness.wait(0)  # it notices that it has to stop
    harness.wait(GRACE / 2)
    send_request(late)
    assert read_answer(late) == (1, False)
    assert late.recv(1) == b""
    assert not is_closed(never)
    harness.wait(GRACE / 2)
    assert never.recv(1) == b""


def test_worker_stopped_answer_has_connection_close(harness):
    harness.serve(answer_bytes)
    plain, unusual = harness.connect(), harness.connect()
    harness.worker.alive = False
    send_request(plain)
    assert read_answer(plain) == (1, False)
    unusual.sendall(b"POST /1 HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n")
    assert read_answer(unusual) == (1, False)


def test_worker_stopped_new_connection_gets_its_own_grace(harness):
    harness.serve(answer_bytes)
    harness.worker.alive = False
    harness.wait(0)
    harness.wait(10 * GRACE)
    late = harness.connect()  # accepted long after the worker was stopped
    harness.wait(0.9 * GRACE)
    assert not is_closed(late)
    harness.wait(0.1 * GRACE)
    assert late.recv(1) == b""


def test_grace_seconds_default_is_one_second():
    # The value in the docs; `WorkerHarness` uses a shorter one.
    assert DEFAULT_GRACE_SECONDS == 1.0


def test_keep_alive_idle_connection_is_closed_after_its_seconds(harness):
    harness.serve(answer_bytes, keepalive=600)
    used, unused = harness.connect(), harness.connect()
    send_request(used)
    assert read_answer(used) == (1, True)
    harness.wait(599)
    assert not any(map(is_closed, [used, unused]))
    send_request(used)
    assert read_answer(used) == (1, True)  # which restarts its idle time
    harness.wait(1)
    assert unused.recv(1) == b""
    assert not is_closed(used)
    harness.wait(599)
    assert used.recv(1) == b""


HEAD = b"POST /1 HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("keepalive", [600, 5])
def test_request_seconds_head_incomplete_answers_408(keepalive, harness):
    harness.serve(answer_bytes, keepalive=keepalive)
    slow, unusual = harness.connect(), harness.connect()
    harness.wait(keepalive - 1)  # idle time, which does not count
    send(slow, HEAD)
    send(unusual, b"GET /1 HTTP/1.1\r\nHost: x\r\n")
    harness.wait(harness.worker.request_seconds - 1)
    assert not any(map(is_closed, [slow, unusual]))
    harness.wait(1)
    for client in (slow, unusual):
        assert read_last_answer(client) == (408, "close")


def read_last_answer(client):
    """Return status and `Connection` header of an answer after which the server closes."""
    response = HTTPResponse(client, method="POST")
    response.begin()
    response.read()
    assert client.recv(1) == b""
    return response.status, response.headers["Connection"]


BODY = {
    "a length": b"Content-Length: 5\r\n\r\n",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
}


def read_body_then_block(environ, start_response):
    """Application that reads its body, and then never answers."""
    while environ["wsgi.input"].read(100):
        pass
    gevent.event.Event().wait()
    return answer_bytes(environ, start_response)


@pytest.mark.parametrize("framing", BODY)
def test_request_seconds_body_complete_answers_504_and_incomplete_408(framing, harness):
    harness.serve(read_body_then_block)
    complete, incomplete = harness.connect(), harness.connect()
    end = b"\r\n0\r\n\r\n" if framing == "chunks" else b""
    send(complete, HEAD + BODY[framing] + b"12345" + end)
    send(incomplete, HEAD + BODY[framing] + b"123")
    harness.wait(harness.worker.request_seconds - 1)
    assert not any(map(is_closed, [complete, incomplete]))
    harness.wait(1)
    assert read_last_answer(complete) == (504, "close")
    assert read_last_answer(incomplete) == (408, "close")


def test_request_seconds_application_catches_error_sends_its_own_answer(harness):
    def catch_error(environ, start_response):
        try:
            gevent.event.Event().wait()
        except ServingError as error:
            start_response(f"{error.status} Late", [("Content-Length", "0")])
        return []

    harness.serve(catch_error)
    clients = [harness.connect(), harness.connect()]
    send(clients[0], HEAD + b"Content-Length: 0\r\n\r\n")
    send(clients[1], HEAD + b"TE: trailers\r\nContent-Length: 0\r\n\r\n")
    harness.wait(harness.worker.request_seconds)
    assert [read_last_answer(client) for client in clients] == [(504, "close")] * 2


def test_request_seconds_application_ignores_error_worker_answers_504(harness):
    def ignore_errors(environ, start_response):
        while True:
            with suppress(ServingError):
                gevent.event.Event().wait()

    harness.serve(ignore_errors)
    client = harness.connect()
    send(client, HEAD + b"Content-Length: 0\r\n\r\n")
    harness.wait(harness.worker.request_seconds)
    assert not is_closed(client)
    harness.wait(GRACE)
    assert read_last_answer(client) == (504, "close")


def test_request_seconds_client_does_not_read_answer_is_cut_off_without_a_second_answer(harness):
    size = 4 * 2**20
    harness.serve(answer_bytes)
    client = harness.connect()
    send_request(client, size)
    harness.wait(harness.worker.request_seconds)
    received = b"".join(iter(lambda: client.recv(size), b""))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.count(b"HTTP/1.1") == 1
    assert len(received) < size


def start_lingering_client(harness, *, unread=2**21):
    """Return a client that has received its answer before it has sent its body."""
    client = harness.connect()
    send(client, HEAD + b"Content-Length: %d\r\n\r\n" % unread)
    response = HTTPResponse(client, method="POST")
    response.begin()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert len(response.read()) == 1
    assert client.recv(1) == b""  # only the server's sending side is closed
    return client


def test_linger_client_keeps_sending_is_not_reset(harness):
    harness.serve(answer_bytes)
    client = start_lingering_client(harness)
    for _ in range(100):
        client.sendall(bytes(2**14))
        gevent.sleep(0)
    assert len(harness.worker.connections) == 1
    client.close()
    gevent.sleep(CHECK_SECONDS)
    assert not harness.worker.connections


def test_linger_client_sends_too_many_bytes_closes(harness, monkeypatch):
    monkeypatch.setattr("serving.server.request_body.MAX_LINGER_BYTES", 2**18)
    harness.serve(answer_bytes)
    client = start_lingering_client(harness)
    client.sendall(bytes(2**17))
    gevent.sleep(CHECK_SECONDS)
    assert len(harness.worker.connections) == 1
    with suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(bytes(2**18))
    gevent.sleep(CHECK_SECONDS)
    assert not harness.worker.connections


def test_linger_client_is_silent_closes(harness):
    harness.serve(answer_bytes, keepalive=600)
    client = start_lingering_client(harness)
    harness.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"12345")
    harness.wait(MAX_SILENT_SECONDS - 1)
    assert len(harness.worker.connections) == 1
    harness.wait(1)
    assert not harness.worker.connections


def test_linger_client_keeps_sending_closes_after_max_linger_seconds(harness, monkeypatch):
    assert MAX_LINGER_SECONDS == 30.0  # the value in the docs
    monkeypatch.setattr(worker, "MAX_LINGER_SECONDS", MAX_SILENT_SECONDS + 2)
    harness.serve(answer_bytes, keepalive=600)
    client = start_lingering_client(harness)
    harness.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"12345")
    harness.wait(2)
    assert len(harness.worker.connections) == 1
    harness.wait(1)
    assert not harness.worker.connections


def test_linger_worker_stopped_closes_before_idle_connections(harness):
    harness.serve(answer_bytes)
    start_lingering_client(harness)
    idle = harness.connect()
    harness.wait(2 * GRACE)
    assert len(harness.worker.connections) == 2
    harness.worker.alive = False
    harness.wait(0)
    assert len(harness.worker.connections) == 1
    assert not is_closed(idle)
    harness.wait(GRACE)
    assert idle.recv(1) == b""


def test_evict_idle_connections_lingering_go_first(harness):
    harness.serve(answer_bytes)
    idle = [harness.connect() for _ in range(3)]
    start_lingering_client(harness)
    evicted = []

    def evict():
        # In the hub, where the event loop calls it.
        gevent.get_hub().loop.run_callback(
            lambda: evicted.append(harness.worker.evict_idle_connections(1, "connections", 0.0))
        )
        gevent.sleep(CHECK_SECONDS)

    evict()
    assert evicted == [1]
    assert not any(map(is_closed, idle))
    assert len(harness.worker.connections) == 3
    evict()
    assert evicted == [1, 1]
    assert is_closed(idle[0])


def answer_before_body(harness, head=HEAD):
    """Return a client whose answer came before its body, which is small enough to be discarded."""
    client = harness.connect()
    send(client, head + b"Content-Length: 5\r\n\r\n1")
    assert read_answer(client) == (1, True)
    return client


# The first is read by the parser in C, the second by the parser in Python.
HEADS = [HEAD, HEAD + b"TE: trailers\r\n"]


@pytest.mark.parametrize("head", HEADS)
def test_early_answer_rest_of_body_arrives_keeps_connection(head, harness):
    harness.serve(answer_bytes, keepalive=600)
    client = answer_before_body(harness, head)
    harness.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"234")
    harness.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"5")
    harness.wait(599)  # idle from now on
    send_request(client)
    assert read_answer(client) == (1, True)


@pytest.mark.parametrize("head", HEADS)
def test_early_answer_rest_of_body_does_not_arrive_closes(head, harness):
    harness.serve(answer_bytes, keepalive=600)
    client = answer_before_body(harness, head)
    harness.wait(MAX_SILENT_SECONDS - 1)
    assert not is_closed(client)
    harness.wait(1)
    assert client.recv(1) == b""


def test_early_answer_worker_stopped_does_not_wait_for_rest_of_body(harness):
    harness.serve(answer_bytes)
    answer_before_body(harness)
    harness.worker.alive = False
    harness.wait(0)
    harness.wait(GRACE)
    assert not harness.worker.connections


def test_evict_idle_connections_rest_of_body_missing_goes_first(harness):
    harness.serve(answer_bytes)
    idle, client = harness.connect(), answer_before_body(harness)
    evicted = []
    gevent.get_hub().loop.run_callback(
        lambda: evicted.append(harness.worker.evict_idle_connections(1, "connections", 0.0))
    )
    gevent.sleep(CHECK_SECONDS)
    assert evicted == [1]
    assert client.recv(1) == b""
    assert not is_closed(idle)
