"""The preprocessing of dates inside the graph: time, day of the month, month, weekday, hour.

a date → IsNaN, Where (fill) → Sub, Div, Cast (time)
         and the calendar, computed in int64 → Gather (one-hot rows)
"""

from __future__ import annotations

import numpy as np

from trainer.data.preprocess import Dates
from trainer.data.preprocess.dates import DAY, FIRST, HALF_MONTH, HOUR, LAST, MIDDLE_OF_MONTH
from trainer.export.node_builder import FLOAT, INT64, NodeBuilder


def add_date_nodes(graph: NodeBuilder, dates: Dates, column: str) -> str:
    """Add the nodes of one column of dates and return the name of its features.

    Args:
        graph: The graph under construction.
        dates: The preprocessing in NumPy.
        column: Name of the column's input, float64 `[N, 1]`, in seconds since 1970.
    """

    def add_number(name: str, value: float) -> str:
        return graph.add_constant(f"{column}_{name}", np.array(value, np.float64))

    is_missing = graph.add_node("IsNaN", [column], f"{column}_missing")
    seconds = column
    if not np.isnan(dates.fill):
        fill = add_number("fill", dates.fill)
        seconds = graph.add_node("Where", [is_missing, fill, column], f"{column}_filled")
    centred = graph.add_node(
        "Sub", [seconds, add_number("offset", dates.offset)], f"{column}_moved"
    )
    scaled = graph.add_node("Div", [centred, add_number("scale", dates.scale)], f"{column}_scaled")
    parts = [graph.add_node("Cast", [scaled], f"{column}_time", to=FLOAT)]
    parts += _add_calendar(
        graph, column, _add_seconds_since_year_one(graph, column, seconds), has_hours=dates.hours
    )
    if dates.flagged:
        parts.append(graph.add_node("Cast", [is_missing], f"{column}_flag", to=FLOAT))
    return graph.concatenate(parts, f"{column}_encoded")


def _add_seconds_since_year_one(graph: NodeBuilder, column: str, seconds: str) -> str:
    """Add the seconds since 0001-01-01, int64 `[N, 1]`.

    They are never negative, since ONNX rounds quotients towards 0 and the calendar needs them
    rounded down.
    """
    is_unknown = graph.add_node("IsNaN", [seconds], f"{column}_unknown")
    epoch, first, last = (
        graph.add_constant(f"{column}_{name}", np.array(value, np.float64))
        for name, value in (("epoch", 0), ("first", FIRST), ("last", LAST))
    )
    known_seconds = graph.add_node("Where", [is_unknown, epoch, seconds], f"{column}_known")
    clipped_seconds = graph.add_node("Clip", [known_seconds, first, last], f"{column}_within")
    floored = graph.add_node("Floor", [clipped_seconds], f"{column}_whole")
    shifted_seconds = graph.add_node("Sub", [floored, first], f"{column}_shifted")
    return graph.add_node("Cast", [shifted_seconds], f"{column}_seconds", to=INT64)


def _add_calendar(graph: NodeBuilder, column: str, seconds: str, *, has_hours: bool) -> list[str]:
    """Add day of the month, month, weekday and, if `has_hours`, hour; return their names.

    The civil calendar in integers: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
    civil_from_days. Its years begin in March, and its eras have 400 years of 146,097 days. Day 306
    of its first era is 0001-01-01, a Monday.
    """
    n_nodes = 0

    def compute(operator: str, value: str, operand: str | int) -> str:
        nonlocal n_nodes
        n_nodes += 1
        if isinstance(operand, int):
            operand = graph.add_constant(f"{column}_n{n_nodes}", np.array(operand, np.int64))
        return graph.add_node(operator, [value, operand], f"{column}_v{n_nodes}")

    def encode_one_hot(name: str, value: str, size: int) -> str:
        table = graph.add_constant(f"{column}_{name}s", np.eye(size, dtype=np.float32))
        return graph.add_node("Gather", [table, graph.flatten(value)], f"{column}_{name}")

    days = compute("Div", seconds, DAY)
    day_of_era = compute("Mod", compute("Add", days, 306), 146097)
    # The day of the era without the leap days before it.
    regular_day = compute("Sub", day_of_era, compute("Div", day_of_era, 1460))
    regular_day = compute("Add", regular_day, compute("Div", day_of_era, 36524))
    regular_day = compute("Sub", regular_day, compute("Div", day_of_era, 146096))
    year = compute("Div", regular_day, 365)
    year_start = compute("Add", compute("Mul", year, 365), compute("Div", year, 4))
    year_start = compute("Sub", year_start, compute("Div", year, 100))
    day_of_year = compute("Sub", day_of_era, year_start)
    months_since_march = compute("Div", compute("Add", compute("Mul", day_of_year, 5), 2), 153)
    month_start = compute("Div", compute("Add", compute("Mul", months_since_march, 153), 2), 5)
    day = compute("Add", compute("Sub", day_of_year, month_start), 1)
    middle = graph.add_constant(f"{column}_middle", np.array(MIDDLE_OF_MONTH))
    half = graph.add_constant(f"{column}_half", np.array(HALF_MONTH))
    float_day = graph.add_node("Cast", [day], f"{column}_day", to=FLOAT)
    centred_day = graph.add_node("Sub", [float_day, middle], f"{column}_day_moved")
    parts = [
        graph.add_node("Div", [centred_day, half], f"{column}_day_scaled"),
        encode_one_hot("month", compute("Mod", compute("Add", months_since_march, 2), 12), 12),
        encode_one_hot("weekday", compute("Mod", days, 7), 7),
    ]
    if has_hours:
        hour = compute("Div", compute("Mod", seconds, DAY), HOUR)
        parts.append(encode_one_hot("hour", hour, 24))
    return parts
