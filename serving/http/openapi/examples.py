"""Examples: a record that a model answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from serving.bundle import Boolean, Category, Date, Input, Manifest, Number, number_of
from serving.inference.predictor import face


def example_of(manifest: Manifest) -> dict[str, Any]:
    """The bundle's own example, or one of its columns' ordinary values."""
    return manifest.example or {column.name: _middle(column) for column in manifest.inputs}


def tensors_of(manifest: Manifest) -> list[dict[str, Any]]:
    """The same as input tensors of the Open Inference Protocol."""
    record = example_of(manifest)
    values = [_element(column, record[column.name]) for column in manifest.inputs]
    inputs = face(manifest)["inputs"]
    if manifest.all_numbers:
        return [{**inputs[0], "shape": [1, len(values)], "data": values}]
    return [
        {**tensor, "shape": [1, 1], "data": [value]}
        for tensor, value in zip(inputs, values, strict=True)
    ]


def _element(column: Input, value: Any) -> Any:
    """A value as the graph takes it."""
    match column:
        case Category():
            return str(value)
        case Date():
            date = datetime.fromisoformat(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
            return number_of(seconds, column.format)
        case _:
            return float(value)


def _middle(column: Input) -> float | bool | str:
    match column:
        case Number():
            return column.minimum / 2 + column.maximum / 2  # whose sum might overflow
        case Boolean():
            return True
        case Category():
            return column.categories[0]
        case _:
            return column.minimum
