"""Drawings: whole SVG, with the words and lines they should have, and nothing of other places."""

import re
from xml.etree import ElementTree as ET

import pytest

from serving.loadtest.objectives import parse_objectives
from serving.loadtest.report.plots import plot_capacity, plot_percentiles, plot_seconds

OBJECTIVES = parse_objectives(["p99=50ms", "errors=1%"])


def words(svg):
    root = ET.fromstring(svg)  # noqa: S314 - drawn here, not read
    return [element.text for element in root.iter("text")]


@pytest.fixture(scope="module")
def drawn(run_of, probes):
    """Each drawing, of a run with errors and of a search."""
    return {
        "percentiles": plot_percentiles(run_of(), OBJECTIVES),
        "time": plot_seconds(run_of()),
        "capacity": plot_capacity(probes, OBJECTIVES, 400.0),
    }


@pytest.mark.slow
def test_percentiles_are_drawn_in_nines_with_the_objective(drawn):
    said = words(drawn["percentiles"])
    assert {"0 %", "50 %", "90 %", "99 %", "99.9 %", "p99 ≤ 50 ms"} <= set(said)
    assert {"latency: from the due time", "service: from leaving"} <= set(said)
    assert "errors ≤ 1 %" not in said


def test_seconds_with_errors_and_the_rate_that_was_offered_are_marked(drawn, run_of):
    marks = {"seconds with errors", "offered"}
    assert marks <= set(words(drawn["time"]))
    assert not marks & set(words(plot_seconds(run_of(errors=False, open_loop=False))))


def test_capacity_marks_the_highest_rate_held(drawn):
    said = words(drawn["capacity"])
    assert {"held: 400/s", "p50", "p90", "p99", "p99 ≤ 50 ms"} <= set(said)


def test_capacity_without_a_rate_that_was_held_is_drawn(probes):
    said = words(plot_capacity([probe for probe in probes if not probe.held]))
    assert not [word for word in said if "held" in word]


@pytest.mark.parametrize("draw", [plot_percentiles, plot_seconds])
def test_a_run_that_nothing_came_of_is_drawn(nothing, draw):
    assert words(draw(nothing))


def test_the_same_figures_make_the_same_drawing(drawn, run_of):
    assert plot_percentiles(run_of(), OBJECTIVES) == drawn["percentiles"]


@pytest.mark.parametrize("name", ["percentiles", "time", "capacity"])
def test_a_drawing_follows_the_page_and_asks_no_other(drawn, name):
    svg = drawn[name]
    assert "var(--accent)" in svg
    assert "://" not in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"#(d[0-9a-f]{8}-[^\")]+)", svg)) <= set(ids)
