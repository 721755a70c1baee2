"""What a terminal shows of a report."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from serving.loadtest.report.terminal import print_report

BOTTLENECK = "The generator was the bottleneck: it used 98 % of a processor."


def shown(report, width=100, **given):
    console = Console(file=io.StringIO(), width=width, **given)
    print_report(report, console)
    return console.file.getvalue()


def test_one_look_tells_all(report):
    text = shown(report())
    for said in (
        "digits/1 at http://127.0.0.1:8000",
        "open loop, 200 requests/s",
        "MISSED  p99 ≤ 50 ms",
        "met     p50 ≤ 20 ms",
        "errors ≤ 0.1 %",
        "196/s answered rightly",
        "200/s offered",
        "786 rows/s",
        "21 × 503",
        "10 × wrong",
        "4 × timeout",
        "expected class 3 in instance 0",
        "1–2.5",
        "decode 110 µs",
        "7.25 rows a run",
        "3 × 429",
        "31,234 requests/s at most",
        "late by 870 µs",
    ):
        assert said in text


def test_the_server_stands_beside_the_client(report):
    lines = shown(report()).splitlines()
    rows = [
        next(n for n, line in enumerate(lines) if line.startswith(name))
        for name in ("latency", "service", "server")
    ]
    assert rows == list(range(rows[0], rows[0] + 3))


def test_percentiles_of_few_requests_have_a_star(report):
    built = report()
    text = shown(built)
    assert f"{1000 * built.figures.latency.percentiles['p99.9']:.0f}*" in text
    assert "* rests on few requests" in text


def test_warnings_come_before_all_figures(report, limits_of):
    lines = shown(report(limits=limits_of(verdict=BOTTLENECK))).splitlines()
    assert lines[2] == f"! {BOTTLENECK}"


def test_figures_to_be_trusted_come_without_a_warning(report):
    assert report().warnings == []
    assert "! " not in shown(report())


def test_others_at_the_server_and_requests_that_never_left_are_warned_of(report, run_of):
    few = run_of(50.0)
    assert "others asked it meanwhile" in " ".join(report(figures=few).warnings)
    held_back = replace(few, sent=few.sent - 100)
    assert "100 requests of 500 never left" in " ".join(report(figures=held_back).warnings)


def test_a_search_tells_each_step_and_the_highest_rate_held(report, probes):
    text = shown(report(probes=probes, held=400.0))
    assert "400 requests a second met the objectives." in text
    steps = [line.split() for line in text.splitlines() if line.rstrip().endswith(("yes", "no"))]
    assert [(step[0], step[-1]) for step in steps] == [
        ("100", "yes"),
        ("400", "yes"),
        ("800", "no"),
    ]


@pytest.mark.parametrize("width", [60, 100, 240])
def test_it_is_never_wider_than_a_hundred(report, probes, width):
    lines = shown(report(probes=probes), width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= min(width, 100)


def test_what_others_wrote_moves_no_terminal(report):
    text = shown(report(target="[red]a[/red]\x1b[2J"), force_terminal=True)
    assert "[red]a[/red]\\u001b[2J" in text
    assert "\x1b[31mfull" not in text


def test_a_run_that_nothing_came_of_is_told(report, nothing):
    built = report(figures=nothing, server_side=None)
    text = shown(built)
    assert "No request was answered rightly" in built.warnings[0]
    assert "no request was answered" in text
    assert "nan" not in text
