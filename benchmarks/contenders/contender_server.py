"""A running server of a contender: start it, wait until it is ready, check an answer, stop it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.contender import APP_LIBRARY, Contender, Placement, StartError
from benchmarks.contenders.encodings import PostRequest
from benchmarks.contenders.environments import locate_environment
from benchmarks.contenders.processes import stop_all
from serving.settings.environment import ENV_PREFIX

MAX_START_SECONDS = 90
SETTLE_SECONDS = 0.5  # wait after the first answer, for the second worker to be ready as well
MAX_PROBABILITY_ERROR = 1e-5
STOP_SECONDS = 3  # Ray would take any time that it is given
MAX_LOG_CHARACTERS = 8000  # of the log in an error message


def find_free_ports() -> tuple[int, int, int]:
    """Return three ports of 127.0.0.1 on which nothing listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        first, second, third = (probe.getsockname()[1] for probe in sockets)
    return first, second, third


class ContenderServer:
    """A contender's server; use it in a `with` statement.

    Args:
        contender: The contender.
        network: Name of the network to serve.
        models: Model repository that contains only that network's bundle.
        folder: Empty folder for the server's files.

    Raises:
        StartError: If the server cannot be started.
    """

    def __init__(self, contender: Contender, network: str, models: Path, folder: Path) -> None:
        self.contender, self.network, self.ports = contender, network, find_free_ports()
        graph = models / network / "1" / "model.onnx"
        environment = locate_environment(contender)
        command = contender.make_command(
            Placement(network, models, graph, folder, environment, self.ports)
        )
        self.url = f"http://127.0.0.1:{self.ports[0]}{contender.encoding.make_path(network)}"
        self.log = folder / "log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        variables = {"GRAPH": str(graph), "PYTHONPATH": str(APP_LIBRARY), **command.variables}
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

    def __enter__(self) -> ContenderServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop_all(self.process.pid, stop_seconds=STOP_SECONDS)
        self.process.wait(timeout=MAX_START_SECONDS)

    def wait_until_ready(self, request: PostRequest) -> None:
        """Send a request until it is answered.

        Raises:
            StartError: If the server ends, or does not answer within `MAX_START_SECONDS`.
        """
        deadline, reason = time.monotonic() + MAX_START_SECONDS, ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self.make_error(f"it ended with exit status {self.process.returncode}")
            try:
                self.post(request)
            except OSError as error:
                reason = str(error)
                time.sleep(0.2)
            else:
                time.sleep(SETTLE_SECONDS)
                return
        raise self.make_error(f"no answer within {MAX_START_SECONDS} s: {reason}")

    def check_answer(self, request: PostRequest, expected: NDArray[np.float32]) -> None:
        """Send a request and compare the answer with that of ONNX Runtime.

        Args:
            request: The request.
            expected: Correct probabilities, float32 `(n, 10)`.

        Raises:
            StartError: If the answer differs.
        """
        try:
            got = self.contender.encoding.decode(*self.post(request))
        except (OSError, LookupError, ValueError) as error:
            raise self.make_error(
                f"expected an answer with probabilities; got {error!r}"
            ) from error
        if got.shape != expected.shape or (np.abs(got - expected) > MAX_PROBABILITY_ERROR).any():
            raise self.make_error(f"expected the probabilities {expected[0]} ...; got {got[:1]}")

    def make_error(self, message: str) -> StartError:
        """Return an error that names the contender and quotes the end of its log."""
        log = self.log.read_text(encoding="utf-8", errors="replace")[-MAX_LOG_CHARACTERS:]
        return StartError(f"{self.contender.name}: {message}; its log ends:\n{log}")

    def post(self, request: PostRequest) -> tuple[dict[str, str], bytes]:
        """Send a request and return the headers and the body of the answer.

        Raises:
            OSError: If there is no answer, or one with an error status.
        """
        headers = dict(request.headers)
        post = urllib.request.Request(self.url, request.body, headers)  # noqa: S310
        with urllib.request.urlopen(post, timeout=10) as answer:  # noqa: S310
            return dict(answer.headers), answer.read()
