"""The load engine against real servers that respond, stall, refuse, disconnect or are killed."""

import gc
import os
import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import requests

from serving.loadtest.engine import LoadEngine, LoadEngineError
from serving.loadtest.open_loop import generate_constant_arrivals, generate_poisson_arrivals
from serving.loadtest.run_record import CONNECTION_FAILED, TIMED_OUT, WRONG_ANSWER
from tests.load_requests import BODY, make_address, make_request

FIRST_REQUEST = np.zeros(1, np.int32)  # the only prepared request, sent again and again


def first_requests(due_at):
    """Return the index of the only prepared request for each due time."""
    return np.zeros(len(due_at), np.int32)


@pytest.fixture
def correct_body(live):
    """Return the answer to `BODY` that another client receives."""
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{live.url}/predict", BODY, headers=headers, timeout=120).content


@pytest.fixture
def one_worker(serve, shipped):
    """Return a server that the test may stop or kill."""
    return serve(shipped, "--workers", "1")


def send_signal(server, number):
    """Send a signal to all processes of a server."""
    for pid in (server.process.pid, *server.workers()):
        os.kill(pid, number)


class FirstAnswerHook:
    """Calls a function when the first answer has come, before the next one is read.

    Args:
        function: Function to call, without arguments.

    Attributes:
        request: The request to send; all its answers count as correct.
    """

    def __init__(self, function):
        self._function = function
        self.request = make_request(find_fault=self._on_answer)

    def _on_answer(self, _body):
        if self._function is not None:
            function, self._function = self._function, None
            function()


class Stall(FirstAnswerHook):
    """Stops all processes of a server after the first answer, for at least so many seconds."""

    def __init__(self, server, seconds):
        super().__init__(self._stop)
        self._server = server
        self._end = threading.Timer(seconds, send_signal, (server, signal.SIGCONT))

    def _stop(self):
        send_signal(self._server, signal.SIGSTOP)
        self._end.start()

    def wait(self):
        """Wait until the server continues."""
        self._end.join()


def make_killing_request(server):
    """Return a request; after its first answer, all processes of the server are killed."""
    return FirstAnswerHook(lambda: send_signal(server, signal.SIGKILL)).request


def test_open_loop_every_request_is_sent_when_due_and_answered(live, correct_body, rng):
    due_at = generate_poisson_arrivals(60, 0.9, rng)
    assert len(due_at) <= 64  # the number of connections, so that no request waits for one
    engine = LoadEngine(make_address(live.url), [make_request(expected_body=correct_body)])
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    assert (record.status == 200).all()
    np.testing.assert_array_equal(record.due_at, due_at)
    assert (record.sent_at >= due_at).all()
    assert (record.ended_at > record.sent_at).all()
    np.testing.assert_allclose(record.latency, record.ended_at - due_at)
    # No request waited for a connection, so only the generator caused the delay.
    np.testing.assert_allclose(record.send_delay, record.sent_at - due_at)
    assert record.max_connections == 64
    assert record.is_open_loop


def test_closed_loop_each_user_has_one_request_in_flight(live, correct_body):
    engine = LoadEngine(make_address(live.url), [make_request(expected_body=correct_body)])
    record = engine.run_closed_loop(3, 0.5, FIRST_REQUEST)
    assert record.max_connections == 3
    assert not record.is_open_loop
    assert (record.status == 200).all()
    assert (record.due_at < 0.5).all()
    moments = np.arange(0.05, 0.45, 0.05)[:, None]
    is_in_flight = (record.sent_at <= moments) & (moments < record.ended_at)
    assert (is_in_flight.sum(axis=1) <= 3).all()


def test_open_loop_server_counts_as_many_requests(live):
    def count_requests():
        metrics = requests.get(f"{live.url}/metrics", timeout=120).text
        lines = [x for x in metrics.splitlines() if x.startswith("forwardpass_requests_total{")]
        return sum(float(x.split()[-1]) for x in lines if 'protocol="rows"' in x)

    before, due_at = count_requests(), generate_constant_arrivals(400, 0.5)
    engine = LoadEngine(make_address(live.url), [make_request()])
    engine.run_open_loop(due_at, first_requests(due_at), 1)
    assert count_requests() - before == 200


