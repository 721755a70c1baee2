"""Encoding: the encoder as nodes, so that a graph takes records as they come.

numbers    → Concat → IsNaN, Where (fill) → Sub, Div (scale), beside Gather, Cast (flags);
             or Sub, Div, Clip, Mul, ReduceSum (quantiles)
a precise  → IsNaN, Where → Sub, Div, or the nodes of quantiles, in float64 → Cast
a date     → IsNaN, Where → Sub, Div, Cast (time), beside the calendar in whole numbers → Gather
a category → LabelEncoder → Gather of one-hot rows, or Cast for the embedding to look up
"""

from __future__ import annotations

import numpy as np
import onnx

from serving.bundle import FEATURES_INPUT
from trainer.data.preprocess import Categories, Dates, Encoder, Numbers, Precise, Quantiles, Scaler
from trainer.data.preprocess.dates import DAY, FIRST, HALF_MONTH, HOUR, LAST, MIDDLE_OF_MONTH
from trainer.data.records import Column, input_names
from trainer.export.node_builder import DOUBLE, FLOAT, INT64, STRING, NodeBuilder, create_value_info

ML_OPSET = 3  # of ai.onnx.ml, for the LabelEncoder
KINDS = {"number": FLOAT, "precise": DOUBLE, "boolean": FLOAT, "date": DOUBLE, "category": STRING}


def create_graph_inputs(columns: tuple[Column, ...]) -> list[onnx.ValueInfoProto]:
    """The graph's face: one matrix where all columns are numbers, else one input a column."""
    if all(column.kind in ("number", "boolean") for column in columns):
        return [create_value_info(FEATURES_INPUT, FLOAT, len(columns))]
    names = input_names(columns)
    return [create_value_info(names[column.name], KINDS[column.kind], 1) for column in columns]


def add_encoder_nodes(graph: NodeBuilder, encoder: Encoder) -> str:
    """Add the nodes that make of the graph's inputs what the encoder makes of records."""
    names = input_names(encoder.columns)
    columns = [names[c.name] for c in encoder.columns if c.kind in ("number", "boolean")]
    parts: list[str] = []
    if columns:
        alone = len(columns) == len(encoder.columns)
        rows = FEATURES_INPUT if alone else graph.joined(columns, "numbers")
        parts.append(_numbers(graph, encoder.numbers, rows))
    parts += [_precise(graph, precise, names[precise.name]) for precise in encoder.precise]
    parts += [_date(graph, dates, names[dates.name]) for dates in encoder.dates]
    encoded = [(c.embedded, _category(graph, c, names[c.name])) for c in encoder.categories]
    parts += [part for embedded, part in encoded if not embedded]
    parts += [part for embedded, part in encoded if embedded]
    return graph.joined(parts, "encoded")


def _numbers(graph: NodeBuilder, numbers: Numbers, rows: str) -> str:
    missing = ""
    if numbers.fills:
        missing = graph.node("IsNaN", [rows], "missing")
        fill = graph.constant("fill", numbers.fill)
        rows = graph.node("Where", [missing, fill, rows], "filled")
    if isinstance(numbers.scaler, Quantiles):
        scaled = _quantiles(graph, numbers.scaler, rows)
    else:
        scaled = _scaled(graph, numbers.scaler, rows)
    if not len(numbers.flagged):
        return scaled
    places = graph.constant("flagged", numbers.flagged)
    flagged = graph.node("Gather", [missing, places], "missing_flagged", axis=1)
    return graph.joined([scaled, graph.node("Cast", [flagged], "flags", to=FLOAT)], "numbers_flags")


def _scaled(graph: NodeBuilder, scaler: Scaler, rows: str) -> str:
    if not scaler.offset.any() and (scaler.scale == 1).all():
        return rows
    # In two nodes, as NumPy does it: folded into the first weights, columns of large mean and
    # small deviation would lose their digits.
    moved = graph.node("Sub", [rows, graph.constant("offset", scaler.offset)], "moved")
    return graph.node("Div", [moved, graph.constant("scale", scaler.scale)], "scaled_features")


def _quantiles(graph: NodeBuilder, quantiles: Quantiles, rows: str) -> str:
    last = graph.constant("last_axis", np.array([2]))
    column = graph.node("Unsqueeze", [rows, last], "unsqueezed")
    past = graph.node("Sub", [column, graph.constant("knots", quantiles.knots)], "past_knot")
    ramps = graph.node("Div", [past, graph.constant("run", quantiles.run)], "ramps")
    low, high = (
        graph.constant(name, np.array(end, quantiles.knots.dtype))
        for name, end in (("low", 0), ("high", 1))
    )
    climbed = graph.node("Clip", [ramps, low, high], "climbed")
    risen = graph.node("Mul", [climbed, graph.constant("rise", quantiles.rise)], "risen")
    height = graph.node("ReduceSum", [risen, last], "height", keepdims=0)
    return graph.node("Add", [height, graph.constant("start", quantiles.start)], "scaled_features")


