"""Rows to ask about, read from a file."""

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

from serving.loadtest.instances import BASIC_DATE_FORMAT, TICKS_PER_SECOND, Row, Value, is_iso8601
from serving.loadtest.target import LoadTarget, SchemaColumn

# Texts that stand for a gap in tables.
USUAL_GAP_TEXTS = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
CSV_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
WHOLE_NUMBER_PATTERN = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


class InstanceFileError(Exception):
    """A file of instances that cannot be asked about; the message says where, and what is wrong."""


def read_instances(path: Path, target: LoadTarget) -> list[Row]:
    """The rows of a file.

    Args:
        path: of JSON, `{"instances": […]}` or a list, of JSON lines, or of CSV whose first line has
            the columns' names. An instance of JSON is a record, or a list in the order of the
            columns. What the model predicts may be among the columns of CSV, and is passed over.
        target: whose columns they are of.

    Returns:
        One row or more, each with all of the model's columns, None for a gap.

    Raises:
        InstancesError: it cannot be read, or holds what the model does not take; the message names
            the line, or in a JSON document the instance, from 0.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InstanceFileError(f"expected a file of text in UTF-8; got {path}: {error}") from None
    read = _read_json if text.lstrip()[:1] in ("{", "[") else _read_csv
    rows = []
    for where, found in read(text, path, target):
        try:
            rows.append(_to_row(found, target))
        except ValueError as error:
            raise InstanceFileError(f"{path}, {where}: {error}") from None
    if not rows:
        raise InstanceFileError(f"expected an instance or more in {path}; got none")
    return rows


def _read_json(text: str, path: Path, _: LoadTarget) -> Iterable[tuple[str, Any]]:
    """Each instance of JSON, and where it is."""
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
        raise InstanceFileError(f'{path}: expected "instances" to be a list; got another value')
    if document and not isinstance(document[0], dict | list):
        document = [document]  # JSON lines, of one
    return ((f"instance {number}", found) for number, found in enumerate(document))


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
    """Each line of CSV as a record, and where it is."""
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        columns = {column.name: column for column in target.columns}
        names = [_match_column_name(name, columns) for name in next(lines, [])]
        if len(set(names)) < len(names):
            raise InstanceFileError(f"{path}, line 1: expected every column once; got one twice")
        for values in lines:
            if not values:
                continue
            where = f"line {lines.line_num}"
            if len(values) != len(names):
                raise InstanceFileError(
                    f"{path}, {where}: expected as many values as names in the first line, "
                    f"{len(names)}; got {len(values)}"
                )
            record = zip(names, values, strict=True)
            yield (
                where,
                {
                    name: _convert_csv_value(value, columns.get(name))
                    for name, value in record
                    if name in columns or name not in target.targets
                },
            )
    except csv.Error as error:
        raise InstanceFileError(
            f"{path}, line {lines.line_num}: expected CSV; got {error}"
        ) from None


def _convert_csv_value(text: str, column: SchemaColumn | None) -> Value:
    """A value as JSON would have it; what is none of the column's stays a text."""
    text = text.strip()
    if column is None:
        return text
    words = USUAL_GAP_TEXTS if column.gaps is None else ("", *column.gaps)
    if text not in column.categories and text.lower() in words:
        return None
    if column.kind == "boolean":
        return CSV_BOOLEANS.get(text.lower(), text)
    if column.kind == "number":
        try:
            return int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return text
    return text


def _to_row(found: Any, target: LoadTarget) -> Row:
    """The instance, if it is one that the model takes.

    Raises:
        ValueError: it is not; the message says why.
    """
    names = [column.name for column in target.columns]
    if isinstance(found, list):
        if len(found) != len(names):
            raise ValueError(f"expected a value for each column, {len(names)}; got {len(found)}")
        found = dict(zip(names, found, strict=True))
    if not isinstance(found, dict):
        raise ValueError(f"expected a record or a list of values; got {found!r:.40}")
    if len({_match_column_name(name, names) for name in found}) < len(found):
        raise ValueError("expected every column once; got one in two of Unicode's normal forms")
    found = {_match_column_name(name, names): value for name, value in found.items()}
    for name in found:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "take it out"
            raise ValueError(f"expected no other columns than the model's; got {name!r}; {hint}")
    return {column.name: _check_value(column, found.get(column.name)) for column in target.columns}


def _check_value(column: SchemaColumn, value: Any) -> Value:
    """The same value, if the column takes it."""
    if value is None and column.fills_gaps:
        return None
    if isinstance(value, str):
        value = _convert_text(value, column)
    if value is None or not _is_accepted(value, column):
        expected = f"{_describe_column(column)}{' or a gap' if column.fills_gaps else ''}"
        came = "none, and the model fills no gap here" if value is None else f"{value!r:.40}"
        raise ValueError(f"expected {expected} in column {column.name!r}; got {came}")
    # A category of whole numbers may be written as one.
    return _match_category(str(value), column) if column.kind == "category" else value


def _match_column_name(name: str, names: Container[str]) -> str:
    """Return the column's name that a name stands for in another of Unicode's normal forms."""
    return name if name in names else unicodedata.normalize("NFC", name)


def _match_category(text: str, column: SchemaColumn) -> str:
    """Return the category that a text stands for, as servers compare them; else the text."""
    if text.strip() in column.categories:
        return text
    normal = unicodedata.normalize("NFC", text.strip())
    whole = WHOLE_NUMBER_PATTERN.fullmatch(normal)
    found = whole[1] if whole else normal
    return found if found in column.categories else text


def _convert_text(text: str, column: SchemaColumn) -> Value:
    """A truth value or a date that is written as in the training data, as every server takes it."""
    written = text.strip()
    if column.kind == "boolean":
        return column.texts.get(written.lower(), text)
    if column.kind == "date" and "%" in column.format:
        try:
            moment = datetime.strptime(written, column.format)
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
            known = _match_category(str(value), column).strip() in column.categories
            written = isinstance(value, str) or type(value) is int
            return (written and (column.takes_unseen or known)) or (type(value) is float and known)
        case "date":
            if isinstance(value, str) and is_iso8601(value):
                return True
            return column.format in (
                "seconds",
                *TICKS_PER_SECOND,
                BASIC_DATE_FORMAT,
            ) and _is_number(value)


def _is_number(value: Any) -> bool:
    """Whether it is a number, or a text of one."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _describe_column(column: SchemaColumn) -> str:
    match column.kind:
        case "number":
            return f"a number that {column.dtype} can hold"
        case "boolean":
            return "true or false"
        case "date":
            return "a date in ISO 8601"
        case "category" if column.takes_unseen:
            return "a text"
        case "category":
            some = ", ".join(map(repr, column.categories[:5]))
            return f"one of {some}{', …' if len(column.categories) > 5 else ''}"
