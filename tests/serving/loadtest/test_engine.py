"""The engine against real servers: those that answer, stall, hang up, refuse, and die."""

import gc
import os
import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import requests

from serving.loadtest import open_loop
from serving.loadtest.engine import LoadEngine, LoadEngineError
from serving.loadtest.run_record import CONNECTION_FAILED, TIMED_OUT, WRONG_ANSWER
from tests.load_requests import BODY, make_address, make_call

ALL = np.zeros(1, np.int32)


@pytest.fixture
def right(live):
    """The right answer to `BODY`, as another client gets it."""
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{live.url}/predict", BODY, headers=headers, timeout=120).content


def zeros(due):
    return np.zeros(len(due), np.int32)


@pytest.fixture
def one_worker(serve, shipped):
    """A server to do harm to."""
    return serve(shipped, "--workers", "1")


def signal_all(server, number):
    """Send a signal to all processes of a server."""
    for pid in (server.process.pid, *server.workers()):
        os.kill(pid, number)


class FirstAnswer:
    """A call that does harm to a server when its first answer comes, before the next is read.

    Attributes:
        call: The call; all its answers count as right.
    """

    def __init__(self, harm):
        self._harm = harm
        self.call = make_call(fault=self._answered)

    def _answered(self, _body):
        if self._harm is not None:
            harm, self._harm = self._harm, None
            harm()


class Stall(FirstAnswer):
    """Stops all processes of a server at the first answer, for so many seconds or longer."""

    def __init__(self, server, seconds):
        super().__init__(self._stop)
        self._server = server
        self._end = threading.Timer(seconds, signal_all, (server, signal.SIGCONT))

    def _stop(self):
        signal_all(self._server, signal.SIGSTOP)
        self._end.start()

    def wait(self):
        self._end.join()


def death_of(server):
    """A call that kills all processes of a server at the first answer."""
    return FirstAnswer(lambda: signal_all(server, signal.SIGKILL)).call


def test_every_request_of_an_open_loop_is_sent_and_answered(live, right, rng):
    due = open_loop.generate_poisson_arrivals(60, 0.9, rng)
    assert len(due) <= 64  # connections, so that none ever waits for one
    record = LoadEngine(make_address(live.url), [make_call(expected=right)]).open_loop(
        due, zeros(due), 1
    )
    assert (record.status == 200).all()
    np.testing.assert_array_equal(record.due, due)
    assert (record.sent >= due).all()
    assert (record.ended > record.sent).all()
    np.testing.assert_allclose(record.latency, record.ended - due)
    # Here it never waits for a connection: what lies between is its own.
    np.testing.assert_allclose(record.late, record.sent - due)
    assert record.connections == 64
    assert record.open_loop


def test_users_of_a_closed_loop_ask_again_when_they_are_answered(live, right):
    engine = LoadEngine(make_address(live.url), [make_call(expected=right)])
    record = engine.closed_loop(3, 0.5, ALL)
    assert record.connections == 3
    assert not record.open_loop
    assert (record.status == 200).all()
    assert (record.due < 0.5).all()
    busy = np.array(
        [(record.sent <= at) & (at < record.ended) for at in np.arange(0.05, 0.45, 0.05)]
    )
    assert (busy.sum(axis=1) <= 3).all()


def test_the_server_counts_as_many_requests_as_the_record(live):
    def counted():
        said = requests.get(f"{live.url}/metrics", timeout=120).text
        lines = [x for x in said.splitlines() if x.startswith("forwardpass_requests_total{")]
        return sum(float(x.split()[-1]) for x in lines if 'protocol="rows"' in x)

    before, due = counted(), open_loop.generate_constant_arrivals(400, 0.5)
    LoadEngine(make_address(live.url), [make_call()]).open_loop(due, zeros(due), 1)
    assert counted() - before == 200


