"""Instances read from a JSON, JSON Lines or CSV file, and checked against the model's schema."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Container, Iterable
from datetime import datetime
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from serving.loadtest.instances import (
    BASIC_DATE_FORMAT,
    TICKS_PER_SECOND,
    Row,
    Value,
    is_iso8601,
)
from serving.loadtest.target import LoadTarget, SchemaColumn

# Texts that mean a missing value in CSV if the model's schema lists none.
USUAL_MISSING_TEXTS = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
CSV_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
WHOLE_NUMBER_PATTERN = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


class InstanceFileError(Exception):
    """The file holds no instances that the model accepts; the message says where and why."""


def read_instances(path: Path, target: LoadTarget) -> list[Row]:
    """Read the instances of a file.

    Args:
        path: JSON (`{"instances": […]}` or a list), JSON Lines, or CSV with column names in the
            first line. An instance in JSON is a record, or a list in the order of the columns. CSV
            may also hold the predicted columns, which are ignored.
        target: Server and model.

    Returns:
        One row or more, each with all of the model's columns; None for a missing value.

    Raises:
        InstanceFileError: If the file cannot be read, or holds what the model does not accept. The
            message names the line, or the instance of a JSON document, counted from 0.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InstanceFileError(f"expected a text file in UTF-8; got {path}: {error}") from None
    read = _read_json if text.lstrip()[:1] in ("{", "[") else _read_csv
    rows = []
    for location, instance in read(text, path, target):
        try:
            rows.append(_to_row(instance, target))
        except ValueError as error:
            raise InstanceFileError(f"{path}, {location}: {error}") from None
    if not rows:
        raise InstanceFileError(f"expected one instance or more in {path}; got none")
    return rows


