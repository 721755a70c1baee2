"""Comparison of the load generator with wrk: both put the same load on one worker of our server."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import onnxruntime_alone
from benchmarks.contenders.contender_server import ContenderServer
from benchmarks.contenders.ours import SINGLE_WORKER
from benchmarks.latency.capacity_search import create_generator, raise_priority
from benchmarks.latency.checked_requests import draw_row_sets, prepare_request
from benchmarks.latency.scenarios import NETWORK
from benchmarks.machine import compute_quartiles
from benchmarks.throughput.wrk_client import WrkClient

ROUNDS, SECONDS, USERS = 3, 1, 4
MEASURES = ("requests_per_second", "p50_ms")


def compare_clients(models: Path, count: int) -> dict[str, Any]:
    """Return rates and median latencies of both clients, and their ratios, as JSON content.

    Args:
        models: Model repository with the network.
        count: Rows of each request.
    """
    graph = models / NETWORK / "1" / "model.onnx"
    features = draw_row_sets(count)[0]
    loadtest: list[tuple[float, float]] = []
    wrk: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory(prefix="fp") as name,
        ContenderServer(SINGLE_WORKER, NETWORK, models, Path(name)) as server,
    ):
        request = SINGLE_WORKER.encoding.encode(features)
        server.wait_until_ready(request)
        expected = onnxruntime_alone.compute_probabilities(graph, features)
        prepared = prepare_request(server, features, expected)
        generator = create_generator(server.ports[0], [prepared], 0)
        client = WrkClient(request, Path(name) / "client")
        client.warm_up(server.url)
        for _ in range(ROUNDS):
            result = client.run(server.url, connections=USERS, seconds=SECONDS)
            wrk.append((result.requests_per_second, result.p50_ms))
            with raise_priority():
                statistics, _ = generator.run_closed_loop(USERS, SECONDS)
            p50_ms = statistics.latency.percentiles["p50"] * 1e3
            loadtest.append((statistics.throughput, p50_ms))
    ratios = np.array(loadtest) / np.array(wrk)
    return {
        "rows": count,
        "users": USERS,
        "workers": 1,
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "loadtest": _compute_medians(loadtest),
        "wrk": _compute_medians(wrk),
        "ratio": {name: compute_quartiles(ratios[:, i]) for i, name in enumerate(MEASURES)},
    }


def _compute_medians(measured: list[tuple[float, float]]) -> dict[str, float]:
    medians = np.median(np.array(measured), axis=0).round(3).tolist()
    return dict(zip(MEASURES, medians, strict=True))
