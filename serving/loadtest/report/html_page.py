"""The report as one HTML file, without scripts and without requests to other servers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serving.loadtest.report import formatting
from serving.loadtest.report.content import LoadTestReport
from serving.loadtest.report.plots import plot_capacity, plot_percentiles, plot_seconds
from serving.loadtest.server_metrics import ServerMetrics
from serving.loadtest.statistics import RunStatistics

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
        sentence=_summarize_result(report),
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


def _summarize_result(report: LoadTestReport) -> str:
    """Return the result in one sentence."""
    statistics = report.statistics
    summary = (
        f"{formatting.format_rate(statistics.throughput)} correct answers per second, half of them "
        f"within {formatting.format_duration(statistics.latency.percentiles['p50'])}"
    )
    if report.probes:
        if report.capacity is None:
            return "No rate met the objectives for the whole duration."
        rate = formatting.format_rate(report.capacity)
        return f"{rate} requests per second met the objectives."
    if report.objectives_met is None:
        return f"{summary}. No objectives were given."
    missed = sum(not result.is_met for result in report.results)
    if not missed:
        return f"All objectives were met: {summary}."
    total = formatting.format_count(len(report.results), "objective")
    return f"{missed} of {total} missed: {summary}."


def _build_tiles(statistics: RunStatistics) -> list[tuple[str, str, str]]:
    """Return the name, value and remark of each key figure."""
    latency = statistics.latency
    offered = (
        ""
        if statistics.offered_rate is None
        else f"of {formatting.format_rate(statistics.offered_rate)} offered"
    )
    return [
        ("correct answers/s", formatting.format_rate(statistics.throughput), offered),
        *(
            (
                name,
                formatting.format_duration(latency.percentiles[name]),
                "from few requests" if name in latency.uncertain_percentiles else "",
            )
            for name in ("p50", "p99", "p99.9")
        ),
        (
            "errors",
            formatting.format_percent(statistics.error_share),
            f"of {statistics.request_count:,}",
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
            name,
            f"{summary.count:,}",
            formatting.format_milliseconds(summary.mean),
            *(formatting.format_bounds(summary.percentiles.get(p)) for p in ("p50", "p90", "p99")),
        )
        for name, summary in {**server.stages, "all": server.duration}.items()
    ]