@pytest.mark.slow
def test_an_open_loop_shows_a_stall_that_a_closed_loop_hides(live):
    seconds = 0.8  # of a stall, in 1.6 of load
    stall, due = Stall(live, seconds), open_loop.generate_constant_arrivals(300, 2 * seconds)
    opened = LoadEngine(make_address(live.url), [stall.call]).open_loop(due, zeros(due), 1)
    stall.wait()
    stall = Stall(live, seconds)
    closed = LoadEngine(make_address(live.url), [stall.call]).closed_loop(1, 2 * seconds, ALL)
    stall.wait()
    assert (opened.status == 200).all()
    assert (closed.status == 200).all()
    assert np.percentile(opened.latency, 99.9) > 0.9 * seconds
    # Half of the time nothing was answered, so a quarter of the users waited for half of that.
    shown = np.mean(opened.latency > seconds / 2)
    assert shown > 0.2
    assert closed.latency.max() > 0.9 * seconds
    assert np.mean(closed.latency > seconds / 2) < shown / 2
    # The very same open loop, timed as such clients time it: from the moment a request left. Each
    # of its 64 connections had one request on its way.
    assert np.mean(opened.service > seconds / 2) < 64 / len(due) + 0.01 < shown


def test_a_wrong_answer_is_told_from_a_right_one(live, right):
    calls = [
        make_call(expected=right, fault=lambda _: "not asked"),
        make_call(expected=right[:-1], fault=lambda _: None),
        make_call(expected=right[:-1], fault=lambda body: f"got {len(body)} bytes"),
    ]
    due = open_loop.generate_constant_arrivals(300, 0.2)
    record = LoadEngine(make_address(live.url), calls).open_loop(
        due, np.arange(len(due), dtype=np.int32) % 3, 1
    )
    assert set(record.status[record.call == 2]) == {WRONG_ANSWER}
    assert set(record.status[record.call < 2]) == {200}
    assert record.faults == {f"got {len(right)} bytes": 20}


def test_a_refusal_counts_by_its_status_and_is_quoted(live):
    due = open_loop.generate_constant_arrivals(100, 0.2)
    record = LoadEngine(make_address(live.url), [make_call(b'{"instances":[[1]]}')]).open_loop(
        due, zeros(due), 1
    )
    assert set(record.status) == {422}
    ((said, count),) = record.faults.items()
    assert said.startswith('422: {"error":"expected')
    assert count == 20


def test_answers_that_close_the_connection_cost_a_new_one_and_no_request(live):
    call = make_call(headers=b"Connection: close\r\n")
    due = open_loop.generate_constant_arrivals(200, 0.3)
    record = LoadEngine(make_address(live.url), [call], connections=4).open_loop(due, zeros(due), 1)
    assert (record.status == 200).all()
    assert record.connections <= 4


def test_a_request_that_finds_no_connection_waits_with_the_clock_running(live):
    stall, due = Stall(live, 1), open_loop.generate_constant_arrivals(50, 1)
    engine = LoadEngine(make_address(live.url), [stall.call], connections=1)
    record = engine.open_loop(due, zeros(due), 1)
    stall.wait()
    assert record.latency.max() > 0.9
    # One of them waited for the answer; the others, for the connection: the generator was in time.
    assert np.sum(record.service > 0.5) == 1
    assert np.sum(record.latency > 0.5) > 10
    assert record.late.max() < 0.5


def test_what_takes_too_long_is_given_up(live):
    stall, due = Stall(live, 0.7), open_loop.generate_constant_arrivals(50, 1)
    engine = LoadEngine(make_address(live.url), [stall.call], connections=2, timeout=0.3)
    record = engine.open_loop(due, zeros(due), 1)
    stall.wait()
    late = record.status == TIMED_OUT
    assert 10 < late.sum() < len(due)
    assert (record.latency[late] >= 0.3).all()
    assert set(record.status[~late]) == {200}
    assert np.isnan(record.sent[late]).any()  # some never found a connection


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_a_server_that_dies_ends_no_run(one_worker, loop):
    engine = LoadEngine(
        make_address(one_worker.url), [death_of(one_worker)], connections=4, timeout=0.5
    )
    due = open_loop.generate_constant_arrivals(200, 0.5)
    record = (
        engine.open_loop(due, zeros(due), 1) if loop == "open" else engine.closed_loop(4, 0.5, ALL)
    )
    assert (record.status == 200).any()
    assert set(record.status) <= {200, CONNECTION_FAILED, TIMED_OUT}
    assert CONNECTION_FAILED in record.status
    assert np.isfinite(record.ended).all()
    assert any("connection" in fault for fault in record.faults)


