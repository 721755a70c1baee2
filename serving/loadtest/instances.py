"""Rows to ask about: drawn from what the server says of its columns, or read from a file."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from serving.loadtest.target import Column, Target

Value = float | str | bool | None
Row = dict[str, Value]

GAPS = 0.1  # share of gaps where they are permitted
DIGITS = {"float32": 6, "float64": 15}  # of a number that is drawn
TICKS = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # of a second
DAYS = "%Y%m%d"  # the format of days that are written as numbers
# Texts that stand for a gap in tables.
EMPTY = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
TRUTHS = {"true": True, "1": True, "false": False, "0": False}
FRACTIONLESS = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InstancesError(Exception):
    """A file of instances that cannot be asked about; the message says where, and what is wrong."""


def instances(target: Target, count: int, rng: np.random.Generator) -> list[Row]:
    """Rows that the model takes, as varied as it tells.

    Numbers and dates are uniform over the range of the training rows, categories and truths come
    equally often, and a tenth of the values are gaps where gaps are filled.

    Args:
        target: whose columns they are of.
        count: of rows.
        rng: what draws them.
    """
    drawn = {column.name: _drawn(column, count, rng) for column in target.columns}
    return [dict(zip(drawn, values, strict=True)) for values in zip(*drawn.values(), strict=True)]


def _drawn(column: Column, count: int, rng: np.random.Generator) -> list[Value]:
    """The values of a column, gaps among them."""
    there = rng.random(count) >= GAPS if column.fills_gaps else np.ones(count, np.bool_)
    values = iter(_values(column, int(there.sum()), rng))
    return [next(values) if is_there else None for is_there in there]


def _values(column: Column, count: int, rng: np.random.Generator) -> Sequence[Value]:
    match column.kind:
        case "number":
            return _numbers(column, count, rng)
        case "date":
            return _dates(column, count, rng)
        case "boolean":
            return _each_in_turn((True, False), count, rng)
        case "category":
            return _each_in_turn(column.categories, count, rng)


def _each_in_turn(choices: Sequence[Value], count: int, rng: np.random.Generator) -> list[Value]:
    """All of the choices before any comes again, in an order of chance."""
    places: list[int] = []
    while len(places) < count:
        places += rng.permutation(len(choices)).tolist()
    return [choices[place] for place in places[:count]]


def _numbers(column: Column, count: int, rng: np.random.Generator) -> list[Value]:
    low, high = float(column.minimum or 0), float(column.maximum or 0)
    drawn = rng.uniform(low, high, count).tolist()
    if column.whole:
        return [min(max(round(value), math.ceil(low)), math.floor(high)) for value in drawn]
    digits = DIGITS[column.dtype]
    # As a client has them from a table, and not with all the digits of a float64.
    return [min(max(float(f"{value:.{digits}g}"), low), high) for value in drawn]


def _dates(column: Column, count: int, rng: np.random.Generator) -> list[Value]:
    earliest, latest = str(column.minimum), str(column.maximum)
    days = len(earliest) == len(latest) == len("2024-05-17")
    step = 86400 if days else 1  # seconds
    low = math.ceil(seconds_of(earliest) / step)
    high = max(math.floor(seconds_of(latest) / step), low)  # both may be within one second
    drawn = rng.integers(low, high, count, endpoint=True).tolist()
    moments = [EPOCH + timedelta(seconds=number * step) for number in drawn]
    return [(moment.date() if days else moment).isoformat() for moment in moments]


def seconds_of(text: str) -> float:
    """Seconds since 1970-01-01 UTC of a date in ISO 8601; one without a zone is UTC."""
    date = datetime.fromisoformat(text)
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH).total_seconds()


def number_of_date(text: str, column: Column) -> float:
    """Return a date as the number that a tensor of its column has: in seconds, or as it says.

    Args:
        text: Date in ISO 8601, or a number in the column's format.
        column: The column.
    """
    if not _is_iso8601(text):
        return float(text)
    if column.format == DAYS:
        return float(f"{EPOCH + timedelta(seconds=seconds_of(text)):%Y%m%d}")
    return seconds_of(text) * TICKS.get(column.format, 1)


def read_instances(path: Path, target: Target) -> list[Row]:
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
        raise InstancesError(f"expected a file of text in UTF-8; got {path}: {error}") from None
    read = _json_rows if text.lstrip()[:1] in ("{", "[") else _csv_rows
    rows = []
    for where, found in read(text, path, target):
        try:
            rows.append(_row(found, target))
        except ValueError as error:
            raise InstancesError(f"{path}, {where}: {error}") from None
    if not rows:
        raise InstancesError(f"expected an instance or more in {path}; got none")
    return rows


def _json_rows(text: str, path: Path, _: Target) -> Iterable[tuple[str, Any]]:
    """Each instance of JSON, and where it is."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        lines = text.split("\n")
        if not _is_json(next(filter(str.strip, lines))):
            raise _no_json(path, error.lineno, error) from None
        return _json_lines(lines, path)
    if isinstance(document, dict):
        document = document.get("instances", [document])
    if not isinstance(document, list):
        raise InstancesError(f'{path}: expected "instances" to be a list; got another value')
    if document and not isinstance(document[0], dict | list):
        document = [document]  # JSON lines, of one
    return ((f"instance {number}", found) for number, found in enumerate(document))


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _json_lines(lines: list[str], path: Path) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _no_json(path, number, error) from None


