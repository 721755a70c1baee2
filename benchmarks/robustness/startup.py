"""Start-up time and memory: until the first answer, and of two workers at rest and under load."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders.encodings import PostRequest
from benchmarks.contenders.processes import measure_memory_mb
from benchmarks.robustness.server import run_server
from benchmarks.throughput.wrk_client import WrkClient

START_COUNT = 10
LOAD_SECONDS = 10
SETTLE_SECONDS = 2  # wait after the first answer, for the second worker to be ready as well


def measure_startup(models: Path, request: PostRequest, folder: Path) -> dict[str, Any]:
    """Start two workers of a small model several times, then put a load on them.

    Args:
        models: Model repository.
        request: Request whose answer ends a start, and which makes the load.
        folder: Folder for the files of wrk.
    """
    start_seconds = []
    for _ in range(START_COUNT):
        with run_server(models, first_body=request.body) as server:
            start_seconds.append(server.start_seconds)
    with run_server(models, first_body=request.body) as server:
        time.sleep(SETTLE_SECONDS)
        idle_mb = measure_memory_mb()
        WrkClient(request, folder).run(
            f"{server.url}/predict", connections=16, seconds=LOAD_SECONDS
        )
        loaded_mb = measure_memory_mb()
    return {
        "seconds_to_first_answer": {
            "median": round(median(start_seconds), 3),
            "worst": round(max(start_seconds), 3),
        },
        "memory_mb": {
            "idle": round(idle_mb, 1),
            f"after {LOAD_SECONDS} s of load": round(loaded_mb, 1),
        },
    }
