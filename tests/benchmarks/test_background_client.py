"""The client of the robustness scenarios asks until it is stopped, and reports each answer."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.robustness.background_client import BackgroundClient, prepare_post
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import WRONG_ANSWER
from tests.processes import wait_until

CONNECTIONS = 2


class EchoHandler(BaseHTTPRequestHandler):
    """Answers with the body of the request, or breaks the connection for the path /break."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/break":
            self.close_connection = True
            return
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def run_echo_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), EchoHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield ServerAddress("127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def address():
    with run_echo_server() as address:
        yield address


def run_client(address, requests, answer_count):
    """Run a client until it has received so many answers, and return it with its answers."""
    answers = []
    client = BackgroundClient(
        address, requests, connections=CONNECTIONS, on_received=answers.append
    )
    with client:
        wait_until(lambda: len(answers) >= answer_count)
    return client, answers


def test_background_client_passes_on_each_answer(address):
    bodies = [b"first", b"second"]
    requests = [prepare_post(address, "/", body, expected_body=body) for body in bodies]
    client, answers = run_client(address, requests, 20)
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body == bodies[answer.request_index] for answer in answers)
    assert all(answer.sent_at < answer.received_at for answer in answers)
    assert len(client.record.status) == len(answers)
    assert client.count_lost() == 0


def test_background_client_wrong_answer_and_error_status_are_reported(address):
    requests = [
        prepare_post(address, "/", b"body", expected_body=b"another"),
        prepare_post(address, "/missing", b"body"),
    ]
    _, answers = run_client(address, requests, 20)
    assert {(a.request_index, a.status) for a in answers} == {(0, WRONG_ANSWER), (1, 404)}


def test_background_client_broken_connection_is_lost_and_replaced(address):
    requests = [prepare_post(address, "/", b"body"), prepare_post(address, "/break", b"body")]
    client, answers = run_client(address, requests, 20)
    assert {answer.request_index for answer in answers} == {0}
    assert client.count_lost() > 0
    assert client.count_lost() + len(answers) == len(client.record.status)


def test_background_client_closing_requests_open_new_connections(address):
    headers = {"Content-Type": "application/json", "Connection": "close"}
    _, answers = run_client(address, [prepare_post(address, "/", b"1", headers=headers)], 20)
    assert {answer.status for answer in answers} == {200}
