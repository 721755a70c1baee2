"""The page: the report in one HTML file, which asks no network and runs no script."""

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
    """The page of a report.

    Args:
        report: to show.

    Returns:
        A whole HTML document, styled for light, dark and paper.
    """
    style = files("serving.loadtest.report").joinpath("templates/page.css").read_text("utf-8")
    objectives = [verdict.objective for verdict in report.verdicts]
    return _ENVIRONMENT.get_template("page.html").render(
        report=report,
        figures=report.figures,
        server=report.server_side,
        sentence=_summarize_result(report),
        tiles=_build_tiles(report.figures),
        times=_build_time_rows(report.figures, report.server_side),
        stages=_build_stage_rows(report.server_side),
        percentiles=plot_percentiles(report.figures, objectives),
        over_time=plot_seconds(report.figures),
        capacity=plot_capacity(report.probes, objectives, report.held) if report.probes else None,
        formatting=formatting,
        # Ours, and its quotes and angle brackets must stay as they are.
        style=Markup(style),  # noqa: S704
    )


def _summarize_result(report: LoadTestReport) -> str:
    """The verdict in one."""
    figures = report.figures
    did = (
        f"{formatting.format_rate(figures.rate)} right answers a second, half of them within "
        f"{formatting.format_duration(figures.latency.percentiles['p50'])}"
    )
    if report.probes:
        highest = report.held
        return (
            "No rate that was tried met the objectives."
            if highest is None
            else f"{formatting.format_rate(highest)} requests a second met the objectives."
        )
    if report.met is None:
        return f"{did}; no objective was asked for."
    missed = sum(not verdict.met for verdict in report.verdicts)
    if not missed:
        return f"It kept its objectives: {did}."
    return (
        f"It missed {missed} of {formatting.format_count(len(report.verdicts), 'objective')}: "
        f"{did}."
    )


def _build_tiles(figures: RunStatistics) -> list[tuple[str, str, str]]:
    """Figures to be read from across the room: name, figure, remark."""
    latency = figures.latency
    offered = (
        "" if figures.offered is None else f"of {formatting.format_rate(figures.offered)} offered"
    )
    return [
        ("right answers/s", formatting.format_rate(figures.rate), offered),
        *(
            (
                name,
                formatting.format_duration(latency.percentiles[name]),
                "rests on few requests" if name in latency.few else "",
            )
            for name in ("p50", "p99", "p99.9")
        ),
        ("errors", formatting.format_percent(figures.error_share), f"of {figures.requests:,}"),
    ]


def _build_time_rows(figures: RunStatistics, server: ServerMetrics | None) -> list[Sequence[str]]:
    """Rows of the table of times: name, latency, service, server, generator; milliseconds."""
    told = (figures.latency, figures.service)
    bounds = server.seconds.percentiles if server else {}
    rows: list[Sequence[str]] = [
        (
            name,
            *(formatting.format_percentile(times, name) for times in told),
            formatting.format_bounds(bounds.get(name)),
            formatting.format_milliseconds(figures.late.percentiles[name]),
        )
        for name in figures.latency.percentiles
    ]
    own = formatting.format_milliseconds(server.seconds.mean) if server else formatting.NO_VALUE
    rows.append(
        (
            "max",
            *(formatting.format_milliseconds(times.most) for times in told),
            formatting.NO_VALUE,
            formatting.format_milliseconds(figures.late.most),
        )
    )
    rows.append(
        (
            "mean",
            *(formatting.format_milliseconds(times.mean) for times in told),
            own,
            formatting.format_milliseconds(figures.late.mean),
        )
    )
    return rows


def _build_stage_rows(server: ServerMetrics | None) -> list[Sequence[str]]:
    """Rows of the table of the server's stages: name, requests, mean and percentiles, ms."""
    if server is None:
        return []
    return [
        (
            name,
            f"{spread.count:,}",
            formatting.format_milliseconds(spread.mean),
            *(formatting.format_bounds(spread.percentiles.get(p)) for p in ("p50", "p90", "p99")),
        )
        for name, spread in {**server.stages, "all": server.seconds}.items()
    ]
