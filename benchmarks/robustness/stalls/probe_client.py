"""An innocent client: one small request every 5 ms from a process of its own."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

PERIOD = 0.005  # seconds between two requests
PATH = "/v1/models/digits:predict"
BODY = json.dumps({"instances": [[0.0] * 64]})
PATIENCE = 120.0  # seconds for an answer
WARM_UP = 50  # requests that are not counted


class Waits(NamedTuple):
    """What the client has met since it was asked last.

    Attributes:
        worst: Longest wait for an answer, in seconds.
        worst_cpu: Most CPU time that the server's workers took during one wait, in seconds. Unlike
            `worst` it does not grow with what else this machine has to do.
        answers: Number of answers.
        failures: Number of requests that failed, or were answered with another status than 200.
    """

    worst: float
    worst_cpu: float
    answers: int
    failures: int


class Innocent:
    """The client's process.

    Args:
        host: Address of the server.
        port: Port of the server.
        workers: Process ids of its workers.
    """

    def __init__(self, host: str, port: int, workers: Sequence[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_ask, args=(host, port, workers, other), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()  # It has warmed up.

    def waits(self) -> Waits:
        """Return what it has met since the last call, with the request that it waits for now."""
        self._pipe.send("waits")
        found: Waits = self._pipe.recv()
        return found

    def stop(self) -> None:
        """End the process."""
        self._pipe.send("stop")
        self._process.join(PATIENCE)
        self._pipe.close()


def _ask(host: str, port: int, workers: Sequence[int], pipe: Connection) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    for _ in range(WARM_UP):
        _one(connection)
    pipe.send("ready")
    worst, worst_cpu, answers, failures, due = 0.0, 0.0, 0, 0, time.perf_counter()
    while True:
        if pipe.poll():
            if pipe.recv() == "stop":
                return
            pipe.send(Waits(worst, worst_cpu, answers, failures))
            worst, worst_cpu, answers, failures = 0.0, 0.0, 0, 0
        due = max(due + PERIOD, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
        began, cpu = time.perf_counter(), _cpu_seconds(workers)
        is_answered = _one(connection)
        worst = max(worst, time.perf_counter() - began)
        worst_cpu = max(worst_cpu, _cpu_seconds(workers) - cpu)
        answers, failures = answers + is_answered, failures + (not is_answered)


def _cpu_seconds(workers: Sequence[int]) -> float:
    """Return the CPU time that processes have taken; a killed one counts as nothing."""
    total = 0
    for worker in workers:
        try:
            total += int(Path(f"/proc/{worker}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def _one(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("POST", PATH, BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    return answer.status == 200
