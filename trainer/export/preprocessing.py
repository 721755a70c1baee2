"""The preprocessing inside the graph: missing values, scaling, categories and dates.

The nodes compute what `trainer.data.preprocess` computes in NumPy, so that the graph takes raw
records.

    numbers    → Concat → IsNaN, Where (fill) → Sub, Div (scale)
                 with a smooth limit: Clip → Mul → Mul → Add → Sqrt, Div
                 with flags of missing values: IsNaN → Gather, Cast
                 with quantile scaling: Sub, Div, Clip, Mul, ReduceSum, Add
    a float64  → IsNaN, Where → Sub, Div or the nodes of quantiles, in float64 → Cast
    a date     → see `date_preprocessing`
    a category → LabelEncoder → Gather (one-hot rows), or Cast for the embedding
"""

from __future__ import annotations

import numpy as np
import onnx

from serving.bundle import FEATURES_INPUT
from trainer.data.preprocess import Categories, Encoder, Numbers, Precise, Quantiles, Scaler
from trainer.data.preprocess.scaler import LARGEST_UNLIMITED, LIMIT
from trainer.data.records import Column, input_names
from trainer.export.date_preprocessing import add_date_nodes
from trainer.export.node_builder import DOUBLE, FLOAT, STRING, NodeBuilder, create_value_info

ML_OPSET = 3  # version of the operator set ai.onnx.ml, which has the LabelEncoder
INPUT_TYPES = {
    "number": FLOAT,
    "precise": DOUBLE,
    "boolean": FLOAT,
    "date": DOUBLE,
    "category": STRING,
}


def create_graph_inputs(columns: tuple[Column, ...]) -> list[onnx.ValueInfoProto]:
    """Return the inputs: one matrix if all columns are numbers, otherwise one input per column."""
    if all(column.kind in ("number", "boolean") for column in columns):
        return [create_value_info(FEATURES_INPUT, FLOAT, len(columns))]
    names = input_names(columns)
    return [
        create_value_info(names[column.name], INPUT_TYPES[column.kind], 1) for column in columns
    ]


def add_encoder_nodes(graph: NodeBuilder, encoder: Encoder) -> str:
    """Add the nodes of the encoder and return the name of the features, float32 `[N, width]`."""
    names = input_names(encoder.columns)
    numbers = [names[c.name] for c in encoder.columns if c.kind in ("number", "boolean")]
    parts: list[str] = []
    if numbers:
        has_only_numbers = len(numbers) == len(encoder.columns)
        rows = FEATURES_INPUT if has_only_numbers else graph.concatenate(numbers, "numbers")
        parts.append(_add_numbers(graph, encoder.numbers, rows))
    parts += [_add_float64(graph, precise, names[precise.name]) for precise in encoder.precise]
    parts += [add_date_nodes(graph, dates, names[dates.name]) for dates in encoder.dates]
    categories = [
        (category.is_embedded, _add_category(graph, category, names[category.name]))
        for category in encoder.categories
    ]
    # The embedding looks up the last columns.
    parts += [part for is_embedded, part in categories if not is_embedded]
    parts += [part for is_embedded, part in categories if is_embedded]
    return graph.concatenate(parts, "encoded")


def _add_numbers(graph: NodeBuilder, numbers: Numbers, rows: str) -> str:
    """Add the nodes of all float32 numbers; `rows` is `[N, n_numbers]`."""
    is_missing = ""
    if numbers.fills_gaps:
        is_missing = graph.add_node("IsNaN", [rows], "missing")
        fill = graph.add_constant("fill", numbers.fill)
        rows = graph.add_node("Where", [is_missing, fill, rows], "filled")
    if isinstance(numbers.scaler, Quantiles):
        scaled = _add_quantile_scaling(graph, numbers.scaler, rows)
    else:
        scaled = _add_scaling(graph, numbers.scaler, rows)
        if numbers.scaler.is_limited:
            scaled = _add_smooth_limit(graph, scaled)
    if not len(numbers.flagged_columns):
        return scaled
    indices = graph.add_constant("flagged", numbers.flagged_columns)
    flagged = graph.add_node("Gather", [is_missing, indices], "missing_flagged", axis=1)
    flags = graph.add_node("Cast", [flagged], "flags", to=FLOAT)
    return graph.concatenate([scaled, flags], "numbers_flags")


