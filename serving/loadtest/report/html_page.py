"""The report as one HTML file, without scripts and without requests to other servers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serving.loadtest.report import formatting
from serving.loadtest.report.advice import advise, summarize_result
from serving.loadtest.report.content import LoadTestReport
from serving.loadtest.report.plots import plot_capacity, plot_percentiles, plot_seconds
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    STATUS_NAMES,
    TIMED_OUT,
    UNANSWERED,
    WRONG_ANSWER,
)
from serving.loadtest.server_metrics import ServerMetrics
from serving.loadtest.statistics import RunStatistics

# Percentiles among the key figures, each with its meaning.
LATENCY_REMARKS = {
    "p50": "half took longer",
    "p99": "1 in 100 took longer",
    "p99.9": "1 in 1,000 took longer",
}
STAGE_MEANINGS = {
    "decode": "decode: read the request",
    "queue": "queue: wait for the model",
    "run": "run: compute the predictions",
    "encode": "encode: write the answer",
    "all": "all, from head to answer",
}
# Names of errors that need an explanation; those with an HTTP status are named by it.
ERROR_MEANINGS = {
    STATUS_NAMES[UNANSWERED]: "unanswered: the test ended before an answer came",
    STATUS_NAMES[TIMED_OUT]: "timeout: no answer within the time of --timeout",
    STATUS_NAMES[CONNECTION_FAILED]: "connection: refused, closed, or not HTTP",
    STATUS_NAMES[WRONG_ANSWER]: "wrong: not the answer from before the load",
    "503": "503: refused, since the server was overloaded or not ready",
}
_ENVIRONMENT = Environment(
    loader=PackageLoader("serving.loadtest.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(report: LoadTestReport) -> str:
    """Render a report.

    Args:
        report: Results of the load test.

    Returns:
        A complete HTML document, with styles for light and dark screens and for print.
    """
    style = files("serving.loadtest.report").joinpath("templates/page.css").read_text("utf-8")
    objectives = [result.objective for result in report.results]
    return _ENVIRONMENT.get_template("page.html").render(
        report=report,
        statistics=report.statistics,
        server=report.server,
        verdict=summarize_result(report),
        advice=advise(report),
        is_passed=report.objectives_met and (report.capacity is not None or not report.probes),
        latency_objectives=[o for o in objectives if o.kind == "latency"],
        error_meanings=ERROR_MEANINGS,
        tiles=_build_tiles(report.statistics),
        time_rows=_build_time_rows(report.statistics, report.server),
        stage_rows=_build_stage_rows(report.server),
        percentile_plot=plot_percentiles(report.statistics, objectives),
        seconds_plot=plot_seconds(report.statistics),
        capacity_plot=(
            plot_capacity(report.probes, objectives, report.capacity) if report.probes else None
        ),
        formatting=formatting,
        # The file is part of this package, and escaping would change its quotes.
        style=Markup(style),  # noqa: S704
    )


def _build_tiles(statistics: RunStatistics) -> list[tuple[str, str, str]]:
    """Return the name, value and remark of each key figure."""
    latency = statistics.latency
    offered = (
        "correct ones"
        if statistics.offered_rate is None
        else f"correct ones, of {formatting.format_rate(statistics.offered_rate)} due"
    )
    return [
        ("answers per second", formatting.format_rate(statistics.throughput), offered),
        *(
            (
                f"latency, {name}",
                formatting.format_duration(latency.percentiles[name]),
                f"{remark} (of few requests)" if name in latency.uncertain_percentiles else remark,
            )
            for name, remark in LATENCY_REMARKS.items()
        ),
        (
            "errors",
            formatting.format_percent(statistics.error_share),
            f"of {formatting.format_count(statistics.request_count, 'request')}",
        ),
    ]


def _build_time_rows(
    statistics: RunStatistics, server: ServerMetrics | None
) -> list[Sequence[str]]:
    """Return the rows of the table of times: name, latency, service, server, generator in ms."""
    client_times = (statistics.latency, statistics.service_time)
    send_delay = statistics.send_delay
    bounds = server.duration.percentiles if server else {}
    rows: list[Sequence[str]] = [
        (
            name,
            *(formatting.format_percentile(times, name) for times in client_times),
            formatting.format_bounds(bounds.get(name)),
            formatting.format_milliseconds(send_delay.percentiles[name]),
        )
        for name in statistics.latency.percentiles
    ]
    rows.append(
        (
            "max",
            *(formatting.format_milliseconds(times.maximum) for times in client_times),
            formatting.NO_VALUE,
            formatting.format_milliseconds(send_delay.maximum),
        )
    )
    server_mean = (
        formatting.format_milliseconds(server.duration.mean) if server else formatting.NO_VALUE
    )
    rows.append(
        (
            "mean",
            *(formatting.format_milliseconds(times.mean) for times in client_times),
            server_mean,
            formatting.format_milliseconds(send_delay.mean),
        )
    )
    return rows


def _build_stage_rows(server: ServerMetrics | None) -> list[Sequence[str]]:
    """Return the rows of the table of stages: name, requests, mean and percentiles in ms."""
    if server is None:
        return []
    return [
        (
            STAGE_MEANINGS.get(name, name),
            f"{summary.count:,}",
            formatting.format_milliseconds(summary.mean),
            *(formatting.format_bounds(summary.percentiles.get(p)) for p in ("p50", "p90", "p99")),
        )
        for name, summary in {**server.stages, "all": server.duration}.items()
    ]
