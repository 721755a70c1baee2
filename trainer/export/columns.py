"""Columns: what the manifest says of each one a record holds, and a record to try."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from serving.bundle import Boolean, Category, Date, Input, Number
from trainer.data.preprocess import Encoder
from trainer.data.preprocess.dates import DAY
from trainer.data.records import Column, Records


def describe_columns(
    encoder: Encoder, known: Records, *, unseen: Literal["refuse", "unknown"]
) -> list[Input]:
    """The columns as the manifest lists them.

    Args:
        encoder: which gaps it fills, and which texts it tells apart.
        known: training rows, for the ranges.
        unseen: what a text is that is none of a category's.
    """
    filled = iter(~np.isnan(encoder.numbers.fill))
    dates, categories = iter(encoder.dates), iter(encoder.categories)
    described: list[Input] = []
    for column in encoder.columns:
        name = column.name
        if column.kind == "category":
            words = list(next(categories).words)
            described.append(
                Category(
                    name=name, type="category", missing="impute", categories=words, unseen=unseen
                )
            )
            continue
        values = known.column(name)
        there = values[~np.isnan(values)]
        low, high = (there.min(), there.max()) if there.size else (0, 0)
        if column.kind == "date":
            missing = _missing(not np.isnan(next(dates).fill))
            described.append(
                Date(name=name, type="date", missing=missing, minimum=iso(low), maximum=iso(high))
            )
        elif column.kind == "boolean":
            described.append(
                Boolean(name=name, type="boolean", missing=_missing(bool(next(filled))))
            )
        else:
            missing = _missing(bool(next(filled)))
            described.append(
                Number(
                    name=name,
                    type="number",
                    missing=missing,
                    minimum=float(low),
                    maximum=float(high),
                )
            )
    return described


def example(known: Records) -> dict[str, JsonValue]:
    """A record of medians and commonest values, as a client would write it; no training row."""
    return {column.name: _middle(column, known.column(column.name)) for column in known.columns}


def _middle(column: Column, values: NDArray[Any]) -> JsonValue:
    if column.kind == "category":
        counts = np.bincount(values[values >= 0].astype(np.int64), minlength=1)
        return column.words[int(counts.argmax())]
    numbers = values.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    # One that is there: the median of whole numbers is whole.
    middle = float(np.quantile(numbers, 0.5, method="nearest")) if numbers.size else 0.0
    if column.kind == "boolean":
        return bool(middle)
    if column.kind == "date":
        return iso(middle)
    return int(middle) if middle.is_integer() and abs(middle) < 2**53 else _short(middle)


def _short(number: float) -> float:
    """The fewest digits that are the same float32."""
    return float(str(np.float32(number)))


def iso(seconds: float) -> str:
    """Seconds since 1970 in ISO 8601: a date, or date and time where it is not midnight."""
    moment = datetime.fromtimestamp(float(seconds), UTC)
    return moment.date().isoformat() if seconds % DAY == 0 else moment.isoformat()


def _missing(filled: bool) -> Literal["refuse", "impute"]:
    return "impute" if filled else "refuse"