def test_users_of_a_dead_server_fail_and_are_not_forgotten(one_worker):
    engine = LoadEngine(
        make_address(one_worker.url), [death_of(one_worker)], connections=4, timeout=0.5
    )
    record = engine.closed_loop(4, 1, ALL)
    broken = record.status == CONNECTION_FAILED
    # Each of the four tries again every 20 ms, and more slowly on a busy machine, to the end.
    assert broken.sum() > 3 * 4
    assert record.due[broken].max() > 0.5


def answering(answer, requests=3):
    """A server of one connection that says the same to each request, and how it is reached."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection, server:
            for _ in range(requests):
                if not connection.recv(10**6):
                    return
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return make_address(f"http://127.0.0.1:{server.getsockname()[1]}"), thread


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["after a hint", "in chunks", "of HTTP/1.0"],
)
def test_answers_of_other_forms_are_read(answer):
    address, thread = answering(answer)
    call = make_call(expected=b"{}", fault=lambda body: f"got {body!r}")
    due = np.array([0.0, 0.05, 0.1])
    record = LoadEngine(address, [call], connections=1, timeout=120).open_loop(due, zeros(due), 1)
    thread.join()
    assert record.status.tolist() == [200, 200, 200], record.faults


def test_an_address_without_a_server_is_an_error():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(
        LoadEngineError, match=f"expected a server at 127.0.0.1:{port} that takes 64"
    ):
        LoadEngine(make_address(f"http://127.0.0.1:{port}"), [make_call()]).closed_loop(64, 1, ALL)


def test_what_is_no_http_breaks_the_request_and_not_the_run():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble():
            connection, _ = server.accept()
            with connection:
                connection.recv(10**6)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        address = make_address(f"http://127.0.0.1:{server.getsockname()[1]}")
        record = LoadEngine(address, [make_call()], connections=1, timeout=120).open_loop(
            np.zeros(1), np.zeros(1, np.int32), 1
        )
        thread.join()
    assert set(record.status) == {CONNECTION_FAILED}
    ((fault, count),) = record.faults.items()
    assert "not an answer of HTTP/1.1" in fault
    assert count == 1


def test_a_server_is_asked_over_tls(shared_server, shipped, certificate):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    due = open_loop.generate_constant_arrivals(100, 0.2)
    address = make_address(server.url, tls=True, ca=str(cert))
    record = LoadEngine(address, [make_call()], connections=2).open_loop(due, zeros(due), 1)
    assert (record.status == 200).all()
    with pytest.raises(LoadEngineError, match="certificate"):
        LoadEngine(make_address(server.url, tls=True), [make_call()]).closed_loop(1, 1, ALL)


def test_progress_is_told_and_garbage_is_collected_again(live, right):
    told = []
    engine = LoadEngine(make_address(live.url), [make_call()], tell=lambda *what: told.append(what))
    engine.closed_loop(2, 0.8, ALL)
    assert len(told) >= 2
    assert [seconds for seconds, _ in told] == sorted(seconds for seconds, _ in told)
    assert told[-1][1] > 0
    assert gc.isenabled()


def test_long_bodies_go_out_and_come_back_whole(live):
    body = b'{"instances":[' + b",".join([BODY[14:-2]] * 500) + b"]}"
    record = LoadEngine(
        make_address(live.url), [make_call(body, fault=lambda b: str(len(b)))], connections=2
    ).open_loop(np.zeros(4), np.zeros(4, np.int32), 1)
    assert len(record.faults) == 1
    (length,) = record.faults
    assert int(length) > 50_000


def test_nothing_is_left_of_a_run(live):
    engine = LoadEngine(make_address(live.url), [make_call()])
    engine.closed_loop(8, 0.1, ALL)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        engine.closed_loop(8, 0.1, ALL)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