@pytest.mark.slow
def test_stall_raises_latency_of_an_open_loop_and_not_of_a_closed_loop(live):
    seconds = 0.8  # duration of the stall; the load lasts twice as long
    stall, due_at = Stall(live, seconds), generate_constant_arrivals(300, 2 * seconds)
    opened = LoadEngine(make_address(live.url), [stall.request]).run_open_loop(
        due_at, first_requests(due_at), 1
    )
    stall.wait()
    stall = Stall(live, seconds)
    closed = LoadEngine(make_address(live.url), [stall.request]).run_closed_loop(
        1, 2 * seconds, FIRST_REQUEST
    )
    stall.wait()
    assert (opened.status == 200).all()
    assert (closed.status == 200).all()
    assert np.percentile(opened.latency, 99.9) > 0.9 * seconds
    # The server stalled half of the time, so a quarter of the requests waited for more than half
    # of the stall.
    slow_share = np.mean(opened.latency > seconds / 2)
    assert slow_share > 0.2
    assert closed.latency.max() > 0.9 * seconds
    assert np.mean(closed.latency > seconds / 2) < slow_share / 2
    # The same open loop, timed as a closed loop is: from the time a request was sent. Each of its
    # 64 connections had one request in flight during the stall.
    assert np.mean(opened.service_time > seconds / 2) < 64 / len(due_at) + 0.01 < slow_share


def test_answer_differs_from_expected_bytes_is_checked(live, correct_body):
    prepared = [
        make_request(expected_body=correct_body, find_fault=lambda _: "not called"),
        make_request(expected_body=correct_body[:-1], find_fault=lambda _: None),
        make_request(
            expected_body=correct_body[:-1], find_fault=lambda body: f"got {len(body)} bytes"
        ),
    ]
    due_at = generate_constant_arrivals(300, 0.2)
    record = LoadEngine(make_address(live.url), prepared).run_open_loop(
        due_at, np.arange(len(due_at), dtype=np.int32) % 3, 1
    )
    assert set(record.status[record.request_index == 2]) == {WRONG_ANSWER}
    assert set(record.status[record.request_index < 2]) == {200}
    assert record.fault_counts == {f"got {len(correct_body)} bytes": 20}


def test_answer_with_an_error_status_is_counted_and_quoted(live):
    due_at = generate_constant_arrivals(100, 0.2)
    engine = LoadEngine(make_address(live.url), [make_request(b'{"instances":[[1]]}')])
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    assert set(record.status) == {422}
    ((fault, count),) = record.fault_counts.items()
    assert fault.startswith('422: {"error":"expected')
    assert count == 20


def test_connection_closed_after_an_answer_is_replaced_without_errors(live):
    request = make_request(headers=b"Connection: close\r\n")
    due_at = generate_constant_arrivals(200, 0.3)
    engine = LoadEngine(make_address(live.url), [request], connections=4)
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    assert (record.status == 200).all()
    assert record.max_connections <= 4


def test_request_without_a_free_connection_waits_and_the_wait_is_latency(live):
    stall, due_at = Stall(live, 1), generate_constant_arrivals(50, 1)
    engine = LoadEngine(make_address(live.url), [stall.request], connections=1)
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    stall.wait()
    assert record.latency.max() > 0.9
    # One request waited for its answer, the others for the connection. The generator was in time.
    assert np.sum(record.service_time > 0.5) == 1
    assert np.sum(record.latency > 0.5) > 10
    assert record.send_delay.max() < 0.5


def test_request_unanswered_within_the_timeout_is_given_up(live):
    stall, due_at = Stall(live, 0.7), generate_constant_arrivals(50, 1)
    engine = LoadEngine(make_address(live.url), [stall.request], connections=2, timeout=0.3)
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    stall.wait()
    is_timed_out = record.status == TIMED_OUT
    assert 10 < is_timed_out.sum() < len(due_at)
    assert (record.latency[is_timed_out] >= 0.3).all()
    assert set(record.status[~is_timed_out]) == {200}
    assert np.isnan(record.sent_at[is_timed_out]).any()  # some were never sent


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_run_server_killed_counts_failures_and_ends(one_worker, loop):
    request = make_killing_request(one_worker)
    engine = LoadEngine(make_address(one_worker.url), [request], connections=4, timeout=0.5)
    due_at = generate_constant_arrivals(200, 0.5)
    record = (
        engine.run_open_loop(due_at, first_requests(due_at), 1)
        if loop == "open"
        else engine.run_closed_loop(4, 0.5, FIRST_REQUEST)
    )
    assert (record.status == 200).any()
    assert set(record.status) <= {200, CONNECTION_FAILED, TIMED_OUT}
    assert CONNECTION_FAILED in record.status
    assert np.isfinite(record.ended_at).all()
    assert any("connection" in fault for fault in record.fault_counts)


