"""Tests of what readers can tell apart: legends, labels, colours, dash patterns and contrast."""

import re
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from serving.bundle import CompressionCandidate, CompressionSummary
from trainer.report import plots
from trainer.report.sections import (
    calibration_curve,
    compression_plots,
    loss_curves,
    roc_curves,
    summary,
)

MIN_TEXT_CONTRAST, MIN_LINE_CONTRAST = 4.5, 3.0  # WCAG 2.2, success criteria 1.4.3 and 1.4.11
MIN_COLOUR_DIFFERENCE = 20  # CIE 1976; 2.3 is just noticeable side by side
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
COLOUR_BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE_POINT = XYZ.sum(axis=1)


def to_linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def compute_contrast(a, b):
    """Return the contrast of two colours, 1 to 21, as WCAG defines it."""
    low, high = sorted(float(to_linear(colour) @ XYZ[1]) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def to_lab(linear):
    x = XYZ @ np.clip(linear, 0, 1) / WHITE_POINT
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def read_themes():
    """Return the CSS variables of the light and of the dark page."""
    css = files("trainer.report").joinpath("templates/page.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--([a-z]+): (#\w{6});", text)) for text in (light, dark)]


@pytest.fixture
def canvases(monkeypatch):
    """Return a list that receives each plot that is drawn, with its matplotlib figure."""
    drawn = []

    @contextmanager
    def open_canvas(*arguments, **options):
        with plots.open_canvas(*arguments, **options) as canvas:
            yield canvas
        drawn.append(canvas)

    for module in (roc_curves, calibration_curve, loss_curves, summary, compression_plots):
        monkeypatch.setattr(module, "open_canvas", open_canvas)
    return drawn


def check_legends(drawn):
    """Assert that legends and the texts of axes are on the figure and cover no data.

    Returns:
        Number of legends.
    """
    n_legends = 0
    for canvas in drawn:
        figure = canvas.figure
        figure.draw_without_rendering()
        width = figure.bbox.width
        for axes in canvas.axes:
            assert axes.get_legend() is None  # it would be on top of the curves
            for text in axes.texts:
                box = text.get_window_extent()
                assert -1 <= box.x0 < box.x1 <= width + 1, text.get_text()
        for legend in figure.legends:
            box = legend.get_window_extent()
            n_legends += 1
            assert -1 <= box.x0 < box.x1 <= width + 1, [t.get_text() for t in legend.texts]
            for axes in canvas.axes:
                assert not box.overlaps(axes.bbox)
                for line in axes.lines:
                    points = line.get_transform().transform(line.get_xydata())
                    assert not any(box.contains(*point) for point in points)
                for text in (*axes.texts, axes.xaxis.label, axes.yaxis.label):
                    assert not box.overlaps(text.get_window_extent())
    return n_legends


def rename_classes(test_rows, names):
    """Return rows of a classifier whose sorted classes have other names."""
    indices = np.searchsorted(test_rows.classes, test_rows.truth)
    labels = np.searchsorted(test_rows.classes, test_rows.answers["label"])
    classes = np.array(names)
    answers = test_rows.answers | {"label": classes[labels]}
    return replace(test_rows, classes=classes, truth=classes[indices], answers=answers)


@pytest.mark.parametrize("kind", ["tumours", "mixed", "digits"])
def test_legends_of_curves_hide_nothing(train_example, canvases, kind):
    inputs = train_example(kind).inputs
    roc_curves.build_curves_section(inputs, inputs.test_rows)
    loss_curves.build_training_section(inputs)
    assert check_legends(canvases) == (4 if len(inputs.test_rows.classes) == 2 else 3)


@pytest.mark.parametrize("length", [1, 9, 10, 60])
def test_legends_of_long_class_names_fit_the_plot(train_example, canvases, length):
    inputs = train_example("digits").inputs
    rows = rename_classes(inputs.test_rows, [f"{k}{'n' * (length - 1)}" for k in range(10)])
    roc_curves.build_curves_section(inputs, rows)
    assert check_legends(canvases) == 2


@pytest.mark.parametrize("threshold", [0.0, 0.001, 0.5, 0.9999])
def test_threshold_label_is_not_cut_at_the_edges(train_example, canvases, threshold):
    inputs = train_example("tumours").inputs
    manifest = inputs.manifest.model_copy(update={"threshold": threshold})
    bundle = replace(inputs.bundle, manifest=manifest)
    roc_curves.build_curves_section(replace(inputs, bundle=bundle), inputs.test_rows)
    assert check_legends(canvases) == 3


def test_legend_separates_class_and_area(train_example):
    inputs = train_example("digits").inputs
    section = roc_curves.build_curves_section(inputs, inputs.test_rows)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", section.blocks[0].figures[0].svg)
    assert sum(bool(re.fullmatch(r"“\d”: area [01]\.\d{3}", text)) for text in texts) == 10


