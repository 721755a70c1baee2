"""Fixtures of all tests: repositories of real models, and real servers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from sklearn.datasets import load_digits, load_iris

from serving import create_app
from tests import outlivers
from tests.processes import Processes, Server, start_server
from trainer.config import Config
from trainer.pipeline import fit

__all__ = ["Server", "start_server"]

ROOT = Path(__file__).parent.parent

# `make test` tries the same examples on every machine; `make fuzz` tries new ones each time.
settings.register_profile("test", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=3000, print_blob=True)
settings.load_profile("test")

# Fixtures that start processes. Tests that use one are marked as slow, and only they may start any.
PROCESS_FIXTURES = {"certificate", "live", "processes", "serve", "shared_server"}
# Fixtures that train models, once per session. Tests that use one are marked as slow, too.
TRAINED_FIXTURES = {"made", "train_bundle", "zoo"}
# Commands by which the standard library and joblib identify the processor, once and quickly.
LIBRARIES_COMMANDS = {"lscpu", "uname"}
PROCESS_EVENTS = {"os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that start processes or need trained models as slow."""
    for item in items:
        if (PROCESS_FIXTURES | TRAINED_FIXTURES).intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_configure(config: pytest.Config) -> None:
    """Forbid starting processes in a run without slow tests."""
    if "not slow" in config.option.markexpr:
        sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    is_allowed = event == "subprocess.Popen" and arguments[0] in LIBRARIES_COMMANDS
    if "PYTEST_CURRENT_TEST" in os.environ and event in PROCESS_EVENTS and not is_allowed:
        raise AssertionError(
            f"expected a fast test to start no process; got {event}; ask for one of the fixtures "
            f"{', '.join(sorted(PROCESS_FIXTURES))}"
        )


@pytest.fixture(autouse=True)
def _fail_if_something_outlives_the_test() -> Iterator[None]:
    """Fail if a test leaves threads, processes, timers, log handlers, or another environment."""
    before = outlivers.snapshot()
    yield
    left = outlivers.left_since(before)
    assert not left, f"left behind by this test: {', '.join(left)}"


@pytest.fixture(scope="session", autouse=True)
def _fail_if_a_test_writes_to_the_repository() -> Iterator[None]:
    """Fail at the end of the session if a test has added models, runs or other files.

    Tests of commands that write to the folders `models` and `runs` by default either run in a
    temporary folder, as those of the trainer do, or name other folders.
    """
    before = _list_repository()
    yield
    assert _list_repository() - before == set()


def _list_repository() -> set[Path]:
    """Return the files and folders at the top of the repository, and the models and runs in it.

    The hidden caches of tools do not count.
    """
    patterns = ("*", "models/*/*", "runs/*/*")
    paths = (path for pattern in patterns for path in ROOT.glob(pattern))
    return {path for path in paths if not path.name.startswith(".")}


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
    """A repository with the committed model `digits` only: do not write to it."""
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
    # Without the state files of servers that have served it before.
    shutil.copytree(shipped, models, ignore=shutil.ignore_patterns(".serving.*"))
    for data, name in (
        (str(flowers), "flowers"),
        ("breast_cancer", "tumours"),
        ("diabetes", "progress"),
        ("linnerud", "physique"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            # No test depends on the speed of these models.
            patch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
            fit(
                Config(
                    data=data,
                    name=name,
                    models=models,
                    hidden=(16, 8),
                    epochs=30,
                    skip_baselines=True,
                )
            )
    return models


@pytest.fixture
def only_digits(shipped, tmp_path) -> Path:
    """A repository with the model `digits`, for one test, which may change it."""
    models = tmp_path / "models"
    # Without the state files that the server of another test may have left there.
    shutil.copytree(shipped, models, ignore=shutil.ignore_patterns(".serving.*"))
    return models


@pytest.fixture
def client(shipped):
    return create_app(models=shipped).test_client()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts servers; they end with the test."""
    started: list[Server] = []

    def start(models: Path, *arguments: str, until: str = "ready") -> Server:
        started.append(start_server(models, *arguments, until=until))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def processes() -> Iterator[Processes]:
    """An object that starts other processes; they end with the test."""
    found = Processes()
    yield found
    found.end()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Callable[..., Server]]:
    """Return a function that starts one server per session for the same models and arguments.

    Only for tests that do not change the server; others use `serve`.
    """
    started: dict[tuple[Any, ...], Server] = {}

    def find(models: Path, *arguments: str) -> Server:
        key = (models, *arguments)
        if key not in started:
            started[key] = start_server(models, *arguments)
            outlivers.shared_processes.add(started[key].process.pid)
        return started[key]

    yield find
    for server in started.values():
        server.kill()


@pytest.fixture(scope="session")
def live(shared_server, shipped) -> Server:
    """One server of the model `digits` for the whole session."""
    return shared_server(shipped, "--workers", "1")