def _precise(graph: NodeBuilder, precise: Precise, at: str) -> str:
    def number(name: str, value: float) -> str:
        return graph.constant(f"{at}_{name}", np.array(value, np.float64))

    missing, filled = "", at
    if not np.isnan(precise.fill):
        missing = graph.node("IsNaN", [at], f"{at}_missing")
        filled = graph.node("Where", [missing, number("fill", precise.fill), at], f"{at}_filled")
    if precise.quantiles is not None:
        scaled = _quantiles(graph, precise.quantiles, filled)
    else:
        moved = graph.node("Sub", [filled, number("offset", precise.offset)], f"{at}_moved")
        scaled = graph.node("Div", [moved, number("scale", precise.scale)], f"{at}_scaled")
    parts = [graph.node("Cast", [scaled], f"{at}_single", to=FLOAT)]
    if precise.flagged:
        parts.append(graph.node("Cast", [missing], f"{at}_flag", to=FLOAT))
    return graph.joined(parts, f"{at}_encoded")


def _date(graph: NodeBuilder, dates: Dates, at: str) -> str:
    def number(name: str, value: float) -> str:
        return graph.constant(f"{at}_{name}", np.array(value, np.float64))

    missing = graph.node("IsNaN", [at], f"{at}_missing")
    seconds = at
    if not np.isnan(dates.fill):
        seconds = graph.node("Where", [missing, number("fill", dates.fill), at], f"{at}_filled")
    moved = graph.node("Sub", [seconds, number("offset", dates.offset)], f"{at}_moved")
    scaled = graph.node("Div", [moved, number("scale", dates.scale)], f"{at}_scaled")
    parts = [graph.node("Cast", [scaled], f"{at}_time", to=FLOAT)]
    parts += _calendar(graph, at, _since_year_one(graph, at, seconds), hours=dates.hours)
    if dates.flagged:
        parts.append(graph.node("Cast", [missing], f"{at}_flag", to=FLOAT))
    return graph.joined(parts, f"{at}_encoded")


def _since_year_one(graph: NodeBuilder, at: str, seconds: str) -> str:
    """Whole seconds since 0001-01-01, never below 0: ONNX divides towards 0, calendars do not."""
    unknown = graph.node("IsNaN", [seconds], f"{at}_unknown")
    epoch, first, last = (
        graph.constant(f"{at}_{name}", np.array(value, np.float64))
        for name, value in (("epoch", 0), ("first", FIRST), ("last", LAST))
    )
    known = graph.node("Where", [unknown, epoch, seconds], f"{at}_known")
    within = graph.node("Clip", [known, first, last], f"{at}_within")
    whole = graph.node("Floor", [within], f"{at}_whole")
    return graph.node(
        "Cast", [graph.node("Sub", [whole, first], f"{at}_shifted")], f"{at}_seconds", to=INT64
    )


def _calendar(graph: NodeBuilder, at: str, seconds: str, *, hours: bool) -> list[str]:
    """Day of the month, month, weekday and, if wanted, hour.

    The civil calendar in whole numbers: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
    civil_from_days. Its years begin in March, its eras are 400 years of 146,097 days, and the year
    one's first of January, a Monday, is day 306 of its first era.
    """
    made = 0

    def whole(operator: str, value: str, other: str | int, **attributes: int) -> str:
        nonlocal made
        made += 1
        if isinstance(other, int):
            other = graph.constant(f"{at}_n{made}", np.array(other, np.int64))
        return graph.node(operator, [value, other], f"{at}_v{made}", **attributes)

    def one_hot(name: str, value: str, size: int) -> str:
        table = graph.constant(f"{at}_{name}s", np.eye(size, dtype=np.float32))
        return graph.node("Gather", [table, graph.as_vector(value)], f"{at}_{name}")

    days = whole("Div", seconds, DAY)
    day_of_era = whole("Mod", whole("Add", days, 306), 146097)
    leap = whole("Sub", day_of_era, whole("Div", day_of_era, 1460))
    leap = whole("Add", leap, whole("Div", day_of_era, 36524))
    leap = whole("Sub", leap, whole("Div", day_of_era, 146096))
    year = whole("Div", leap, 365)
    before = whole("Add", whole("Mul", year, 365), whole("Div", year, 4))
    before = whole("Sub", before, whole("Div", year, 100))
    day_of_year = whole("Sub", day_of_era, before)
    march = whole("Div", whole("Add", whole("Mul", day_of_year, 5), 2), 153)  # months since March
    start = whole("Div", whole("Add", whole("Mul", march, 153), 2), 5)
    day = whole("Add", whole("Sub", day_of_year, start), 1)
    middle = graph.constant(f"{at}_middle", np.array(MIDDLE_OF_MONTH))
    half = graph.constant(f"{at}_half", np.array(HALF_MONTH))
    moved = graph.node(
        "Sub", [graph.node("Cast", [day], f"{at}_day", to=FLOAT), middle], f"{at}_day_moved"
    )
    parts = [
        graph.node("Div", [moved, half], f"{at}_day_scaled"),
        one_hot("month", whole("Mod", whole("Add", march, 2), 12), 12),
        one_hot("weekday", whole("Mod", days, 7), 7),
    ]
    if hours:
        parts.append(one_hot("hour", whole("Div", whole("Mod", seconds, DAY), HOUR), 24))
    return parts


def _category(graph: NodeBuilder, categories: Categories, at: str) -> str:
    words = ["", *categories.words]
    place = graph.node(
        "LabelEncoder",
        [at],
        f"{at}_place",
        domain="ai.onnx.ml",
        keys_strings=words,
        values_int64s=[categories.gap, *range(1, len(words))],
        default_int64=0,
    )
    if categories.embedded:
        return graph.node("Cast", [place], f"{at}_index", to=FLOAT)
    table = graph.constant(f"{at}_one_hot", categories.table)
    return graph.node("Gather", [table, graph.as_vector(place)], f"{at}_encoded")
