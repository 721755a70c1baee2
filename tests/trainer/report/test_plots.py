from itertools import combinations
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from trainer.report.plots import ACCENT, MAX_VECTOR_POINTS, MUTED, open_canvas, label_points, set_log_scale


def drawing(text="plain", points=10):
    with open_canvas() as made:
        axes = made.main_axes
        axes.scatter(np.arange(points), np.arange(points), color=ACCENT, rasterized=points > MAX_VECTOR_POINTS)
        axes.axhline(1, color=MUTED)
        axes.set_title(text)
        axes.set_yscale("symlog", linthresh=1)
    return made.svg


def parsed(svg):
    return ET.fromstring(svg)  # noqa: S314 - drawn here


@pytest.mark.parametrize(
    "text", ["<script>x</script>", "a & b", '" onload="x', "$\\frac{$", "url(#a) --> ]]>", "日本"]
)
def test_words_stay_words(text):
    root = parsed(drawing(text))
    assert text in [element.text for element in root.iter("text")]
    assert not list(root.iter("script"))
    assert not any(name.startswith("on") for e in root.iter() for name in e.attrib)


def test_a_drawing_takes_the_pages_colours_and_names_no_other_place():
    svg = drawing()
    assert "var(--accent)" in svg
    assert "var(--muted)" in svg
    assert ACCENT not in svg
    assert "http" not in svg
    root = parsed(svg)
    ids = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
    links = {e.attrib["href"][1:] for e in root.iter() if e.attrib.get("href", "").startswith("#")}
    assert links <= ids
    assert svg == drawing()
    assert not ids & {e.attrib["id"] for e in parsed(drawing("other")).iter() if "id" in e.attrib}


@pytest.mark.slow
def test_many_points_are_an_image_and_stay_small():
    few, many = drawing(points=100), drawing(points=20 * MAX_VECTOR_POINTS)
    assert "data:image/png;base64," not in few
    assert "data:image/png;base64," in many
    assert len(many) < 100_000


@pytest.mark.parametrize("across", [False, True])
def test_ticks_of_a_logarithmic_scale_are_numbers(across):
    with open_canvas() as made:
        x, y = [1, 2, 3], [0.3, 0.02, 0.5]
        made.main_axes.plot(*((y, x) if across else (x, y)))
        set_log_scale(made.main_axes, across=across)
    shown = [element.text for element in parsed(made.svg).iter("text")]
    assert {"0.02", "0.1", "0.5"} <= set(shown)
    assert not any("$" in text for text in shown)


@pytest.mark.parametrize(
    "places",
    [
        [(1, 1)] * 6,
        [(1, 1), (1.1, 1), (1.2, 1), (1.3, 1), (50, 1)],
        [(3, 0), (3, 0.1), (3, 0.2), (3.1, 0.1)],
        [(1, 1), (100, 5)],
    ],
)
def test_no_name_covers_another(places):
    names = [f"variant-{place}" for place in range(len(places))]
    with open_canvas() as made:
        axes = made.main_axes
        axes.plot(*zip(*places, strict=True), "o")
        set_log_scale(axes, across=True)
        label_points(axes, [(name, *at) for name, at in zip(names, places, strict=True)])
    shown = [e for e in parsed(made.svg).iter("text") if e.text in names]
    assert sorted(e.text for e in shown) == names
    at = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in shown]  # their middles
    for (x, y), (other_x, other_y) in combinations(at, 2):
        wide = 0.5 * 8.5 * len(names[0])  # letters are half as wide as high
        assert abs(x - other_x) > wide or abs(y - other_y) > 8.5
