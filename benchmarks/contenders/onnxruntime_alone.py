"""ONNX Runtime without a server: the correct answers, and the time that a run takes by itself."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.runtime import GraphSession

TIMED_SECONDS = 1.0


def compute_probabilities(graph: Path, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the answer that every server should give, float32 `(n, 10)`."""
    answers = GraphSession(graph.read_bytes()).run({"features": rows})
    return answers["probabilities"]


def measure_run_us(graph: Path, rows: NDArray[np.float32]) -> float:
    """Return the median time of a run on one thread, in microseconds."""
    session, inputs = GraphSession(graph.read_bytes()), {"features": rows}
    nanoseconds: list[int] = []
    end = time.perf_counter() + TIMED_SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        session.run(inputs)
        nanoseconds.append(time.perf_counter_ns() - start)
    return float(np.median(nanoseconds)) / 1e3
