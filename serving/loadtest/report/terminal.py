"""Text: the report on a terminal, to be taken in at one look."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.loadtest.report.content import LoadTestReport
from serving.loadtest.report.formatting import (
    escape_text,
    format_bounds,
    format_count,
    format_duration,
    format_milliseconds,
    format_percent,
    format_percentile,
    format_rate,
)
from serving.loadtest.server_metrics import ServerMetrics

MAX_WIDTH = 100  # characters, at most
SHOWN_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9", "p99.99")


def print_report(report: LoadTestReport, console: Console) -> None:
    """Print a report.

    Warnings come first, for what follows is to be read with them in mind.

    Args:
        report: to show.
        console: to show it on; of its width, 100 characters at most are used.
    """
    for part in (
        _render_heading(report),
        _render_objectives(report),
        _render_probes(report),
        _render_times(report),
        _render_details(report),
    ):
        if part is not None:
            console.print(part, width=min(console.width, MAX_WIDTH))
            console.print()


def _render_heading(report: LoadTestReport) -> RenderableType:
    text = Text()
    text.append(escape_text(report.target), "bold")
    text.append(f"\n{escape_text(report.load)}", "dim")
    for warning in report.warnings:
        text.append("\n! ", "bold yellow").append(escape_text(warning), "yellow")
    return text


def _render_objectives(report: LoadTestReport) -> RenderableType | None:
    if not report.verdicts:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for verdict in report.verdicts:
        style = "green" if verdict.met else "bold red"
        table.add_row(
            Text("met" if verdict.met else "MISSED", style),
            Text(str(verdict.objective)),
            Text(verdict.told, style),
            Text(verdict.reason, "dim"),
        )
    return table


def _render_probes(report: LoadTestReport) -> RenderableType | None:
    """The steps of a search of capacity, and what it found."""
    if not report.probes:
        return None
    table = _create_table("offered/s", "answered/s", "p50 ms", "p99 ms", "errors", "held")
    for probe in sorted(report.probes, key=lambda probe: probe.rate):
        figures = probe.figures
        percentiles = figures.latency.percentiles
        table.add_row(
            format_rate(probe.rate),
            format_rate(figures.rate),
            format_milliseconds(percentiles["p50"]),
            format_milliseconds(percentiles["p99"]),
            format_percent(figures.error_share),
            Text("yes", "green") if probe.held else Text("no", "red"),
        )
    highest = report.held
    found = (
        "No rate that was tried met the objectives."
        if highest is None
        else f"{format_rate(highest)} requests a second met the objectives."
    )
    return Group(Text(found, "bold"), table)


def _render_times(report: LoadTestReport) -> RenderableType:
    figures, server = report.figures, report.server_side
    table = _create_table("ms", *SHOWN_PERCENTILES, "max", "mean")
    for name, times in (("latency", figures.latency), ("service", figures.service)):
        table.add_row(
            name,
            *(format_percentile(times, p) for p in SHOWN_PERCENTILES),
            format_milliseconds(times.most),
            format_milliseconds(times.mean),
        )
    if server is not None:
        bounds = server.seconds.percentiles
        mean = format_milliseconds(server.seconds.mean)
        table.add_row(
            "server",
            *(format_bounds(bounds[p]) if p in bounds else "" for p in SHOWN_PERCENTILES),
            "",
            mean,
        )
    notes = ["latency from when a request was due, service from when it left"]
    if server is not None:
        notes.append("server: bounds of its buckets")
    if figures.latency.few:
        notes.append("* rests on few requests")
    return Group(table, Text("\n".join(notes), "dim"))


def _render_details(report: LoadTestReport) -> RenderableType:
    figures = report.figures
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("rate", Text(_describe_rates(report)))
    table.add_row("errors", Text(_describe_errors(report), "red" if figures.errors else ""))
    for fault, times in figures.faults:
        table.add_row("", Text(f"{times:,} × {escape_text(fault)}"))
    if report.server_side is not None:
        said = "\n".join(_describe_server(report.server_side, figures.service.mean))
        table.add_row("server", Text(said))
    table.add_row("generator", Text(report.generator))
    return table


def _describe_rates(report: LoadTestReport) -> str:
    figures = report.figures
    said = (
        f"{format_rate(figures.rate)}/s answered rightly, {format_rate(figures.sent_rate)}/s sent"
    )
    if figures.offered is not None:
        said += f", {format_rate(figures.offered)}/s offered"
    return f"{said}; {format_rate(figures.rows_per_second)} rows/s"


def _describe_errors(report: LoadTestReport) -> str:
    figures = report.figures
    kinds = ", ".join(f"{times:,} × {name}" for name, times in figures.errors.items())
    return f"{format_percent(figures.error_share)} of {figures.requests:,}" + (
        kinds and f": {kinds}"
    )


def _describe_server(server: ServerMetrics, service: float) -> Iterator[str]:
    """What it says of itself, and what of the client's time it does not account for."""
    mean = server.seconds.mean
    yield (
        f"{format_count(server.requests, 'request')}, {format_duration(mean)} on average; "
        f"network, queues before it and generator {format_duration(max(0.0, service - mean))}"
    )
    if server.stages:
        stages = (
            f"{name} {format_duration(spread.mean)}" for name, spread in server.stages.items()
        )
        rows = server.batch_rows
        runs = f"; {rows.mean:.3g} rows a run" if rows is not None and rows.count else ""
        yield f"of that {', '.join(stages)}{runs}"
    if server.refused:
        refused = ", ".join(f"{times:,} × {code}" for code, times in server.refused.items())
        yield f"refused {refused}"


def _create_table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
