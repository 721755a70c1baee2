"""The page: the report in one HTML file, which asks no network and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serving.loadtest.report import formatting as wording
from serving.loadtest.report.content import Report
from serving.loadtest.report.plots import capacity_plot, percentile_plot, time_plot
from serving.loadtest.server_metrics import ServerSide
from serving.loadtest.statistics import Figures

_ENVIRONMENT = Environment(
    loader=PackageLoader("serving.loadtest.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(report: Report) -> str:
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
        sentence=_sentence(report),
        tiles=_tiles(report.figures),
        times=_times(report.figures, report.server_side),
        stages=_stages(report.server_side),
        percentiles=percentile_plot(report.figures, objectives),
        over_time=time_plot(report.figures),
        capacity=capacity_plot(report.probes, objectives, report.held) if report.probes else None,
        wording=wording,
        # Ours, and its quotes and angle brackets must stay as they are.
        style=Markup(style),  # noqa: S704
    )


def _sentence(report: Report) -> str:
    """The verdict in one."""
    figures = report.figures
    did = (
        f"{wording.rate(figures.rate)} right answers a second, half of them within "
        f"{wording.duration(figures.latency.percentiles['p50'])}"
    )
    if report.probes:
        highest = report.held
        return (
            "No rate that was tried met the objectives."
            if highest is None
            else f"{wording.rate(highest)} requests a second met the objectives."
        )
    if report.met is None:
        return f"{did}; no objective was asked for."
    missed = sum(not verdict.met for verdict in report.verdicts)
    if not missed:
        return f"It kept its objectives: {did}."
    return f"It missed {missed} of {wording.count(len(report.verdicts), 'objective')}: {did}."


def _tiles(figures: Figures) -> list[tuple[str, str, str]]:
    """Figures to be read from across the room: name, figure, remark."""
    latency = figures.latency
    offered = "" if figures.offered is None else f"of {wording.rate(figures.offered)} offered"
    return [
        ("right answers/s", wording.rate(figures.rate), offered),
        *(
            (
                name,
                wording.duration(latency.percentiles[name]),
                "rests on few requests" if name in latency.few else "",
            )
            for name in ("p50", "p99", "p99.9")
        ),
        ("errors", wording.percent(figures.error_share), f"of {figures.requests:,}"),
    ]


def _times(figures: Figures, server: ServerSide | None) -> list[Sequence[str]]:
    """Rows of the table of times: name, latency, service, server, generator; milliseconds."""
    told = (figures.latency, figures.service)
    bounds = server.seconds.percentiles if server else {}
    rows: list[Sequence[str]] = [
        (
            name,
            *(wording.percentile(times, name) for times in told),
            wording.between(bounds.get(name)),
            wording.milliseconds(figures.late.percentiles[name]),
        )
        for name in figures.latency.percentiles
    ]
    own = wording.milliseconds(server.seconds.mean) if server else wording.NONE
    rows.append(
        (
            "max",
            *(wording.milliseconds(times.most) for times in told),
            wording.NONE,
            wording.milliseconds(figures.late.most),
        )
    )
    rows.append(
        (
            "mean",
            *(wording.milliseconds(times.mean) for times in told),
            own,
            wording.milliseconds(figures.late.mean),
        )
    )
    return rows


def _stages(server: ServerSide | None) -> list[Sequence[str]]:
    """Rows of the table of the server's stages: name, requests, mean and percentiles, ms."""
    if server is None:
        return []
    return [
        (
            name,
            f"{spread.count:,}",
            wording.milliseconds(spread.mean),
            *(wording.between(spread.percentiles.get(p)) for p in ("p50", "p90", "p99")),
        )
        for name, spread in {**server.stages, "all": server.seconds}.items()
    ]
