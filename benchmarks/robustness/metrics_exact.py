"""Do the metrics say what clients saw? Mixed requests, while workers are killed.

Starts a server of the embedded default, sends it requests of several protocols and sizes, good and
bad, over connections that stay, kills a worker (SIGKILL) now and then, and in the end holds what
`/metrics` says against what was answered: by status, and the rows. A request whose connection broke
was not answered, and is not to be counted.

An answer is counted just before it is sent, so a worker can be killed between the two, a few
microseconds in which it counts one answer that no one gets: so many are allowed for as there were
kills, and are told. Fewer than were seen, there are never.

    python benchmarks/robustness/metrics_exact.py --requests 100000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import click
from prometheus_client.parser import text_string_to_metric_families

MODELS = Path(__file__).parents[2] / "models"
PIXELS = 64
CLIENTS = 8


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Its bytes."""
    given = {"Host": "x", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def cases() -> list[tuple[bytes, int]]:
    """Requests, and the rows that each has answered if it succeeds."""
    json_of = {"Content_Type": "application/json"}
    made = []
    for rows in (1, 3, 40, 300):
        instances = json.dumps({"instances": [[float(rows)] * PIXELS] * rows}).encode()
        tensor = {"name": "features", "shape": [rows, PIXELS], "datatype": "FP32"}
        nested = json.dumps({"inputs": [{**tensor, "data": [1.0] * PIXELS * rows}]}).encode()
        raw = struct.pack(f"<{PIXELS * rows}f", *[1.0] * PIXELS * rows)
        head = json.dumps(
            {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}
        ).encode()
        binary = {
            "Content_Type": "application/octet-stream",
            "Inference_Header_Content_Length": str(len(head)),
        }
        made += [
            (request("POST", "/predict", instances, **json_of), rows),
            (request("POST", "/predict?model=digits", instances, **json_of), rows),
            (request("POST", "/v1/models/digits:predict", instances, **json_of), rows),
            (request("POST", "/v2/models/digits/infer", nested, **json_of), rows),
            (request("POST", "/v2/models/digits/infer", head + raw, **binary), rows),
            (request("POST", "/invocations", instances, **json_of), rows),
        ]
    bad = [
        request("POST", "/predict", b"{", **json_of),
        request("POST", "/predict", b'{"instances":[[1]]}', **json_of),
        request("POST", "/predict", b"a=1", Content_Type="text/plain"),
        request("POST", "/predict?model=roses", b"{}", **json_of),
        request("POST", "/predict?modle=digits", b"{}", **json_of),
        request("GET", "/predict"),
        request("GET", "/no/such"),
        b"GET / HTTP/9.9\r\n\r\n",  # which gunicorn refuses itself
    ]
    good = [request("GET", path) for path in ("/healthz", "/readyz", "/models", "/models/digits")]
    return made + [(content, 0) for content in bad + good]


class Client(threading.Thread):
    """Sends requests, one after the other, and counts what it gets.

    Attributes:
        codes: how many answers there were, by status.
        rows: that were answered.
        lost: requests whose connection broke.
    """

    def __init__(self, url: str, count: int, seed: int) -> None:
        super().__init__()
        self.codes: Counter[str] = Counter()
        self.rows = self.lost = 0
        self._address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._count, self._random, self._socket = count, random.Random(seed), None

    def run(self) -> None:
        """Send them all."""
        known = cases()
        for _ in range(self._count):
            content, rows = self._random.choice(known)
            try:
                code = self._ask(content)
            except OSError:
                self.lost += 1
                self._close()
                continue
            self.codes[code] += 1
            self.rows += rows if code == "200" else 0

    def _ask(self, content: bytes) -> str:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
        self._socket.sendall(content)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive()
        head = answer[:end].decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        left = end + 4 + int(length[1] if length else 0) - len(answer)
        while left > 0:
            left -= len(self._receive())
        if "connection: close" in head:
            self._close()
        return head.split()[1]

    def _receive(self) -> bytes:
        part = self._socket.recv(2**18) if self._socket else b""
        if not part:
            raise ConnectionResetError
        return part

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def start(workers: int) -> tuple[subprocess.Popen[str], str]:
    """A server, and its address."""
    command = [sys.executable, "-m", "serving", "run", "--models", str(MODELS), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True
    )
    lines = process.stdout or ()
    url = next(f[1] for line in lines if (f := re.search(r"Listening at: (http://\S+)", line)))
    # It logs every request that fails; someone has to take that.
    threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()
    return process, url


def kill_one(master: int) -> bool:
    """Kill a worker, if there is one."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    if not children:
        return False
    os.kill(int(children[0]), signal.SIGKILL)  # the oldest, which has the most to do
    return True


def scraped(url: str) -> tuple[Counter[str], int]:
    """What the server has counted: answers by status, and rows."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:  # noqa: S310
        families = text_string_to_metric_families(answer.read().decode())
    codes: Counter[str] = Counter()
    rows = 0
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == "forwardpass_requests_total":
            codes[sample.labels["code"]] += int(sample.value)
        elif sample.name == "forwardpass_rows_total":
            rows += int(sample.value)
    return codes, rows


def compare(requests: int, kills: int, workers: int) -> bool:
    """Run it, print what was found, and say whether it is right."""
    process, url = start(workers)
    try:
        clients = [Client(url, requests // CLIENTS, seed) for seed in range(CLIENTS)]
        began = time.perf_counter()
        for client in clients:
            client.start()
        killed = 0
        while any(client.is_alive() for client in clients):
            time.sleep(random.uniform(0.01, 0.02))
            done = sum(client.codes.total() for client in clients)
            if done * (kills + 1) > (killed + 1) * requests and killed < kills:
                killed += kill_one(process.pid)
        seconds = time.perf_counter() - began
        counted, counted_rows = scraped(url)
    finally:
        process.terminate()
        process.wait(timeout=30)
    seen = sum((client.codes for client in clients), Counter())
    rows, lost = sum(client.rows for client in clients), sum(client.lost for client in clients)
    click.echo(
        f"{seen.total()} answers in {seconds:.0f} s, {killed} kills, {lost} connections broke"
    )
    for code in sorted(seen | counted):
        click.echo(f"  {code}: {seen[code]} seen, {counted[code]} counted")
    click.echo(f"  rows: {rows} seen, {counted_rows} counted")
    over = counted.total() - seen.total()
    click.echo(f"  counted and not seen: {over}")
    exact = not seen - counted and 0 <= over <= killed and (over > 0 or rows == counted_rows)
    return exact and (lost > 0 or not kills)  # which broke none, and showed nothing


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    sys.exit(not compare(arguments.requests, arguments.kills, arguments.workers))


if __name__ == "__main__":
    main()
