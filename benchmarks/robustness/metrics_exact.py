"""Compare the metrics with what clients received, while workers are killed.

A server of the shipped model is sent requests of several protocols and sizes, correct and faulty,
over persistent connections. Now and then a worker is killed (SIGKILL). In the end the counters of
`/metrics` must equal the number of answers, by status, and the number of rows. A request whose
connection broke was not answered and must not be counted.

An answer is counted just before it is sent. If a worker is killed within the microseconds between
the two, it has counted an answer that nobody receives. So the counters may exceed the answers by
the number of kills, and the excess is printed. They may never be lower.

    python -m benchmarks.robustness.metrics_exact --requests 100000
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import sys
import time
from collections import Counter
from typing import Any

import click
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.machine import ROOT
from benchmarks.robustness.background_client import (
    NO_ANSWER,
    BackgroundClient,
    ReceivedAnswer,
    prepare_post,
)
from benchmarks.robustness.server import RunningServer, run_server
from serving.loadtest.http_client import ServerAddress, fetch
from serving.loadtest.request_builder import JSON_LENGTH_HEADER, OCTET_STREAM, encode_http_request
from serving.loadtest.run_record import PreparedRequest

PIXELS = 64
CONNECTIONS = 8
ROW_COUNTS = (1, 3, 40, 300)
CHECK_SECONDS = 0.01


def prepare_requests(address: ServerAddress) -> list[PreparedRequest]:
    """Prepare correct requests of each protocol, and faulty ones."""
    requests = [request for rows in ROW_COUNTS for request in _prepare_correct(address, rows)]
    faulty = [
        prepare_post(address, "/predict", b"{"),
        prepare_post(address, "/predict", b'{"instances":[[1]]}'),
        prepare_post(address, "/predict", b"a=1", headers={"Content-Type": "text/plain"}),
        prepare_post(address, "/predict?model=roses", b"{}"),
        prepare_post(address, "/predict?modle=digits", b"{}"),
        _prepare_bytes(encode_http_request("GET", "/predict", address, {})),
        _prepare_bytes(encode_http_request("GET", "/no/such", address, {})),
        _prepare_bytes(b"GET / HTTP/9.9\r\n\r\n"),  # gunicorn itself refuses it
    ]
    status_pages = [
        _prepare_bytes(encode_http_request("GET", path, address, {}))
        for path in ("/healthz", "/readyz", "/models", "/models/digits")
    ]
    return requests + faulty + status_pages


def _prepare_correct(address: ServerAddress, rows: int) -> list[PreparedRequest]:
    instances = json.dumps({"instances": [[float(rows)] * PIXELS] * rows}).encode()
    tensor: dict[str, Any] = {"name": "features", "shape": [rows, PIXELS], "datatype": "FP32"}
    data = [1.0] * PIXELS * rows
    tensors = json.dumps({"inputs": [{**tensor, "data": data}]}).encode()
    raw = struct.pack(f"<{len(data)}f", *data)
    size = {"parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [{**tensor, **size}]}).encode()
    binary_headers = {"Content-Type": OCTET_STREAM, JSON_LENGTH_HEADER: str(len(head))}
    infer = "/v2/models/digits/infer"
    return [
        prepare_post(address, "/predict", instances, rows=rows),
        prepare_post(address, "/predict?model=digits", instances, rows=rows),
        prepare_post(address, "/v1/models/digits:predict", instances, rows=rows),
        prepare_post(address, infer, tensors, rows=rows),
        prepare_post(address, infer, head + raw, rows=rows, headers=binary_headers),
        prepare_post(address, "/invocations", instances, rows=rows),
    ]


def _prepare_bytes(http_bytes: bytes) -> PreparedRequest:
    return PreparedRequest(http_bytes, 0, None, lambda _: None)


class WorkerKiller:
    """Kills the oldest worker several times, at equal distances between the answers.

    Args:
        server: The server.
        requests: Number of answers until the end.
        kills: Number of workers to kill.

    Attributes:
        answer_count: Number of answers so far.
        kill_count: Number of workers killed so far.
    """

    def __init__(self, server: RunningServer, requests: int, kills: int) -> None:
        self.answer_count = self.kill_count = 0
        self._server, self._requests, self._kills = server, requests, kills

    def on_received(self, _: ReceivedAnswer) -> None:
        """Count an answer, and kill a worker if it is time to."""
        self.answer_count += 1
        next_kill = (self.kill_count + 1) * self._requests
        if self.kill_count < self._kills and self.answer_count * (self._kills + 1) > next_kill:
            workers = self._server.list_workers()
            if workers:
                os.kill(workers[0], signal.SIGKILL)
                self.kill_count += 1


def read_counters(address: ServerAddress) -> tuple[Counter[str], int]:
    """Return the server's number of answers by status, and its number of rows."""
    _, _, text = fetch(address, "/metrics", {})
    samples = [
        sample
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]
    answers: Counter[str] = Counter()
    for sample in samples:
        if sample.name == "forwardpass_requests_total":
            answers[sample.labels["code"]] += int(sample.value)
    rows = sum(int(s.value) for s in samples if s.name == "forwardpass_rows_total")
    return answers, rows


def count_answers(
    client: BackgroundClient, requests: list[PreparedRequest]
) -> tuple[Counter[str], int]:
    """Return the number of answers that clients received, by status, and of the rows in them."""
    record = client.record
    is_answered = ~np.isin(record.status, NO_ANSWER)
    answers = Counter(map(str, record.status[is_answered].tolist()))
    rows = sum(requests[index].rows for index in record.request_index[record.status == 200])
    return answers, rows


def compare_counters(requests: int, kills: int, workers: int) -> bool:
    """Put the load on a server, print both counts, and return whether they agree.

    Args:
        requests: Number of requests.
        kills: Number of workers to kill.
        workers: Number of worker processes.
    """
    with run_server(ROOT / "models", workers=workers) as server:
        prepared = prepare_requests(server.address)
        killer = WorkerKiller(server, requests, kills)
        started = time.perf_counter()
        client = BackgroundClient(
            server.address, prepared, connections=CONNECTIONS, on_received=killer.on_received
        )
        with client:
            while killer.answer_count < requests and not client.wait(CHECK_SECONDS):
                pass
        seconds = time.perf_counter() - started
        counted, counted_rows = read_counters(server.address)
    (received, received_rows), lost = count_answers(client, prepared), client.count_lost()
    click.echo(
        f"{received.total()} answers in {seconds:.0f} s, {killer.kill_count} kills, "
        f"{lost} connections broke"
    )
    for status in sorted(received | counted):
        click.echo(f"  {status}: {received[status]} received, {counted[status]} counted")
    click.echo(f"  rows: {received_rows} received, {counted_rows} counted")
    excess = counted.total() - received.total()
    click.echo(f"  counted and not received: {excess}")
    is_exact = (
        not received - counted
        and 0 <= excess <= killer.kill_count
        and (excess > 0 or received_rows == counted_rows)
    )
    # Kills that broke no connection would have tested nothing.
    return is_exact and (lost > 0 or not kills)


def main() -> None:
    """Compare, and exit with status 1 if the counts differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--requests", type=int, default=100_000, help="number of requests [default: 100000]"
    )
    parser.add_argument(
        "--kills", type=int, default=10, help="number of workers to kill [default: 10]"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="number of worker processes [default: 2]"
    )
    options = parser.parse_args()
    sys.exit(not compare_counters(options.requests, options.kills, options.workers))


if __name__ == "__main__":
    main()
