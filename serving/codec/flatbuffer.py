"""A reader of FlatBuffers, the encoding of Arrow's metadata, that is safe on untrusted bytes.

A table starts with the distance back to its vtable, which lists the offset of each field. Tables,
vectors and strings are referenced by a forward distance. Every offset is checked against the buffer
before it is followed: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


class FlatbufferError(Exception):
    """The bytes are not a valid flatbuffer; the message says what is wrong."""


class FlatbufferTable:
    """One table of a flatbuffer, whose fields are read on demand.

    Args:
        content: The whole buffer.
        position: Offset of the table in the buffer, in bytes.

    Raises:
        FlatbufferError: If the table or its vtable lies outside the buffer.
    """

    def __init__(self, content: bytes, position: int) -> None:
        self.content, self.position = content, position
        self._vtable = position - _unpack_number("<i", content, position)
        self._vtable_bytes = _unpack_number("<H", content, self._vtable)

    @classmethod
    def read_root(cls, content: bytes) -> FlatbufferTable:
        """Return the root table of a buffer.

        Args:
            content: The whole buffer.

        Raises:
            FlatbufferError: If the root lies outside the buffer.
        """
        return cls(content, _unpack_number("<I", content, 0))

    def read_number(self, field: int, struct_format: str, default: int = 0) -> int:
        """Return the number in a field.

        Args:
            field: Index of the field in the table.
            struct_format: Type of the number in the notation of the `struct` module, e.g. "<q".
            default: Value of an absent field, 0 by default.

        Raises:
            FlatbufferError: If the field lies outside the buffer.
        """
        at = self._locate_field(field)
        return default if at is None else _unpack_number(struct_format, self.content, at)

    def read_table(self, field: int) -> FlatbufferTable | None:
        """Return the table that a field references, or None if the field is absent.

        Args:
            field: Index of the field in the table.

        Raises:
            FlatbufferError: If the referenced table lies outside the buffer.
        """
        at = self._follow_reference(field)
        return None if at is None else FlatbufferTable(self.content, at)

    def read_text(self, field: int) -> str:
        """Return the string that a field references, or "" if the field is absent.

        Args:
            field: Index of the field in the table.

        Raises:
            FlatbufferError: If the string lies outside the buffer or is not UTF-8.
        """
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
        """Yield the tables of a vector; none if the field is absent.

        Args:
            field: Index of the field in the table.

        Raises:
            FlatbufferError: If the vector or one of the tables lies outside the buffer.
        """
        first, count = self._locate_vector(field, 4)
        for at in range(first, first + 4 * count, 4):
            yield FlatbufferTable(self.content, at + _unpack_number("<I", self.content, at))

    def read_structs(self, field: int, struct_format: str) -> StructVector:
        """Return the structs of a vector; an empty one if the field is absent.

        Args:
            field: Index of the field in the table.
            struct_format: Layout of one struct in the notation of the `struct` module, e.g. "<qq".

        Raises:
            FlatbufferError: If the vector lies outside the buffer.
        """
        struct_bytes = struct.calcsize(struct_format)
        at, count = self._locate_vector(field, struct_bytes)
        return StructVector(self.content, at, count, struct_format, struct_bytes)

    def _locate_field(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._vtable_bytes:
            return None
        distance = _unpack_number("<H", self.content, self._vtable + entry)
        return self.position + distance if distance else None

    def _follow_reference(self, field: int) -> int | None:
        at = self._locate_field(field)
        return None if at is None else at + _unpack_number("<I", self.content, at)

    def _locate_vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Return the offset of a vector's first item and the number of its items."""
        at = self._follow_reference(field)
        if at is None:
            return 0, 0
        count = _unpack_number("<I", self.content, at)
        if at + 4 + item_bytes * count > len(self.content):
            raise FlatbufferError("a vector that is too long")
        return at + 4, count


class StructVector:
    """A vector of structs that are unpacked on access, since it may be as long as the body.

    Args:
        content: The whole buffer.
        position: Offset of the first struct, in bytes.
        count: Number of structs, all of them inside the buffer.
        struct_format: Layout of one struct in the notation of the `struct` module.
        struct_bytes: Size of one struct, in bytes.
    """

    def __init__(
        self, content: bytes, position: int, count: int, struct_format: str, struct_bytes: int
    ) -> None:
        self.content, self.position, self.count = content, position, count
        self.struct_format, self.struct_bytes = struct_format, struct_bytes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[int, ...]:
        return struct.unpack_from(
            self.struct_format, self.content, self.position + index * self.struct_bytes
        )


def _unpack_number(struct_format: str, content: bytes, at: int) -> int:
    if at < 0:  # `struct` would count a negative offset from the end of the buffer.
        raise FlatbufferError("an offset before the start of its buffer")
    try:
        number: int = struct.unpack_from(struct_format, content, at)[0]
    except struct.error:
        raise FlatbufferError("an offset beyond the end of its buffer") from None
    return number
