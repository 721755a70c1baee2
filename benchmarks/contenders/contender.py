"""A side: a server under measurement, how it is started and how it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders.encodings import ROWS, Encoding
from benchmarks.contenders.workloads import LOADS, Load

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent
INSIDE = PEERS / "app_library"
WORKERS = 2  # processes, replicas or instances that answer: one for each core of the machines here


class StartError(Exception):
    """A server cannot be started, or does not answer as it should."""


@dataclass(frozen=True)
class Place:
    """Where a server is to run.

    Attributes:
        network: what it is to serve.
        models: a repository with that bundle alone.
        graph: the ONNX file of that bundle.
        folder: an empty one, for what it writes.
        environment: its virtual environment; for our own side, that of the benchmark.
        ports: free ones of 127.0.0.1; the first is to answer.
    """

    network: str
    models: Path
    graph: Path
    folder: Path
    environment: Path
    ports: tuple[int, int, int]

    def program(self, name: str) -> str:
        """A program of the environment."""
        return str(self.environment / "bin" / name)


@dataclass(frozen=True)
class Command:
    """What starts a server: the arguments, and what it finds in its environment beside ours."""

    arguments: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """A server, and how it is asked.

    Attributes:
        name: in the report.
        start: makes its command, and the files it needs.
        encoding: of bodies and answers.
        peer: its folder here, with what its environment holds; None for the project's own.
        package: of that environment, the one whose version counts.
        loads: the names of those it takes.
        answers: whether its answers are to be right.
        variant: of the bundle, the one that answers.
    """

    name: str
    start: Callable[[Place], Command]
    encoding: Encoding = ROWS
    peer: str | None = None
    package: str | None = None
    loads: frozenset[str] = frozenset(load.name for load in LOADS if not load.latency_only)
    answers: bool = True
    variant: str = "fp32"

    def takes(self, load: Load) -> bool:
        """Whether it is measured under this load."""
        return load.name in self.loads


def copy(peer: str, name: str, to: Path) -> None:
    """Put a file of a peer's folder where its server looks for it."""
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy(PEERS / peer / name, to)


def app(peer: str) -> str:
    """The path of a peer's program."""
    return str(PEERS / peer / "app.py")