def test_closed_loop_server_killed_users_try_again_until_the_end(one_worker):
    request = make_killing_request(one_worker)
    engine = LoadEngine(make_address(one_worker.url), [request], connections=4, timeout=0.5)
    record = engine.run_closed_loop(4, 1, FIRST_REQUEST)
    is_failed = record.status == CONNECTION_FAILED
    # Each of the four users tries again every 20 ms, or less often on a busy machine.
    assert is_failed.sum() > 3 * 4
    assert record.due_at[is_failed].max() > 0.5


def start_server(answer, requests=3):
    """Start a server that accepts one connection and sends the same bytes after each request.

    Returns:
        Its address, and the thread that serves.
    """
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
    ids=["after early hints", "chunked", "HTTP/1.0"],
)
def test_answer_in_another_http_framing_is_read(answer):
    address, thread = start_server(answer)
    request = make_request(expected_body=b"{}", find_fault=lambda body: f"got {body!r}")
    due_at = np.array([0.0, 0.05, 0.1])
    engine = LoadEngine(address, [request], connections=1, timeout=120)
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    thread.join()
    assert record.status.tolist() == [200, 200, 200], record.fault_counts


def test_run_without_a_server_raises():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    engine = LoadEngine(make_address(f"http://127.0.0.1:{port}"), [make_request()])
    message = f"expected a server at 127.0.0.1:{port} that accepts 64"
    with pytest.raises(LoadEngineError, match=message):
        engine.run_closed_loop(64, 1, FIRST_REQUEST)


def test_answer_that_is_not_http_fails_the_request_and_not_the_run():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send_smtp():
            connection, _ = server.accept()
            with connection:
                connection.recv(10**6)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=send_smtp)
        thread.start()
        address = make_address(f"http://127.0.0.1:{server.getsockname()[1]}")
        engine = LoadEngine(address, [make_request()], connections=1, timeout=120)
        record = engine.run_open_loop(np.zeros(1), FIRST_REQUEST, 1)
        thread.join()
    assert set(record.status) == {CONNECTION_FAILED}
    ((fault, count),) = record.fault_counts.items()
    assert "not an HTTP/1.1 answer" in fault
    assert count == 1


def test_run_over_tls_checks_the_certificate(shared_server, shipped, certificate):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    due_at = generate_constant_arrivals(100, 0.2)
    trusting = make_address(server.url, use_tls=True, ca_file=str(cert))
    engine = LoadEngine(trusting, [make_request()], connections=2)
    record = engine.run_open_loop(due_at, first_requests(due_at), 1)
    assert (record.status == 200).all()
    engine = LoadEngine(make_address(server.url, use_tls=True), [make_request()])
    with pytest.raises(LoadEngineError, match="certificate"):
        engine.run_closed_loop(1, 1, FIRST_REQUEST)


def test_run_reports_progress_and_turns_garbage_collection_on_again(live):
    reports = []
    engine = LoadEngine(
        make_address(live.url),
        [make_request()],
        on_progress=lambda seconds, count: reports.append((seconds, count)),
    )
    engine.run_closed_loop(2, 0.8, FIRST_REQUEST)
    assert len(reports) >= 2
    assert [seconds for seconds, _ in reports] == sorted(seconds for seconds, _ in reports)
    assert reports[-1][1] > 0
    assert gc.isenabled()


def test_long_bodies_are_sent_and_received_whole(live):
    body = b'{"instances":[' + b",".join([BODY[14:-2]] * 500) + b"]}"
    request = make_request(body, find_fault=lambda answer: str(len(answer)))
    engine = LoadEngine(make_address(live.url), [request], connections=2)
    record = engine.run_open_loop(np.zeros(4), np.zeros(4, np.int32), 1)
    assert len(record.fault_counts) == 1
    (length,) = record.fault_counts
    assert int(length) > 50_000


def test_runs_leave_no_open_descriptors(live):
    engine = LoadEngine(make_address(live.url), [make_request()])
    engine.run_closed_loop(8, 0.1, FIRST_REQUEST)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        engine.run_closed_loop(8, 0.1, FIRST_REQUEST)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
