"""CSV bodies: one instance per line, values in the order of the model's columns or of a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NoReturn

import numpy as np

from serving.bundle import FEATURES_INPUT, Arrays, pluralize
from serving.bundle.column_schema import WrongCellError
from serving.bundle.quoting import quote_text
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_matrix
from serving.codec.json_flatness import count_character
from serving.codec.messages import decode_utf8
from serving.codec.validation import build_inputs_from_rows, refuse_instances, split_into_blocks
from serving.errors import MalformedBodyError
from serving.event_loop import yield_to_loop

CSV_MEDIA_TYPE = "text/csv"
MAX_CSV_FIELD_CHARACTERS = 2**17  # The default limit of the standard library's csv module.
# The rest of a quoted value, and a whole value, each with the comma after it. The number of doubled
# quotes is bounded because the csv module refuses a longer field anyway.
QUOTED_REST_PATTERN = re.compile(rf'(?:[^"]++|""){{0,{MAX_CSV_FIELD_CHARACTERS}}}+"?+[^,]*+,?+')
VALUE_PATTERN = re.compile(rf'(?:"(?:[^"]++|""){{0,{MAX_CSV_FIELD_CHARACTERS}}}+"?+)?+[^,]*+,?+')
FAST_BLOCK_BYTES = 2**18  # Bytes of lines that the JSON decoder reads in one step.
CHARACTERS_BEFORE_YIELD = 2**13
LINE_ENDS_PATTERN = re.compile(rf"[\r\n]{{0,{2**16}}}+")  # Empty lines, skipped in one step.


def decode_csv(body: bytes, schema: InputSchema) -> Arrays:
    """Decode the rows of a CSV body.

    If the first line names the columns, it gives their order, and may name other columns, which are
    ignored if `schema.should_ignore_extra`. Without such a line, the order is the model's. Empty
    lines are skipped, except in a table of one column, where an empty line is an empty value. Empty
    values are gaps, and so are the texts that mean a gap in their column.

    Args:
        body: The CSV text in UTF-8, its lines ended by LF or CRLF, values quoted as in RFC 4180.
        schema: The columns of the model.

    Returns:
        The inputs of the graph, as `InputSchema.build_inputs` returns them.

    Raises:
        MalformedBodyError: If the body is not CSV in UTF-8.
        InvalidInstancesError: If the model does not accept a line or a value.
    """
    if schema.has_single_input and (inputs := _decode_fast(body, schema)) is not None:
        return inputs
    text = decode_utf8(body, "CSV", MalformedBodyError)
    try:
        return build_inputs_from_rows(
            split_into_blocks(_read_instances(text, schema), len(schema)), schema
        )
    except csv.Error as error:
        raise MalformedBodyError(
            f"expected a valid CSV body; got an invalid one: {error}"
        ) from None


def _decode_fast(body: bytes, schema: InputSchema) -> Arrays | None:
    """Decode lines of plain numbers by turning them into JSON; return None for any other body.

    A long body is decoded in blocks of lines, so that no step takes long.
    """
    at, count, width = _measure_header(body, schema), 0, len(schema)
    if b"[" in body or at == len(body):
        return None
    is_long = len(body) - at > FAST_BLOCK_BYTES
    max_rows = count_character(body, b"\n") + 1 if is_long else 0
    # A body with too few commas for its lines is left to the slow path. Without this check, a body
    # of empty lines would allocate rows for all of them.
    if is_long and count_character(body, b",") < (max_rows - 2) * (width - 1):
        return None
    matrix = np.empty((max_rows, width), np.float32)
    while at < len(body):
        if len(body) - at <= FAST_BLOCK_BYTES:
            end = len(body)
        else:
            end = body.rfind(b"\n", at, at + FAST_BLOCK_BYTES) + 1
        if end <= at:  # A single line of more than FAST_BLOCK_BYTES is not a plain row.
            return None
        lines = body[at:end].removesuffix(b"\n").removesuffix(b"\r")
        lines = lines.replace(b"\r\n", b"\n").replace(b"\n", b"],[")
        rows = decode_json_matrix(b'{"instances":[[' + lines + b"]]}", width)
        if rows is None or not schema.accepts_rows(rows):
            return None
        if not is_long:
            return {FEATURES_INPUT: rows}
        matrix[count : count + len(rows)] = rows
        at, count = end, count + len(rows)
        yield_to_loop()
    return {FEATURES_INPUT: matrix[:count]}


def _measure_header(body: bytes, schema: InputSchema) -> int:
    """Return the length of the first line in bytes if it names the columns in order, else 0."""
    length = body.find(b"\n") + 1
    if length > MAX_CSV_FIELD_CHARACTERS or body.count(b",", 0, length) < len(schema) - 1:
        return 0
    try:
        rows = list(csv.reader([body[:length].decode("utf-8-sig")], strict=True))
    except (UnicodeDecodeError, csv.Error):  # The slow path reports what is wrong.
        return 0
    names = [schema.resolve_column_name(value.strip()) for value in rows[0]] if rows else []
    return length if names == list(schema.column_positions) else 0


def _read_instances(text: str, schema: InputSchema) -> Iterator[list[object]]:
    """Yield the values of each instance in the order of the model's columns."""
    order: Sequence[int] = range(len(schema))
    rows = _RowReader(text, len(schema), schema.max_named_columns)
    for number, values in enumerate(rows):
        if (
            number == 0
            and len(values) <= rows.max_values
            and (header_order := _read_column_order(values, schema))
        ):
            order, rows.width = header_order, len(values)
            continue
        if len(values) != rows.width:
            rows.refuse_value_count(len(values))
        try:
            row = [
                column.parse_cell(values[index])
                for index, column in zip(order, schema.columns, strict=True)
            ]
        except WrongCellError as error:
            refuse_instances(
                f"expected {error.expected} in field {error.field!r}; got {error.got}",
                field=error.field,
            )
        yield row
        rows.instance_number += 1


