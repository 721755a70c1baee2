"""The verdict of a soak: figures from its samples and windows, and whether it was steady."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.robustness.drift import Drift, measure_drift
from benchmarks.robustness.process_samples import ServerSample
from benchmarks.robustness.soak.load_windows import LoadWindow

STEADY = "steady"
# A worker that leaks 5 MB an hour doubles its memory in a day, before any nightly restart.
MAX_LEAK_MB_PER_HOUR = 5.0
# In a short run, a slope per hour is computed from little growth: of an allocator that requests
# blocks, and of code that runs for the first time. In the 18 minutes after the warm-up of a soak of
# 20 minutes, 5 MB an hour are as much as this.
MAX_LEAK_MB = 1.5
# Growth beyond the descriptors of connections. Both are read one after the other, so a connection
# that is just opened or closed may be in one number only. A leak with every reload or misbehaving
# client would give far more.
MAX_DESCRIPTOR_GROWTH = 8.0
# gevent's thread pool grows to the number of threads needed at the same time, and keeps them.
MAX_THREAD_GROWTH = 4.0
MAX_P50_RATIO = 1.5  # other load on the machine changes a median by a third, not by a half
# In a window of 15 s, 54 requests are beyond the 99th percentile, most of them during a reload.
MAX_P99_RATIO = 3.0
MAX_EXAMPLES = 10
WARM_UP_SHARE, MAX_WARM_UP_SECONDS = 0.1, 120.0


@dataclass(frozen=True)
class SoakFigures:
    """The figures of a soak. Drifts leave out the warm-up; counts include it.

    Attributes:
        memory: Resident memory of all workers, in MB.
        shared: Memory of all workers in MB, with shared memory counted once.
        arbiter: Resident memory of gunicorn's arbiter, in MB.
        descriptors: Open file descriptors of all processes, without those of open connections.
        threads: Number of threads of all processes.
        p50: Median latency, in ms.
        p99: 99th percentile of the latency, in ms.
        requests: Number of requests.
        refused: Number of faulty requests that were answered with their expected status.
        wrong: Number of answers whose content is wrong.
        dropped: Number of requests without an answer.
        unexpected: Number of answers by status, for statuses other than expected.
        late_windows: Number of windows in which the load generator was late.
        windows: Number of windows.
        died: Number of workers that ended during the soak.
        reloads: Number of successful reloads, by kind.
        failed_reloads: Descriptions of the other reloads.
        faults: Examples of faults in answers.
    """

    memory: Drift
    shared: Drift
    arbiter: Drift
    descriptors: Drift
    threads: Drift
    p50: Drift
    p99: Drift
    requests: int
    refused: int
    wrong: int
    dropped: int
    unexpected: Mapping[str, int]
    late_windows: int
    windows: int
    died: int
    reloads: Mapping[str, int]
    failed_reloads: tuple[str, ...]
    faults: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the figures for the results."""
        return {
            "memory_mb": self.memory.as_json(),
            "pss_mb": self.shared.as_json(),
            "arbiter_mb": self.arbiter.as_json(),
            "descriptors": self.descriptors.as_json(),
            "threads": self.threads.as_json(),
            "p50_ms": _latency_as_json(self.p50),
            "p99_ms": _latency_as_json(self.p99),
            "requests": self.requests,
            "refused": self.refused,
            "wrong": self.wrong,
            "dropped": self.dropped,
            "unexpected": dict(self.unexpected),
            "windows": self.windows,
            "windows_in_doubt": self.late_windows,
            "workers_died": self.died,
            "reloads": dict(self.reloads),
            "failed_reloads": list(self.failed_reloads),
            "faults": list(self.faults),
        }


def _latency_as_json(latency: Drift) -> dict[str, float]:
    """Return a drift with its slope and interval in percent per hour, and its ratio."""
    return latency.to_percent().as_json() | {"ratio": round(latency.ratio, 3)}


def choose_warm_up_seconds(soak_seconds: float) -> float:
    """Return the seconds at the start of a soak that its drifts leave out."""
    return min(WARM_UP_SHARE * soak_seconds, MAX_WARM_UP_SECONDS)


