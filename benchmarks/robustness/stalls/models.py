"""A real server of one worker, with the two models that the hostile bodies are for."""

from __future__ import annotations

import csv
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.robustness.stalls.hostile_bodies import TABLE
from trainer.config import Config
from trainer.pipeline import fit

ROOT = Path(__file__).parents[3]
NAMES = {"numbers": "digits", "table": "people"}  # The served name of each model in `bodies`.
PATIENCE = 30.0  # seconds until the server is ready
KEPT = 200  # lines of the server's log


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        host: Address that it listens on.
        port: Port that it listens on.
        models: Folder of bundles that it follows, to put hostile ones into.
        process: The server's process.
    """

    host: str
    port: int
    models: Path
    process: subprocess.Popen[str]

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [int(child) for child in children.split()]

    def connect(self, timeout: float = 120) -> http.client.HTTPConnection:
        """Return a new connection; `timeout` is in seconds."""
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)


def write_models(folder: Path) -> None:
    """Write both models: the shipped `digits`, and one of mixed columns of random people.

    Each column of the people has gaps, so that a row of gaps is an instance.
    """
    shutil.copytree(ROOT / "models" / "digits" / "1", folder / "digits" / "1")
    people, rng = folder.parent / "people.csv", np.random.default_rng(0)
    with people.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*TABLE, "income"])
        for number in range(600):
            age = rng.uniform(17, 90)
            row = [
                f"{age:.1f}",
                ("true", "false")[number % 2],
                ("private", "state", "self")[number % 3],
                f"20{10 + number % 14}-0{1 + number % 9}-1{number % 10}",
                "yes" if age > 50 else "no",
            ]
            if number % 10 < len(TABLE):
                row[number % 10] = ""
            lines.writerow(row)
    fit(
        Config(
            data=str(people),
            name=NAMES["table"],
            models=folder,
            runs=folder.parent / "runs",
            hidden=(8,),
            epochs=3,
            skip_baselines=True,
        )
    )


@contextmanager
def server(workers: int = 1, *options: str) -> Iterator[Server]:
    """Start a server, wait until it is ready, and stop it in the end.

    Args:
        workers: Number of worker processes.
        options: Further options of `serving run`.
    """
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        write_models(models)
        command = [
            sys.executable,
            "-m",
            "serving",
            "run",
            "--models",
            str(models),
            "--port",
            "0",
            "--workers",
            str(workers),
            *options,
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        log: deque[str] = deque(maxlen=KEPT)
        address: list[tuple[str, int]] = []
        reader = threading.Thread(target=_read, args=(process, log, address))
        reader.start()
        try:
            _wait_until_ready(process, log, address)
            yield Server(*address[0], models, process)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join()
            if process.stdout is not None:
                process.stdout.close()


def _read(process: subprocess.Popen[str], log: deque[str], address: list[tuple[str, int]]) -> None:
    for line in process.stdout or ():
        log.append(line)
        if not address and (found := re.search(r"Listening at: http://([^\s:]+):(\d+)", line)):
            address.append((found[1], int(found[2])))


def _wait_until_ready(
    process: subprocess.Popen[str], log: deque[str], address: list[tuple[str, int]]
) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
        if not address:
            continue
        connection = http.client.HTTPConnection(*address[0], timeout=PATIENCE)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
    raise AssertionError("the server did not start: " + "".join(log))
