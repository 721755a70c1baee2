"""The content of a report, the warnings about its results, and its JSON."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.loadtest.capacity import RateProbe
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import ObjectiveResult
from serving.loadtest.report.formatting import format_count, format_duration, format_percent
from serving.loadtest.run_record import CONNECTION_FAILED, STATUS_NAMES
from serving.loadtest.server_metrics import ServerMetrics
from serving.loadtest.statistics import RunStatistics

# A warning is shown if there are more than these shares of all requests.
FOREIGN_REQUESTS_SHARE = 0.02  # requests of other clients
UNSENT_SHARE = 0.001  # requests that were due and never sent


@dataclass(frozen=True, eq=False)
class LoadTestReport:
    """The results of one load, or of a capacity search and the load that confirmed it.

    Attributes:
        target: Model, version and server, such as `digits/1 at http://127.0.0.1:8000`.
        command: Command line of the load test, without the API key.
        load: Description of the load: `500 requests/s at random intervals (open loop), 30 s`.
        statistics: Statistics of the load.
        results: Results of the objectives; empty if there are none.
        server: The server's own measurements; None if it has none.
        generator: Load and delays of the generator itself.
        probes: Rates that a capacity search probed; empty for a single load.
        machine: Properties of the machine that ran the generator, by name.
        capacity: Rate that a capacity search confirmed, in requests per second; None if none.
    """

    target: str
    command: str
    load: str
    statistics: RunStatistics
    results: Sequence[ObjectiveResult]
    server: ServerMetrics | None
    generator: GeneratorHealth
    probes: Sequence[RateProbe] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    capacity: float | None = None

    @property
    def objectives_met(self) -> bool | None:
        """Whether all objectives were met; None if there are none."""
        return all(result.is_met for result in self.results) if self.results else None

    @property
    def warnings(self) -> list[str]:
        """Reasons not to trust the results; empty if there are none."""
        return list(self._find_warnings())

    def _find_warnings(self) -> Iterator[str]:
        statistics, server = self.statistics, self.server
        if self.generator.warning is not None:
            yield self.generator.warning
        failed = [
            probe
            for probe in self.probes
            if probe.rate > (self.capacity or 0) and not probe.is_sustained
        ]
        if failed:
            lowest = min(failed, key=lambda probe: probe.rate)
            if lowest.generator.warning is not None:
                yield (
                    f"At {lowest.rate:,.0f} requests/s the load generator did not keep up, so the "
                    "server's capacity may be higher."
                )
        if statistics.is_falling_behind:
            yield (
                "Latency grew during the run: the load is more than the server can answer, and a "
                "longer run would find higher latencies."
            )
        if not statistics.answered_count:
            yield (
                "No request was answered correctly: the times, if any, are those of requests that "
                "timed out."
            )
        unsent = statistics.request_count - statistics.sent_count
        if unsent > UNSENT_SHARE * statistics.request_count:
            has_failures = STATUS_NAMES[CONNECTION_FAILED] in statistics.error_counts
            cause = (
                "the server refused connections" if has_failures else "no connection became free"
            )
            yield (
                f"{format_count(unsent, 'request')} of {statistics.request_count:,} were never "
                f"sent, because {cause}: the server got less load than was offered."
            )
        expected = statistics.request_count
        if server is not None and server.request_count > (1 + FOREIGN_REQUESTS_SHARE) * expected:
            yield (
                f"The server counted {format_count(server.request_count, 'request')}, but this "
                f"client sent {expected:,}: other clients took part of its time."
            )

    @property
    def generator_summary(self) -> str:
        """The load and the delays of the generator itself, in one line."""
        generator = self.generator
        delay = format_duration(generator.send_delay_p99_ms / 1000)
        summary = (
            f"busy for {format_percent(generator.cpu_share)} of the time on one core; it delayed "
            f"99 % of the requests by at most {delay}"
        )
        if generator.max_rate is None:
            return summary
        return f"{summary}, and can send {generator.max_rate:,.0f} requests/s"

    def as_json(self) -> dict[str, Any]:
        """Return the output of `--json`: milliseconds, rates per second, shares from 0 to 1."""
        return {
            **self.statistics.as_json(),
            "target": self.target,
            "load": self.load,
            "objectives": [result.as_json() for result in self.results],
            "met": self.objectives_met,
            "capacity": self.capacity,
            "probes": [
                {
                    "rate": probe.rate,
                    "held": probe.is_sustained,
                    "answered": probe.statistics.throughput,
                    "latency_ms": probe.statistics.latency.as_json(),
                    "error_share": probe.statistics.error_share,
                }
                for probe in self.probes
            ],
            "server": self.server.as_json() if self.server else None,
            "generator": self.generator.as_json(),
            "warnings": self.warnings,
            "machine": dict(self.machine),
        }


def describe_machine() -> dict[str, str]:
    """Return processor, usable cores, system and Python of this machine, by name."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    return {
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
