"""The verdict: what the figures of a soak come to, and whether it was steady."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.robustness.drift import Drift, drift
from benchmarks.robustness.process_samples import Sample
from benchmarks.robustness.soak.load_windows import Window

STEADY = "steady"
# A worker that leaks 5 MB an hour doubles what it needs in a day, and no nightly restart hides it.
LEAK_MB_PER_HOUR = 5.0
# In a short run, a slope an hour is made of little: an allocator that takes its blocks, and code
# that runs for the first time. In the 18 minutes after a warm-up, 5 MB an hour come to as much.
LEAK_MB = 1.5
# Beyond those of connections. Both are read one after the other, so connections that are being made
# or closed are among one and not the other; what every reload or rude client leaves is far more.
DESCRIPTORS = 8.0
THREADS = 4.0  # likewise: gevent's pool grows to what was needed at once, and stays
P50_RATIO = 1.5  # neighbours on the machine move a median by a third, not by a half
# A window of 15 s has 54 requests beyond its p99, and most of them beside a reload.
P99_RATIO = 3.0
EXAMPLES = 10
LEFT_OUT, LONGEST_WARM_UP = 0.1, 120.0  # share of the time, at most so many seconds


@dataclass(frozen=True)
class Figures:
    """A soak, after its warm-up.

    Attributes:
        memory: RSS of all workers, MB.
        shared: PSS of all workers, MB.
        arbiter: RSS of the process that starts them, MB.
        descriptors: of all processes, without those of open connections.
        threads: of all processes.
        p50: latency, ms.
        p99: latency, ms.
        requests: in all windows, the warm-up's included, as everything below.
        refused: bad ones that got the status they must get.
        wrong: answers that were not right.
        dropped: requests without an answer.
        unexpected: other statuses, by name.
        in_doubt: windows in which the generator was late.
        windows: in all.
        died: workers that were there once and are no more.
        reloads: done, by kind.
        failed_reloads: what became of the others.
        faults: examples of what was wrong with answers.
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
    in_doubt: int
    windows: int
    died: int
    reloads: Mapping[str, int]
    failed_reloads: tuple[str, ...]
    faults: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return {
            "memory_mb": self.memory.as_json(),
            "pss_mb": self.shared.as_json(),
            "arbiter_mb": self.arbiter.as_json(),
            "descriptors": self.descriptors.as_json(),
            "threads": self.threads.as_json(),
            "p50_ms": _latency(self.p50),
            "p99_ms": _latency(self.p99),
            "requests": self.requests,
            "refused": self.refused,
            "wrong": self.wrong,
            "dropped": self.dropped,
            "unexpected": dict(self.unexpected),
            "windows": self.windows,
            "windows_in_doubt": self.in_doubt,
            "workers_died": self.died,
            "reloads": dict(self.reloads),
            "failed_reloads": list(self.failed_reloads),
            "faults": list(self.faults),
        }


def _latency(found: Drift) -> dict[str, float]:
    """Slope and interval in percent an hour."""
    return found.in_percent().as_json() | {"ratio": round(found.ratio, 3)}


def warm_up(seconds: float) -> float:
    """Seconds that are left out at the start of a soak of so many."""
    return min(LEFT_OUT * seconds, LONGEST_WARM_UP)


def figures(
    samples: Sequence[Sample],
    windows: Sequence[Window],
    seconds: float,
    reloads: Mapping[str, int],
    failed_reloads: Sequence[str],
) -> Figures:
    """Sum up a soak.

    Args:
        samples: of the server.
        windows: of the load.
        seconds: of the whole.
        reloads: that were done, by kind.
        failed_reloads: what became of the others.

    Raises:
        ValueError: fewer than four samples or windows are left after the warm-up.
    """
    warm = warm_up(seconds)
    taken = [sample for sample in samples if sample.at >= warm]
    asked = [window for window in windows if window.at >= warm and np.isfinite(window.p50_ms)]
    at, then = (np.array([one.at for one in series]) for series in (taken, asked))

    def of(name: str) -> Drift:
        return drift(at, np.array([getattr(sample, name) for sample in taken], np.float64))

    own = np.array([sample.descriptors - sample.connections for sample in taken], np.float64)
    said = [fault for window in windows for fault in window.faults]
    present = [set(sample.workers) for sample in samples]
    return Figures(
        memory=of("rss_mb"),
        shared=of("pss_mb"),
        arbiter=of("arbiter_mb"),
        descriptors=drift(at, own),
        threads=of("threads"),
        p50=drift(then, np.array([window.p50_ms for window in asked])),
        p99=drift(then, np.array([window.p99_ms for window in asked])),
        requests=sum(window.requests for window in windows),
        refused=sum(window.refused for window in windows),
        wrong=sum(window.wrong for window in windows),
        dropped=sum(window.dropped for window in windows),
        unexpected=sum((window.unexpected for window in windows), Counter()),
        in_doubt=sum(window.in_doubt for window in windows),
        windows=len(windows),
        died=len(set().union(*present) - present[-1]),
        reloads=dict(reloads),
        failed_reloads=tuple(failed_reloads),
        faults=tuple(dict.fromkeys(said))[:EXAMPLES],
    )


def drifts(found: Figures) -> list[str]:
    """What was not steady, a sentence each; none if all was."""
    checked = [*_held(found), *_latencies(found), *_answers(found)]
    return [said for said in checked if said]


def verdict(found: Figures) -> str:
    """`steady`, or what was not."""
    return "; ".join(drifts(found)) or STEADY


def _held(found: Figures) -> list[str]:
    return [
        _leak("the workers' memory", found.memory),
        _leak("the arbiter's memory", found.arbiter),
        _grown("descriptors beyond those of connections", found.descriptors, DESCRIPTORS),
        _grown("threads", found.threads, THREADS),
    ]


def _leak(what: str, memory: Drift) -> str:
    if memory.low <= LEAK_MB_PER_HOUR or memory.slope * memory.hours < LEAK_MB:
        return ""
    return f"{what} grows by {memory.slope:.1f} MB an hour ({memory.low:.1f}–{memory.high:.1f})"


def _grown(what: str, count: Drift, allowed: float) -> str:
    if count.last - count.first <= allowed:
        return ""
    return f"{what} grew from {count.first:g} to {count.last:g}"


def _latencies(found: Figures) -> list[str]:
    pairs = (("p50", found.p50, P50_RATIO), ("p99", found.p99, P99_RATIO))
    return [
        f"{name} went from {latency.first:.2f} to {latency.last:.2f} ms"
        for name, latency, allowed in pairs
        if latency.ratio > allowed
    ]


def _answers(found: Figures) -> list[str]:
    others = ", ".join(f"{count} × {status}" for status, count in found.unexpected.items())
    return [
        f"{found.wrong} wrong answers" if found.wrong else "",
        f"{found.dropped} requests without an answer" if found.dropped else "",
        f"unexpected statuses: {others}" if others else "",
        f"{found.died} workers died" if found.died else "",
        f"{len(found.failed_reloads)} reloads failed" if found.failed_reloads else "",
    ]
