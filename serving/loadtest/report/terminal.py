"""The report as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.loadtest.report.advice import advise, summarize_result
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

MAX_WIDTH = 100  # characters
SHOWN_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9", "p99.99")


def print_report(report: LoadTestReport, console: Console) -> None:
    """Print a report, warnings first.

    Args:
        report: Results of the load test.
        console: Console to print on. At most 100 characters of its width are used.
    """
    parts = (
        _render_heading(report),
        _render_objectives(report),
        _render_probes(report),
        _render_times(report),
        _render_details(report),
    )
    for part in parts:
        if part is not None:
            console.print(part, width=min(console.width, MAX_WIDTH))
            console.print()


def _render_heading(report: LoadTestReport) -> RenderableType:
    text = Text()
    text.append(escape_text(report.target), "bold")
    text.append(f"\n{escape_text(report.load)}", "dim")
    for warning in report.warnings:
        text.append("\n! ", "bold yellow").append(escape_text(warning), "yellow")
    text.append(f"\n\n{summarize_result(report)}", "bold").append(f"\n{advise(report)}")
    return text


def _render_objectives(report: LoadTestReport) -> RenderableType | None:
    if not report.results:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for result in report.results:
        style = "green" if result.is_met else "bold red"
        table.add_row(
            Text("met" if result.is_met else "MISSED", style),
            Text(str(result.objective)),
            Text(result.formatted_value, style),
            Text(result.reason, "dim"),
        )
    return table


def _render_probes(report: LoadTestReport) -> RenderableType | None:
    """Render the rates that a capacity search probed."""
    if not report.probes:
        return None
    table = _create_table("offered/s", "answered/s", "p50 ms", "p99 ms", "errors", "sustained")
    for probe in sorted(report.probes, key=lambda probe: probe.rate):
        statistics = probe.statistics
        percentiles = statistics.latency.percentiles
        table.add_row(
            format_rate(probe.rate),
            format_rate(statistics.throughput),
            format_milliseconds(percentiles["p50"]),
            format_milliseconds(percentiles["p99"]),
            format_percent(statistics.error_share),
            Text("yes", "green") if probe.is_sustained else Text("no", "red"),
        )
    note = "sustained: the objectives were met, and latency did not grow during the measurement"
    return Group(table, Text(note, "dim"))


def _render_times(report: LoadTestReport) -> RenderableType:
    statistics, server = report.statistics, report.server
    table = _create_table("time in ms", *SHOWN_PERCENTILES, "max", "mean")
    for name, times in (
        ("latency", statistics.latency),
        ("service", statistics.service_time),
    ):
        table.add_row(
            name,
            *(format_percentile(times, p) for p in SHOWN_PERCENTILES),
            format_milliseconds(times.maximum),
            format_milliseconds(times.mean),
        )
    if server is not None:
        bounds = server.duration.percentiles
        table.add_row(
            "server",
            *(format_bounds(bounds[p]) if p in bounds else "" for p in SHOWN_PERCENTILES),
            "",
            format_milliseconds(server.duration.mean),
        )
    notes = [
        "p99: 99 % of the requests took no longer",
        "latency: time from due to answered, which users feel; service: time from sent to answered",
    ]
    if server is not None:
        notes.append(
            "server: measured inside the server, which records ranges instead of single times"
        )
    if statistics.latency.uncertain_percentiles:
        notes.append("* uncertain: fewer than ten requests took longer")
    return Group(table, Text("\n".join(notes), "dim"))


def _render_details(report: LoadTestReport) -> RenderableType:
    statistics = report.statistics
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("rate", Text(_describe_rates(report)))
    table.add_row(
        "errors", Text(_describe_errors(report), "red" if statistics.error_counts else "")
    )
    for fault, count in statistics.fault_examples:
        table.add_row("", Text(f"{count:,} × {escape_text(fault)}"))
    if report.server is not None:
        lines = "\n".join(_describe_server(report.server, statistics.service_time.mean))
        table.add_row("server", Text(lines))
    table.add_row("generator", Text(report.generator_summary))
    return table


def _describe_rates(report: LoadTestReport) -> str:
    statistics = report.statistics
    text = (
        f"{format_rate(statistics.throughput)}/s answered correctly, "
        f"{format_rate(statistics.sent_rate)}/s sent"
    )
    if statistics.offered_rate is not None:
        text += f", {format_rate(statistics.offered_rate)}/s offered"
    return f"{text}; {format_rate(statistics.rows_per_second)} rows/s"


def _describe_errors(report: LoadTestReport) -> str:
    statistics = report.statistics
    counts = ", ".join(f"{count:,} × {name}" for name, count in statistics.error_counts.items())
    share = f"{format_percent(statistics.error_share)} of {statistics.request_count:,}"
    return f"{share}: {counts}" if counts else share


def _describe_server(server: ServerMetrics, mean_service_time: float) -> Iterator[str]:
    """Describe the server's time, and the part of the client's time that it does not cover."""
    mean = server.duration.mean
    outside = format_duration(max(0.0, mean_service_time - mean))
    yield (
        f"{format_count(server.request_count, 'request')}, {format_duration(mean)} on average "
        f"inside it; {outside} more in the network, the accept queue and the generator"
    )
    if server.stages:
        stages = ", ".join(
            f"{name} {format_duration(summary.mean)}" for name, summary in server.stages.items()
        )
        rows = server.batch_rows
        has_batches = rows is not None and rows.count
        batches = f"; {rows.mean:.3g} rows per batch" if rows and has_batches else ""
        yield f"inside: {stages}{batches}"
    if server.refusals:
        refusals = ", ".join(f"{count:,} × {code}" for code, count in server.refusals.items())
        yield f"refused, by status: {refusals}"


def _create_table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
