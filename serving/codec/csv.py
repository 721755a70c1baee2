"""CSV: a line an instance, values in the order of the columns, as SageMaker's clients send it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal, NoReturn

import numpy as np

from serving.bundle import BASIC_DATE, FEATURES_INPUT, Arrays, pluralize
from serving.codec.column_validators import (
    BOOLEAN_TEXTS,
    BooleanValidator,
    CategoryValidator,
    ColumnValidator,
)
from serving.codec.date_validator import DateValidator
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import count_character, decode_json_matrix
from serving.codec.quoting import quote_text
from serving.codec.validation import build_inputs_from_rows, refuse_instances, split_into_blocks
from serving.errors import MalformedBodyError
from serving.event_loop import yield_to_loop

CSV_MEDIA_TYPE = "text/csv"
# Possessive quantifiers give up a text that does not match after one look at it. Groups that can
# fail halfway have none: up to Python 3.11.4 what they read before they fail stays read.
NUMBER_PATTERN = re.compile(r"[+-]?+(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?+\d++)?", re.ASCII)
YEAR_DIGITS = 4
COMPACT_DATE_PATTERN = re.compile(r"[12]\d{3}(\d{4})?", re.ASCII)  # a year, or a day
MAX_CSV_FIELD_CHARACTERS = 2**17  # characters, as the standard library has it
# The rest of a value in quotes, and a value with the comma behind it. Of more doubled quotes than a
# field may have characters the standard library's reader refuses the row.
QUOTED_REST_PATTERN = re.compile(rf'(?:[^"]++|""){{0,{MAX_CSV_FIELD_CHARACTERS}}}+"?+[^,]*+,?+')
VALUE_PATTERN = re.compile(rf'(?:"(?:[^"]++|""){{0,{MAX_CSV_FIELD_CHARACTERS}}}+"?+)?+[^,]*+,?+')
FAST_BLOCK_BYTES = 2**18  # bytes of lines that JSON's decoder reads in one step
CHARACTERS_BEFORE_YIELD = 2**13  # characters after which other connections have their turn
LINE_ENDS_PATTERN = re.compile(rf"[\r\n]{{0,{2**16}}}+")  # passed over in one step


def decode_csv(body: bytes, fields: InputSchema) -> Arrays:
    """The rows of a CSV text.

    Args:
        body: in UTF-8, lines ended by LF or CRLF, values quoted as RFC 4180 has it where they need
            be. A first line of the columns' names says their order, and may name others that are
            left out if `fields` ignores them; without one the order is the model's. Empty lines of
            a table of several columns are passed over. An empty value, and one that stands for a
            gap in its column, is a gap.
        fields: the model's columns.

    Raises:
        MalformedBodyError: it is no CSV.
        InvalidInstancesError: a line is not what the model takes.
    """
    if fields.has_single_input and (inputs := _decode_fast(body, fields)) is not None:
        return inputs
    try:
        return build_inputs_from_rows(
            split_into_blocks(_read_instances(_decode_text(body), fields), len(fields)), fields
        )
    except csv.Error as error:
        raise MalformedBodyError(f"expected a CSV body; got another: {error}") from None


def _decode_fast(body: bytes, fields: InputSchema) -> Arrays | None:
    """The same of numbers as JSON writes them, by its decoder; None of any others.

    A long body is decoded some lines at a time, so that no step takes long.
    """
    at, count, width = _measure_header(body, fields), 0, len(fields)
    if b"[" in body or at == len(body):
        return None
    is_long = len(body) - at > FAST_BLOCK_BYTES
    # Lines that end at once have fewer values than the model has columns.
    most = count_character(body, b"\n") + 1 if is_long else 0
    if is_long and count_character(body, b",") < (most - 2) * (width - 1):
        return None
    every = np.empty((most, width), np.float32)
    while at < len(body):
        end = (
            len(body)
            if len(body) - at <= FAST_BLOCK_BYTES
            else body.rfind(b"\n", at, at + FAST_BLOCK_BYTES) + 1
        )
        if end <= at:  # a line of so many numbers is hardly one of the model's
            return None
        lines = body[at:end].removesuffix(b"\n").removesuffix(b"\r")
        lines = lines.replace(b"\r\n", b"\n").replace(b"\n", b"],[")
        rows = decode_json_matrix(b'{"instances":[[' + lines + b"]]}", width)
        if rows is None or not fields.accepts_rows(rows):
            return None
        if not is_long:
            return {FEATURES_INPUT: rows}
        every[count : count + len(rows)] = rows
        at, count = end, count + len(rows)
        yield_to_loop()
    return {FEATURES_INPUT: every[:count]}


def _measure_header(body: bytes, fields: InputSchema) -> int:
    """Bytes of the first line, where it is the columns' names on a line of their own; else 0."""
    length = body.find(b"\n") + 1
    if length > MAX_CSV_FIELD_CHARACTERS or body.count(b",", 0, length) < len(fields) - 1:
        return 0
    try:
        rows = list(csv.reader([body[:length].decode("utf-8-sig")], strict=True))
    except (UnicodeDecodeError, csv.Error):  # the careful path says what is wrong
        return 0
    names = [fields.resolve_column_name(value.strip()) for value in rows[0]] if rows else []
    return length if names == list(fields.column_positions) else 0


def _decode_text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBodyError(
            f"expected CSV in UTF-8; got an invalid byte at position {error.start}",
            position=error.start,
        ) from None


def _read_instances(text: str, fields: InputSchema) -> Iterator[list[object]]:
    order: Sequence[int] = range(len(fields))
    rows = _RowReader(text, len(fields), fields.max_named_columns)
    for place, values in enumerate(rows):
        if (
            place == 0
            and len(values) <= rows.max_values
            and (named := _read_column_order(values, fields))
        ):
            order, rows.width = named, len(values)
            continue
        if len(values) != rows.width:
            rows.refuse_value_count(len(values))
        yield [
            _parse_value(values[at], field) for at, field in zip(order, fields.columns, strict=True)
        ]
        rows.instance_number += 1


