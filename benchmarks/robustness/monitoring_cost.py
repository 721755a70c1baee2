"""The cost of watching: metrics, logs and keys, against a server without them.

The other server is the same one with its outermost layer taken off, and without keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from benchmarks.contenders.encodings import Request
from benchmarks.robustness.server import running
from benchmarks.throughput.wrk_client import Client

ROUNDS = 8
SECONDS = 2  # of a turn
CONNECTIONS = (1, 16)


def measure(models: Path, request: Request, folder: Path) -> dict[str, Any]:
    """Both in turns; medians of the rounds' ratios of requests a second."""
    keys = write_keys_file(folder)
    keyed = Request({**request.headers, **ADMIN_HEADERS}, request.body)
    found: dict[str, Any] = {}
    with (
        running(models, workers=2, keys=keys) as watched,
        running(models, workers=2, config="benchmarks.robustness.unmonitored_config") as bare,
    ):
        for connections in CONNECTIONS:
            pairs = [
                tuple(
                    Client(asked, folder)
                    .ask(
                        "http://{}:{}/predict".format(*server.address),
                        connections=connections,
                        seconds=SECONDS,
                    )
                    .requests_per_second
                    for server, asked in ((watched, keyed), (bare, request))
                )
                for _ in range(ROUNDS)
            ]
            ratios = [bare_rate / watched_rate for watched_rate, bare_rate in pairs]
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            found[f"c={connections}"] = {
                "slower_by": round(float(middle) - 1, 3),
                "quartiles": [round(float(low) - 1, 3), round(float(high) - 1, 3)],
            }
    return found
