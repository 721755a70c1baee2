"""The document: the report as JSON has it."""

from __future__ import annotations

from typing import Any

from serving.loadtest.report.content import Report


def document(report: Report) -> dict[str, Any]:
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
