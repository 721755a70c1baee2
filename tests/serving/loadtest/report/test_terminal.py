"""The report on a terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from serving.loadtest.report.terminal import print_report

WARNING = "The load generator was the bottleneck: it was busy 98% of the time."


def render(report, width=100, **options):
    """Return the text that is printed on a terminal."""
    console = Console(file=io.StringIO(), width=width, **options)
    print_report(report, console)
    return console.file.getvalue()


def test_terminal_shows_results_errors_server_and_generator(make_report):
    text = " ".join(render(make_report()).split())
    for expected in (
        "digits/1 at http://127.0.0.1:8000",
        "200 requests/s at random intervals (open loop)",
        "MISSED p99 ≤ 50 ms",
        "met p50 ≤ 20 ms",
        "errors ≤ 0.1 %",
        "196/s answered correctly",
        "200/s offered",
        "786 rows/s",
        "21 × 503",
        "10 × wrong",
        "4 × timeout",
        "expected class 3 in instance 0",
        "1–2.5",
        "decode 110 µs",
        "7.25 rows per batch",
        "3 × 429",
        "can send 31,234 requests/s",
        "it delayed 99 % of the requests by at most 870 µs",
    ):
        assert expected in text


def test_terminal_verdict_and_advice_precede_the_figures(make_report):
    text = " ".join(render(make_report()).split())
    verdict = text.index("3 of 4 objectives missed: p99 was")
    assert verdict < text.index("Some answers were wrong") < text.index("MISSED")


def test_terminal_times_of_client_and_server_are_adjacent_rows(make_report):
    lines = render(make_report()).splitlines()
    rows = [
        next(n for n, line in enumerate(lines) if line.startswith(name))
        for name in ("latency", "service", "server")
    ]
    assert rows == list(range(rows[0], rows[0] + 3))


def test_terminal_uncertain_percentile_has_a_star(make_report):
    report = make_report()
    text = render(report)
    assert f"{1000 * report.statistics.latency.percentiles['p99.9']:.0f}*" in text
    assert "* uncertain: fewer than ten requests took longer" in text


def test_terminal_warnings_precede_the_results(make_report, make_health):
    lines = render(make_report(generator=make_health(WARNING))).splitlines()
    assert lines[2] == f"! {WARNING}"


def test_report_without_problems_has_no_warnings(make_report):
    assert make_report().warnings == []
    assert "! " not in render(make_report())


def test_report_other_clients_and_unsent_requests_are_warned_about(make_report, make_statistics):
    few = make_statistics(50.0)
    assert "other clients took part of its time" in " ".join(make_report(statistics=few).warnings)
    unsent = replace(few, sent_count=few.sent_count - 100)
    warnings = " ".join(make_report(statistics=unsent).warnings)
    assert "100 requests of 500 were never sent" in warnings


def test_terminal_capacity_search_shows_probes_by_rate_and_the_result(make_report, probes):
    text = render(make_report(probes=probes, capacity=400.0))
    assert "400 requests per second met the objectives." in text
    rows = [line.split() for line in text.splitlines() if line.rstrip().endswith(("yes", "no"))]
    assert [(row[0], row[-1]) for row in rows] == [
        ("100", "yes"),
        ("400", "yes"),
        ("800", "no"),
    ]


@pytest.mark.parametrize("width", [60, 100, 240])
def test_terminal_lines_are_at_most_100_characters(make_report, probes, width):
    lines = render(make_report(probes=probes), width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= min(width, 100)


def test_terminal_foreign_text_is_escaped(make_report):
    text = render(make_report(target="[red]a[/red]\x1b[2J"), force_terminal=True)
    assert "[red]a[/red]\\u001b[2J" in text
    assert "\x1b[31mfull" not in text


def test_terminal_run_without_requests_has_a_warning_and_no_nan(make_report, empty_statistics):
    report = make_report(statistics=empty_statistics, server=None)
    text = render(report)
    assert "No request was answered correctly" in report.warnings[0]
    assert "no request was answered" in text
    assert "nan" not in text