def _no_json(path: Path, line: int, error: orjson.JSONDecodeError) -> InstancesError:
    return InstancesError(f"{path}, line {line}: expected JSON; got: {error.msg}")


def _csv_rows(text: str, path: Path, target: Target) -> Iterable[tuple[str, Any]]:
    """Each line of CSV as a record, and where it is."""
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        columns = {column.name: column for column in target.columns}
        names = [_name(name, columns) for name in next(lines, [])]
        if len(set(names)) < len(names):
            raise InstancesError(f"{path}, line 1: expected every column once; got one twice")
        for values in lines:
            if not values:
                continue
            where = f"line {lines.line_num}"
            if len(values) != len(names):
                raise InstancesError(
                    f"{path}, {where}: expected as many values as names in the first line, "
                    f"{len(names)}; got {len(values)}"
                )
            record = zip(names, values, strict=True)
            yield (
                where,
                {
                    name: _written(value, columns.get(name))
                    for name, value in record
                    if name in columns or name not in target.targets
                },
            )
    except csv.Error as error:
        raise InstancesError(f"{path}, line {lines.line_num}: expected CSV; got {error}") from None


def _written(text: str, column: Column | None) -> Value:
    """A value as JSON would have it; what is none of the column's stays a text."""
    text = text.strip()
    if column is None:
        return text
    words = EMPTY if column.gaps is None else ("", *column.gaps)
    if text not in column.categories and text.lower() in words:
        return None
    if column.kind == "boolean":
        return TRUTHS.get(text.lower(), text)
    if column.kind == "number":
        try:
            return int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return text
    return text


def _row(found: Any, target: Target) -> Row:
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
    if len({_name(name, names) for name in found}) < len(found):
        raise ValueError("expected every column once; got one in two of Unicode's normal forms")
    found = {_name(name, names): value for name, value in found.items()}
    for name in found:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "take it out"
            raise ValueError(f"expected no other columns than the model's; got {name!r}; {hint}")
    return {column.name: _checked(column, found.get(column.name)) for column in target.columns}


def _checked(column: Column, value: Any) -> Value:
    """The same value, if the column takes it."""
    if value is None and column.fills_gaps:
        return None
    if isinstance(value, str):
        value = _spelled(value, column)
    if value is None or not _is_of(value, column):
        expected = f"{_words(column)}{' or a gap' if column.fills_gaps else ''}"
        came = "none, and the model fills no gap here" if value is None else f"{value!r:.40}"
        raise ValueError(f"expected {expected} in column {column.name!r}; got {came}")
    # A category of whole numbers may be written as one.
    return _category(str(value), column) if column.kind == "category" else value


def _name(name: str, names: Container[str]) -> str:
    """Return the column's name that a name stands for in another of Unicode's normal forms."""
    return name if name in names else unicodedata.normalize("NFC", name)


def _category(text: str, column: Column) -> str:
    """Return the category that a text stands for, as servers compare them; else the text."""
    if text.strip() in column.categories:
        return text
    normal = unicodedata.normalize("NFC", text.strip())
    whole = FRACTIONLESS.fullmatch(normal)
    found = whole[1] if whole else normal
    return found if found in column.categories else text


def _spelled(text: str, column: Column) -> Value:
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


def _is_of(value: Any, column: Column) -> bool:
    match column.kind:
        case "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and abs(value) <= float(np.finfo(np.dtype(column.dtype)).max)
        case "boolean":
            return isinstance(value, bool | int | float) and value in (0, 1)
        case "category":
            known = _category(str(value), column).strip() in column.categories
            written = isinstance(value, str) or type(value) is int
            return (written and (column.takes_unseen or known)) or (type(value) is float and known)
        case "date":
            if isinstance(value, str) and _is_iso8601(value):
                return True
            return column.format in ("seconds", *TICKS, DAYS) and _is_number(value)


def _is_number(value: Any) -> bool:
    """Whether it is a number, or a text of one."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _is_iso8601(text: str) -> bool:
    if text.isdecimal():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _words(column: Column) -> str:
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
