"""Metrics of a running server agree with its clients, even if workers are killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import wait_until

ROOT = Path(__file__).parents[4]
BODY = {"instances": [[0] * 64]}


@pytest.mark.usefixtures("processes")
def test_metrics_after_workers_killed_equal_client_counts():
    command = [sys.executable, "-m", "benchmarks.robustness.metrics_exact"]
    done = subprocess.run(
        [*command, "--requests", "800", "--kills", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 2 kills" in done.stdout


def sum_metric(server, name, **labels):
    """Return the sum of a metric's samples that have these labels, as `/metrics` shows them."""
    text = requests.get(f"{server.url}/metrics", timeout=120).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_metrics_scraped_from_any_worker_sum_all_workers(shared_server, shipped):
    server = shared_server(shipped, "--workers", "2")
    before = sum_metric(server, "forwardpass_requests_total", protocol="rows")
    for _ in range(40):  # each opens a connection, so both workers get some
        assert requests.post(f"{server.url}/predict", json=BODY, timeout=120).ok
    found = {sum_metric(server, "forwardpass_requests_total", protocol="rows") for _ in range(20)}
    assert found == {before + 40}


def test_metrics_worker_killed_its_in_flight_requests_are_not_counted(serve, shipped):
    server = serve(shipped, "--workers", "1")
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=120) as half:
        half.sendall(head + b"Content-Length: 500\r\n\r\n{")
        # The second one is the request for the metrics.
        wait_until(lambda: sum_metric(server, "forwardpass_in_flight_requests") == 2)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        assert half.recv(1) == b""
    assert sum_metric(server, "forwardpass_in_flight_requests") == 1
    assert sum_metric(server, "forwardpass_requests_total", protocol="status") == 0


def test_metrics_all_workers_replaced_keep_their_totals(serve, shipped):
    server = serve(shipped, "--workers", "2")
    for round_ in range(1, 3):
        for _ in range(20):
            assert requests.get(f"{server.url}/readyz", timeout=120).ok
        assert sum_metric(server, "forwardpass_requests_total", protocol="status") == 20 * round_
        if round_ == 2:
            break
        before = set(server.workers())
        server.process.send_signal(signal.SIGHUP)
        server.wait_until_ready(4)
        wait_until(lambda before=before: not before & set(server.workers()))


def test_metrics_and_log_request_refused_by_worker_is_counted_and_logged(serve, shipped):
    server = serve(shipped, "--workers", "1", "--request-seconds", "1", "--log-sample", "1")
    host, port = server.url.removeprefix("http://").split(":")
    malicious = b'\x1b[31m"},{"level":"error'
    for request, status in (
        (b"GET /" + malicious + b" HTTP/9.9\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n", 408),
    ):
        with socket.create_connection((host, int(port)), timeout=120) as client:
            client.sendall(request)
            assert client.recv(4096).startswith(b"HTTP/1.1 %d " % status)
        assert sum_metric(server, "forwardpass_requests_total", code=str(status)) == 1
    server.stop()
    lines = [json.loads(line) for line in server.log]
    assert not [line for line in lines if line["level"] == "error"]
    assert not re.search("[^\n -~]", "".join(server.log))
    routes = [line["route"] for line in lines if line["event"] == "request"]
    assert routes[0] == "/metrics"
