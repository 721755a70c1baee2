"""Every answer its own: many different requests at once, on many connections, on several servers.

Each body is known by the bytes of its answer, computed before by ONNX Runtime and this project's
encoder on each request alone. An answer that belonged to another request would differ.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.contender import ROOT
from benchmarks.robustness.server import running
from serving.call_context import CallContext
from serving.codec.messages import EncodedRequest
from serving.inference.batching import Batcher
from serving.inference.predictor import Predictor
from serving.repository import Repository

BODIES = 2000
SIZES = (1, 1, 1, 1, 2, 3, 5, 8, 20, 64, 200)  # rows of a body
CONNECTIONS = 64
MINUTES = 10


def bodies(models: Path, seed: int = 6) -> list[tuple[bytes, bytes]]:
    """Requests and the answers each of them has to get."""
    rng = np.random.default_rng(seed)
    repository = Repository(models)
    repository.load()
    model = repository.find_model(None)
    predict = Predictor(Batcher())
    found = []
    for _ in range(BODIES):
        rows = rng.integers(0, 17, (int(rng.choice(SIZES)), len(model.manifest.inputs)))
        body = json.dumps({"instances": rows.tolist()}).encode()
        found.append((body, predict("rows", model, EncodedRequest(body), CallContext()).content))
    if len({answer for _, answer in found}) < BODIES * 0.95:
        raise RuntimeError("expected answers that tell requests apart; got too many alike")
    return found


@contextmanager
def another_server(models: Path) -> Iterator[tuple[str, int]]:
    """The same application under gunicorn's worker of threads, where nothing is joined."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "--threads",
            "8",
            "--worker-class",
            "gthread",
            "--bind",
            "{}:{}".format(*address),
            f"serving:create_app(models='{models}')",
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(address, timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


class _Asker:
    """One connection and the answer it waits for."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.expected, self.answer = b"", bytearray()

    def ask(self, body: bytes, expected: bytes) -> None:
        self.expected, self.answer = expected, bytearray()
        head = (
            "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body)

    def hear(self) -> bool | None:
        """Whether the answer is the right one; None until it is complete."""
        part = self.socket.recv(2**18)
        self.answer += part
        head, mark, body = self.answer.partition(b"\r\n\r\n")
        if part and (not mark or len(body) < _length(head)):
            return None
        return head.startswith(b"HTTP/1.1 200") and body == self.expected


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])


def ask_all(
    addresses: Sequence[tuple[str, int]], known: Sequence[tuple[bytes, bytes]], count: int
) -> dict[str, int]:
    """Ask so many, in an order of no pattern; how many answers were right, and how many not."""
    order = deque(np.random.default_rng(0).integers(0, len(known), count).tolist())
    right = wrong = 0
    with ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        for place in range(CONNECTIONS):
            asker = _Asker(addresses[place % len(addresses)])
            stack.callback(asker.socket.close)
            ready.register(asker.socket, selectors.EVENT_READ, asker)
            asker.ask(*known[order.popleft()])
        end = time.monotonic() + MINUTES * 60
        while right + wrong < count and time.monotonic() < end:
            for key, _ in ready.select(1):
                found = key.data.hear()
                if found is None:
                    continue
                right, wrong = right + found, wrong + (not found)
                if order:
                    key.data.ask(*known[order.popleft()])
    return {"asked": count, "own": right, "other": wrong}


def measure(models: Path, count: int) -> dict[str, Any]:
    """So many requests to each kind of server, and how many got their own answer."""
    known = bodies(models)
    with running(models, workers=2) as first, running(models, workers=1, max_delay=0.002) as second:
        joined = ask_all([first.address, second.address], known, count)
    with another_server(models) as address:
        alone = ask_all([address], known, count // 20)
    return {"two servers of three workers that join": joined, "threads that do not": alone}