def test_compression_labels_do_not_cover_other_points(canvases):
    base = {
        "bits": 8,
        "inputs": 4,
        "hidden": [8],
        "parameters": 10,
        "zipped_bytes": 900,
        "latency_us": {},
        "validation": 0.9,
    }
    tried = [
        CompressionCandidate(name=name, size_bytes=size, drop=drop, kept=kept, **base)
        for name, size, drop, kept in (
            ("fp32", 10_500, 0.0, True),
            ("int8", 4_900, -0.011, True),
            ("pruned-int8", 3_850, 0.0056, True),
            ("pruned-int4", 3_490, 0.0056, True),
            ("pruned-int4", 3_495, 0.017, False),
        )
    ]
    compression_plots.plot_trade_offs(
        CompressionSummary(metric="accuracy", max_drop=0.02, tried=tried), "accuracy"
    )
    (canvas,) = canvases
    assert check_legends(canvases) == 1
    (axes,) = canvas.axes
    points = [axes.transData.transform((c.size_bytes / 1000, c.drop)) for c in tried]
    names = {c.name for c in tried}
    labels = [text for text in axes.texts if text.get_text() in names]
    assert len(labels) == 4
    for label in labels:
        box = Text.get_window_extent(label)  # without the line to its point
        assert not any(box.contains(*point) for point in points), label.get_text()
    assert {marker for _, marker in compression_plots.STYLES.values()} == {"o", "s", "D"}


@pytest.mark.parametrize("theme", read_themes(), ids=["light", "dark"])
def test_colours_have_enough_contrast(theme):
    for paper in (theme["paper"], theme["raised"]):
        for name in ("ink", "muted", "accent", "good", "bad"):
            assert compute_contrast(theme[name], paper) >= MIN_TEXT_CONTRAST, (name, paper)
    for colour in plots.PALETTE:
        colour = theme.get(plots.VARIABLES.get(colour), colour)  # noqa: PLW2901 - as on the page
        assert compute_contrast(colour, theme["paper"]) >= MIN_LINE_CONTRAST, colour
    css = files("trainer.report").joinpath("templates/page.css").read_text("utf-8")
    low, more = map(int, re.search(r"calc\((\d+)% \+ (\d+)% \* var\(--shade", css).groups())
    tint = (low + more) / 100
    for name in ("good", "bad"):  # text on the darkest cell
        mixed = tint * np.array(to_rgb(theme[name])) + (1 - tint) * np.array(to_rgb(theme["paper"]))
        assert compute_contrast(theme["ink"], mixed) >= MIN_TEXT_CONTRAST


def test_theme_light_has_the_colours_of_the_plots():
    light, dark = read_themes()
    assert {colour: light[name] for colour, name in plots.VARIABLES.items() if name != "paper"} == {
        colour: colour for colour, name in plots.VARIABLES.items() if name != "paper"
    }
    assert set(light) == set(dark)


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
@pytest.mark.parametrize("theme", read_themes(), ids=["light", "dark"])
def test_lines_differ_in_dashes_or_colour_for_colour_blind_readers(theme, kind):
    matrix = np.array(COLOUR_BLINDNESS[kind])
    assert len(plots.LINE_STYLES) >= roc_curves.MAX_CURVES
    for (colour, dashes), (other, other_dashes) in combinations(plots.LINE_STYLES, 2):
        if dashes != other_dashes:
            continue
        seen = [
            to_lab(matrix @ to_linear(theme.get(plots.VARIABLES.get(c), c)))
            for c in (colour, other)
        ]
        assert np.linalg.norm(seen[0] - seen[1]) >= MIN_COLOUR_DIFFERENCE, (colour, other)


@pytest.mark.parametrize("kind", ["tumours", "mixed"])
def test_calibration_bins_are_distinct_and_marked_when_small(train_example, canvases, kind):
    inputs = train_example(kind).inputs
    calibration_curve.build_calibration_section(inputs, inputs.test_rows)
    (canvas,) = canvases
    curve, histogram = canvas.axes
    bars = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in histogram.patches)
    assert all(end < start for (_, end), (start, _) in pairwise(bars))
    counts = [bar.get_height() for bar in histogram.patches]
    assert sum(counts) == len(inputs.test_rows)
    filled, hollow = curve.lines[1:]
    n_small = sum(0 < n < calibration_curve.MIN_FILLED_ROWS for n in counts)
    assert len(hollow.get_xdata()) == n_small
    assert len(filled.get_xdata()) == sum(n >= calibration_curve.MIN_FILLED_ROWS for n in counts)
    assert hollow.get_markerfacecolor() == plots.PAPER
