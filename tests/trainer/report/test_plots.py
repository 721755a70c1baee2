from itertools import combinations
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from trainer.report.plots import (
    ACCENT,
    MAX_VECTOR_POINTS,
    MUTED,
    label_points,
    open_canvas,
    set_log_scale,
)


def draw_svg(text="plain", points=10):
    with open_canvas() as canvas:
        axes = canvas.main_axes
        axes.scatter(
            np.arange(points),
            np.arange(points),
            color=ACCENT,
            rasterized=points > MAX_VECTOR_POINTS,
        )
        axes.axhline(1, color=MUTED)
        axes.set_title(text)
        axes.set_yscale("symlog", linthresh=1)
    return canvas.svg


def parse_svg(svg):
    return ET.fromstring(svg)  # noqa: S314 - written by matplotlib just now


@pytest.mark.parametrize(
    "text", ["<script>x</script>", "a & b", '" onload="x', "$\\frac{$", "url(#a) --> ]]>", "日本"]
)
def test_open_canvas_text_is_escaped(text):
    root = parse_svg(draw_svg(text))
    assert text in [element.text for element in root.iter("text")]
    assert not list(root.iter("script"))
    assert not any(name.startswith("on") for e in root.iter() for name in e.attrib)


def test_open_canvas_uses_css_variables_and_unique_ids():
    svg = draw_svg()
    assert "var(--accent)" in svg
    assert "var(--muted)" in svg
    assert ACCENT not in svg
    assert "http" not in svg
    root = parse_svg(svg)
    ids = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
    links = {e.attrib["href"][1:] for e in root.iter() if e.attrib.get("href", "").startswith("#")}
    assert links <= ids
    assert svg == draw_svg()
    assert not ids & {
        e.attrib["id"] for e in parse_svg(draw_svg("other")).iter() if "id" in e.attrib
    }


@pytest.mark.slow
def test_open_canvas_many_points_become_an_image():
    few, many = draw_svg(points=100), draw_svg(points=20 * MAX_VECTOR_POINTS)
    assert "data:image/png;base64," not in few
    assert "data:image/png;base64," in many
    assert len(many) < 100_000


@pytest.mark.parametrize("is_x", [False, True])
def test_set_log_scale_ticks_are_plain_numbers(is_x):
    with open_canvas() as canvas:
        x, y = [1, 2, 3], [0.3, 0.02, 0.5]
        canvas.main_axes.plot(*((y, x) if is_x else (x, y)))
        set_log_scale(canvas.main_axes, is_x=is_x)
    labels = [element.text for element in parse_svg(canvas.svg).iter("text")]
    assert {"0.02", "0.1", "0.5"} <= set(labels)
    assert not any("$" in text for text in labels)


@pytest.mark.parametrize(
    "points",
    [
        [(1, 1)] * 6,
        [(1, 1), (1.1, 1), (1.2, 1), (1.3, 1), (50, 1)],
        [(3, 0), (3, 0.1), (3, 0.2), (3.1, 0.1)],
        [(1, 1), (100, 5)],
    ],
)
def test_label_points_labels_do_not_overlap(points):
    names = [f"variant-{index}" for index in range(len(points))]
    with open_canvas() as canvas:
        axes = canvas.main_axes
        axes.plot(*zip(*points, strict=True), "o")
        set_log_scale(axes, is_x=True)
        label_points(axes, [(name, *at) for name, at in zip(names, points, strict=True)])
    labels = [e for e in parse_svg(canvas.svg).iter("text") if e.text in names]
    assert sorted(e.text for e in labels) == names
    at = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in labels]  # their centers
    for (x, y), (other_x, other_y) in combinations(at, 2):
        wide = 0.5 * 8.5 * len(names[0])  # letters are about half as wide as high
        assert abs(x - other_x) > wide or abs(y - other_y) > 8.5