def _add_scaling(graph: NodeBuilder, scaler: Scaler, rows: str) -> str:
    if not scaler.offset.any() and (scaler.scale == 1).all():
        return rows
    # Two nodes, as in NumPy. If the scaling were merged into the first weights, columns with a
    # large mean and a small deviation would lose digits.
    centred = graph.add_node("Sub", [rows, graph.add_constant("offset", scaler.offset)], "moved")
    scale = graph.add_constant("scale", scaler.scale)
    return graph.add_node("Div", [centred, scale], "scaled_features")


def _add_smooth_limit(graph: NodeBuilder, value: str) -> str:
    """Add the operations of `limit_smoothly` to float32 values of any shape."""
    low, high, share, one = (
        graph.add_shared_constant(f"limit_{name}", np.array(number, np.float32))
        for name, number in (
            ("low", -LARGEST_UNLIMITED),
            ("high", LARGEST_UNLIMITED),
            ("share", 1 / LIMIT**2),
            ("one", 1),
        )
    )
    clipped = graph.add_node("Clip", [value, low, high], "limit_clipped")
    square = graph.add_node("Mul", [clipped, clipped], "limit_square")
    ratio = graph.add_node("Mul", [square, share], "limit_ratio")
    total = graph.add_node("Add", [ratio, one], "limit_sum")
    divisor = graph.add_node("Sqrt", [total], "limit_divisor")
    return graph.add_node("Div", [clipped, divisor], "limited")


def _add_quantile_scaling(graph: NodeBuilder, quantiles: Quantiles, rows: str) -> str:
    """Add a piecewise linear function as a sum of ramps, one for each interval of knots."""
    last_axis = graph.add_constant("last_axis", np.array([2]))
    column = graph.add_node("Unsqueeze", [rows, last_axis], "unsqueezed")
    knots = graph.add_constant("knots", quantiles.knots)
    distances = graph.add_node("Sub", [column, knots], "past_knot")
    run = graph.add_constant("run", quantiles.run)
    ramps = graph.add_node("Div", [distances, run], "ramps")
    low, high = (
        graph.add_constant(name, np.array(limit, quantiles.knots.dtype))
        for name, limit in (("low", 0), ("high", 1))
    )
    clipped = graph.add_node("Clip", [ramps, low, high], "climbed")
    rise = graph.add_constant("rise", quantiles.rise)
    heights = graph.add_node("Mul", [clipped, rise], "risen")
    total = graph.add_node("ReduceSum", [heights, last_axis], "height", keepdims=0)
    start = graph.add_constant("start", quantiles.start)
    return graph.add_node("Add", [total, start], "scaled_features")


def _add_float64(graph: NodeBuilder, precise: Precise, column: str) -> str:
    """Add the nodes of one column of float64 numbers; `column` names its input, `[N, 1]`."""

    def add_number(name: str, value: float) -> str:
        return graph.add_constant(f"{column}_{name}", np.array(value, np.float64))

    is_missing, filled = "", column
    if not np.isnan(precise.fill):
        is_missing = graph.add_node("IsNaN", [column], f"{column}_missing")
        fill = add_number("fill", precise.fill)
        filled = graph.add_node("Where", [is_missing, fill, column], f"{column}_filled")
    if precise.quantiles is not None:
        scaled = _add_quantile_scaling(graph, precise.quantiles, filled)
    else:
        offset = add_number("offset", precise.offset)
        centred = graph.add_node("Sub", [filled, offset], f"{column}_moved")
        scale = add_number("scale", precise.scale)
        scaled = graph.add_node("Div", [centred, scale], f"{column}_scaled")
    parts = [graph.add_node("Cast", [scaled], f"{column}_single", to=FLOAT)]
    if precise.is_limited:
        parts = [_add_smooth_limit(graph, parts[0])]
    if precise.has_gap_flag:
        parts.append(graph.add_node("Cast", [is_missing], f"{column}_flag", to=FLOAT))
    return graph.concatenate(parts, f"{column}_encoded")


def _add_category(graph: NodeBuilder, categories: Categories, column: str) -> str:
    """Add the nodes of one column of categories; `column` names its input, `[N, 1]`."""
    words = ["", *categories.words]  # the empty text stands for a missing value
    index = graph.add_node(
        "LabelEncoder",
        [column],
        f"{column}_place",
        domain="ai.onnx.ml",
        keys_strings=words,
        values_int64s=[categories.gap_index, *range(1, len(words))],
        default_int64=0,
    )
    if categories.is_embedded:
        return graph.add_node("Cast", [index], f"{column}_index", to=FLOAT)
    table = graph.add_constant(f"{column}_one_hot", categories.table)
    return graph.add_node("Gather", [table, graph.flatten(index)], f"{column}_encoded")
