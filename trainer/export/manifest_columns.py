"""Columns: what the manifest says of each one a record holds, and a record to try."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from serving.bundle import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    InputColumn,
    NumberColumn,
    canonicalize_text,
)
from trainer.data.preprocess import Encoder
from trainer.data.preprocess.dates import DAY
from trainer.data.records import Column, Records, input_names


def describe_columns(
    encoder: Encoder,
    known: Records,
    *,
    unseen: Literal["refuse", "unknown"],
    refuse_gaps: bool,
    gaps: Sequence[str] | None = None,
    has_nulls: bool = False,
) -> list[InputColumn]:
    """The columns as the manifest lists them.

    Args:
        encoder: which gaps it fills, and which texts it tells apart.
        known: training rows, for the ranges.
        unseen: what a text is that is none of a category's.
        refuse_gaps: whether gaps are refused that could be filled.
        gaps: texts that stand for a gap, as of `Table`.
        has_nulls: whether none of a category does, likewise.
    """
    # Where all columns are numbers the graph has one input, under no column's name.
    names = {} if known.all_numbers else input_names(encoder.columns)
    words = {categories.name: list(categories.words) for categories in encoder.categories}
    described: list[InputColumn] = []
    for column in encoder.columns:
        fills = column.name in encoder.filled and not refuse_gaps
        own = names.get(column.name, column.name)
        said = _Said(
            name=column.name,
            missing="impute" if fills else "refuse",
            gaps=None if gaps is None else list(gaps),
            tensor=None if own == column.name else own,
        )
        match column.kind:
            case "category":
                known_words = words[column.name]
                if has_nulls:
                    said["gaps"] = []
                described.append(
                    CategoryColumn(
                        **said,
                        type="category",
                        categories=known_words,
                        unseen=unseen,
                        # Those of an earlier version's tables need not be written so.
                        normalized=all(word == canonicalize_text(word) for word in known_words),
                    )
                )
            case "boolean":
                described.append(BooleanColumn(**said, type="boolean", texts=dict(column.texts)))
            case "number":
                low, high = _range(known.column(column.name))
                described.append(NumberColumn(**said, type="number", minimum=low, maximum=high))
            case "precise":
                low, high = _range(known.column(column.name))
                described.append(
                    NumberColumn(**said, type="number", dtype="float64", minimum=low, maximum=high)
                )
            case "date":
                low, high = _range(known.column(column.name))
                described.append(
                    DateColumn(
                        **said,
                        type="date",
                        minimum=format_timestamp(low),
                        maximum=format_timestamp(high),
                        format=column.format,
                    )
                )
    return described


class _Said(TypedDict):
    name: str
    missing: Literal["refuse", "impute"]
    gaps: list[str] | None
    tensor: str | None


def _range(values: NDArray[Any]) -> tuple[float, float]:
    there = values[~np.isnan(values)]
    if not there.size:
        return 0.0, 0.0
    low, high = there.min(), there.max()
    return (_short(low), _short(high)) if there.dtype == np.float32 else (float(low), float(high))


def example(known: Records) -> dict[str, JsonValue]:
    """A record of rounded medians and commonest values, as a client would write it.

    Statistics of each column by itself, and no training row but by chance.
    """
    return {column.name: _middle(column, known.column(column.name)) for column in known.columns}


def _middle(column: Column, values: NDArray[Any]) -> JsonValue:
    if column.kind == "category":
        counts = np.bincount(values[values >= 0].astype(np.int64), minlength=1)
        return column.words[int(counts.argmax())]
    numbers = values.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    middle = float(np.median(numbers)) if numbers.size else 0.0
    if column.kind == "boolean":
        return middle >= 0.5
    if column.kind == "date":
        return format_timestamp(middle - middle % DAY)
    rounded = _rounded(middle, numbers) if column.kind == "precise" else float(f"{middle:.2g}")
    whole = bool((numbers == np.floor(numbers)).all()) and abs(rounded) < 2**53
    return round(rounded) if whole else rounded


def _rounded(middle: float, numbers: NDArray[np.float64]) -> float:
    """A number of the size of the column's, to about a tenth of their standard deviation."""
    spread = float(numbers.std()) if numbers.size else 0.0
    return middle if spread == 0 else round(middle, 1 - math.floor(math.log10(spread)))


def _short(number: float) -> float:
    """The fewest digits that are the same float32."""
    return float(str(np.float32(number)))


def format_timestamp(seconds: float) -> str:
    """Seconds since 1970 in ISO 8601: a date, or date and time where it is not midnight."""
    moment = datetime.fromtimestamp(float(seconds), UTC)
    return moment.date().isoformat() if seconds % DAY == 0 else moment.isoformat()
