"""What several test modules share: a repository of real models, and a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from serving import create_app
from trainer.choices import Config
from trainer.recipe import fit

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _runs_are_kept_elsewhere(tmp_path_factory):
    """What `trainer fit` leaves of a run does not go where the user keeps theirs."""
    Config.model_fields["runs"].default = tmp_path_factory.mktemp("runs")
    Config.model_rebuild(force=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    """Features float32 (1797, 64) and labels (1797,)."""
    data = load_digits()
    return data.data.astype(np.float32), data.target


@pytest.fixture(scope="session")
def shipped(tmp_path_factory) -> Path:
    """A repository of what is committed, whatever else the user has trained: do not write to it."""
    models = tmp_path_factory.mktemp("shipped") / "models"
    shutil.copytree(ROOT / "models" / "digits" / "1", models / "digits" / "1")
    return models


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, shipped) -> Path:
    """A repository with a model of each kind: do not write to it."""
    folder = tmp_path_factory.mktemp("zoo")
    iris = load_iris()
    flowers = folder / "flowers.csv"
    rows = [
        ",".join([*map(str, x), str(iris.target_names[y])])
        for x, y in zip(iris.data, iris.target, strict=True)
    ]
    flowers.write_text("\n".join(["sepal l,sepal w,petal l,petal w,species", *rows]))
    models = folder / "models"
    shutil.copytree(shipped, models)
    for data, name in (
        (str(flowers), "flowers"),
        ("breast_cancer", "tumours"),
        ("diabetes", "progress"),
        ("linnerud", "physique"),
    ):
        fit(Config(data=data, name=name, models=models, hidden=(16, 8), epochs=30,
                   skip_baselines=True))  # fmt: skip
    return models


@pytest.fixture
def only_digits(shipped, tmp_path) -> Path:
    """A repository of the embedded default, to damage at will."""
    models = tmp_path / "models"
    shutil.copytree(shipped, models)
    return models


@pytest.fixture
def client(shipped):
    return create_app(models=shipped).test_client()


@dataclass
class Server:
    """A real server process, its address, and what it has said so far."""

    process: subprocess.Popen[str]
    url: str = ""
    log: list[str] = field(default_factory=list)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def start_server(models: Path, *arguments: str) -> Server:
    """`python -m serving run` on a free port, once it answers."""
    command = [sys.executable, "-m", "serving", "run", "--models", str(models), "--port", "0"]
    # As a user would run it: `CI` hides what libraries do at home.
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    server = Server(process)
    listening = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                server.log.append(line)
                if found := re.search(r"Listening at: (https?://\S+)", line):
                    server.url = found[1]
                    listening.set()

    threading.Thread(target=read, daemon=True).start()
    if not listening.wait(20):
        process.kill()
        raise AssertionError("the server did not start: " + "".join(server.log))
    return server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers, and ends those a test leaves running."""
    started: list[Server] = []

    def start(models: Path, *arguments: str) -> Server:
        started.append(start_server(models, *arguments))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def live(shipped) -> Iterator[Server]:
    """One server of the embedded default for the whole session."""
    server = start_server(shipped, "--workers", "1")
    yield server
    server.stop()
