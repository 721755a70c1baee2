"""Damaged Arrow streams: every kind of damage is refused by a message that names it."""

import struct

import pytest

from serving.bundle import CategoryColumn, NumberColumn
from serving.codec.arrow_stream import decode_arrow
from serving.codec.input_schema import InputSchema
from serving.errors import InvalidInstancesError, MalformedBodyError
from tests.serving.codec.arrow_messages import (
    DICTIONARY,
    INT,
    NULL,
    RECORDS,
    SCHEMA,
    UTF8,
    Ref,
    batch,
    dictionary,
    field,
    message,
    records,
    schema,
    structs,
    table,
    tables,
    text,
)

FIELDS = InputSchema(
    [
        NumberColumn(name="n", type="number", missing="impute", minimum=0, maximum=1),
        CategoryColumn(
            name="t", type="category", missing="impute", unseen="unknown", categories=["a"]
        ),
    ]
)
INT8 = {0: ("<i", 8), 1: ("<B", 1)}
NUMBER, TEXT, ENCODED = field("n", INT, INT8), field("t", UTF8), field("t", UTF8, None, 0)
NUMBERS = records(2, [(2, 0)], [(0, 0), (0, 2)], b"\1\2" + bytes(6))
EMPTY_BATCH = batch(0, [(0, 0)], [(0, 0)] * 3)
END = b"\xff\xff\xff\xff" + bytes(4)


def pack_offsets(*offsets):
    return struct.pack(f"<{len(offsets)}i", *offsets)


def text_batch(*offsets, content=b"ab"):
    """Return a record batch of texts with these offsets."""
    rows, packed = len(offsets) - 1, pack_offsets(*offsets)
    buffers = [(0, 0), (0, len(packed)), (len(packed), len(content))]
    return records(rows, [(rows, 0)], buffers, packed + content)


def text_dictionary(*offsets, content=b"ab"):
    """Return a dictionary of texts with these offsets."""
    rows, packed = len(offsets) - 1, pack_offsets(*offsets)
    buffers = [(0, 0), (0, len(packed)), (len(packed), len(content))]
    return dictionary(0, rows, [(rows, 0)], buffers, packed + content)


def index_batch(*indices):
    """Return a record batch of these indices into a dictionary."""
    return records(
        len(indices),
        [(len(indices), 0)],
        [(0, 0), (0, len(indices))],
        struct.pack(f"<{len(indices)}b", *indices) + bytes(8),
    )


def raw_message(*numbers):
    """Return a message whose metadata is these 32-bit numbers."""
    header = struct.pack(f"<{len(numbers)}i", *numbers)
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(header)) + header


def raw_reference(struct_format, *numbers):
    """Return a referenced part of a table that consists of these numbers."""

    def write(out):
        at = len(out)
        out.extend(struct.pack(struct_format, *numbers))
        return at

    return Ref(write)


def declare_body_size(size):
    """Return the record batch `NUMBERS` with this declared size of its body."""
    declared = bytearray(NUMBERS)
    at = declared.rindex(struct.pack("<q", 8), 0, len(declared) - 8)
    declared[at : at + 8] = struct.pack("<q", size)
    return bytes(declared)


