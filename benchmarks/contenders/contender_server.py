"""A running server of a side: started, asked until it answers, checked, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.contender import INSIDE, ROOT, Place, Side, StartError
from benchmarks.contenders.encodings import Request
from benchmarks.contenders.processes import end_all
from serving.settings.options import ENV_PREFIX

START = 90  # seconds until a first answer, at most
SETTLE = 0.5  # second for the second worker to be there as well
TOLERANCE = 1e-5  # of a probability
PATIENCE = 3  # seconds to end in; Ray takes any
LOG = 8000  # characters of a log that an error shows


def environment_of(side: Side) -> Path:
    """Where its virtual environment lies; our own is the one that runs this."""
    return Path(sys.prefix) if side.peer is None else ROOT / ".bench" / side.peer


def free_ports() -> tuple[int, int, int]:
    """Three ports of 127.0.0.1 that no one listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        first, second, third = (probe.getsockname()[1] for probe in probes)
    return first, second, third


class Server:
    """A side's server; use it in a `with` statement.

    Args:
        side: which.
        network: what it serves.
        models: a repository with that network's bundle alone.
        folder: an empty one.

    Raises:
        StartError: it does not start.
    """

    def __init__(self, side: Side, network: str, models: Path, folder: Path) -> None:
        self.side, self.network, self.ports = side, network, free_ports()
        graph = models / network / "1" / "model.onnx"
        place = Place(network, models, graph, folder, environment_of(side), self.ports)
        command = side.start(place)
        self.url = f"http://127.0.0.1:{self.ports[0]}{side.encoding.path(network)}"
        self.log = folder / "log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        variables = {"GRAPH": str(graph), "PYTHONPATH": str(INSIDE), **command.variables}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=inherited | variables,
                start_new_session=True,
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end_all(self.process.pid, patience=PATIENCE)
        self.process.wait(timeout=START)

    def settle(self, request: Request) -> None:
        """Wait until it answers.

        Raises:
            StartError: it does not.
        """
        end, fault = time.monotonic() + START, ""
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise self.fault(f"it ended with {self.process.returncode}")
            try:
                self.post(request)
            except OSError as error:
                fault = str(error)
                time.sleep(0.2)
            else:
                time.sleep(SETTLE)
                return
        raise self.fault(f"no answer in {START} s: {fault}")

    def check(self, request: Request, expected: NDArray[np.float32]) -> None:
        """Hold its answer to that of ONNX Runtime.

        Args:
            request: what is posted.
            expected: probabilities `(n, 10)`.

        Raises:
            StartError: it answers otherwise.
        """
        try:
            found = self.side.encoding.probabilities(*self.post(request))
        except (OSError, LookupError, ValueError) as error:
            raise self.fault(f"expected an answer with probabilities; got {error!r}") from error
        alike = found.shape == expected.shape and (np.abs(found - expected) <= TOLERANCE).all()
        if not alike:
            raise self.fault(f"expected the probabilities {expected[0]} ...; got {found[:1]}")

    def fault(self, what: str) -> StartError:
        """An error that ends with the log."""
        log = self.log.read_text(encoding="utf-8", errors="replace")[-LOG:]
        return StartError(f"{self.side.name}: {what}; its log ends:\n{log}")

    def post(self, request: Request) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer to one request."""
        headers = dict(request.headers)
        asked = urllib.request.Request(self.url, request.body, headers)  # noqa: S310
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            return dict(answer.headers), answer.read()
