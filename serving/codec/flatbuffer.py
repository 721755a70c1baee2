"""Flatbuffers: tables of bytes that came from anyone, every step checked to stay inside.

https://flatbuffers.dev/internals: a table starts with the distance back to its vtable, which lists
where each of its fields is; tables, vectors and texts are referred to by their distance onward.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


class FlatbufferError(Exception):
    """The bytes are no flatbuffer of that form."""


class FlatbufferTable:
    """A table.

    Args:
        content: the whole buffer.
        position: where the table is.
    """

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.position = content, at
        self._vtable = at - _unpack_number("<i", content, at)
        self._length = _unpack_number("<H", content, self._vtable)

    @classmethod
    def read_root(cls, content: bytes) -> FlatbufferTable:
        """The table that a buffer is about."""
        return cls(content, _unpack_number("<I", content, 0))

    def read_number(self, field: int, form: str, default: int = 0) -> int:
        """A number.

        Args:
            field: its place among the table's fields.
            form: of its bytes, in `struct`'s words.
            default: where the table does not say.
        """
        at = self._locate_field(field)
        return default if at is None else _unpack_number(form, self.content, at)

    def read_table(self, field: int) -> FlatbufferTable | None:
        """A table that this one refers to."""
        at = self._follow_reference(field)
        return None if at is None else FlatbufferTable(self.content, at)

    def read_text(self, field: int) -> str:
        """A text, empty where the table does not say."""
        at = self._follow_reference(field)
        if at is None:
            return ""
        end = at + 4 + _unpack_number("<I", self.content, at)
        if end > len(self.content):
            raise FlatbufferError("a text that is too long")
        try:
            return self.content[at + 4 : end].decode()
        except UnicodeDecodeError:
            raise FlatbufferError("a text that is not UTF-8") from None

    def read_tables(self, field: int) -> Iterator[FlatbufferTable]:
        """The tables of a vector."""
        at, count = self._locate_vector(field, 4)
        for place in range(at, at + 4 * count, 4):
            yield FlatbufferTable(self.content, place + _unpack_number("<I", self.content, place))

    def read_structs(self, field: int, form: str) -> StructVector:
        """Return the structs of a vector, none where the table has no such vector.

        Args:
            field: Place of the vector among the table's fields.
            form: Layout of one struct in the `struct` module's notation, such as "<qq".
        """
        size = struct.calcsize(form)
        at, count = self._locate_vector(field, size)
        return StructVector(self.content, at, count, form, size)

    def _locate_field(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._length:
            return None
        distance = _unpack_number("<H", self.content, self._vtable + entry)
        return self.position + distance if distance else None

    def _follow_reference(self, field: int) -> int | None:
        at = self._locate_field(field)
        return None if at is None else at + _unpack_number("<I", self.content, at)

    def _locate_vector(self, field: int, size: int) -> tuple[int, int]:
        at = self._follow_reference(field)
        if at is None:
            return 0, 0
        count = _unpack_number("<I", self.content, at)
        if at + 4 + size * count > len(self.content):
            raise FlatbufferError("a vector that is too long")
        return at + 4, count


class StructVector:
    """A vector of structs, each read when it is asked for: a vector may be as long as a body.

    Args:
        content: The whole buffer.
        position: Position of the first struct, in bytes.
        count: Number of structs, all inside the buffer.
        struct_format: Layout of one struct in the `struct` module's notation.
        struct_bytes: Bytes of one struct.
    """

    def __init__(self, content: bytes, at: int, count: int, form: str, size: int) -> None:
        self.content, self.position, self.count, self.struct_format, self.struct_bytes = (
            content,
            at,
            count,
            form,
            size,
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> tuple[int, ...]:
        return struct.unpack_from(
            self.struct_format, self.content, self.position + place * self.struct_bytes
        )


def _unpack_number(form: str, content: bytes, at: int) -> int:
    if at < 0:  # which `struct` takes for a place from the end
        raise FlatbufferError("a place before the beginning")
    try:
        number: int = struct.unpack_from(form, content, at)[0]
    except struct.error:
        raise FlatbufferError("a place behind the end") from None
    return number