def _read_json(text: str, path: Path, _: LoadTarget) -> Iterable[tuple[str, Any]]:
    """Return the location and the content of each instance in JSON or JSON Lines."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        lines = text.split("\n")
        if not _is_json(next(filter(str.strip, lines))):
            raise _not_json_error(path, error.lineno, error) from None
        return _read_json_lines(lines, path)
    if isinstance(document, dict):
        document = document.get("instances", [document])
    if not isinstance(document, list):
        raise InstanceFileError(f'{path}: expected "instances" to be a list; got another type')
    if document and not isinstance(document[0], dict | list):
        document = [document]  # JSON Lines of one line, an instance as a list
    return ((f"instance {index}", instance) for index, instance in enumerate(document))


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _read_json_lines(lines: list[str], path: Path) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _not_json_error(path, number, error) from None


def _not_json_error(path: Path, line: int, error: orjson.JSONDecodeError) -> InstanceFileError:
    return InstanceFileError(f"{path}, line {line}: expected JSON; got: {error.msg}")


def _read_csv(text: str, path: Path, target: LoadTarget) -> Iterable[tuple[str, Any]]:
    """Return the location and the content of each line of CSV, as a record."""
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        columns = {column.name: column for column in target.columns}
        names = [_match_column_name(name, columns) for name in next(lines, [])]
        if len(set(names)) < len(names):
            raise InstanceFileError(f"{path}, line 1: expected every column once; got one twice")
        for values in lines:
            if not values:
                continue
            location = f"line {lines.line_num}"
            if len(values) != len(names):
                raise InstanceFileError(
                    f"{path}, {location}: expected as many values as names in the first line, "
                    f"{len(names)}; got {len(values)}"
                )
            record = zip(names, values, strict=True)
            yield (
                location,
                {
                    name: _convert_csv_value(value, columns.get(name))
                    for name, value in record
                    if name in columns or name not in target.targets
                },
            )
    except csv.Error as error:
        raise InstanceFileError(
            f"{path}, line {lines.line_num}: expected CSV; got: {error}"
        ) from None


def _convert_csv_value(text: str, column: SchemaColumn | None) -> Value:
    """Convert a value of CSV to that of JSON; an invalid one stays a text."""
    text = text.strip()
    if column is None:
        return text
    missing = USUAL_MISSING_TEXTS if column.missing_texts is None else ("", *column.missing_texts)
    if text not in column.categories and text.lower() in missing:
        return None
    if column.kind == "boolean":
        return CSV_BOOLEANS.get(text.lower(), text)
    if column.kind == "number":
        try:
            return int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return text
    return text


def _to_row(instance: Any, target: LoadTarget) -> Row:
    """Return the instance as a row of all columns.

    Raises:
        ValueError: If the model does not accept it; the message says why.
    """
    names = [column.name for column in target.columns]
    if isinstance(instance, list):
        if len(instance) != len(names):
            raise ValueError(f"expected one value per column, {len(names)}; got {len(instance)}")
        instance = dict(zip(names, instance, strict=True))
    if not isinstance(instance, dict):
        raise ValueError(f"expected a record or a list of values; got {instance!r:.40}")
    if len({_match_column_name(name, names) for name in instance}) < len(instance):
        raise ValueError("expected every column once; got one in two Unicode normal forms")
    instance = {_match_column_name(name, names): value for name, value in instance.items()}
    for name in instance:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "remove it"
            raise ValueError(f"expected only the model's columns; got {name!r}; {hint}")
    return {
        column.name: _check_value(column, instance.get(column.name)) for column in target.columns
    }


def _check_value(column: SchemaColumn, value: Any) -> Value:
    """Return the value as the server takes it.

    Raises:
        ValueError: If the column does not accept it.
    """
    if value is None and column.accepts_missing:
        return None
    if isinstance(value, str):
        value = _convert_text(value, column)
    if value is None or not _is_accepted(value, column):
        alternative = " or a missing value" if column.accepts_missing else ""
        found = (
            "none, and the model does not accept a missing value here"
            if value is None
            else f"{value!r:.40}"
        )
        raise ValueError(
            f"expected {_describe_column(column)}{alternative} in column {column.name!r}; "
            f"got {found}"
        )
    # A category that is a whole number may be given as a number.
    return _match_category(str(value), column) if column.kind == "category" else value


def _match_column_name(name: str, names: Container[str]) -> str:
    """Return the column's name that equals a name in Unicode's normal form NFC."""
    return name if name in names else unicodedata.normalize("NFC", name)


def _match_category(text: str, column: SchemaColumn) -> str:
    """Return the category that the server would match a text to; the text itself if none."""
    if text.strip() in column.categories:
        return text
    normalized = unicodedata.normalize("NFC", text.strip())
    whole = WHOLE_NUMBER_PATTERN.fullmatch(normalized)
    category = whole[1] if whole else normalized
    return category if category in column.categories else text


def _convert_text(text: str, column: SchemaColumn) -> Value:
    """Convert a boolean or a date from the spelling of the training data to that of JSON."""
    stripped = text.strip()
    if column.kind == "boolean":
        return column.boolean_texts.get(stripped.lower(), text)
    if column.kind == "date" and "%" in column.date_format:
        try:
            moment = datetime.strptime(stripped, column.date_format)
        except ValueError:
            return text
        return moment.isoformat()
    return text


def _is_accepted(value: Any, column: SchemaColumn) -> bool:
    match column.kind:
        case "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and abs(value) <= float(np.finfo(np.dtype(column.dtype)).max)
        case "boolean":
            return isinstance(value, bool | int | float) and value in (0, 1)
        case "category":
            is_known = _match_category(str(value), column).strip() in column.categories
            is_text = isinstance(value, str) or type(value) is int
            return (is_text and (column.accepts_unseen or is_known)) or (
                type(value) is float and is_known
            )
        case "date":
            if isinstance(value, str) and is_iso8601(value):
                return True
            numeric_formats = ("seconds", *TICKS_PER_SECOND, BASIC_DATE_FORMAT)
            return column.date_format in numeric_formats and _is_number(value)


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number, or the text of one."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _describe_column(column: SchemaColumn) -> str:
    """Return what the column accepts, in words."""
    match column.kind:
        case "number":
            return f"a number in the range of {column.dtype}"
        case "boolean":
            return "true or false"
        case "date":
            return "a date in ISO 8601"
        case "category" if column.accepts_unseen:
            return "a text"
        case "category":
            listed = ", ".join(map(repr, column.categories[:5]))
            return f"one of {listed}{', …' if len(column.categories) > 5 else ''}"
