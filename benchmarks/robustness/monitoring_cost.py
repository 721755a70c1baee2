"""The cost of metrics, logs and keys: the server against itself without its middleware and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.encodings import PostRequest
from benchmarks.robustness.server import run_server
from benchmarks.throughput.wrk_client import WrkClient

ROUNDS = 8
LOAD_SECONDS = 2
CONNECTIONS = (1, 16)


def measure_monitoring_cost(models: Path, request: PostRequest, folder: Path) -> dict[str, Any]:
    """Measure both servers in turn, and return quartiles of the ratios of their throughput.

    Args:
        models: Model repository.
        request: Request that makes the load.
        folder: Folder for the files of wrk.
    """
    results: dict[str, Any] = {}
    with (
        run_server(models, has_admin_key=True) as monitored,
        run_server(models, config="benchmarks.robustness.unmonitored_config") as unmonitored,
    ):
        request_with_key = PostRequest({**request.headers, **monitored.headers}, request.body)

        def measure(url: str, sent: PostRequest, connections: int) -> float:
            result = WrkClient(sent, folder).run(
                f"{url}/predict", connections=connections, seconds=LOAD_SECONDS
            )
            return result.requests_per_second

        for connections in CONNECTIONS:
            ratios = []
            for _ in range(ROUNDS):
                monitored_rate = measure(monitored.url, request_with_key, connections)
                ratios.append(measure(unmonitored.url, request, connections) / monitored_rate)
            low, median, high = np.percentile(ratios, [25, 50, 75])
            results[f"c={connections}"] = {
                "slower_by": round(float(median) - 1, 3),
                "quartiles": [round(float(low) - 1, 3), round(float(high) - 1, 3)],
            }
    return results
