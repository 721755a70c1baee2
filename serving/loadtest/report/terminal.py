"""Text: the report on a terminal, to be taken in at one look."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.loadtest.report.content import Report
from serving.loadtest.report.formatting import (
    between,
    count,
    duration,
    milliseconds,
    percent,
    percentile,
    plain,
    rate,
)
from serving.loadtest.server_metrics import ServerSide

WIDTH = 100  # characters, at most
SHOWN = ("p50", "p90", "p95", "p99", "p99.9", "p99.99")


def show(report: Report, console: Console) -> None:
    """Print a report.

    Warnings come first, for what follows is to be read with them in mind.

    Args:
        report: to show.
        console: to show it on; of its width, 100 characters at most are used.
    """
    for part in (_head(report), _verdicts(report), _probes(report), _times(report), _rest(report)):
        if part is not None:
            console.print(part, width=min(console.width, WIDTH))
            console.print()


def _head(report: Report) -> RenderableType:
    text = Text()
    text.append(plain(report.target), "bold")
    text.append(f"\n{plain(report.load)}", "dim")
    for warning in report.warnings:
        text.append("\n! ", "bold yellow").append(plain(warning), "yellow")
    return text


def _verdicts(report: Report) -> RenderableType | None:
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


def _probes(report: Report) -> RenderableType | None:
    """The steps of a search of capacity, and what it found."""
    if not report.probes:
        return None
    table = _table("offered/s", "answered/s", "p50 ms", "p99 ms", "errors", "held")
    for probe in sorted(report.probes, key=lambda probe: probe.rate):
        figures = probe.figures
        percentiles = figures.latency.percentiles
        table.add_row(
            rate(probe.rate),
            rate(figures.rate),
            milliseconds(percentiles["p50"]),
            milliseconds(percentiles["p99"]),
            percent(figures.error_share),
            Text("yes", "green") if probe.held else Text("no", "red"),
        )
    highest = report.held
    found = (
        "No rate that was tried met the objectives."
        if highest is None
        else f"{rate(highest)} requests a second met the objectives."
    )
    return Group(Text(found, "bold"), table)


def _times(report: Report) -> RenderableType:
    figures, server = report.figures, report.server_side
    table = _table("ms", *SHOWN, "max", "mean")
    for name, times in (("latency", figures.latency), ("service", figures.service)):
        table.add_row(
            name,
            *(percentile(times, p) for p in SHOWN),
            milliseconds(times.most),
            milliseconds(times.mean),
        )
    if server is not None:
        bounds = server.seconds.percentiles
        mean = milliseconds(server.seconds.mean)
        table.add_row(
            "server", *(between(bounds[p]) if p in bounds else "" for p in SHOWN), "", mean
        )
    notes = ["latency from when a request was due, service from when it left"]
    if server is not None:
        notes.append("server: bounds of its buckets")
    if figures.latency.few:
        notes.append("* rests on few requests")
    return Group(table, Text("\n".join(notes), "dim"))


def _rest(report: Report) -> RenderableType:
    figures = report.figures
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("rate", Text(_rates(report)))
    table.add_row("errors", Text(_errors(report), "red" if figures.errors else ""))
    for fault, times in figures.faults:
        table.add_row("", Text(f"{times:,} × {plain(fault)}"))
    if report.server_side is not None:
        said = "\n".join(_server(report.server_side, figures.service.mean))
        table.add_row("server", Text(said))
    table.add_row("generator", Text(report.generator))
    return table


def _rates(report: Report) -> str:
    figures = report.figures
    said = f"{rate(figures.rate)}/s answered rightly, {rate(figures.sent_rate)}/s sent"
    if figures.offered is not None:
        said += f", {rate(figures.offered)}/s offered"
    return f"{said}; {rate(figures.rows_per_second)} rows/s"


def _errors(report: Report) -> str:
    figures = report.figures
    kinds = ", ".join(f"{times:,} × {name}" for name, times in figures.errors.items())
    return f"{percent(figures.error_share)} of {figures.requests:,}" + (kinds and f": {kinds}")


def _server(server: ServerSide, service: float) -> Iterator[str]:
    """What it says of itself, and what of the client's time it does not account for."""
    mean = server.seconds.mean
    yield (
        f"{count(server.requests, 'request')}, {duration(mean)} on average; "
        f"network, queues before it and generator {duration(max(0.0, service - mean))}"
    )
    if server.stages:
        stages = (f"{name} {duration(spread.mean)}" for name, spread in server.stages.items())
        rows = server.batch_rows
        runs = f"; {rows.mean:.3g} rows a run" if rows is not None and rows.count else ""
        yield f"of that {', '.join(stages)}{runs}"
    if server.refused:
        refused = ", ".join(f"{times:,} × {code}" for code, times in server.refused.items())
        yield f"refused {refused}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
