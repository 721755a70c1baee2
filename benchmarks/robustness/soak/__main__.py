"""Put a mixed load on the server for a long time, with reloads and faulty requests.

A server of two workers receives 400 requests per second at Poisson times: JSON and the Open
Inference Protocol, text and binary, 1 and 32 rows. A tenth of them is faulty and must be refused
with a certain status. Meanwhile versions appear, are rolled back and loaded, a second model is
unloaded and loaded, and misbehaving clients break off or send nothing. Memory, descriptors, latency
and answers are recorded. The exit status is 1 if they were not steady. With `--leaking`, a leak
must be noticed.

    python -m benchmarks.robustness.soak [--minutes 20] [--out benchmarks/results/soak.json]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.admin_key import ADMIN_KEY
from benchmarks.machine import (
    RESULTS,
    SERVER_LIBRARIES,
    describe_commit,
    describe_machine,
    read_versions,
    write_report,
)
from benchmarks.robustness.digits_versions import MODEL_NAME
from benchmarks.robustness.process_samples import ProcessSampler, ServerSample
from benchmarks.robustness.server import RunningServer, run_server
from benchmarks.robustness.soak.load_windows import LoadWindow, run_load, summarize_window
from benchmarks.robustness.soak.misbehaving_clients import run_misbehaving_clients
from benchmarks.robustness.soak.reloads import ReloadThread, write_repository
from benchmarks.robustness.soak.soak_requests import build_correct_requests, build_faulty_requests
from benchmarks.robustness.soak.verdict import (
    STEADY,
    SoakFigures,
    choose_warm_up_seconds,
    compute_figures,
    make_verdict,
)
from serving.loadtest.engine import LoadEngine
from serving.loadtest.target import read_target

LIBRARIES = (*SERVER_LIBRARIES, "httptools", "uvloop", "scipy")
LEAKING_CONFIG = "benchmarks.robustness.leaking_config"
RATE = 400.0  # requests per second: far from full, so that latency is work and not queueing
CONNECTIONS = 32
# In seconds. In a soak of a few minutes they are shorter, so that there are enough of each.
WINDOW_SECONDS, SAMPLE_SECONDS, RELOAD_SECONDS = 15.0, 5.0, 20.0
MIN_WINDOWS, MIN_SAMPLES, MIN_RELOADS = 8, 24, 5
MAX_SERIES_LENGTH = 240  # samples of a series in the results

OnWindow = Callable[[LoadWindow], None]


@dataclass(frozen=True)
class SoakResult:
    """The result of a soak.

    Attributes:
        samples: Samples of the server.
        windows: Windows of the load.
        figures: The figures computed from both.
    """

    samples: list[ServerSample]
    windows: list[LoadWindow]
    figures: SoakFigures


def run_soak(seconds: float, config: str | None, on_window: OnWindow) -> SoakResult:
    """Start a server and soak it.

    Args:
        seconds: Duration of the load, in seconds.
        config: Module of gunicorn settings to use instead of `serving run`.
        on_window: Function that is called after each window.
    """
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        models, staging = Path(name) / "models", Path(name) / "staging"
        write_repository(models, staging)
        with run_server(models, config=config, has_admin_key=True) as server:
            return _soak_server(server, staging, seconds, on_window)


def _soak_server(
    server: RunningServer, staging: Path, seconds: float, on_window: OnWindow
) -> SoakResult:
    rng = np.random.default_rng(0)
    target = read_target(server.url, model=MODEL_NAME, key=ADMIN_KEY)
    requests = [*build_correct_requests(target, rng), *build_faulty_requests(target)]
    engine = LoadEngine(
        server.address, [request.prepared for request in requests], connections=CONNECTIONS
    )
    window_seconds = min(WINDOW_SECONDS, seconds / MIN_WINDOWS)
    sampler = ProcessSampler(
        server.process_id, server.address.port, min(SAMPLE_SECONDS, seconds / MIN_SAMPLES)
    )
    reloads = ReloadThread(
        server, staging, min(RELOAD_SECONDS, seconds / MIN_RELOADS), choose_warm_up_seconds(seconds)
    )
    windows: list[LoadWindow] = []
    sampler.start()
    reloads.start()
    try:
        while (started := time.monotonic() - sampler.start_time) < seconds:
            with run_misbehaving_clients(target):
                record = run_load(engine, requests, RATE, window_seconds, rng)
            windows.append(summarize_window(record, requests, started + window_seconds / 2))
            on_window(windows[-1])
    finally:
        reloads.stop()
        sampler.stop()
    figures = compute_figures(sampler.samples, windows, seconds, reloads.counts, reloads.faults)
    return SoakResult(sampler.samples, windows, figures)


@click.command(help=__doc__)
@click.option(
    "--minutes",
    type=click.FloatRange(0.1),
    default=20,
    show_default=True,
    help="Duration of the load, in minutes.",
)
@click.option(
    "--leaking",
    is_flag=True,
    help="Soak a server that keeps every session; it must not be found steady.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "soak.json",
    help="File to write the results to  [default: benchmarks/results/soak.json]",
)
def main(minutes: float, leaking: bool, out: Path) -> None:
    """Soak a server, print and write the results, and exit with status 1 if it was not steady."""
    load_before, started, commit = os.getloadavg()[0], datetime.now(UTC), describe_commit()
    soak = run_soak(60 * minutes, LEAKING_CONFIG if leaking else None, print_window)
    verdict = make_verdict(soak.figures)
    report: dict[str, Any] = {
        "benchmark": "soak",
        "when": started.isoformat(timespec="seconds"),
        "minutes": minutes,
        "commit": commit,
        "machine": describe_machine() | {"load_before": round(load_before, 2)},
        "libraries": read_versions(LIBRARIES),
        "server": "leaking" if leaking else "ours",
        "rate": RATE,
        "connections": CONNECTIONS,
        "figures": soak.figures.as_json(),
        "verdict": verdict,
        "series": make_series(soak.samples, soak.windows),
    }
    write_report(report, out)
    click.echo(json.dumps(report["figures"], indent=1))
    click.echo(verdict)
    sys.exit(verdict != STEADY)


def make_series(samples: Sequence[ServerSample], windows: Sequence[LoadWindow]) -> dict[str, Any]:
    """Return samples and windows over time for the results, by figure; `at` is in seconds."""
    thinned = [asdict(sample) for sample in _thin(samples)]
    names = [name for name in thinned[0] if name != "workers"]
    return {
        "samples": {name: [round(sample[name], 2) for sample in thinned] for name in names},
        "windows": {
            name: [round(getattr(window, name), 3) for window in _thin(windows)]
            for name in ("at", "p50_ms", "p99_ms")
        },
    }


def _thin(series: Sequence[Any]) -> Sequence[Any]:
    """Return every n-th entry, so that at most `MAX_SERIES_LENGTH` remain."""
    return series[:: -(-len(series) // MAX_SERIES_LENGTH) or 1]


def print_window(window: LoadWindow) -> None:
    """Print a line about a window."""
    failures = window.wrong + window.dropped + window.unexpected.total()
    click.echo(
        f"{window.at:6.0f} s: {window.requests} requests, {window.refused} refused, "
        f"{failures} failed, p50 {window.p50_ms:.2f} ms, p99 {window.p99_ms:.2f} ms",
        err=True,
    )


if __name__ == "__main__":
    main()
