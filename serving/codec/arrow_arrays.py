"""Arrow arrays: the values of one column in one batch, decoded only when they are requested.

Many columns may share one buffer, and many values may refer to the same bytes of it, so a small
body can describe very large texts. Therefore nothing is copied when a batch arrives: numbers stay
views of the body, and texts are decoded one by one, within a budget of bytes for the whole stream.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize, ticks_to_seconds
from serving.bundle.quoting import MAX_QUOTED_CHARACTERS
from serving.codec.arrow_schema import Layout, SkippedArrays, refuse_stream
from serving.codec.flatbuffer import FlatbufferTable, StructVector
from serving.codec.validation import VALUES_PER_BLOCK, refuse_instances
from serving.event_loop import yield_to_loop

TEXT_BYTES_PER_BODY_BYTE = 4  # Bytes of decoded text that a stream may have per byte of its body.
MIN_TEXT_BUDGET_BYTES = 2**20
MAX_INLINE_TEXT_BYTES = 12  # A view stores a text up to this length itself.
VIEW_STRUCT = struct.Struct("<i4sii")  # Of a longer text: length, prefix, buffer, offset.

ValidityMask = NDArray[np.bool_] | None


class TextBudget:
    """The bytes of text that may still be decoded from a stream.

    Bytes that several values share are counted once per value.

    Args:
        body_bytes: Length of the stream, in bytes.
    """

    def __init__(self, body_bytes: int) -> None:
        self.total_bytes = self.remaining_bytes = max(
            TEXT_BYTES_PER_BODY_BYTE * body_bytes, MIN_TEXT_BUDGET_BYTES
        )

    def spend(self, count: int) -> None:
        """Take bytes out of the budget.

        Args:
            count: Number of bytes of text that are about to be decoded.

        Raises:
            InvalidInstancesError: If fewer bytes are left.
        """
        self.remaining_bytes -= count
        if self.remaining_bytes < 0:
            refuse_instances(
                f"expected at most {self.total_bytes} bytes of texts in a stream of this length; "
                f"got more, since many values refer to the same bytes; send fewer rows at a time"
            )


class RecordBatch:
    """The buffers of one record batch or one dictionary, read in their order.

    Args:
        table: The flatbuffer table of the batch.
        body: The message's body, which contains the buffers.
        text_budget: The budget of the whole stream.

    Attributes:
        rows: Number of rows.

    Raises:
        MalformedBodyError: If the batch is compressed, or its number of rows is negative.
    """

    def __init__(self, table: FlatbufferTable, body: memoryview, text_budget: TextBudget) -> None:
        if table.read_table(3) is not None:
            refuse_stream("compressed columns; write the stream without compression")
        self.rows = table.read_number(0, "<q")
        if self.rows < 0:
            refuse_stream(f"a batch of {self.rows} rows")
        self.text_budget = text_budget
        self._body = body
        self._nodes = table.read_structs(1, "<qq")
        self._buffers = table.read_structs(2, "<qq")
        self._variadic_counts: StructVector = table.read_structs(4, "<q")
        self._next_node = self._next_buffer = self._next_view = 0

    def read_array(self, layout: Layout) -> ArrowArray:
        """Return the array of the next column.

        Args:
            layout: Layout of the array.

        Raises:
            MalformedBodyError: If buffers are missing, or too short for the batch's rows.
        """
        rows, nulls = (
            self._nodes[self._next_node] if self._next_node < len(self._nodes) else (-1, 0)
        )
        self._next_node += 1
        if rows != self.rows:
            refuse_stream(f"a column of {pluralize(rows, 'value')} in a batch of {self.rows}")
        if layout.kind == "null":
            return ArrowArray(layout, self, None, None)
        validity = self._read_buffer()
        bits = _view_numbers(validity, "u1", (rows + 7) // 8) if nulls else None
        items = self._read_buffer()
        match layout.kind:
            case "boolean":
                packed = _view_numbers(items, "u1", (rows + 7) // 8)
                return ArrowArray(layout, self, bits, packed)
            case "text":
                offsets = _view_numbers(items, layout.dtype, rows + 1 if rows else 0)
                return ArrowArray(layout, self, bits, offsets, content=self._read_buffer())
            case "view":
                views, buffers = _view_numbers(items, "V16", rows), self._read_variadic_buffers()
                return ArrowArray(layout, self, bits, views, buffers=buffers)
            case _:
                numbers = _view_numbers(items, layout.dtype, rows)
                return ArrowArray(layout, self, bits, numbers)

    def skip_arrays(self, skipped: SkippedArrays) -> None:
        """Skip the arrays of ignored columns.

        Args:
            skipped: Number of arrays and buffers to skip.

        Raises:
            MalformedBodyError: If the batch gives no valid number of buffers for an array of views.
        """
        self._next_node += skipped.nodes
        self._next_buffer += skipped.buffers
        for _ in range(skipped.view_arrays):
            self._read_variadic_buffers()

    def get_buffer(self, index: int) -> memoryview:
        """Return one buffer.

        Args:
            index: Index of the buffer in the batch.

        Raises:
            MalformedBodyError: If there is no such buffer, or it lies outside the message.
        """
        start, length = self._buffers[index] if index < len(self._buffers) else (-1, 0)
        if start < 0 or length < 0 or start + length > len(self._body):
            refuse_stream("a buffer outside its message")
        return self._body[start : start + length]

    def _read_buffer(self) -> memoryview:
        buffer = self.get_buffer(self._next_buffer)
        self._next_buffer += 1
        return buffer

    def _read_variadic_buffers(self) -> range:
        """Return the indices of the buffers that the next array of views points into."""
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
    """The values of one column in one batch.

    Args:
        layout: Layout of the values.
        batch: The batch that contains the array.
        validity_bits: Packed bits, uint8 `(ceil(rows / 8),)`, set where a value is not null; None
            if no value is null, and for the "null" layout.
        stored_values: Numbers, packed booleans, offsets or views; None for the "null" layout.
        content: The buffer that the offsets of a "text" layout point into.
        buffers: Indices of the buffers that the views of a "view" layout point into.

    Attributes:
        layout: Layout of the values.
        rows: Number of values, which is that of the batch's rows.
    """

    def __init__(
        self,
        layout: Layout,
        batch: RecordBatch,
        validity_bits: NDArray[np.uint8] | None,
        stored_values: NDArray[Any] | None,
        content: memoryview | None = None,
        buffers: range = range(0),
    ) -> None:
        self.layout, self.rows = layout, batch.rows
        self._validity_bits, self._batch = validity_bits, batch
        self._stored: NDArray[Any] = np.empty(0) if stored_values is None else stored_values
        self._content, self._buffers = content or memoryview(b""), buffers

    def read_validity(self, start: int, stop: int) -> ValidityMask:
        """Return which values are not null, bool `(stop - start,)`, or None if all are valid.

        Args:
            start: First row, a multiple of 8.
            stop: Row after the last one.
        """
        if self.layout.kind == "null":
            return np.zeros(stop - start, np.bool_)
        bits = self._validity_bits
        return None if bits is None else _unpack_bits(bits, start, stop)

    def read_numbers(self, start: int, stop: int) -> NDArray[Any]:
        """Return numbers or booleans `(stop - start,)`; times in seconds, NaN for "null".

        Args:
            start: First row, a multiple of 8.
            stop: Row after the last one.
        """
        match self.layout.kind:
            case "null":
                return np.full(stop - start, np.nan)
            case "boolean":
                return _unpack_bits(self._stored, start, stop)
            case "time":
                return self._convert_to_seconds(self._stored[start:stop])
            case _:
                return self._stored[start:stop]

    def read_texts(self, start: int, stop: int) -> list[str | None]:
        """Return the texts of a "text" layout, None for a null.

        Args:
            start: First row, a multiple of 8.
            stop: Row after the last one.

        Raises:
            MalformedBodyError: If an offset lies outside the buffer, or offsets decrease.
            InvalidInstancesError: If the text budget is exceeded, or a text is not UTF-8.
        """
        offsets = self._stored[start : stop + 1]
        if stop > start:
            if offsets[0] < 0 or offsets[-1] > len(self._content) or (np.diff(offsets) < 0).any():
                refuse_stream("texts outside their buffer")
            self._batch.text_budget.spend(int(offsets[-1] - offsets[0]))
        texts: list[str | None] = []
        for block in range(0, stop - start, VALUES_PER_BLOCK):
            if block:
                yield_to_loop()
            edges = pairwise(offsets[block : block + VALUES_PER_BLOCK + 1].tolist())
            texts += [_decode_utf8(self._content[left:right]) for left, right in edges]
        self._replace_nulls_by_none(texts, start, stop)
        return texts

    def read_views(self, start: int, stop: int) -> list[bytes | None]:
        """Return the stored views from row `start`, a multiple of 8, up to `stop`; None for a null.

        Equal texts mostly have equal views, so a view is a good key for a cache.
        """
        views: list[bytes | None] = self._stored[start:stop].tolist()
        self._replace_nulls_by_none(views, start, stop)
        return views

    def resolve_view(self, view: bytes) -> str:
        """Return the text that a view contains or points to.

        Args:
            view: One of the values of `read_views`, 16 bytes.

        Raises:
            MalformedBodyError: If the view points outside the buffers.
            InvalidInstancesError: If the text budget is exceeded, or the text is not UTF-8.
        """
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

    def read_value(self, index: int) -> Any:
        """Return one value as its JSON equivalent, None for a null.

        Args:
            index: Index of the value, as dictionary-encoded rows store it.

        Raises:
            MalformedBodyError: If a text lies outside its buffer.
            InvalidInstancesError: If the text budget is exceeded, or the text is not UTF-8.
        """
        first = index // 8 * 8
        valid = self.read_validity(first, index + 1)
        if valid is not None and not valid[-1]:
            return None
        match self.layout.kind:
            case "view":
                return self.resolve_view(self._stored[index : index + 1].tolist()[0])
            case "text":
                return self._read_text_at(index)
            case _:
                number = self.read_numbers(first, index + 1)[-1].item()
                return None if number != number else number  # noqa: PLR0124

    def _convert_to_seconds(self, ticks: NDArray[Any]) -> NDArray[np.float64]:
        return ticks_to_seconds(
            ticks.astype(np.int64) * self.layout.seconds_per_tick, self.layout.ticks_per_second
        )

    def _read_text_at(self, index: int) -> str:
        start, end = self._stored[index : index + 2].tolist()
        if not 0 <= start <= end <= len(self._content):
            refuse_stream("texts outside their buffer")
        self._batch.text_budget.spend(end - start)
        return _decode_utf8(self._content[start:end])

    def _replace_nulls_by_none(self, values: list[Any], start: int, stop: int) -> None:
        valid = self.read_validity(start, stop)
        if valid is not None:
            for index in np.flatnonzero(~valid).tolist():
                values[index] = None


def _decode_utf8(content: bytes | memoryview) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        refuse_instances(
            f"expected texts in UTF-8; got the bytes {bytes(content[:MAX_QUOTED_CHARACTERS])!r}"
        )


def _view_numbers(buffer: memoryview, dtype: str, count: int) -> NDArray[Any]:
    item_bytes = np.dtype(dtype).itemsize
    if len(buffer) < count * item_bytes:
        refuse_stream(
            f"a buffer of {pluralize(len(buffer), 'byte')} for {pluralize(count, 'value')}"
        )
    return np.frombuffer(buffer, dtype, count)


def _unpack_bits(bits: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.bool_]:
    part = bits[start // 8 : (stop + 7) // 8]
    return np.unpackbits(part, count=stop - start, bitorder="little").view(np.bool_)
