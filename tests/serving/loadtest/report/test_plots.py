"""The plots as SVG: complete, with the expected labels, and without external references."""

import re
from xml.etree import ElementTree as ET

import pytest

from serving.loadtest.objectives import parse_objectives
from serving.loadtest.report.plots import plot_capacity, plot_percentiles, plot_seconds

OBJECTIVES = parse_objectives(["p99=50ms", "errors=1%"])


def read_labels(svg):
    """Return the texts of a plot."""
    root = ET.fromstring(svg)  # noqa: S314 - Matplotlib wrote it
    return [element.text for element in root.iter("text")]


@pytest.fixture(scope="module")
def plots(make_statistics, probes):
    """Return each plot by name, of a run with errors and of a capacity search."""
    return {
        "percentiles": plot_percentiles(make_statistics(), OBJECTIVES),
        "seconds": plot_seconds(make_statistics()),
        "capacity": plot_capacity(probes, OBJECTIVES, 400.0),
    }


@pytest.mark.slow
def test_plot_percentiles_has_nines_curves_and_latency_objectives(plots):
    labels = set(read_labels(plots["percentiles"]))
    assert {"0 %", "50 %", "90 %", "99 %", "99.9 %", "p99 ≤ 50 ms"} <= labels
    assert {"latency: from due", "service: from sent"} <= labels
    assert "errors ≤ 1 %" not in labels


def test_plot_seconds_marks_errors_and_offered_rate_if_there_are_any(plots, make_statistics):
    marks = {"seconds with errors", "offered"}
    assert marks <= set(read_labels(plots["seconds"]))
    without = plot_seconds(make_statistics(has_errors=False, is_open_loop=False))
    assert not marks & set(read_labels(without))


def test_plot_capacity_marks_the_sustained_rate(plots):
    labels = set(read_labels(plots["capacity"]))
    assert {"sustained: 400/s", "p50", "p90", "p99", "p99 ≤ 50 ms"} <= labels


def test_plot_capacity_without_sustained_rate_has_no_mark(probes):
    failed = [probe for probe in probes if not probe.is_sustained]
    labels = read_labels(plot_capacity(failed))
    assert not [label for label in labels if "sustained" in label]


@pytest.mark.parametrize("plot", [plot_percentiles, plot_seconds])
def test_plot_run_without_requests_is_drawn(empty_statistics, plot):
    assert read_labels(plot(empty_statistics))


def test_plot_same_statistics_twice_are_the_same_bytes(plots, make_statistics):
    assert plot_percentiles(make_statistics(), OBJECTIVES) == plots["percentiles"]


@pytest.mark.parametrize("name", ["percentiles", "seconds", "capacity"])
def test_plot_uses_css_variables_and_refers_only_to_itself(plots, name):
    svg = plots[name]
    assert "var(--accent)" in svg
    assert "://" not in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"#(d[0-9a-f]{8}-[^\")]+)", svg)) <= set(ids)
