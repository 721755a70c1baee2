"""Arrow streams written field by field, for those that no library would write.

https://arrow.apache.org/docs/format/Columnar.html; https://flatbuffers.dev/internals.
"""

import struct

INT, FLOAT, BINARY, UTF8, BOOL, DATE, TIMESTAMP, LARGE_UTF8, VIEW = 2, 3, 4, 5, 6, 8, 10, 20, 24
NULL = 1
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3


class Ref:
    """A table, text or vector that a table refers to."""

    def __init__(self, write):
        self.write = write


def table(fields):
    """A table of `{place: (struct format, number) or Ref}`."""

    def write(out):
        out += bytes(-len(out) % 8)
        places = max(fields, default=-1) + 1
        vtable = len(out)
        size = 4 + 8 * len(fields)
        slots = {place: 4 + 8 * number for number, place in enumerate(fields)}
        out += struct.pack(
            f"<HH{places}H", 4 + 2 * places, size, *(slots.get(place, 0) for place in range(places))
        )
        at = len(out)
        out += struct.pack("<i", at - vtable) + bytes(size - 4)
        for place, value in fields.items():
            slot = at + slots[place]
            if isinstance(value, Ref):
                target = value.write(out)
                struct.pack_into("<I", out, slot, target - slot)
            else:
                struct.pack_into(value[0], out, slot, value[1])
        return at

    return Ref(write)


def text(content):
    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", len(content)) + content + b"\0")
        return at

    return Ref(write)


def structs(form, items):
    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", len(items)))
        for item in items:
            out.extend(struct.pack(form, *item))
        return at

    return Ref(write)


def tables(items):
    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", len(items)) + bytes(4 * len(items)))
        for number, item in enumerate(items):
            slot = at + 4 + 4 * number
            struct.pack_into("<I", out, slot, item.write(out) - slot)
        return at

    return Ref(write)


def message(kind, header, body=b""):
    out = bytearray(4)
    at = table({0: ("<h", 4), 1: ("<B", kind), 2: header, 3: ("<q", len(body))}).write(out)
    struct.pack_into("<I", out, 0, at)
    out += bytes(-len(out) % 8)
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(out)) + bytes(out) + body


def field(name, kind, type_fields=None, dictionary=None):
    """A column; `dictionary` is the number of its dictionary, with indices of 8 bits."""
    fields = {0: text(name.encode()), 2: ("<B", kind), 3: table(type_fields or {})}
    if dictionary is not None:
        index = table({0: ("<i", 8), 1: ("<B", 1)})
        fields[4] = table({0: ("<q", dictionary), 1: index})
    return table(fields)


def schema(*fields):
    return message(SCHEMA, table({1: tables(fields)}))


def batch(rows, nodes, buffers, variadic=None):
    fields = {0: ("<q", rows), 1: structs("<qq", nodes), 2: structs("<qq", buffers)}
    if variadic is not None:
        fields[4] = structs("<q", [(count,) for count in variadic])
    return table(fields)


def records(rows, nodes, buffers, body=b"", variadic=None):
    return message(RECORDS, batch(rows, nodes, buffers, variadic), body)


def dictionary(number, rows, nodes, buffers, body=b"", variadic=None):
    data = batch(rows, nodes, buffers, variadic)
    return message(DICTIONARY, table({0: ("<q", number), 1: data}), body)
