"""The columns as the manifest declares them, and an example record."""

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


class _CommonFields(TypedDict):
    """The fields that all kinds of columns have; see `InputColumn`."""

    name: str
    missing: Literal["refuse", "impute"]
    gaps: list[str] | None
    tensor: str | None


def describe_columns(
    encoder: Encoder,
    records: Records,
    *,
    unseen: Literal["refuse", "unknown"],
    refuse_gaps: bool,
    gaps: Sequence[str] | None = None,
    has_nulls: bool = False,
) -> list[InputColumn]:
    """Return the columns for the manifest.

    Args:
        encoder: The preprocessing, which knows the categories and the columns that it imputes.
        records: Training rows, for the ranges of numbers and dates.
        unseen: Policy for texts that are not a category of their column.
        refuse_gaps: Whether missing values are refused even where they could be imputed.
        gaps: Texts that stand for a missing value; see `Table`.
        has_nulls: Whether the table has nulls, so that no text of a category stands for a missing
            value.
    """
    # If all columns are numbers, the graph has one input, which is not named after a column.
    names = {} if records.all_numbers else input_names(encoder.columns)
    words = {categories.name: list(categories.words) for categories in encoder.categories}
    columns: list[InputColumn] = []
    for column in encoder.columns:
        is_imputed = column.name in encoder.filled and not refuse_gaps
        input_name = names.get(column.name, column.name)
        common_fields = _CommonFields(
            name=column.name,
            missing="impute" if is_imputed else "refuse",
            gaps=None if gaps is None else list(gaps),
            tensor=None if input_name == column.name else input_name,
        )
        if column.kind == "category":
            if has_nulls:
                common_fields["gaps"] = []
            columns.append(_describe_category(common_fields, words[column.name], unseen))
        elif column.kind == "boolean":
            columns.append(BooleanColumn(**common_fields, type="boolean", texts=dict(column.texts)))
        else:
            columns.append(_describe_range(common_fields, column, records.column(column.name)))
    return columns


def _describe_category(
    common_fields: _CommonFields, words: list[str], unseen: Literal["refuse", "unknown"]
) -> CategoryColumn:
    return CategoryColumn(
        **common_fields,
        type="category",
        categories=words,
        unseen=unseen,
        # Tables of earlier versions may have texts that are not in canonical form.
        normalized=all(word == canonicalize_text(word) for word in words),
    )


def _describe_range(
    common_fields: _CommonFields, column: Column, values: NDArray[Any]
) -> NumberColumn | DateColumn:
    """Return a column of numbers or dates with the range of its values."""
    low, high = _compute_range(values)
    if column.kind == "number":
        return NumberColumn(**common_fields, type="number", minimum=low, maximum=high)
    if column.kind == "precise":
        return NumberColumn(
            **common_fields, type="number", dtype="float64", minimum=low, maximum=high
        )
    return DateColumn(
        **common_fields,
        type="date",
        minimum=format_timestamp(low),
        maximum=format_timestamp(high),
        format=column.format,
    )


def _compute_range(values: NDArray[Any]) -> tuple[float, float]:
    known_values = values[~np.isnan(values)]
    if not known_values.size:
        return 0.0, 0.0
    low, high = known_values.min(), known_values.max()
    if known_values.dtype == np.float32:
        return _shorten_float32(low), _shorten_float32(high)
    return float(low), float(high)


def create_example_record(records: Records) -> dict[str, JsonValue]:
    """Return a record of rounded medians and most frequent values, as a client would write it.

    Each column is summarised by itself, so that the record is a training row only by chance.

    Args:
        records: Training rows.
    """
    return {
        column.name: _find_typical_value(column, records.column(column.name))
        for column in records.columns
    }


def _find_typical_value(column: Column, values: NDArray[Any]) -> JsonValue:
    if column.kind == "category":
        counts = np.bincount(values[values >= 0].astype(np.int64), minlength=1)
        return column.words[int(counts.argmax())]
    numbers = values.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    median = float(np.median(numbers)) if numbers.size else 0.0
    if column.kind == "boolean":
        return median >= 0.5
    if column.kind == "date":
        return format_timestamp(median - median % DAY)
    rounded = (
        _round_float64(median, numbers) if column.kind == "precise" else float(f"{median:.2g}")
    )
    are_integers = bool((numbers == np.floor(numbers)).all()) and abs(rounded) < 2**53
    return round(rounded) if are_integers else rounded


def _round_float64(median: float, numbers: NDArray[np.float64]) -> float:
    """Round the median to about a tenth of the numbers' standard deviation."""
    std = float(numbers.std()) if numbers.size else 0.0
    return median if std == 0 else round(median, 1 - math.floor(math.log10(std)))


def _shorten_float32(number: float) -> float:
    """Return the float with the fewest digits that is the same float32."""
    return float(str(np.float32(number)))


def format_timestamp(seconds: float) -> str:
    """Return seconds since 1970 in ISO 8601: a date, or date and time if it is not midnight."""
    moment = datetime.fromtimestamp(float(seconds), UTC)
    return moment.date().isoformat() if seconds % DAY == 0 else moment.isoformat()
