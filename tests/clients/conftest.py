"""Real clients against a real server, each in its own environment (make test-clients)."""

import importlib.util
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.admin_key import write_keys_file

ROOT = Path(__file__).parent.parent.parent
# These tests need the environment of `make test-clients`; elsewhere nothing is collected.
if importlib.util.find_spec("tritonclient") is None:
    collect_ignore_glob = ["test_*.py"]

# The interpreter of the server's environment.
PYTHON = os.environ.get("SERVER_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {
    "PYTHONPATH": str(ROOT),
    "CI": "true",  # ONNX Runtime then sends no telemetry.
}
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class Server:
    """A running server process.

    Attributes:
        models: The folder of its models.
        url: URL with which it was reached when it started listening.
        log: Lines of its log so far.
    """

    def __init__(self, models: Path, *options: str) -> None:
        self.models = models
        command = [
            PYTHON,
            "-m",
            "serving",
            "run",
            "--models",
            str(models),
            "--port",
            "0",
            "--workers",
            "1",
            *options,
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=ENVIRONMENT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.log: list[str] = []
        self.url = ""
        listening = threading.Event()
        threading.Thread(target=self._read_log, args=(listening,), daemon=True).start()
        if not listening.wait(30):
            self.stop()
            raise AssertionError("the server did not start: " + "".join(self.log))

    @property
    def address(self) -> str:
        """Host and port, without the scheme."""
        return self.url.removeprefix("http://")

    def stop(self) -> None:
        """Stop the process and wait for its end."""
        self.process.terminate()
        self.process.wait(timeout=120)

    def _read_log(self, listening: threading.Event) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.log.append(line)
                if found := re.search(r"Listening at: (http://[0-9.:]+)", line):
                    self.url = found[1]
                    listening.set()


def serve(models: Path, *options: str) -> Iterator[Server]:
    """Yield a server of a folder of models, which is stopped afterwards."""
    server = Server(models, *options)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Iterator[Server]:
    """A server of the digits model, whose inputs are all numbers."""
    models = tmp_path_factory.mktemp("digits") / "models"
    shutil.copytree(ROOT / "models" / "digits" / "1", models / "digits" / "1")
    yield from serve(models)


@pytest.fixture
def keyed(tmp_path) -> Iterator[Server]:
    """A server of the digits model that requires an administrator's key."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "digits" / "1", models / "digits" / "1")
    yield from serve(models, "--keys", str(write_keys_file(tmp_path)))


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Iterator[Server]:
    """A server of a model trained on a table of numbers, texts and dates."""
    folder = tmp_path_factory.mktemp("people")
    command = [
        PYTHON,
        "-m",
        "trainer",
        "fit",
        "docs/people.csv",
        "--target",
        "bought",
        "--drop",
        "customer",
        "--models",
        str(folder / "models"),
        "--runs",
        str(folder / "runs"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    yield from serve(folder / "models")
