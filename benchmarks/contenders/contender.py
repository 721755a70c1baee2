"""A contender: a server that a benchmark starts, and how requests to it are encoded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders.encodings import JSON_INSTANCES, RequestEncoding
from benchmarks.contenders.workloads import WORKLOADS, Workload

CONTENDERS_FOLDER = Path(__file__).parent
APP_LIBRARY = CONTENDERS_FOLDER / "app_library"
WORKER_COUNT = 2  # processes, replicas or instances: one for each core of the machine measured on


class StartError(Exception):
    """A server cannot be started, or gives a wrong answer."""


@dataclass(frozen=True)
class Placement:
    """Where a server runs, and what it serves.

    Attributes:
        network: Name of the network to serve.
        models: Model repository that contains only that network's bundle.
        graph: ONNX file of that bundle.
        folder: Empty folder for the files that the server writes.
        environment: Folder of the server's virtual environment.
        ports: Three free ports of 127.0.0.1; the server answers predictions on the first.
    """

    network: str
    models: Path
    graph: Path
    folder: Path
    environment: Path
    ports: tuple[int, int, int]

    def locate_program(self, name: str) -> str:
        """Return the path of a program in the virtual environment."""
        return str(self.environment / "bin" / name)


@dataclass(frozen=True)
class StartCommand:
    """The command that starts a server.

    Attributes:
        arguments: Program and arguments.
        variables: Environment variables, in addition to the inherited ones.
    """

    arguments: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A server under measurement.

    Attributes:
        name: Name in the reports.
        make_command: Function that writes the files a server needs and returns its start command.
        encoding: Encoding of its requests and answers.
        environment_name: Name of its folder here and of its virtual environment; None for this
            project's server, which runs in the environment of the benchmark.
        package: Package in that environment whose version is reported; None for this project.
        workload_names: Names of the closed-loop workloads that it is measured under.
        has_model: Whether its answers are predictions, which are checked.
        variant: Variant of the bundle that it serves.
    """

    name: str
    make_command: Callable[[Placement], StartCommand]
    encoding: RequestEncoding = JSON_INSTANCES
    environment_name: str | None = None
    package: str | None = None
    workload_names: frozenset[str] = frozenset(
        workload.name for workload in WORKLOADS if not workload.is_latency_only
    )
    has_model: bool = True
    variant: str = "fp32"

    def accepts(self, workload: Workload) -> bool:
        """Return whether it is measured under this workload."""
        return workload.name in self.workload_names


def copy_app_file(environment_name: str, name: str, folder: Path) -> None:
    """Copy a file of a contender's folder to where its server looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CONTENDERS_FOLDER / environment_name / name, folder)


def locate_app(environment_name: str) -> str:
    """Return the path of a contender's `app.py`."""
    return str(CONTENDERS_FOLDER / environment_name / "app.py")