def _read_column_order(values: Sequence[str], schema: InputSchema) -> Sequence[int] | None:
    """Return the index of each column in the first line, or None if that line is an instance.

    A line is a header if it contains at least half of the columns' names, upper or lower case. Then
    it has to contain all of them exactly: a header with a typo must not be answered as an instance.

    Raises:
        InvalidInstancesError: If the line is a header, but lacks a column or names another.
    """
    names = [schema.resolve_column_name(value.strip()) for value in values]
    given, folded = set(names), {name.casefold() for name in names}
    found = [name for name in schema.column_positions if name.casefold() in folded]
    if 2 * len(found) < len(schema):
        return None
    missing = [name for name in schema.column_positions if name not in given]
    extra = [name for name in names if name not in schema.column_positions]
    is_each_once = len(names) - len(extra) == len(schema)
    if not missing and is_each_once and (schema.should_ignore_extra or not extra):
        indices = {name: index for index, name in enumerate(names)}
        return [indices[name] for name in schema.column_positions]
    wrong = [f"no {quote_text(name)}" for name in missing[:1]]
    wrong += [quote_text(name) for name in extra[:1] if not schema.should_ignore_extra]
    refuse_instances(
        f"expected the names of the {pluralize(len(schema), 'column')} in the first line, or none "
        f"of them; got {' and '.join(wrong) or 'one of them twice'}",
        instance=0,
    )


class _RowReader:
    """A reader that yields each row of a CSV text as a list of values.

    Its cost is proportional to the length of the text: rows of far too many values are refused
    before they are split, empty lines are skipped many at a time, and the event loop is yielded to
    after every `CHARACTERS_BEFORE_YIELD` characters.

    Args:
        text: The CSV text.
        width: Number of values that a row should have.
        max_names: Largest number of columns that the first line may name.

    Attributes:
        width: Number of values that a row should have. The caller updates it after a header.
        max_values: Largest number of values that a row is split into.
        instance_number: Number of the next instance, for error messages. The caller updates it.
    """

    def __init__(self, text: str, width: int, max_names: int) -> None:
        self.max_values = max(2 * width, max_names)
        self.instance_number = 0
        self.width = width
        self._text = text
        self._position = 0  # Start of the next line.
        self._is_row_open = False  # Whether that line continues a quoted value.

    def __iter__(self) -> Iterator[list[str]]:
        for row in csv.reader(self._read_lines(), strict=True):
            self._is_row_open = False
            if row:
                yield row
            elif self.width == 1:
                yield [""]  # In a table of one column, an empty line is an empty value.
            else:
                match = LINE_ENDS_PATTERN.match(self._text, self._position)
                self._position = match.end()  # type: ignore[union-attr]

    def refuse_value_count(self, got: int | Literal["more"]) -> NoReturn:
        """Refuse a row whose number of values is not the number of columns.

        Args:
            got: Number of values in the row; "more" if they were not all counted.

        Raises:
            InvalidInstancesError: If called; the method never returns.
        """
        refuse_instances(
            f"expected {pluralize(self.width, 'value')} in instance {self.instance_number}, one "
            f"per column, with commas between them; got {got}",
            instance=self.instance_number,
            expected=self.width,
            got=got,
        )

    def _read_lines(self) -> Iterator[str]:
        text, max_values, last_yield, values_in_row = self._text, self.max_values, 0, 0
        has_quotes = '"' in text
        while (at := self._position) < len(text):
            end = text.find("\n", at) + 1 or len(text)
            if self._is_row_open:
                values_in_row += self._count_values(at, end)
                if values_in_row > max_values:
                    self.refuse_value_count("more")
            else:
                values_in_row = 0
                # Commas inside quotes do not separate values. Telling them apart is slow, so it is
                # only done for a line that may have too many values.
                if (commas := text.count(",", at, end)) >= max_values and (
                    not has_quotes or self._count_values(at, end) > max_values
                ):
                    self.refuse_value_count("more" if has_quotes else commas + 1)
            self._position, self._is_row_open = end, True
            if end - last_yield > CHARACTERS_BEFORE_YIELD:
                yield_to_loop()
                last_yield = end
            yield text[at:end]

    def _count_values(self, at: int, end: int) -> int:
        """Return the number of values in a line, counting at most `max_values + 1` of them."""
        text, count = self._text, 0
        if self._is_row_open:
            at = QUOTED_REST_PATTERN.match(text, at, end).end()  # type: ignore[union-attr]
        while at < end and count <= self.max_values:
            at = VALUE_PATTERN.match(text, at, end).end()  # type: ignore[union-attr]
            count += 1
        return count
