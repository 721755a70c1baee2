"""A client that sends a small request every 5 ms, and measures how long it waits for its answers.

It runs in a process of its own, so that the hostile clients do not delay it. It needs its own loop
because it reads the workers' CPU time before and after each answer.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.robustness.server import HANG_SECONDS, RunningServer
from serving.loadtest.http_client import ServerAddress

PERIOD_SECONDS = 0.005
PATH = "/v1/models/digits:predict"
BODY = json.dumps({"instances": [[0.0] * 64]})
WARM_UP_REQUESTS = 50  # not measured


class ProbeWaits(NamedTuple):
    """The client's waits since the last reading.

    Attributes:
        max_seconds: Longest wait for an answer, in seconds.
        max_cpu_seconds: Most CPU time that the server's workers took during one wait, in seconds.
            Unlike the wait itself, it does not grow with other load on the machine.
        answers: Number of answers with status 200.
        failures: Number of requests that failed, or were answered with another status.
    """

    max_seconds: float = 0.0
    max_cpu_seconds: float = 0.0
    answers: int = 0
    failures: int = 0


class ProbeClient:
    """The client's process.

    Args:
        server: The server to measure.
    """

    def __init__(self, server: RunningServer) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        arguments = (server.address, server.list_workers(), child_pipe)
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        child_pipe.close()
        self._pipe.recv()  # The process has warmed up.

    def read_waits(self) -> ProbeWaits:
        """Return the waits since the last call, the request in flight included."""
        self._pipe.send("read")
        waits: ProbeWaits = self._pipe.recv()
        return waits

    def stop(self) -> None:
        """End the process."""
        self._pipe.send("stop")
        self._process.join(HANG_SECONDS)
        self._pipe.close()


def _run(address: ServerAddress, workers: Sequence[int], pipe: Connection) -> None:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=HANG_SECONDS)
    for _ in range(WARM_UP_REQUESTS):
        _send_request(connection)
    pipe.send("ready")
    waits, due = ProbeWaits(), time.perf_counter()
    while True:
        if pipe.poll():
            if pipe.recv() == "stop":
                return
            pipe.send(waits)
            waits = ProbeWaits()
        due = max(due + PERIOD_SECONDS, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
        started, cpu_seconds = time.perf_counter(), _measure_cpu_seconds(workers)
        is_answered = _send_request(connection)
        waits = ProbeWaits(
            max(waits.max_seconds, time.perf_counter() - started),
            max(waits.max_cpu_seconds, _measure_cpu_seconds(workers) - cpu_seconds),
            waits.answers + is_answered,
            waits.failures + (not is_answered),
        )


def _measure_cpu_seconds(workers: Sequence[int]) -> float:
    """Return the CPU time of processes so far, in seconds; 0 for one that has ended."""
    total = 0
    for worker in workers:
        try:
            total += int(Path(f"/proc/{worker}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def _send_request(connection: http.client.HTTPConnection) -> bool:
    """Send a request, and return whether it was answered with status 200."""
    try:
        connection.request("POST", PATH, BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    return answer.status == http.client.OK
