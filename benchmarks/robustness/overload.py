"""Overload: more is asked than can be answered, and those who are admitted hardly notice.

The server has one core to itself, the client the other. A closed loop finds the most it can
answer; then an open loop asks a fifth of that, four fifths, three times that, and a fifth again.

Refusing costs something, too: a head has to be read and a body passed over. With answers that take
as long as that, most of the time goes into refusing; so the loads go from a light model's single
rows to a heavy one's many.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.encodings import Request
from benchmarks.robustness.open_loop import OpenLoop, Outcome
from benchmarks.robustness.server import running
from benchmarks.throughput.wrk_client import Client

SECONDS = 8.0  # of each phase
QUIET = 0.2  # of what the server can answer
BUSY = 0.8
TOO_MUCH = 3.0


def percentiles(latencies: Any) -> dict[str, float | None]:
    """Median and 99th percentile, in ms."""
    if not len(latencies):
        return {"p50_ms": None, "p99_ms": None}
    p50, p99 = np.nanpercentile(latencies, [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def told(outcome: Outcome) -> dict[str, Any]:
    """What became of a phase."""
    answered, refused = outcome.of(200), outcome.of(503)
    return {
        "asked_per_s": round(len(outcome.due) / outcome.seconds, 1),
        "answered_per_s": round(len(answered) / outcome.seconds, 1),
        "refused_per_s": round(len(refused) / outcome.seconds, 1),
        "other": int(((outcome.status != 200) & (outcome.status != 503)).sum()),
        "answered": percentiles(answered),
        "refused": percentiles(refused),
    }


def measure(models: Path, request: Request, queue_seconds: float, folder: Path) -> dict[str, Any]:
    """One load on one server.

    Args:
        models: its repository.
        request: what is posted.
        queue_seconds: that a request may have to wait; what takes longer is refused.
        folder: for the client's files.
    """
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    raw = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{head}"
        f"Content-Length: {len(request.body)}\r\n\r\n"
    ).encode() + request.body
    cores = os.sched_getaffinity(0)
    own, other = min(cores), max(cores)
    os.sched_setaffinity(0, {other})
    try:
        with running(models, core=own, workers=1, queue_seconds=queue_seconds) as server:
            url = "http://{}:{}/predict".format(*server.address)
            peak = max(
                Client(request, folder).ask(url, connections=c, seconds=3).requests_per_second
                for c in (1, 4, 16)
            )
            with OpenLoop(server.address, raw) as client:
                client.run(peak * QUIET, 1.0)
                quiet = client.run(peak * QUIET, SECONDS)
                busy = client.run(peak * BUSY, SECONDS)
                much = client.run(peak * TOO_MUCH, SECONDS)
                time.sleep(1.0)
                after = client.run(peak * QUIET, SECONDS)
    finally:
        os.sched_setaffinity(0, cores)
    unloaded, admitted = told(quiet)["answered"]["p99_ms"], told(much)["answered"]["p99_ms"]
    return {
        "queue_seconds": queue_seconds,
        "peak_per_s": round(peak, 1),
        "a_fifth": told(quiet),
        "four_fifths": told(busy),
        "three_times": told(much),
        "a_second_after": told(after),
        "admitted_p99_of_unloaded": round(admitted / unloaded, 2),
        "throughput_of_peak": round(told(much)["answered_per_s"] / peak, 3),
        "busy_p99_of_p50": round(
            told(busy)["answered"]["p99_ms"] / told(busy)["answered"]["p50_ms"], 2
        ),
    }