def _read_column_order(values: Sequence[str], fields: InputSchema) -> Sequence[int] | None:
    """Where each column is, by a first line of names; None if it is one of values.

    It is one of names if half of the columns' are in it, as people write them. Then all of them
    have to be: a line of names must not be answered as an instance.

    Raises:
        InvalidInstancesError: it is one of names, and of others than the columns'.
    """
    names = [fields.resolve_column_name(value.strip()) for value in values]
    given, alike = set(names), {name.casefold() for name in names}
    known = [name for name in fields.column_positions if name.casefold() in alike]
    if 2 * len(known) < len(fields):
        return None
    missing = [name for name in fields.column_positions if name not in given]
    others = [name for name in names if name not in fields.column_positions]
    are_once = len(names) - len(others) == len(fields)
    if not missing and are_once and (fields.should_ignore_extra or not others):
        places = {name: place for place, name in enumerate(names)}
        return [places[name] for name in fields.column_positions]
    came = [f"no {quote_text(name)}" for name in missing[:1]]
    came += [quote_text(name) for name in others[:1] if not fields.should_ignore_extra]
    refuse_instances(
        f"expected the names of the {pluralize(len(fields), 'column')} in the first line, or none of "
        f"them; got {' and '.join(came) or 'one of them twice'}",
        instance=0,
    )


class _RowReader:
    """The rows of a CSV text, each a list of values.

    Rows of very many values are refused before they are split, empty lines of a table of several
    columns are passed over many at a time, and other connections have their turn after every
    `CHARACTERS_BEFORE_YIELD` characters: a body costs no more than its length.

    Args:
        text: The CSV text.
        width: Number of values that a row should have.
        most_names: Largest number of columns that the first line may name.

    Attributes:
        width: As above; the caller sets it to what a first line of names says.
        max_values: Largest number of values that a row is split into.
        instance: Number of the next instance, for errors; the caller counts.
    """

    def __init__(self, text: str, width: int, most_names: int) -> None:
        self.max_values = max(2 * width, most_names)
        self.instance_number = 0
        self.width = width
        self._text = text
        self._position = 0  # Where the next line begins.
        self._is_row_open = False  # Whether that line continues a quoted value.

    def __iter__(self) -> Iterator[list[str]]:
        for row in csv.reader(self._read_lines(), strict=True):
            self._is_row_open = False
            if row:
                yield row
            elif self.width == 1:
                yield [""]  # a gap
            else:
                self._position = LINE_ENDS_PATTERN.match(self._text, self._position).end()  # type: ignore[union-attr]

    def refuse_value_count(self, got: int | Literal["more"]) -> NoReturn:
        """Refuse a row of another number of values than there are columns."""
        refuse_instances(
            f"expected {pluralize(self.width, 'value')} in instance {self.instance_number}, one "
            f"per column, with commas between them; got {got}",
            instance=self.instance_number,
            expected=self.width,
            got=got,
        )

    def _read_lines(self) -> Iterator[str]:
        text, most, paused, continued = self._text, self.max_values, 0, 0
        has_quotes = '"' in text
        while (at := self._position) < len(text):
            end = text.find("\n", at) + 1 or len(text)
            if self._is_row_open:
                continued += self._count_values(at, end)
                if continued > most:
                    self.refuse_value_count("more")
            else:
                continued = 0
                # Commas within quotes separate nothing, and are only looked for where it matters.
                if (commas := text.count(",", at, end)) >= most and (
                    not has_quotes or self._count_values(at, end) > most
                ):
                    self.refuse_value_count("more" if has_quotes else commas + 1)
            self._position, self._is_row_open = end, True
            if end - paused > CHARACTERS_BEFORE_YIELD:
                yield_to_loop()
                paused = end
            yield text[at:end]

    def _count_values(self, at: int, end: int) -> int:
        """Return the number of values of a line, no more than one above `most`."""
        text, count = self._text, 0
        if self._is_row_open:
            at = QUOTED_REST_PATTERN.match(text, at, end).end()  # type: ignore[union-attr]
        while at < end and count <= self.max_values:
            at = VALUE_PATTERN.match(text, at, end).end()  # type: ignore[union-attr]
            count += 1
        return count


def _parse_value(text: str, field: ColumnValidator) -> object:
    """A value as JSON would have it; a text that is none of the column's stays one."""
    stripped = text.strip()
    if not stripped or field.is_gap(stripped):
        return None
    if isinstance(field, CategoryValidator):
        return text
    if isinstance(field, BooleanValidator) and stripped.lower() in BOOLEAN_TEXTS:
        return BOOLEAN_TEXTS[stripped.lower()]
    if not NUMBER_PATTERN.fullmatch(stripped):
        return text
    value = float(stripped)
    if isinstance(field, DateValidator) and not field.is_gap_number(value):
        if field.is_read_as_text(stripped):
            return text
        if field.date_format != BASIC_DATE and COMPACT_DATE_PATTERN.fullmatch(stripped):
            _refuse_compact_date(stripped, field)
    return value


def _refuse_compact_date(digits: str, field: ColumnValidator) -> None:
    """Refuse what people also write for a year or a day, if it is one: as seconds it is in 1970."""
    try:
        day = date.fromisoformat(digits if len(digits) > YEAR_DIGITS else f"{digits}-01-01")
    except ValueError:
        return
    refuse_instances(
        f"expected {field.expected} in field {field.name!r}; got {digits}, which may be either; "
        f"write {day} for the day, or {digits}.0 for the seconds",
        field=field.name,
    )
