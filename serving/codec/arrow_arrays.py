"""Arrow arrays: the values of one column of one batch, each read only when it is asked for.

A buffer may be named by any number of columns, and a byte of it by any number of values. So nothing
is unpacked when a batch comes: numbers stay views of the body, and texts are spelled one by one,
out of a budget of bytes that the whole stream has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize, ticks_to_seconds
from serving.codec.arrow_schema import Layout, SkippedArrays, refuse_stream
from serving.codec.column_validators import ColumnValidator, WrongValueError
from serving.codec.flatbuffer import FlatbufferTable, StructVector
from serving.codec.quoting import MAX_QUOTED_CHARACTERS
from serving.codec.validation import VALUES_PER_BLOCK, refuse_instances
from serving.event_loop import yield_to_loop

TEXT_BYTES_PER_BODY_BYTE = 4  # of all texts of a stream, for each byte of its body
MIN_TEXT_BUDGET_BYTES = 2**20
MAX_INLINE_TEXT_BYTES = 12  # bytes of a text that a view holds in itself
VIEW_STRUCT = struct.Struct("<i4sii")  # length, and of a longer text: first bytes, buffer, offset

ValidityMask = NDArray[np.bool_] | None


class TextBudget:
    """Bytes that the texts of a stream may still have, those that are named twice counted twice.

    Args:
        length: Length of the body, in bytes.
    """

    def __init__(self, length: int) -> None:
        self.total_bytes = self.remaining_bytes = max(
            TEXT_BYTES_PER_BODY_BYTE * length, MIN_TEXT_BUDGET_BYTES
        )

    def spend(self, count: int) -> None:
        """Take `count` bytes out of the budget.

        Raises:
            InvalidInstancesError: If there are fewer left.
        """
        self.remaining_bytes -= count
        if self.remaining_bytes < 0:
            refuse_instances(
                f"expected at most {self.total_bytes} bytes of texts in a stream of this length; got "
                f"more, since many values refer to the same bytes; send fewer rows at a time"
            )


class RecordBatch:
    """The buffers of one batch of rows, or of one dictionary, taken in their order.

    Args:
        table: The batch's table.
        body: What its buffers lie in.
        budget: Of the stream.
    """

    def __init__(self, table: FlatbufferTable, body: memoryview, budget: TextBudget) -> None:
        if table.read_table(3) is not None:
            refuse_stream("compressed columns; write the stream without compression")
        self.rows = table.read_number(0, "<q")
        if self.rows < 0:
            refuse_stream(f"a batch of {self.rows} rows")
        self.text_budget = budget
        self._body = body
        self._nodes = table.read_structs(1, "<qq")
        self._buffers = table.read_structs(2, "<qq")
        self._variadic_counts: StructVector = table.read_structs(4, "<q")
        self._next_node = self._next_buffer = self._next_view = 0

    def read_array(self, layout: Layout) -> ArrowArray:
        """Take the next column's buffers.

        Raises:
            MalformedBodyError: If there are none, or they are too short for its values.
        """
        rows, nulls = (
            self._nodes[self._next_node] if self._next_node < len(self._nodes) else (-1, 0)
        )
        self._next_node += 1
        if rows != self.rows:
            refuse_stream(f"a column of {pluralize(rows, 'value')} in a batch of {self.rows}")
        if layout.kind == "null":
            return ArrowArray(layout, rows, None, None, self)
        validity = self._read_buffer()
        bits = _view_numbers(validity, "u1", (rows + 7) // 8) if nulls else None
        items = self._read_buffer()
        match layout.kind:
            case "boolean":
                return ArrowArray(
                    layout, rows, bits, _view_numbers(items, "u1", (rows + 7) // 8), self
                )
            case "text":
                starts = _view_numbers(items, layout.dtype, rows + 1 if rows else 0)
                return ArrowArray(layout, rows, bits, starts, self, content=self._read_buffer())
            case "view":
                views, buffers = _view_numbers(items, "V16", rows), self._read_variadic_buffers()
                return ArrowArray(layout, rows, bits, views, self, buffers=buffers)
            case _:
                return ArrowArray(
                    layout, rows, bits, _view_numbers(items, layout.dtype, rows), self
                )

    def skip_arrays(self, skipped: SkippedArrays) -> None:
        """Step over the arrays of columns that are left out."""
        self._next_node += skipped.nodes
        self._next_buffer += skipped.buffers
        for _ in range(skipped.view_arrays):
            self._read_variadic_buffers()

    def get_buffer(self, place: int) -> memoryview:
        """Return one buffer by its place in the batch."""
        start, length = self._buffers[place] if place < len(self._buffers) else (-1, 0)
        if start < 0 or length < 0 or start + length > len(self._body):
            refuse_stream("a buffer outside its message")
        return self._body[start : start + length]

    def _read_buffer(self) -> memoryview:
        found = self.get_buffer(self._next_buffer)
        self._next_buffer += 1
        return found

    def _read_variadic_buffers(self) -> range:
        (count,) = (
            self._variadic_counts[self._next_view]
            if self._next_view < len(self._variadic_counts)
            else (-1,)
        )
        self._next_view += 1
        if not 0 <= count <= len(self._buffers) - self._next_buffer:
            refuse_stream(f"views into {count} buffers")
        first = self._next_buffer
        self._next_buffer += count
        return range(first, self._next_buffer)


class ArrowArray:
    """The values of one column of one batch.

    Args:
        layout: Layout of the values.
        rows: Number of values.
        validity_bits: Which are valid, packed, uint8 `(ceil(rows / 8),)`; None if all are, or none is null.
        stored_values: Numbers, packed booleans, offsets or views; None of the "null" layout.
        batch: The batch that it is of.
        content: What the offsets of texts point into.
        buffers: Places of the buffers that views point into.
    """

    def __init__(
        self,
        layout: Layout,
        rows: int,
        validity_bits: NDArray[np.uint8] | None,
        stored_values: NDArray[Any] | None,
        batch: RecordBatch,
        content: memoryview | None = None,
        buffers: range = range(0),
    ) -> None:
        self.layout, self.rows = layout, rows
        self._bits, self._batch = validity_bits, batch
        self._items: NDArray[Any] = np.empty(0) if stored_values is None else stored_values
        self._content, self._buffers = content or memoryview(b""), buffers

    def read_validity(self, start: int, stop: int) -> ValidityMask:
        """Return where there are values, bool `(stop - start,)`, None for everywhere.

        Args:
            start: First row, a multiple of 8.
            stop: Row behind the last.
        """
        if self.layout.kind == "null":
            return np.zeros(stop - start, np.bool_)
        return None if self._bits is None else _unpack_bits(self._bits, start, stop)

    def read_numbers(self, start: int, stop: int) -> NDArray[Any]:
        """Return numbers, booleans, seconds of times, or NaN where the layout is "null".

        Args:
            start: First row, a multiple of 8.
            stop: Row behind the last.
        """
        match self.layout.kind:
            case "null":
                return np.full(stop - start, np.nan)
            case "boolean":
                return _unpack_bits(self._items, start, stop)
            case "time":
                return self._convert_to_seconds(self._items[start:stop])
            case _:
                return self._items[start:stop]

    def read_texts(self, start: int, stop: int) -> list[str | None]:
        """Return the texts of the "text" layout, None for a null.

        Args:
            start: First row, a multiple of 8.
            stop: Row behind the last.
        """
        starts = self._items[start : stop + 1]
        if stop > start:
            if starts[0] < 0 or starts[-1] > len(self._content) or (np.diff(starts) < 0).any():
                refuse_stream("texts outside their buffer")
            self._batch.text_budget.spend(int(starts[-1] - starts[0]))
        texts: list[str | None] = []
        for block in range(0, stop - start, VALUES_PER_BLOCK):
            if block:
                yield_to_loop()
            edges = pairwise(starts[block : block + VALUES_PER_BLOCK + 1].tolist())
            texts += [_decode_utf8(self._content[left:right]) for left, right in edges]
        self._replace_nulls_by_none(texts, start, stop)
        return texts

    def read_views(self, start: int, stop: int) -> list[bytes | None]:
        """Return the views of texts, equal ones for equal texts most often; None for a null.

        Args:
            start: First row, a multiple of 8.
            stop: Row behind the last.
        """
        views: list[bytes | None] = self._items[start:stop].tolist()
        self._replace_nulls_by_none(views, start, stop)
        return views

    def resolve_view(self, view: bytes) -> str:
        """Return the text that one of `views` points at."""
        length, _, buffer, offset = VIEW_STRUCT.unpack(view)
        if 0 <= length <= MAX_INLINE_TEXT_BYTES:
            return _decode_utf8(view[4 : 4 + length])
        if length < 0 or offset < 0 or not 0 <= buffer < len(self._buffers):
            refuse_stream("a view outside its buffers")
        content = self._batch.get_buffer(self._buffers[buffer])
        if offset + length > len(content):
            refuse_stream("a view outside its buffers")
        self._batch.text_budget.spend(length)
        return _decode_utf8(content[offset : offset + length])

    def read_value(self, place: int) -> Any:
        """Return the value at a place of a dictionary, as JSON would have it; None for a null."""
        first = place // 8 * 8
        valid = self.read_validity(first, place + 1)
        if valid is not None and not valid[-1]:
            return None
        match self.layout.kind:
            case "view":
                return self.resolve_view(self._items[place : place + 1].tolist()[0])
            case "text":
                return self._read_text_at(place)
            case _:
                found = self.read_numbers(first, place + 1)[-1].item()
                return None if found != found else found  # noqa: PLR0124

    def _convert_to_seconds(self, ticks: NDArray[Any]) -> NDArray[np.float64]:
        return ticks_to_seconds(
            ticks.astype(np.int64) * self.layout.seconds_per_tick, self.layout.ticks_per_second
        )

    def _read_text_at(self, place: int) -> str:
        start, end = self._items[place : place + 2].tolist()
        if not 0 <= start <= end <= len(self._content):
            refuse_stream("texts outside their buffer")
        self._batch.text_budget.spend(end - start)
        return _decode_utf8(self._content[start:end])

    def _replace_nulls_by_none(self, found: list[Any], start: int, stop: int) -> None:
        valid = self.read_validity(start, stop)
        if valid is not None:
            for place in np.flatnonzero(~valid).tolist():
                found[place] = None


class ValidatedValueCache(dict[Any, Any]):
    """Values of a column by key, each decoded and checked when it is asked for the first time.

    Args:
        field: The column's rule.
        decode_key: Gives the value of a key; None stands for a null without it.
    """

    def __init__(self, field: ColumnValidator, decode_key: Callable[[Any], Any]) -> None:
        super().__init__()
        self.field, self.decode = field, decode_key

    def __missing__(self, key: Any) -> Any:
        found = self.field.validate(None if key is None else self.decode(key))
        self[key] = found
        return found

    def look_up(self, keys: Sequence[Any], first: int) -> list[Any]:
        """Return the checked value of each key.

        Args:
            keys: Keys of consecutive rows.
            first: Number of the first of those rows, for errors.

        Raises:
            InvalidInstancesError: If a value is not what the column takes.
        """
        found: list[Any] = []
        for start in range(0, len(keys), VALUES_PER_BLOCK):
            if start:
                yield_to_loop()
            part = keys[start : start + VALUES_PER_BLOCK]
            try:
                found += map(self.__getitem__, part)
            except WrongValueError as error:
                at = first + start + next(at for at, key in enumerate(part) if key not in self)
                refuse_instances(
                    f"expected {error.expected} in instance {at}, field {self.field.name!r}; got "
                    f"{error.got}",
                    instance=at,
                    field=self.field.name,
                )
        return found


def _decode_utf8(content: bytes | memoryview) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        refuse_instances(
            f"expected texts in UTF-8; got the bytes {bytes(content[:MAX_QUOTED_CHARACTERS])!r}"
        )


def _view_numbers(buffer: memoryview, dtype: str, count: int) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    if len(buffer) < count * size:
        refuse_stream(f"{pluralize(len(buffer), 'byte')} of {pluralize(count, 'value')}")
    return np.frombuffer(buffer, dtype, count)


def _unpack_bits(bits: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.bool_]:
    part = bits[start // 8 : (stop + 7) // 8]
    return np.unpackbits(part, count=stop - start, bitorder="little").view(np.bool_)
