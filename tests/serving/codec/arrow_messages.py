"""Arrow streams written field by field, for streams that no library would write.

Here a flatbuffer is built from `Ref` objects, each of which appends itself to a buffer and returns
its offset.

https://arrow.apache.org/docs/format/Columnar.html; https://flatbuffers.dev/internals.
"""

import struct

# Numbers of types and of kinds of messages.
NULL, INT, FLOAT, BINARY, UTF8, BOOL, DATE, TIMESTAMP = 1, 2, 3, 4, 5, 6, 8, 10
LARGE_UTF8, VIEW = 20, 24
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3


class Ref:
    """A table, text or vector that a table references.

    `write` appends it to a bytearray and returns its offset.
    """

    def __init__(self, write):
        self.write = write


def table(fields):
    """Return a table of `{field index: (struct format, number) or Ref}`."""

    def write(out):
        out += bytes(-len(out) % 8)
        field_count = max(fields, default=-1) + 1
        vtable = len(out)
        size = 4 + 8 * len(fields)
        offsets = {index: 4 + 8 * number for number, index in enumerate(fields)}
        out += struct.pack(
            f"<HH{field_count}H",
            4 + 2 * field_count,
            size,
            *(offsets.get(index, 0) for index in range(field_count)),
        )
        at = len(out)
        out += struct.pack("<i", at - vtable) + bytes(size - 4)
        for index, value in fields.items():
            slot = at + offsets[index]
            if isinstance(value, Ref):
                target = value.write(out)
                struct.pack_into("<I", out, slot, target - slot)
            else:
                struct.pack_into(value[0], out, slot, value[1])
        return at

    return Ref(write)


def text(content):
    """Return a string of these bytes."""

    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", len(content)) + content + b"\0")
        return at

    return Ref(write)


def structs(struct_format, items):
    """Return a vector of structs, each a tuple of numbers."""

    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", len(items)))
        for item in items:
            out.extend(struct.pack(struct_format, *item))
        return at

    return Ref(write)


def tables(items):
    """Return a vector of tables."""

    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", len(items)) + bytes(4 * len(items)))
        for number, item in enumerate(items):
            slot = at + 4 + 4 * number
            struct.pack_into("<I", out, slot, item.write(out) - slot)
        return at

    return Ref(write)


def message(kind, header, body=b""):
    """Return the bytes of a message with this header table and body."""
    out = bytearray(4)
    at = table({0: ("<h", 4), 1: ("<B", kind), 2: header, 3: ("<q", len(body))}).write(out)
    struct.pack_into("<I", out, 0, at)
    out += bytes(-len(out) % 8)
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(out)) + bytes(out) + body


def field(name, kind, type_fields=None, dictionary=None):
    """Return the declaration of a column.

    `dictionary` is the id of its dictionary, whose indices have 8 bits; None for a plain column.
    """
    fields = {0: text(name.encode()), 2: ("<B", kind), 3: table(type_fields or {})}
    if dictionary is not None:
        index = table({0: ("<i", 8), 1: ("<B", 1)})
        fields[4] = table({0: ("<q", dictionary), 1: index})
    return table(fields)


def schema(*fields):
    """Return a schema message."""
    return message(SCHEMA, table({1: tables(fields)}))


def batch(rows, nodes, buffers, variadic=None):
    """Return a record batch table.

    `nodes` are `(rows, nulls)`, `buffers` are `(offset, length)`, and `variadic` holds the numbers
    of variadic buffers, one number for each array of views.
    """
    fields = {0: ("<q", rows), 1: structs("<qq", nodes), 2: structs("<qq", buffers)}
    if variadic is not None:
        fields[4] = structs("<q", [(count,) for count in variadic])
    return table(fields)


def records(rows, nodes, buffers, body=b"", variadic=None):
    """Return a message with a record batch."""
    return message(RECORDS, batch(rows, nodes, buffers, variadic), body)


def dictionary(dictionary_id, rows, nodes, buffers, body=b"", variadic=None):
    """Return a message with the values of a dictionary."""
    data = batch(rows, nodes, buffers, variadic)
    return message(DICTIONARY, table({0: ("<q", dictionary_id), 1: data}), body)
