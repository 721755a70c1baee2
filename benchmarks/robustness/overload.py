"""Overload: clients ask for more than the server can answer, and admitted requests stay fast.

The server has one core and the client the other. A closed loop measures the highest rate that the
server can answer. An open loop then asks for a fifth of it, four fifths, three times as much, and a
fifth again.

A refusal has a cost, too: the head must be read and the body skipped. If an answer costs no more
than that, the server spends most of its time on refusals. So the loads range from single rows of a
light network to many rows of a heavy one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.encodings import PostRequest
from benchmarks.robustness.background_client import prepare_post
from benchmarks.robustness.server import RunningServer, run_server
from benchmarks.throughput.wrk_client import WrkClient
from serving.loadtest.engine import LoadEngine
from serving.loadtest.open_loop import generate_poisson_arrivals
from serving.loadtest.run_record import RunRecord

PHASE_SECONDS = 8.0
WARM_UP_SECONDS = PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
# Rates relative to the highest rate that the server can answer.
QUIET, BUSY, TOO_MUCH = 0.2, 0.8, 3.0
# Below the highest rate 64 connections are enough. Earlier versions of this benchmark allowed 800
# in every phase, so their ratios are not comparable.
CONNECTIONS, OVERLOAD_CONNECTIONS = 64, 800
ANSWERED, REFUSED = 200, 503


def measure_overload(
    models: Path, request: PostRequest, queue_seconds: float, folder: Path
) -> dict[str, Any]:
    """Put all loads on one server.

    Args:
        models: Model repository.
        request: Request that makes the load.
        queue_seconds: Seconds that the server lets a request wait before it refuses it.
        folder: Folder for the files of wrk.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        with run_server(models, core=min(cores), workers=1, queue_seconds=queue_seconds) as server:
            peak = _measure_peak_rate(server, request, folder)
            _run_phase(server, request, peak * QUIET, WARM_UP_SECONDS)
            quiet = _run_phase(server, request, peak * QUIET)
            busy = _run_phase(server, request, peak * BUSY)
            too_much = _run_phase(
                server, request, peak * TOO_MUCH, connections=OVERLOAD_CONNECTIONS
            )
            time.sleep(PAUSE_SECONDS)
            quiet_again = _run_phase(server, request, peak * QUIET)
    finally:
        os.sched_setaffinity(0, cores)
    return {
        "queue_seconds": queue_seconds,
        "peak_per_s": round(peak, 1),
        "a_fifth": quiet,
        "four_fifths": busy,
        "three_times": too_much,
        "a_second_after": quiet_again,
        "admitted_p99_of_unloaded": round(
            too_much["answered"]["p99_ms"] / quiet["answered"]["p99_ms"], 2
        ),
        "throughput_of_peak": round(too_much["answered_per_s"] / peak, 3),
        "busy_p99_of_p50": round(busy["answered"]["p99_ms"] / busy["answered"]["p50_ms"], 2),
    }


def _measure_peak_rate(server: RunningServer, request: PostRequest, folder: Path) -> float:
    client = WrkClient(request, folder)
    return max(
        client.run(f"{server.url}/predict", connections=c, seconds=3).requests_per_second
        for c in (1, 4, 16)
    )


def _run_phase(
    server: RunningServer,
    request: PostRequest,
    rate: float,
    seconds: float = PHASE_SECONDS,
    connections: int = CONNECTIONS,
) -> dict[str, Any]:
    prepared = prepare_post(server.address, "/predict", request.body, headers=request.headers)
    engine = LoadEngine(
        server.address, [prepared], connections=connections, timeout=TIMEOUT_SECONDS
    )
    due_at = generate_poisson_arrivals(rate, seconds, np.random.default_rng(0))
    record = engine.run_open_loop(due_at, np.zeros(len(due_at), np.int32), seconds)
    return _summarize_phase(record)


def _summarize_phase(record: RunRecord) -> dict[str, Any]:
    status, seconds = record.status, record.load_seconds
    answered = record.latency[status == ANSWERED]
    refused = record.latency[status == REFUSED]
    return {
        "asked_per_s": round(len(status) / seconds, 1),
        "answered_per_s": round(len(answered) / seconds, 1),
        "refused_per_s": round(len(refused) / seconds, 1),
        "other": len(status) - len(answered) - len(refused),
        "answered": _compute_percentiles(answered),
        "refused": _compute_percentiles(refused),
    }


def _compute_percentiles(latencies: NDArray[np.float64]) -> dict[str, float | None]:
    """Return median and 99th percentile of latencies in seconds, in ms; null if there are none."""
    if not len(latencies):
        return {"p50_ms": None, "p99_ms": None}
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}
