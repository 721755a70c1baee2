"""Content: what a report is made of, whoever shows it, and what speaks against its figures."""

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
from serving.loadtest.server_metrics import ServerMetrics
from serving.loadtest.statistics import RunStatistics

FOREIGN_REQUESTS_SHARE = (
    0.02  # of the requests, from which on others' at the server are worth a word
)
UNSENT_SHARE = 0.001  # of those due, from which on it was not the load that was asked for


@dataclass(frozen=True, eq=False)
class LoadTestReport:
    """A run, or a search of capacity with the run that it ended in, ready to be shown.

    Attributes:
        target: what was measured, as `digits/1 at http://127.0.0.1:8000`.
        command: as it was typed.
        load: in a few words, as `open loop, 500 requests/s for 30 s, 1 row each, JSON`.
        figures: of the run.
        verdicts: of its objectives; none if none were asked for.
        server_side: what the server says itself, if it does.
        limits: of the generator.
        probes: of a search of capacity; else none.
        machine: what it ran on, by name.
        held: of a search of capacity, the rate whose run this is, if any was held, a second.
    """

    target: str
    command: str
    load: str
    figures: RunStatistics
    verdicts: Sequence[ObjectiveResult]
    server_side: ServerMetrics | None
    limits: GeneratorHealth
    probes: Sequence[RateProbe] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    held: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether all objectives were; None if none were asked for."""
        return all(verdict.met for verdict in self.verdicts) if self.verdicts else None

    @property
    def warnings(self) -> list[str]:
        """Why the figures are not to be trusted; none if they are."""
        return list(self._warnings())

    def _warnings(self) -> Iterator[str]:
        figures, server = self.figures, self.server_side
        if self.limits.verdict is not None:
            yield self.limits.verdict
        above = [probe for probe in self.probes if probe.rate > (self.held or 0) and not probe.held]
        if above and (first := min(above, key=lambda probe: probe.rate)).limits.verdict is not None:
            yield (
                f"At {first.rate:,.0f} requests/s it was the generator that did not keep up, and "
                "not, or not only, the server, which may hold more."
            )
        if figures.falls_behind:
            yield (
                "Those who came late waited far longer than those who came early: it was asked for "
                "more than it can answer, and in a longer run latency would grow on."
            )
        if not figures.answered:
            yield "No request was answered rightly: the times are of those that timed out, if any."
        stayed = figures.requests - figures.sent
        if stayed > UNSENT_SHARE * figures.requests:
            yield (
                f"{format_count(stayed, 'request')} of {figures.requests:,} never left: "
                "the server got "
                "less load than was asked for."
            )
        if server is not None and server.requests > (1 + FOREIGN_REQUESTS_SHARE) * figures.requests:
            yield (
                f"The server counted {format_count(server.requests, 'request')} where "
                "this client had "
                f"{figures.requests:,}: others asked it meanwhile, and took of its time."
            )

    @property
    def generator(self) -> str:
        """A line on what the generator itself took."""
        limits = self.limits
        said = (
            f"{format_percent(limits.processor_share)} of a processor, "
            f"late by {format_duration(limits.late_p99_ms / 1000)} at p99"
        )
        return said if limits.most is None else f"{said}, {limits.most:,.0f} requests/s at most"


def build_document(report: LoadTestReport) -> dict[str, Any]:
    """What `--json` prints: times in ms, rates a second, shares from 0 to 1."""
    return {
        **report.figures.as_json(),
        "target": report.target,
        "load": report.load,
        "objectives": [verdict.as_json() for verdict in report.verdicts],
        "met": report.met,
        "capacity": report.held,
        "probes": [
            {
                "rate": probe.rate,
                "held": probe.held,
                "answered": probe.figures.rate,
                "latency_ms": probe.figures.latency.as_json(),
                "error_share": probe.figures.error_share,
            }
            for probe in report.probes
        ],
        "server": report.server_side.as_json() if report.server_side else None,
        "generator": report.limits.as_json(),
        "warnings": report.warnings,
        "machine": dict(report.machine),
    }


def describe_machine() -> dict[str, str]:
    """Processor, cores this process may use, system and Python, by name."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
