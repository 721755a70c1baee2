"""The server as a whole: gunicorn, sockets, processes, real clients."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import numpy as np
import pytest
import requests

from serving.http import body_limits
from tests.processes import is_running, wait_until
from tests.variants import flip_bit, keep_unchanged, slow_down, write_variants

ONE_ROW = json.dumps({"instances": [[0.0] * 64]}).encode()
JSON = {"Content-Type": "application/json"}


def get_address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def test_predict_digits_is_accurate(live, digits):
    rows, labels = digits
    answer = requests.post(f"{live.url}/predict", json={"instances": rows.tolist()}, timeout=120)
    assert answer.status_code == 200
    assert np.mean(np.array(answer.json()["predictions"]) == labels) > 0.99


def test_predict_version_in_query_selects_it(live):
    found = {
        query: requests.post(f"{live.url}/predict{query}", data=ONE_ROW, headers=JSON, timeout=120)
        for query in ("?version=1", "?version=2", "?version=", "?model=digits&version=1")
    }
    assert [answer.status_code for answer in found.values()] == [200, 404, 400, 200]
    assert found["?version=1"].json()["version"] == 1
    assert found["?version=2"].json()["details"] == {"versions": [1]}


MALFORMED = [
    (b"", 400),
    (b"{", 400),
    (b"\xff", 400),
    (b"[" * 50_000, 422),
    (b'{"instances":1}', 422),
    (b'{"instances":[[1],[2,3]]}', 422),
    (b'{"instances":[[NaN]]}', 422),
]


@pytest.mark.parametrize(("body", "status"), MALFORMED, ids=[repr(b[:20]) for b, _ in MALFORMED])
def test_predict_malformed_body_keeps_connection(body, status, live):
    connection = HTTPConnection(*get_address(live), timeout=120)
    sockets = []
    for content, expected in ((body, status), (ONE_ROW, 200)):
        connection.request("POST", "/predict", content, JSON)
        sockets.append(connection.sock)
        answer = connection.getresponse()
        assert answer.status == expected
        assert ("error" in json.loads(answer.read())) == (expected != 200)
    assert sockets[0] is sockets[1]
    connection.close()


@pytest.mark.parametrize("size", [10 * 2**20 + 1, 30 * 2**20])
def test_max_body_exceeded_answers_413_and_closes(size, live):
    connection = HTTPConnection(*get_address(live), timeout=120)
    connection.request("POST", "/predict", b" " * size, JSON)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (413, "close")
    assert json.loads(answer.read())["code"] == "body_too_large"
    connection.request("POST", "/predict", ONE_ROW, JSON)  # over another connection
    assert connection.getresponse().status == 200
    connection.close()


def test_max_body_chunked_has_the_same_limit(live):
    def chunks(count):
        yield ONE_ROW
        for _ in range(count):
            yield b" " * 2**20

    for count, status in ((9, 200), (10, 413)):
        answer = requests.post(f"{live.url}/predict", data=chunks(count), headers=JSON, timeout=120)
        assert answer.status_code == status


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: ten\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_malformed_framing_answers_400_and_others_are_served(framing, live):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(get_address(live), timeout=120) as client:
        client.sendall(head + framing)
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert requests.post(f"{live.url}/predict", data=ONE_ROW, headers=JSON, timeout=120).ok


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET /" + b"x" * 5000 + b" HTTP/1.1", 414), (b"hello", 400), (b"GET / HTTP/9.9", 400)],
)
def test_gunicorn_refuses_request_answers_json(request_line, status, live):
    with socket.create_connection(get_address(live), timeout=120) as client:
        client.sendall(request_line + b"\r\nHost: x\r\n\r\n")
        answer = HTTPResponse(client)
        answer.begin()
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/json"
        found = json.loads(answer.read())
        assert set(found) == {"error", "code", "details"}
        assert found["error"].startswith("expected a well-formed HTTP request; got one")


def test_client_disconnects_within_body_others_are_served(live):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(get_address(live), timeout=120) as client:
        client.sendall(head + b"Content-Length: 500\r\n\r\n" + ONE_ROW[:100])
        assert requests.post(f"{live.url}/predict", data=ONE_ROW, headers=JSON, timeout=120).ok
    assert requests.post(f"{live.url}/predict", data=ONE_ROW, headers=JSON, timeout=120).ok


def test_request_seconds_body_incomplete_answers_408(serve, shipped):
    server = serve(shipped, "--workers", "1", "--request-seconds", "1")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    length, chunks = b"Content-Length: 500\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nff\r\n"
    for sent in (head + length + ONE_ROW[:100], head + chunks + ONE_ROW[:100], head):
        with socket.create_connection(get_address(server), timeout=120) as client:
            client.sendall(sent)
            answer = HTTPResponse(client)
            answer.begin()
            assert (answer.status, answer.headers["Connection"]) == (408, "close")
            assert json.loads(answer.read())["code"] == "request_timeout"
            assert client.recv(1) == b""
    assert requests.post(f"{server.url}/predict", data=ONE_ROW, headers=JSON, timeout=120).ok


LATE_REQUESTS = {
    "read by the parser in C": ("/predict", b""),
    "read by the parser in Python": ("/predict", b"TE: trailers\r\n"),
    "answered by Flask": ("/predict?model=digits", b""),
    "of TensorFlow's protocol": ("/v1/models/digits:predict", b""),
}


@pytest.mark.parametrize("name", LATE_REQUESTS)
def test_request_seconds_request_complete_answers_504(name, shared_server, shipped):
    server = shared_server(
        shipped, "--workers", "1", "--request-seconds", "0.01", "--max-delay", "1"
    )
    path, head = LATE_REQUESTS[name]
    with socket.create_connection(get_address(server), timeout=120) as client:
        client.sendall(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b"
            b"Content-Length: %d\r\n\r\n%b" % (path.encode(), head, len(ONE_ROW), ONE_ROW)
        )
        answer = HTTPResponse(client, method="POST")
        answer.begin()
        content = json.loads(answer.read())
        assert (answer.status, answer.headers["Connection"]) == (504, "close")
        assert "--request-seconds" in content["error"]
        assert client.recv(1) == b""


def test_too_many_large_bodies_at_once_answers_503(live):
    server = live
    size = 10 * 2**20
    body = ONE_ROW + b" " * (size - len(ONE_ROW))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n" % size

    def send(clients, sent):
        client = clients.enter_context(socket.create_connection(get_address(server), timeout=120))
        # A small buffer, so that the kernel cannot hold the body and the server has to read it.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        client.sendall(head + body[:sent])
        return client

    with ExitStack() as clients:
        for _ in range(40):
            send(clients, 0)
        # A large Content-Length alone does not exclude other requests.
        assert requests.post(f"{server.url}/predict", data=body, headers=JSON, timeout=120).ok
        for _ in range(body_limits.MAX_LARGE_BODIES):
            send(clients, size - 10**5)
        answer = HTTPResponse(send(clients, size - 10**5))
        answer.begin()
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert json.loads(answer.read())["code"] == "overloaded"
        # Small bodies are still answered, and so are chunked ones, whose length is unknown.
        for small in (ONE_ROW, iter([ONE_ROW[:50], ONE_ROW[50:]])):
            assert requests.post(f"{server.url}/predict", data=small, headers=JSON, timeout=120).ok
    # Large ones are answered again once the other clients have disconnected.
    wait_until(
        lambda: requests.post(f"{server.url}/predict", data=body, headers=JSON, timeout=120).ok
    )


@pytest.mark.parametrize("sent", ["half a body", "half a head", "nothing"])
def test_slow_clients_do_not_delay_others(sent, live):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    body = b"Content-Length: 500\r\n\r\n" + ONE_ROW[:100]
    content = {"half a body": head + body, "half a head": head, "nothing": b""}[sent]
    with ExitStack() as clients:
        for _ in range(200):
            slow = clients.enter_context(socket.create_connection(get_address(live), timeout=120))
            slow.sendall(content)
        for _ in range(10):
            assert requests.post(f"{live.url}/predict", data=ONE_ROW, headers=JSON, timeout=120).ok
            assert requests.get(f"{live.url}/healthz", timeout=120).ok


def test_concurrent_clients_each_get_their_own_answer(live, digits):
    rows = digits[0]

    def ask(i):
        body = {"instances": rows[i : i + 1 + i % 5].tolist()}
        return requests.post(f"{live.url}/predict", json=body, timeout=120).json()

    alone = {i: ask(i) for i in range(40)}
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, [i % 40 for i in range(400)]))
    for i, answer in enumerate(together):
        expected = alone[i % 40]
        assert answer["predictions"] == expected["predictions"]
        assert answer["probabilities"] == expected["probabilities"]


def test_onnx_runtime_is_loaded_only_in_workers(shared_server, shipped):
    server = shared_server(shipped, "--workers", "2")
    workers = server.workers()
    assert len(workers) == 2
    for pid in workers:
        assert "onnxruntime" in Path(f"/proc/{pid}/maps").read_text()
    assert "onnxruntime" not in Path(f"/proc/{server.process.pid}/maps").read_text()


def wait_for_events(server, phrase, times, level=None):
    """Wait for log events of several processes; return the text after a phrase by process."""

    def found():
        events = {
            record["process"]: record["event"].removeprefix(phrase)
            for record in server.records()
            if record["event"].startswith(phrase) and level in (None, record["level"])
        }
        return events if len(events) >= times else None

    return server.wait_for(found)


def test_workers_old_and_new_select_the_same_variant(serve, only_digits):
    write_variants(only_digits / "digits" / "1", fp32=slow_down, int8=keep_unchanged)
    server = serve(only_digits, "--workers", "2")
    phrase = "serving digits/1: int8 "
    # All workers log the figures that one of them measured.
    assert len(set(wait_for_events(server, phrase, 2).values())) == 1

    def facts(text):
        # Without metrics that count requests, since reading them is a request.
        lines = text.splitlines()
        return [line for line in lines if not line.startswith("forw") or "_variant_" in line]

    def answers():
        # Each over a new connection, which either worker may accept.
        return {
            tuple(
                tuple(facts(requests.get(f"{server.url}/{path}", timeout=120).text))
                for _ in range(20)
            )
            for path in ("models/digits", "metrics")
        }

    before = answers()
    assert all(len(set(texts)) == 1 for texts in before)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_until_ready(3)
    assert len(set(wait_for_events(server, phrase, 3).values())) == 1
    assert answers() == before


def test_variant_damaged_is_refused_and_reported(serve, only_digits):
    flip_bit(
        write_variants(only_digits / "digits" / "1", fp32=keep_unchanged, int8=keep_unchanged),
        "int8",
    )
    server = serve(only_digits, "--workers", "1")
    ready = requests.get(f"{server.url}/readyz", timeout=120)
    assert ready.status_code == 200
    assert "model.int8.onnx was altered" in ready.json()["refused"]["digits/1/int8"]
    assert wait_for_events(server, "refused digits/1/int8: ", 1, "warning")
    assert requests.post(f"{server.url}/predict", data=ONE_ROW, headers=JSON, timeout=120).ok
    metrics = requests.get(f"{server.url}/metrics", timeout=120).text
    passed = 'forwardpass_variant_selftest_passed{model="digits",variant="int8",version="1"}'
    assert f"{passed} 0.0" in metrics.splitlines()


def test_no_model_is_alive_but_not_ready(serve, tmp_path):
    server = serve(tmp_path, "--workers", "1")
    assert requests.get(f"{server.url}/healthz", timeout=120).status_code == 200
    assert requests.get(f"{server.url}/readyz", timeout=120).status_code == 503


def test_sigterm_open_connections_stops_without_sigkill(serve, shipped):
    server = serve(shipped, "--workers", "1")
    connection = HTTPConnection(*get_address(server), timeout=120)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(get_address(server), timeout=120) as client:
        client.sendall(head)
        assert server.stop() == 0
        assert_not_killed(server)
    connection.close()
    assert not [record for record in server.records() if record["level"] == "error"]


def assert_not_killed(server):
    """Assert that all workers ended by themselves: the arbiter would log that it killed one."""
    assert not [line for line in server.log if "SIGKILL" in line]


def test_sigterm_while_loading_stops_without_sigkill(serve, shipped):
    server = serve(shipped, "--workers", "1", until="listening")
    assert server.stop() == 0
    assert_not_killed(server)


@pytest.mark.parametrize("until", ["listening", "ready"])
def test_ctrl_c_stops_without_sigkill_or_errors(until, serve, shipped):
    server = serve(shipped, "--workers", "2", until=until)
    for pid in (server.process.pid, *server.workers()):  # a terminal signals all of them
        os.kill(pid, signal.SIGINT)
    assert server.wait() == 0
    assert_not_killed(server)
    if until == "ready":
        assert {record["level"] for record in server.records()} <= {"info", "warning"}


def test_sigterm_request_in_progress_is_answered(serve, shipped):
    server = serve(shipped, "--workers", "1")
    (worker,) = server.workers()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(ONE_ROW)
    with socket.create_connection(get_address(server), timeout=120) as client:
        client.sendall(head + length + ONE_ROW[:50])
        # In flight are this request, whose body is being read, and the one for the metrics.
        wait_until(lambda: "\nforwardpass_in_flight_requests 2.0" in read_metrics(server))
        with socket.create_connection(get_address(server), timeout=120) as idle:
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = HTTPResponse(idle)
            answer.begin()
            assert answer.read()
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""  # the idle connection has been closed
        assert is_running(worker)
        client.sendall(ONE_ROW[50:])
        answer = HTTPResponse(client)
        answer.begin()
        assert answer.status == 200
        assert len(json.loads(answer.read())["predictions"]) == 1
    assert server.wait() == 0


def read_metrics(server):
    return requests.get(f"{server.url}/metrics", timeout=120).text


def test_environment_variable_misspelt_is_logged(serve, shipped, monkeypatch):
    monkeypatch.setenv("FORWARDPASS_MAX_BODYS", "7")
    server = serve(shipped, "--workers", "1", until="listening")
    assert "got FORWARDPASS_MAX_BODYS, which is ignored" in "".join(server.log)


def test_log_names_served_version(live):
    live.wait_for_log("serving digits/1")


def test_predict_record_matches_numpy(shared_server, adults, mixed):
    server = shared_server(adults, "--workers", "1")
    face = requests.get(f"{server.url}/models/adults", timeout=120).json()
    answer = requests.post(
        f"{server.url}/predict", json={"instances": [face["example"]]}, timeout=120
    )
    probabilities, label = mixed.answers([mixed.record])
    assert answer.json()["predictions"] == label.tolist()
    np.testing.assert_allclose(answer.json()["probabilities"], probabilities, atol=1e-6)
    wrong = requests.post(
        f"{server.url}/predict",
        json={"instances": [{**face["example"], "grade": "9"}]},
        timeout=120,
    )
    assert wrong.status_code == 422
    assert wrong.json()["details"] == {"instance": 0, "field": "grade"}