def compute_figures(
    samples: Sequence[ServerSample],
    windows: Sequence[LoadWindow],
    soak_seconds: float,
    reloads: Mapping[str, int],
    failed_reloads: Sequence[str],
) -> SoakFigures:
    """Compute the figures of a soak.

    Args:
        samples: Samples of the server.
        windows: Windows of the load.
        soak_seconds: Duration of the soak, in seconds.
        reloads: Number of successful reloads, by kind.
        failed_reloads: Descriptions of the other reloads.

    Raises:
        ValueError: If fewer than four samples or windows remain after the warm-up.
    """
    warm_up = choose_warm_up_seconds(soak_seconds)
    warm_samples = [sample for sample in samples if sample.at >= warm_up]
    warm_windows = [w for w in windows if w.at >= warm_up and np.isfinite(w.p50_ms)]

    def measure_samples(values: Sequence[float]) -> Drift:
        at = np.array([sample.at for sample in warm_samples])
        return measure_drift(at, np.array(values, np.float64))

    def measure_windows(values: Sequence[float]) -> Drift:
        at = np.array([window.at for window in warm_windows])
        return measure_drift(at, np.array(values, np.float64))

    faults = [fault for window in windows for fault in window.faults]
    workers = [set(sample.workers) for sample in samples]
    return SoakFigures(
        memory=measure_samples([s.rss_mb for s in warm_samples]),
        shared=measure_samples([s.pss_mb for s in warm_samples]),
        arbiter=measure_samples([s.arbiter_mb for s in warm_samples]),
        descriptors=measure_samples([s.descriptors - s.connections for s in warm_samples]),
        threads=measure_samples([s.threads for s in warm_samples]),
        p50=measure_windows([w.p50_ms for w in warm_windows]),
        p99=measure_windows([w.p99_ms for w in warm_windows]),
        requests=sum(window.requests for window in windows),
        refused=sum(window.refused for window in windows),
        wrong=sum(window.wrong for window in windows),
        dropped=sum(window.dropped for window in windows),
        unexpected=sum((window.unexpected for window in windows), Counter()),
        late_windows=sum(window.is_generator_late for window in windows),
        windows=len(windows),
        died=len(set().union(*workers) - workers[-1]),
        reloads=dict(reloads),
        failed_reloads=tuple(failed_reloads),
        faults=tuple(dict.fromkeys(faults))[:MAX_EXAMPLES],
    )


def list_drifts(figures: SoakFigures) -> list[str]:
    """Return a sentence about each figure that was not steady; empty if all were."""
    sentences = [
        _describe_leak("the workers' memory", figures.memory),
        _describe_leak("the arbiter's memory", figures.arbiter),
        _describe_growth(
            "descriptors beyond those of connections", figures.descriptors, MAX_DESCRIPTOR_GROWTH
        ),
        _describe_growth("threads", figures.threads, MAX_THREAD_GROWTH),
        _describe_latency("p50", figures.p50, MAX_P50_RATIO),
        _describe_latency("p99", figures.p99, MAX_P99_RATIO),
        *_describe_answers(figures),
    ]
    return [sentence for sentence in sentences if sentence]


def make_verdict(figures: SoakFigures) -> str:
    """Return `steady`, or the sentences about what was not."""
    return "; ".join(list_drifts(figures)) or STEADY


def _describe_leak(name: str, memory: Drift) -> str:
    if memory.low <= MAX_LEAK_MB_PER_HOUR or memory.slope * memory.hours < MAX_LEAK_MB:
        return ""
    return f"{name} grows by {memory.slope:.1f} MB an hour ({memory.low:.1f}–{memory.high:.1f})"


def _describe_growth(name: str, count: Drift, max_growth: float) -> str:
    if count.last - count.first <= max_growth:
        return ""
    return f"{name} grew from {count.first:g} to {count.last:g}"


def _describe_latency(name: str, latency: Drift, max_ratio: float) -> str:
    if latency.ratio <= max_ratio:
        return ""
    return f"{name} went from {latency.first:.2f} to {latency.last:.2f} ms"


def _describe_answers(figures: SoakFigures) -> list[str]:
    unexpected = ", ".join(f"{count} × {status}" for status, count in figures.unexpected.items())
    failed_reloads = len(figures.failed_reloads)
    return [
        f"{figures.wrong} wrong answers" if figures.wrong else "",
        f"{figures.dropped} requests without an answer" if figures.dropped else "",
        f"unexpected statuses: {unexpected}" if unexpected else "",
        f"{figures.died} workers died" if figures.died else "",
        f"{failed_reloads} reloads failed" if failed_reloads else "",
    ]
