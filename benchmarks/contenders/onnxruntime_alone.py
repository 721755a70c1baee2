"""The floor: ONNX Runtime in a loop of this process, without a server, a client or bytes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.runtime import GraphSession

SECONDS = 1.0


def probabilities(graph: Path, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What every server should answer: `(n, 10)`."""
    answers = GraphSession(graph.read_bytes()).run({"features": rows})
    return answers["probabilities"]


def run_us(graph: Path, rows: NDArray[np.float32]) -> float:
    """The median µs of a run on one thread."""
    session, inputs = GraphSession(graph.read_bytes()), {"features": rows}
    times: list[int] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        session.run(inputs)
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1e3
