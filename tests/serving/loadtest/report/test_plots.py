"""The plots as SVG: complete, with the expected labels, and without external references."""

import re
from xml.etree import ElementTree as ET

import pytest

from serving.loadtest.objectives import parse_objectives
from serving.loadtest.report.plots import (
    SERIES_COLOURS,
    SERIES_STYLES,
    plot_capacity,
    plot_percentiles,
    plot_seconds,
)

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
    assert {"latency: from due to answered", "service time: from sent to answered"} <= labels
    assert "errors ≤ 1 %" not in labels


def test_plot_seconds_marks_errors_and_offered_rate_if_there_are_any(plots, make_statistics):
    marks = {"second with errors", "requests due"}
    assert marks <= set(read_labels(plots["seconds"]))
    without = plot_seconds(make_statistics(has_errors=False, is_open_loop=False))
    assert not marks & set(read_labels(without))


def test_plot_capacity_marks_the_sustained_rate(plots):
    labels = set(read_labels(plots["capacity"]))
    assert {"sustained: 400/s", "p50", "p90", "p99", "p99 ≤ 50 ms"} <= labels


def test_plot_capacity_series_differ_by_line_and_marker(plots):
    assert len(set(SERIES_STYLES)) == len(SERIES_STYLES) == len(SERIES_COLOURS)
    dashes = re.findall(r"stroke-dasharray: ([^;]+)", plots["capacity"])
    # Of the three percentiles, p50 is a solid line; the objective and the rate have dashes, too.
    assert len(set(dashes)) >= 3


def test_plot_capacity_measurements_that_failed_are_hollow(probes):
    hollow = "fill: var(--paper); stroke: var(--accent)"
    assert hollow in plot_capacity(probes)
    assert hollow not in plot_capacity([probe for probe in probes if probe.is_sustained])


@pytest.mark.parametrize("name", ["percentiles", "seconds", "capacity"])
def test_plot_axes_name_their_unit_and_legends_are_above_them(plots, name):
    root = ET.fromstring(plots[name])  # noqa: S314 - Matplotlib wrote it
    texts = [element.text for element in root.iter("text")]
    assert any("milliseconds" in text for text in texts)
    horizontal = "share of the requests", "seconds", "per second"
    assert any(text.endswith(horizontal) or text.startswith(horizontal) for text in texts)
    groups = {g.get("id", "").split("-", 1)[-1]: g for g in root.iter("g")}
    for number in (1, 2) if name == "seconds" else (1,):
        axes = next(g for key, g in groups.items() if key == f"axes_{number}")
        legend = next(g for g in axes.iter("g") if "legend_" in g.get("id", ""))
        background = next(g for g in axes.iter("g") if "patch_" in g.get("id", ""))
        top = min(_list_heights(background))
        assert max(_list_heights(legend)) <= top + 1


def _list_heights(group):
    """Return the vertical positions, downwards, of the points of all paths in a group."""
    paths = [path.get("d", "") for path in group.iter("path")]
    return [float(y) for d in paths for y in re.findall(r"[ML] [-0-9.]+ ([-0-9.]+)", d)]


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
