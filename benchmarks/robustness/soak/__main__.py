"""A soak of the server: mixed load for long, with reloads and bad requests; does anything drift?

A server of two workers is asked 400 times a second, at Poisson times: JSON and the Open Inference
Protocol, text and binary, 1 and 32 rows; a tenth of it must be refused, and with which status is
checked. Meanwhile versions appear, are rolled back and loaded, a model goes and comes back, and
rude clients break off or say nothing. Memory, descriptors, latency and answers are watched. The
exit status is 1 if they were not steady; that a leak would be noticed, `--leaking` shows.

    python -m benchmarks.robustness.soak [--minutes 20] [--out benchmarks/results/soak.json]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.admin_key import ADMIN_KEY
from benchmarks.robustness import swaps
from benchmarks.robustness.process_samples import Sample, Sampler
from benchmarks.robustness.soak.load_windows import Window, load, window
from benchmarks.robustness.soak.misbehaving_clients import rudeness
from benchmarks.robustness.soak.reloads import MODEL, Reloads, write_repository
from benchmarks.robustness.soak.soak_requests import bad, good
from benchmarks.robustness.soak.verdict import STEADY, Figures, figures, verdict, warm_up
from benchmarks.training.steps_per_second import commit, machine
from serving.loadtest.engine import LoadEngine
from serving.loadtest.target import read_target

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "soak.json"
LIBRARIES = (
    "gevent",
    "gunicorn",
    "gunicorn_h1c",
    "numpy",
    "onnxruntime",
    "orjson",
    "pysimdjson",
    "httptools",
    "uvloop",
    "scipy",
)
HONEST, LEAKING = "serving.server.gunicorn_conf", "benchmarks.robustness.leaking_config"
RATE = 400.0  # requests a second: far from full, so that latency is of work and not of queues
CONNECTIONS = 32
# Seconds; in a soak of less than some minutes all of it comes more often, or there is none.
WINDOW, SAMPLE, RELOAD = 15.0, 5.0, 20.0
WINDOWS, SAMPLES, RELOADS = 8, 24, 5  # at least
SHOWN = 240  # samples of a series in the results, at most

Tell = Callable[[Window], None]


class Soak:
    """One soak.

    Args:
        seconds: of load.
        config: module of gunicorn's configuration, of the server or of one that leaks.
        tell: told of each window.

    Attributes:
        samples: of the server.
        windows: of the load.
        found: what they come to.
    """

    def __init__(self, seconds: float, config: str, tell: Tell) -> None:
        self.samples: list[Sample] = []
        self.windows: list[Window] = []
        self._seconds, self._tell = seconds, tell
        with tempfile.TemporaryDirectory(prefix="soak") as name:
            models, staging = Path(name) / "models", Path(name) / "staging"
            write_repository(models, staging)
            with swaps.server(models, config) as (master, port):
                self.found = self._put_on(master, port, models, staging)

    def _put_on(self, master: int, port: int, models: Path, staging: Path) -> Figures:
        rng = np.random.default_rng(0)
        target = read_target(f"http://127.0.0.1:{port}", model=MODEL, key=ADMIN_KEY)
        asked = [*good(target, rng), *bad(target)]
        engine = LoadEngine(target.address, [one.call for one in asked], connections=CONNECTIONS)
        piece = min(WINDOW, self._seconds / WINDOWS)
        sampler = Sampler(master, port, min(SAMPLE, self._seconds / SAMPLES))
        reloads = Reloads(
            target.address,
            models,
            staging,
            min(RELOAD, self._seconds / RELOADS),
            warm_up(self._seconds),
        )
        sampler.start()
        reloads.start()
        try:
            while (begun := time.monotonic() - sampler.start_time) < self._seconds:
                with rudeness(target):
                    record = load(engine, asked, RATE, piece, rng)
                self.windows.append(window(record, asked, begun + piece / 2))
                self._tell(self.windows[-1])
        finally:
            reloads.end()
            sampler.end()
        self.samples = sampler.samples
        return figures(self.samples, self.windows, self._seconds, reloads.done, reloads.faults)


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(0.1), default=20, show_default=True)
@click.option(
    "--leaking", is_flag=True, help="a server that keeps every session: it must not be found steady"
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(minutes: float, leaking: bool, out: Path) -> None:
    """Soak, print, write, judge."""
    busy, started, sources = os.getloadavg()[0], datetime.now(UTC), commit()
    soak = Soak(60 * minutes, LEAKING if leaking else HONEST, show)
    said = verdict(soak.found)
    report: dict[str, Any] = {
        "benchmark": "soak",
        "when": started.isoformat(timespec="seconds"),
        "minutes": minutes,
        "commit": sources,
        "machine": machine() | {"load_before": round(busy, 2)},
        "libraries": {name: version(name) for name in LIBRARIES},
        "server": "leaking" if leaking else "ours",
        "rate": RATE,
        "connections": CONNECTIONS,
        "figures": soak.found.as_json(),
        "verdict": said,
        "series": series(soak.samples, soak.windows),
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(report["figures"], indent=1))
    click.echo(said)
    sys.exit(said != STEADY)


def series(samples: Sequence[Sample], windows: Sequence[Window]) -> dict[str, Any]:
    """What was seen over time, by name of the figure; `at` in seconds."""
    shown = [asdict(sample) for sample in _thinned(samples)]
    names = [name for name in shown[0] if name != "workers"]
    return {
        "samples": {name: [round(one[name], 2) for one in shown] for name in names},
        "windows": {
            name: [round(getattr(one, name), 3) for one in _thinned(windows)]
            for name in ("at", "p50_ms", "p99_ms")
        },
    }


def _thinned(taken: Sequence[Any]) -> Sequence[Any]:
    """Every so many-th, so that no more are left than are shown."""
    return taken[:: -(-len(taken) // SHOWN) or 1]


def show(one: Window) -> None:
    """A line on a window."""
    amiss = one.wrong + one.dropped + one.unexpected.total()
    click.echo(
        f"{one.at:6.0f} s: {one.requests} requests, {one.refused} refused, {amiss} amiss, "
        f"p50 {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms",
        err=True,
    )


if __name__ == "__main__":
    main()
