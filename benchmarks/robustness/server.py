"""Start this project's server for a measurement, wait until it is ready, and stop it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from benchmarks.contenders.processes import list_children, read_memory_mb
from benchmarks.machine import ROOT
from serving.loadtest.http_client import ServerAddress, fetch
from serving.settings.environment import ENV_PREFIX

# Time limit of a start, of an answer and of a stop: it turns a hang into an error.
HANG_SECONDS = 120.0
POLL_SECONDS = 0.01
READY_EVENT = '"worker ready"'  # logged by each worker before it accepts its first connection
MAX_LOG_CHARACTERS = 8000  # of the log in an error message


class UnexpectedAnswerError(Exception):
    """The server answered a request with another status or content than it should."""


@dataclass(frozen=True)
class RunningServer:
    """A server whose workers are ready.

    Attributes:
        address: Address that it listens on.
        process_id: Process id of gunicorn's arbiter.
        models: Folder of the models that it serves.
        start_seconds: Seconds from the start of the command until the server was ready.
        headers: Headers of an administrator's requests.
    """

    address: ServerAddress
    process_id: int
    models: Path
    start_seconds: float
    headers: Mapping[str, str]

    @property
    def url(self) -> str:
        """URL of the server, without a trailing slash."""
        return f"http://{self.address.host}:{self.address.port}"

    def connect(self, timeout: float = HANG_SECONDS) -> http.client.HTTPConnection:
        """Return a new connection with a timeout in seconds."""
        return http.client.HTTPConnection(self.address.host, self.address.port, timeout=timeout)

    def list_workers(self) -> list[int]:
        """Return the process ids of the workers, the oldest first."""
        return list_children(self.process_id)

    def measure_workers_mb(self) -> float:
        """Return the memory of all workers in MB; memory they share is counted once (PSS)."""
        return sum(read_memory_mb(worker)[1] for worker in self.list_workers())

    def fetch_json(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        """Return the JSON answer to a GET request, or to a POST request if there is a body.

        Raises:
            UnexpectedAnswerError: If the status is not 200.
            UnusableServerError: If there is no answer.
        """
        status, _, answer = fetch(self.address, path, self.headers, body, timeout=HANG_SECONDS)
        if status != http.client.OK:
            raise UnexpectedAnswerError(f"expected status 200 for {path}; got {status}: {answer!r}")
        content: dict[str, Any] = json.loads(answer)
        return content

    def change_model(self, name: str, action: str) -> dict[str, Any]:
        """Apply an action of the repository, such as `load` or `rollback`, to a model."""
        return self.fetch_json(f"/v2/repository/models/{name}/{action}", b"")


@contextmanager
def run_server(
    models: Path,
    *,
    workers: int = 2,
    config: str | None = None,
    core: int | None = None,
    first_body: bytes | None = None,
    has_admin_key: bool = False,
    **settings: object,
) -> Iterator[RunningServer]:
    """Run a server until the end of the block.

    Args:
        models: Model repository to serve.
        workers: Number of worker processes.
        config: Module of gunicorn settings to use instead of `serving run`.
        core: Number of the core that the server may use; None for all.
        first_body: Body of a prediction whose answer ends the start; None to wait for all workers.
        has_admin_key: Whether the server requires keys, and accepts that of `admin_key`.
        **settings: Other options of `serving run`.

    Raises:
        RuntimeError: If the server does not become ready within `HANG_SECONDS`.
    """
    command = [sys.executable, "-m", "serving", "run"]
    if config is not None:
        command = [sys.executable, "-m", "gunicorn", "--config", f"python:{config}"]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    settings |= {"models": models, "port": 0, "workers": workers}
    if has_admin_key:
        settings["keys"] = write_keys_file(models.parent)
    variables = {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment = inherited | variables | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder) / "log"
        started = time.perf_counter()
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=ROOT
            )
        try:
            address = _wait_until_ready(process, log_path, workers, first_body)
            seconds = time.perf_counter() - started
            headers = ADMIN_HEADERS if has_admin_key else {}
            yield RunningServer(address, process.pid, models, seconds, headers)
        finally:
            _stop(process)


def _wait_until_ready(
    process: subprocess.Popen[bytes], log_path: Path, workers: int, first_body: bytes | None
) -> ServerAddress:
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        log = log_path.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"Listening at: http://([^\s:]+):(\d+)", log):
            address = ServerAddress(match[1], int(match[2]))
            if first_body is None:
                is_ready = log.count(READY_EVENT) >= workers
            else:
                is_ready = _answers_prediction(address, first_body)
            if is_ready:
                return address
        time.sleep(POLL_SECONDS)
    log = log_path.read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(
        f"expected a server that is ready within {HANG_SECONDS:g} s; got exit status "
        f"{process.poll()}; its log ends:\n{log[-MAX_LOG_CHARACTERS:]}"
    )


def _answers_prediction(address: ServerAddress, body: bytes) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    try:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server as an orchestrator does, then kill what is left of its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(HANG_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(HANG_SECONDS)
