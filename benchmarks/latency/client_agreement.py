"""Does `serving loadtest` see what wrk sees? Both drive one worker, turn and turn about.

One worker, and users who ask again as soon as they are answered, which is all that wrk has. With
32 rows a request the worker is what there is too little of, and what both see has to be the same;
with one row the client's own time, which wrk, in C, has less of, is part of every turn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import onnxruntime_alone
from benchmarks.contenders.contender_server import Server
from benchmarks.contenders.ours import ALONE
from benchmarks.latency.capacity_search import ahead, generator_of
from benchmarks.latency.checked_requests import call, rows
from benchmarks.latency.scenarios import NETWORK
from benchmarks.throughput.wrk_client import Client
from benchmarks.training.steps_per_second import quartiles

ROUNDS, SECONDS, USERS = 3, 1, 4


def agreement(models: Path, count: int) -> dict[str, Any]:
    """Rates and median latencies of both, and their ratios, round by round.

    Args:
        models: a repository.
        count: of rows of a request.
    """
    graph = models / NETWORK / "1" / "model.onnx"
    features = rows(count)[0]
    ours: list[tuple[float, float]] = []
    wrk: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory(prefix="fp") as name,
        Server(ALONE, NETWORK, models, Path(name)) as server,
    ):
        request = ALONE.encoding.request(features)
        server.settle(request)
        one = call(server, features, onnxruntime_alone.probabilities(graph, features))
        generator = generator_of(server.ports[0], [one], 0)
        client = Client(request, Path(name) / "client")
        client.warm(server.url)
        for _ in range(ROUNDS):
            heard = client.ask(server.url, connections=USERS, seconds=SECONDS)
            wrk.append((heard.requests_per_second, heard.p50_ms))
            with ahead():
                found, _ = generator.run_closed_loop(USERS, SECONDS)
            ours.append((found.throughput, found.latency.percentiles["p50"] * 1e3))
    both = np.array(ours), np.array(wrk)
    median = [np.median(side, axis=0).round(3).tolist() for side in both]
    ratio = both[0] / both[1]
    return {
        "rows": count,
        "users": USERS,
        "workers": 1,
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "loadtest": dict(zip(("requests_per_second", "p50_ms"), median[0], strict=True)),
        "wrk": dict(zip(("requests_per_second", "p50_ms"), median[1], strict=True)),
        "ratio": {"requests_per_second": quartiles(ratio[:, 0]), "p50_ms": quartiles(ratio[:, 1])},
    }