VALID = [
    schema(NUMBER) + NUMBERS,
    schema(NUMBER) + NUMBERS + END,
    schema(NUMBER),
    schema(TEXT) + text_batch(0, 1, 2),
    schema(ENCODED) + text_dictionary(0, 1, 2) + index_batch(1, 0),
]
DAMAGED = {
    "nothing": (b"", "no schema"),
    "only an end": (END, "no schema"),
    "records before the schema": (NUMBERS + schema(NUMBER), "an unexpected message"),
    "a dictionary before the schema": (
        text_dictionary(0, 1) + schema(ENCODED),
        "an unexpected message",
    ),
    "two schemas": (schema(NUMBER) * 2, "an unexpected message"),
    "a message of another kind": (schema(NUMBER) + message(4, table({})), "an unexpected message"),
    "a message without a header": (
        schema(NUMBER) + raw_message(12, 0, (0 << 16) | 4, 4, 0, 0),
        "a truncated message",
    ),
    "a body longer than the stream": (schema(NUMBER) + declare_body_size(9), "a truncated message"),
    "a body of negative size": (schema(NUMBER) + declare_body_size(-8), "a truncated message"),
    "bytes after the end": (schema(NUMBER) + END + b"\0", "more bytes after the end of the stream"),
    "a body of fewer bytes than there are": (
        schema(NUMBER) + NUMBERS + b"\1",
        "an offset beyond the end of its buffer",
    ),
    "one dictionary of two types": (
        schema(field("n", INT, INT8, 0), ENCODED),
        "a dictionary of two types",
    ),
    "a dictionary of no column": (
        schema(TEXT) + text_dictionary(0, 1),
        "a dictionary of no column",
    ),
    "a dictionary without values": (
        schema(ENCODED) + message(DICTIONARY, table({0: ("<q", 0)})),
        "a dictionary of no column",
    ),
    "a part of a dictionary": (
        schema(ENCODED) + message(DICTIONARY, table({0: ("<q", 0), 1: EMPTY_BATCH, 2: ("<B", 1)})),
        "a part of a dictionary",
    ),
    "an index after the end of its dictionary": (
        schema(ENCODED) + text_dictionary(0, 1, 2) + index_batch(0, 2),
        "values outside their dictionary",
    ),
    "an index before the start of its dictionary": (
        schema(ENCODED) + text_dictionary(0, 1, 2) + index_batch(-1),
        "values outside their dictionary",
    ),
    "indices without a dictionary": (
        schema(ENCODED) + index_batch(0),
        "values outside their dictionary",
    ),
    "compressed columns": (
        schema(NUMBER) + message(RECORDS, table({0: ("<q", 0), 3: table({})})),
        "compressed columns",
    ),
    "a negative number of rows": (
        schema(NUMBER) + records(-1, [(-1, 0)], []),
        "a batch of -1 rows",
    ),
    "a column of fewer rows": (
        schema(NUMBER) + records(2, [(1, 0)], [(0, 0), (0, 2)], bytes(8)),
        "a column of 1 value in a batch of 2",
    ),
    "a missing column": (
        schema(NUMBER, TEXT) + NUMBERS,
        "a column of -1 values in a batch of 2",
    ),
    "a missing buffer": (
        schema(NUMBER) + records(2, [(2, 0)], [(0, 0)], bytes(8)),
        "a buffer outside its message",
    ),
    **{
        f"a buffer from {start} of {length}": (
            schema(NUMBER) + records(2, [(2, 0)], [(0, 0), (start, length)], bytes(8)),
            "a buffer outside its message",
        )
        for start, length in ((-1, 2), (7, 2), (0, 9), (0, -1), (2**62, 2**62))
    },
    "fewer numbers than rows": (
        schema(NUMBER) + records(9, [(9, 0)], [(0, 0), (0, 8)], bytes(8)),
        "a buffer of 8 bytes for 9 values",
    ),
    "fewer bits than rows": (
        schema(NUMBER) + records(9, [(9, 1)], [(0, 1), (0, 9)], bytes(16)),
        "a buffer of 1 byte for 2 values",
    ),
    "texts before the start of their buffer": (
        schema(TEXT) + text_batch(-1, 1),
        "texts outside their buffer",
    ),
    "texts after the end of their buffer": (
        schema(TEXT) + text_batch(0, 3),
        "texts outside their buffer",
    ),
    "texts with decreasing offsets": (
        schema(TEXT) + text_batch(0, 2, 1, 2),
        "texts outside their buffer",
    ),
    "a dictionary text before the start of its buffer": (
        schema(ENCODED) + text_dictionary(-1, 1) + index_batch(0),
        "texts outside their buffer",
    ),
    "a dictionary text after the end of its buffer": (
        schema(ENCODED) + text_dictionary(0, 3) + index_batch(0),
        "texts outside their buffer",
    ),
    "a dictionary text with decreasing offsets": (
        schema(ENCODED) + text_dictionary(0, 2, 1) + index_batch(1),
        "texts outside their buffer",
    ),
    "big-endian numbers": (
        message(SCHEMA, table({0: ("<h", 1), 1: tables([NUMBER])})),
        "big-endian numbers",
    ),
    "a column without a type": (
        schema(table({0: text(b"n"), 2: ("<B", INT)})),
        "a column without a type",
    ),
    "integers of 24 bits": (schema(field("n", INT, {0: ("<i", 24)})), "integers of 24 bits"),
    "a name longer than its message": (
        schema(table({0: raw_reference("<I", 2**30), 2: ("<B", NULL), 3: table({})})),
        "a text that is too long",
    ),
    "a name that is not UTF-8": (
        schema(table({0: text(b"\xff"), 2: ("<B", NULL), 3: table({})})),
        "a text that is not UTF-8",
    ),
    "more columns than bytes": (
        message(SCHEMA, table({1: raw_reference("<I", 2**20)})),
        "a vector that is too long",
    ),
    "more buffers than bytes": (
        schema(NUMBER)
        + message(
            RECORDS, table({0: ("<q", 0), 1: structs("<qq", []), 2: raw_reference("<I", 2**20)})
        ),
        "a vector that is too long",
    ),
    "a root after the end": (raw_message(1000, 0), "an offset beyond the end of its buffer"),
    "a root at the edge": (raw_message(6, 0), "an offset beyond the end of its buffer"),
    "a vtable before the start": (raw_message(4, 100), "an offset before the start of its buffer"),
    "a vtable after the end": (raw_message(4, -100), "an offset beyond the end of its buffer"),
}


@pytest.mark.parametrize("body", VALID)
def test_decode_arrow_valid_stream_is_read(body):
    assert decode_arrow(body, FIELDS)["n"].shape[1] == 1


@pytest.mark.parametrize("damage", DAMAGED)
def test_decode_arrow_damaged_stream_error_names_the_damage(damage):
    body, got = DAMAGED[damage]
    with pytest.raises(MalformedBodyError) as raised:
        decode_arrow(body, FIELDS)
    assert raised.value.message.startswith("expected an Arrow stream; got ")
    assert got in raised.value.message


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([field("m", INT, INT8)], 'no other columns than the model\'s; got "m"'),
        ([NUMBER, NUMBER], 'every column once; got "n" twice'),
        ([], "the model's columns; got a stream of none"),
        ([field("n", 13)], 'in column "n"; got values of another type'),
        ([field("n", 3, {0: ("<h", 9)})], 'in column "n"; got values of another type'),
        ([field("n", 8, {0: ("<h", 9)})], 'in column "n"; got values of another type'),
        ([field("n", 10, {0: ("<h", 9)})], 'in column "n"; got values of another type'),
        ([field("n", 8, {0: ("<h", 0)})], "in field 'n'; got a column of times"),
    ],
)
def test_decode_arrow_columns_that_the_model_lacks_are_refused(columns, expected):
    with pytest.raises(InvalidInstancesError) as raised:
        decode_arrow(schema(*columns), FIELDS)
    assert expected in raised.value.message
