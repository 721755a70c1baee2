"""Start-up and memory: from the command to the first answer, and what two workers take."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders.encodings import Request
from benchmarks.contenders.processes import memory_mb
from benchmarks.robustness.server import running
from benchmarks.throughput.wrk_client import Client

TIMES = 10


def measure(models: Path, request: Request, folder: Path) -> dict[str, Any]:
    """Two workers of a small model, started again and again."""
    started = []
    for _ in range(TIMES):
        with running(models, first=request.body, workers=2) as server:
            started.append(server.started)
    with running(models, first=request.body, workers=2) as server:
        time.sleep(2)  # the second worker is there as well
        idle = memory_mb()
        url = "http://{}:{}/predict".format(*server.address)
        Client(request, folder).ask(url, connections=16, seconds=10)
        used = memory_mb()
    return {
        "seconds_to_first_answer": {
            "median": round(median(started), 3),
            "worst": round(max(started), 3),
        },
        "memory_mb": {"idle": round(idle, 1), "after 10 s of load": round(used, 1)},
    }
