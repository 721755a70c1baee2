"""This project's server as its command line starts it, for a guarantee to be tried on."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.contender import ROOT
from benchmarks.contenders.processes import end_all
from serving.settings.options import ENV_PREFIX

START = 30.0  # seconds until it answers, at most


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        address: host and port.
        process: id of gunicorn's arbiter.
        started: seconds from its command to its first answer.
    """

    address: tuple[str, int]
    process: int
    started: float


@contextmanager
def running(
    models: Path,
    *,
    config: str | None = None,
    core: int | None = None,
    first: bytes | None = None,
    **settings: object,
) -> Iterator[Running]:
    """Start a server; it ends with the block.

    Args:
        models: its repository.
        config: of gunicorn's, a module, in place of the server's.
        core: the one it may use; all if None.
        first: a body whose answer is the first one; if None, readiness is.
        settings: of the server.

    Raises:
        RuntimeError: it does not answer in time.
    """
    command = [sys.executable, "-m", "serving", "run"]
    if config is not None:
        command = [sys.executable, "-m", "gunicorn", "--config", f"python:{config}"]
    settings |= {"models": models, "port": 0}
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    chosen = {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment = inherited | chosen | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=ROOT
        )
        try:
            address = None
            while time.perf_counter() < began + START and process.poll() is None:
                log.seek(0)
                if found := re.search(r"http://([\d.]+):(\d+)", log.read()):
                    address = (found[1], int(found[2]))
                    if _answers(address, first):
                        break
                time.sleep(0.01)
            else:
                log.seek(0)
                raise RuntimeError(f"expected a server that answers; it said: {log.read()[-4000:]}")
            yield Running(address, process.pid, time.perf_counter() - began)
        finally:
            end_all(process.pid)
            process.wait(timeout=START)


def _answers(address: tuple[str, int], body: bytes | None) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        if body is None:
            connection.request("GET", "/readyz")
        else:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
