"""CSV: a line an instance, values in the order of the columns, as SageMaker's clients send it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import date

from serving.bundle import FEATURES, GAPS, Arrays
from serving.codec.columns import blocks, inputs_of_rows, refuse
from serving.codec.fields import BooleanField, CategoryField, DateField, Field, Fields
from serving.codec.json_documents import after_step
from serving.codec.json_plain import decode_plain
from serving.codec.values import quoted
from serving.errors import MalformedBodyError

MEDIA = "text/csv"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
YEAR_DIGITS = 4
COMPACT_DATE = re.compile(r"[12]\d{3}(\d{4})?", re.ASCII)  # a year, or a day
TRUTHS = {"true": True, "false": False, "1": True, "0": False}
EMPTY_LINES = re.compile(r"\n[\r\n]+")
LONGEST_FIELD = 2**17  # characters, as the standard library has it


def decode_csv(body: bytes, fields: Fields) -> Arrays:
    """The rows of a CSV text.

    Args:
        body: in UTF-8, lines ended by LF or CRLF, values quoted as RFC 4180 has it where they need
            be. A first line of the columns' names says their order; without one it is the
            model's. Empty lines of a table of several columns are passed over. An empty value,
            and one of `GAPS`, is a gap.
        fields: the model's columns.

    Raises:
        MalformedBodyError: it is no CSV.
        InvalidInstancesError: a line is not what the model takes.
    """
    if fields.all_numbers and (inputs := _plain(body, fields)) is not None:
        return inputs
    try:
        return inputs_of_rows(blocks(_instances(_text(body), fields), len(fields)), fields)
    except csv.Error as error:
        raise MalformedBodyError(f"expected a CSV body; got another: {error}") from None


def _plain(body: bytes, fields: Fields) -> Arrays | None:
    """The same of numbers as JSON writes them, by its decoder; None of any others."""
    body = body[_header_length(body, fields) :]
    if b"[" in body or not body:
        return None
    lines = body.removesuffix(b"\n").removesuffix(b"\r").replace(b"\r\n", b"\n")
    after_step(body)
    lines = lines.replace(b"\n", b"],[")
    after_step(body)
    rows = decode_plain(b'{"instances":[[' + lines + b"]]}", len(fields))
    return {FEATURES: rows} if rows is not None and fields.take(rows) else None


def _header_length(body: bytes, fields: Fields) -> int:
    """Bytes of the first line, where it is the columns' names on a line of their own; else 0."""
    length = body.find(b"\n") + 1
    if length > LONGEST_FIELD or body.count(b",", 0, length) < len(fields) - 1:
        return 0
    try:
        rows = list(csv.reader([body[:length].decode("utf-8-sig")], strict=True))
    except (UnicodeDecodeError, csv.Error):  # the careful path says what is wrong
        return 0
    names = [value.strip() for value in rows[0]] if rows else []
    return length if names == list(fields.places) else 0


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBodyError(
            f"expected CSV in UTF-8; got a byte that is not at position {error.start}",
            position=error.start,
        ) from None


def _instances(text: str, fields: Fields) -> Iterator[list[object]]:
    width, count = len(fields), 0
    order: Sequence[int] = range(width)
    for place, row in enumerate(csv.reader(_lines(text, width), strict=True)):
        if not row and width > 1:
            continue
        values = row or [""]  # of one column, whose value is a gap
        if place == 0 and (named := _order(values, fields)) is not None:
            order = named
            continue
        if len(values) != width:
            _refuse_width(width, count, len(values))
        yield [_value(values[at], field) for at, field in zip(order, fields.columns, strict=True)]
        count += 1


def _order(values: Sequence[str], fields: Fields) -> Sequence[int] | None:
    """Where each column is, by a first line of names; None if it is one of values.

    It is one of names if half of the columns' are in it, as people write them. Then all of them
    have to be: a line of names must not be answered as an instance.

    Raises:
        InvalidInstancesError: it is one of names, and of others than the columns'.
    """
    names = [value.strip() for value in values]
    alike = {name.casefold() for name in names}
    known = [name for name in fields.places if name.casefold() in alike]
    if 2 * len(known) < len(fields):
        return None
    if len(names) == len(fields) and set(names) == set(fields.places):
        return [names.index(name) for name in fields.places]
    missing = [name for name in fields.places if name not in names]
    others = [name for name in names if name not in fields.places]
    came = [f"no {quoted(name)}" for name in missing[:1]] + [quoted(name) for name in others[:1]]
    refuse(
        f"expected the names of the {len(fields)} columns in the first line, or none of them; got "
        f"{' and '.join(came) or 'one of them twice'}",
        instance=0,
    )


def _lines(text: str, width: int) -> Iterator[str]:
    """The lines, none of so many values that it would cost more than it is long to tell."""
    quoted = '"' in text
    if width > 1 and not quoted and EMPTY_LINES.search(text):
        text = EMPTY_LINES.sub("\n", text)  # there may be very many
    most = 2 * width + LONGEST_FIELD * width * quoted
    at, number = 0, 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        if (commas := text.count(",", at, end)) > most:
            _refuse_width(width, number, commas + 1)
        yield text[at:end]
        at, number = end, number + 1


def _refuse_width(width: int, instance: int, got: int) -> None:
    refuse(
        f"expected {width} values in instance {instance}, one per column, with commas between "
        f"them; got {got}",
        instance=instance,
        expected=width,
        got=got,
    )


def _value(text: str, field: Field) -> object:
    """A value as JSON would have it; a text that is none of the column's stays one."""
    stripped = text.strip()
    if stripped.lower() in GAPS:
        return None
    if isinstance(field, CategoryField):
        return text
    if isinstance(field, BooleanField) and stripped.lower() in TRUTHS:
        return TRUTHS[stripped.lower()]
    if not NUMBER.fullmatch(stripped):
        return text
    if isinstance(field, DateField) and COMPACT_DATE.fullmatch(stripped):
        _refuse_compact_date(stripped, field)
    return float(stripped)


def _refuse_compact_date(digits: str, field: Field) -> None:
    """Refuse what people also write for a year or a day, if it is one: as seconds it is in 1970."""
    try:
        day = date.fromisoformat(digits if len(digits) > YEAR_DIGITS else f"{digits}-01-01")
    except ValueError:
        return
    refuse(
        f"expected {field.expected} in field {field.name!r}; got {digits}, which may be either; "
        f"write {day} for the day, or {digits}.0 for the seconds",
        field=field.name,
    )
