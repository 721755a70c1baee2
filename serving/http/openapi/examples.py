"""Example inputs that a model accepts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from serving.bundle import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    InputColumn,
    Manifest,
    NumberColumn,
    encode_date_number,
)
from serving.inference.predictor import build_tensor_metadata


def build_example_record(manifest: Manifest) -> dict[str, Any]:
    """Return the example of the bundle, or a record of typical values if it has none.

    Args:
        manifest: Manifest of the model.
    """
    return manifest.example or {
        column.name: _choose_typical_value(column) for column in manifest.inputs
    }


def build_example_tensors(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the example record as input tensors of the Open Inference Protocol.

    Args:
        manifest: Manifest of the model.
    """
    record = build_example_record(manifest)
    values = [_to_tensor_value(column, record[column.name]) for column in manifest.inputs]
    inputs = build_tensor_metadata(manifest)["inputs"]
    if manifest.is_all_numeric:
        return [{**inputs[0], "shape": [1, len(values)], "data": values}]
    return [
        {**tensor, "shape": [1, 1], "data": [value]}
        for tensor, value in zip(inputs, values, strict=True)
    ]


def _to_tensor_value(column: InputColumn, value: Any) -> Any:
    """Return a value in the type of the graph's input."""
    match column:
        case CategoryColumn():
            return str(value)
        case DateColumn():
            date = datetime.fromisoformat(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
            return encode_date_number(seconds, column.format)
        case _:
            return float(value)


def _choose_typical_value(column: InputColumn) -> float | bool | str:
    match column:
        case NumberColumn():
            return column.minimum / 2 + column.maximum / 2  # their sum could overflow
        case BooleanColumn():
            return True
        case CategoryColumn():
            return column.categories[0]
        case _:
            return column.minimum
