"""The bounds on what clients can take of a worker: one in this process, its settings small."""

import errno
import logging
import os
import select
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
from serving.server import connection, gunicorn_conf, worker
from serving.server import tls as handshake
from serving.server.request_body import MAX_LINGER_SECONDS, MAX_SILENT_SECONDS
from tests.processes import HANG_SECONDS

LOOK = 0.02  # seconds
LINGER = 0.3  # seconds
REAL_LINGER = worker.GRACE_SECONDS


class Clock:
    """A clock that stands still but for a tick at each look, until a test moves it on."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        self.seconds += 1e-6
        return self.seconds


class Running:
    """A worker whose clients are the other ends of its sockets, and whose clock a test moves."""

    def __init__(self, monkeypatch):
        self.clock = Clock()
        for module in (connection, worker):
            monkeypatch.setattr(module, "perf_counter", self.clock)
        self.timers, self.clients, self.greenlets = [], [], []
        self.cfg = Config()
        # Not the hub's own: it would look after this worker in all tests that follow.
        loop = SimpleNamespace(timer=self._timer)
        monkeypatch.setattr(worker, "get_hub", lambda: SimpleNamespace(loop=loop))
        monkeypatch.setattr(worker, "CHECK_INTERVAL_SECONDS", LOOK)
        monkeypatch.setattr(worker, "GRACE_SECONDS", LINGER)
        monkeypatch.setattr(GeventWorker, "run", lambda _: None)
        self.worker = worker.Worker(
            1, os.getppid(), [], None, 30, self.cfg, logging.getLogger("worker")
        )

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
        """A new client, once its connection is looked after."""
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
        """Move the clock on, and let the worker look at its connections."""
        self.clock.seconds += seconds
        gevent.sleep(3 * LOOK)

    def close(self):
        for timer in self.timers:
            timer.close()
        gevent.killall(self.greenlets)
        for client in self.clients:
            client.close()
        self.worker.tmp.close()


@pytest.fixture
def running(monkeypatch):
    running = Running(monkeypatch)
    yield running
    running.close()


def echo(environ, start_response):
    """An application that answers with as many bytes as the path says."""
    content = bytes(int(environ["PATH_INFO"][1:]))
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


def send(client, content):
    """Send, and let the worker read it, before the clock is moved on."""
    client.sendall(content)
    gevent.sleep(LOOK / 2)


def ask(client, size=1):
    send(client, b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % size)


def answered(client):
    """Bytes of the answer, and whether the connection stays."""
    response = HTTPResponse(client, method="POST")
    response.begin()
    return len(response.read()), response.headers["Connection"] == "keep-alive"


def is_closed(client):
    """Whether it has been let go; what was sent to it has been read."""
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
def test_worker_socket_error_is_logged_unless_the_client_is_gone(name, is_logged, running, caplog):
    running.serve(echo)

    class Failing:
        def __init__(self, server):
            self.server = server

        def __getattr__(self, attribute):
            return getattr(self.server, attribute)

        def sendall(self, *_):
            raise OSError(getattr(errno, name), name)

        send = sendmsg = sendall

    client = running.connect(wrap=Failing)
    ask(client)
    gevent.joinall(running.greenlets, timeout=HANG_SECONDS)
    assert ("socket error" in caplog.text) == is_logged


def test_connection_application_that_writes_its_body_is_a_fault_and_nothing_of_it_is_sent(running):
    def write(environ, start_response):
        start_response("200 OK", [("Content-Length", "7")])(b"written")
        return []

    running.serve(write)
    client = running.connect()
    ask(client)
    answer = client.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"written" not in answer


def test_clients_that_read_nothing_are_let_go_when_too_much_waits_for_them(running, monkeypatch):
    size = 2**20
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", size * 3 // 2)
    running.serve(echo)
    patient, deaf, quick = (running.connect() for _ in range(3))
    ask(patient, size)
    waiting = running.worker.unsent
    assert size // 2 < waiting <= size
    ask(deaf, size)
    assert running.worker.unsent == waiting  # the second is gone, and counts no more
    got = b"".join(iter(lambda: deaf.recv(size), b""))
    assert len(got) < size
    ask(quick)  # others have not come to harm
    assert answered(quick) == (1, True)
    assert answered(patient) == (size, True)
    assert running.worker.unsent == 0
    ask(patient)
    assert answered(patient) == (1, True)


def test_in_a_full_pool_those_that_have_been_idle_for_longest_make_room(running):
    finish = gevent.event.Event()

    def slow(environ, start_response):
        if environ["PATH_INFO"] == "/2":
            finish.wait()
        return echo(environ, start_response)

    running.serve(slow, worker_connections=20)
    busy = running.connect()
    ask(busy, 2)
    idle = [running.connect() for _ in range(18)]
    ask(idle[0])
    assert answered(idle[0]) == (1, True)  # from now on it has been idle for less than the others
    gevent.sleep(3 * LOOK)
    assert not any(map(is_closed, [busy, *idle]))  # there is room
    newest = running.connect()
    gevent.sleep(3 * LOOK)
    assert [place for place, client in enumerate(idle) if is_closed(client)] == [1, 2]
    finish.set()
    assert answered(busy) == (2, True)
    ask(newest)
    assert answered(newest) == (1, True)


@pytest.mark.parametrize("limit", [1, 9])
def test_worker_full_with_few_connections_closes_one(limit, running):
    running.serve(echo, worker_connections=limit)
    idle = [running.connect() for _ in range(limit)]
    assert idle[0].recv(1) == b""


def test_evict_idle_request_has_arrived_keeps_connection(running):
    running.serve(echo)
    asking, idle = running.connect(), running.connect()
    asking.sendall(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")  # not yet read
    evicted = []
    # In the hub, as the loop calls it, and before any connection reads.
    gevent.get_hub().loop.run_callback(
        lambda: evicted.append(running.worker.evict_idle_connections(2, "descriptors", 0.0))
    )
    assert idle.recv(1) == b""
    assert evicted == [1]
    assert answered(asking) == (1, True)


def test_a_handshake_that_never_ends_is_given_up(running, monkeypatch):
    # As gunicorn's worker has it, which patches the library.
    monkeypatch.setattr(worker, "ssl", gevent.ssl)
    monkeypatch.setattr(handshake, "ssl", gevent.ssl)
    running.serve(echo, certfile="cert.pem")
    running.worker.request_seconds = 0.2
    context = gunicorn_conf.ssl_context(
        None, lambda: gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    )

    def wrap(server):
        server.settimeout(10 * HANG_SECONDS)  # no one else would end it in time
        return context.wrap_socket(server, server_side=True)

    silent, halfway = running.connect(wrap=wrap), running.connect(wrap=wrap)
    halfway.sendall(b"\x16\x03\x01")  # a record's first bytes
    running.wait(0.1)
    assert not any(map(is_closed, [silent, halfway]))
    running.wait(0.1)
    assert [silent.recv(1), halfway.recv(1)] == [b"", b""]
    assert not running.worker.connections


def test_after_the_stop_a_request_on_its_way_is_still_answered(running):
    running.serve(echo)
    late, never = running.connect(), running.connect()
    running.wait(LINGER)  # idle for so long already
    running.worker.alive = False
    running.wait(0)  # it sees that it is to stop
    running.wait(LINGER / 2)
    ask(late)
    assert answered(late) == (1, False)
    assert late.recv(1) == b""
    assert not is_closed(never)
    running.wait(LINGER / 2)
    assert never.recv(1) == b""


def test_worker_stopped_answer_on_a_new_request_says_that_it_closes(running):
    running.serve(echo)
    plain, unusual = running.connect(), running.connect()
    running.worker.alive = False
    ask(plain)
    assert answered(plain) == (1, False)
    unusual.sendall(b"POST /1 HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n")
    assert answered(unusual) == (1, False)


def test_worker_stopped_new_connection_has_linger_of_its_own(running):
    running.serve(echo)
    running.worker.alive = False
    running.wait(0)
    running.wait(10 * LINGER)
    late = running.connect()  # accepted by a worker that was told to stop long ago
    running.wait(0.9 * LINGER)
    assert not is_closed(late)
    running.wait(0.1 * LINGER)
    assert late.recv(1) == b""


def test_linger_of_a_real_worker_is_a_second():
    # As the docs have it; `Running` makes it shorter.
    assert REAL_LINGER == 1.0


def test_keep_alive_idle_connection_is_closed_after_it(running):
    running.serve(echo, keepalive=600)
    used, unused = running.connect(), running.connect()
    ask(used)
    assert answered(used) == (1, True)
    running.wait(599)
    assert not any(map(is_closed, [used, unused]))
    ask(used)
    assert answered(used) == (1, True)  # and its time begins anew
    running.wait(1)
    assert unused.recv(1) == b""
    assert not is_closed(used)
    running.wait(599)
    assert used.recv(1) == b""


HEAD = b"POST /1 HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("keepalive", [600, 5])
def test_head_that_is_never_complete_is_given_up_after_request_seconds(keepalive, running):
    running.serve(echo, keepalive=keepalive)
    slow, unusual = running.connect(), running.connect()
    running.wait(keepalive - 1)  # idle, which does not count
    send(slow, HEAD)
    send(unusual, b"GET /1 HTTP/1.1\r\nHost: x\r\n")
    running.wait(running.worker.request_seconds - 1)
    assert not any(map(is_closed, [slow, unusual]))
    running.wait(1)
    for client in (slow, unusual):
        assert answer_and_end(client) == (408, "close")


def answer_and_end(client):
    """Status and `Connection` of an answer, behind which the connection is closed."""
    response = HTTPResponse(client, method="POST")
    response.begin()
    response.read()
    assert client.recv(1) == b""
    return response.status, response.headers["Connection"]


BODY = {
    "a length": b"Content-Length: 5\r\n\r\n",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
}


def reading(environ, start_response):
    """An application that reads its body, and then takes for ever."""
    while environ["wsgi.input"].read(100):
        pass
    gevent.event.Event().wait()
    return echo(environ, start_response)


@pytest.mark.parametrize("framing", BODY)
def test_request_past_request_seconds_is_told_whose_fault_it_is(framing, running):
    running.serve(reading)
    complete, incomplete = running.connect(), running.connect()
    end = b"\r\n0\r\n\r\n" if framing == "chunks" else b""
    send(complete, HEAD + BODY[framing] + b"12345" + end)
    send(incomplete, HEAD + BODY[framing] + b"123")
    running.wait(running.worker.request_seconds - 1)
    assert not any(map(is_closed, [complete, incomplete]))
    running.wait(1)
    assert answer_and_end(complete) == (504, "close")
    assert answer_and_end(incomplete) == (408, "close")


def test_application_answers_for_itself_when_its_time_is_up(running):
    def telling(environ, start_response):
        try:
            gevent.event.Event().wait()
        except ServingError as error:
            start_response(f"{error.status} Late", [("Content-Length", "0")])
        return []

    running.serve(telling)
    clients = [running.connect(), running.connect()]
    send(clients[0], HEAD + b"Content-Length: 0\r\n\r\n")
    send(clients[1], HEAD + b"TE: trailers\r\nContent-Length: 0\r\n\r\n")
    running.wait(running.worker.request_seconds)
    assert [answer_and_end(client) for client in clients] == [(504, "close")] * 2


def test_application_that_does_not_heed_its_time_is_answered_for(running):
    def stubborn(environ, start_response):
        while True:
            with suppress(ServingError):
                gevent.event.Event().wait()

    running.serve(stubborn)
    client = running.connect()
    send(client, HEAD + b"Content-Length: 0\r\n\r\n")
    running.wait(running.worker.request_seconds)
    assert not is_closed(client)
    running.wait(LINGER)
    assert answer_and_end(client) == (504, "close")


def test_answer_that_a_client_does_not_read_is_broken_off_and_nothing_is_added(running):
    size = 4 * 2**20
    running.serve(echo)
    deaf = running.connect()
    ask(deaf, size)
    running.wait(running.worker.request_seconds)
    got = b"".join(iter(lambda: deaf.recv(size), b""))
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.count(b"HTTP/1.1") == 1
    assert len(got) < size


def lingering(running, *, unread=2**21):
    """A client that has its answer before it has sent its body."""
    client = running.connect()
    send(client, HEAD + b"Content-Length: %d\r\n\r\n" % unread)
    response = HTTPResponse(client, method="POST")
    response.begin()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert len(response.read()) == 1
    assert client.recv(1) == b""  # the sending side of the server is closed, and no more
    return client


def test_linger_client_that_sends_on_is_not_reset(running):
    running.serve(echo)
    client = lingering(running)
    for _ in range(100):
        client.sendall(bytes(2**14))
        gevent.sleep(0)
    assert len(running.worker.connections) == 1
    client.close()
    gevent.sleep(LOOK)
    assert not running.worker.connections


def test_linger_ends_after_so_many_bytes(running, monkeypatch):
    monkeypatch.setattr("serving.server.request_body.MAX_LINGER_BYTES", 2**18)
    running.serve(echo)
    client = lingering(running)
    client.sendall(bytes(2**17))
    gevent.sleep(LOOK)
    assert len(running.worker.connections) == 1
    with suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(bytes(2**18))
    gevent.sleep(LOOK)
    assert not running.worker.connections


def test_linger_ends_when_the_client_is_silent(running):
    running.serve(echo, keepalive=600)
    client = lingering(running)
    running.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"12345")
    running.wait(MAX_SILENT_SECONDS - 1)
    assert len(running.worker.connections) == 1
    running.wait(1)
    assert not running.worker.connections


def test_linger_ends_in_any_case(running, monkeypatch):
    assert MAX_LINGER_SECONDS == 30.0  # as the docs have it
    monkeypatch.setattr(worker, "MAX_LINGER_SECONDS", MAX_SILENT_SECONDS + 2)
    running.serve(echo, keepalive=600)
    client = lingering(running)
    running.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"12345")
    running.wait(2)
    assert len(running.worker.connections) == 1
    running.wait(1)
    assert not running.worker.connections


def test_linger_in_a_worker_that_stops_ends_before_idle_connections(running):
    running.serve(echo)
    lingering(running)
    idle = running.connect()
    running.wait(2 * LINGER)
    assert len(running.worker.connections) == 2
    running.worker.alive = False
    running.wait(0)
    assert len(running.worker.connections) == 1
    assert not is_closed(idle)
    running.wait(LINGER)
    assert idle.recv(1) == b""


def test_linger_makes_room_before_idle_connections(running):
    running.serve(echo)
    idle = [running.connect() for _ in range(3)]
    lingering(running)
    evicted = []

    def evict():
        # In the hub, as the loop calls it.
        gevent.get_hub().loop.run_callback(
            lambda: evicted.append(running.worker.evict_idle_connections(1, "connections", 0.0))
        )
        gevent.sleep(LOOK)

    evict()
    assert evicted == [1]
    assert not any(map(is_closed, idle))
    assert len(running.worker.connections) == 3
    evict()
    assert evicted == [1, 1]
    assert is_closed(idle[0])


def answered_early(running, head=HEAD):
    """A client that has its answer before it has sent a body so small that the server reads it."""
    client = running.connect()
    send(client, head + b"Content-Length: 5\r\n\r\n1")
    assert answered(client) == (1, True)
    return client


# Read by the parser in C, and by that in Python.
HEADS = [HEAD, HEAD + b"TE: trailers\r\n"]


@pytest.mark.parametrize("head", HEADS)
def test_rest_of_a_body_answered_early_leaves_the_connection_as_it_was(head, running):
    running.serve(echo, keepalive=600)
    client = answered_early(running, head)
    running.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"234")
    running.wait(MAX_SILENT_SECONDS - 1)
    send(client, b"5")
    running.wait(599)  # idle from here on
    ask(client)
    assert answered(client) == (1, True)


@pytest.mark.parametrize("head", HEADS)
def test_rest_of_a_body_answered_early_is_not_waited_for_when_the_client_is_silent(head, running):
    running.serve(echo, keepalive=600)
    client = answered_early(running, head)
    running.wait(MAX_SILENT_SECONDS - 1)
    assert not is_closed(client)
    running.wait(1)
    assert client.recv(1) == b""


def test_rest_of_a_body_answered_early_does_not_hold_up_the_stop(running):
    running.serve(echo)
    answered_early(running)
    running.worker.alive = False
    running.wait(0)
    running.wait(LINGER)
    assert not running.worker.connections


def test_rest_of_a_body_answered_early_makes_room_before_idle_connections(running):
    running.serve(echo)
    idle, client = running.connect(), answered_early(running)
    evicted = []
    gevent.get_hub().loop.run_callback(
        lambda: evicted.append(running.worker.evict_idle_connections(1, "connections", 0.0))
    )
    gevent.sleep(LOOK)
    assert evicted == [1]
    assert client.recv(1) == b""
    assert not is_closed(idle)
