"""Damaged Arrow streams: each promised refusal is given, and says what is wrong."""

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
NUMBER, TEXT, CODED = field("n", INT, INT8), field("t", UTF8), field("t", UTF8, None, 0)
NUMBERS = records(2, [(2, 0)], [(0, 0), (0, 2)], b"\1\2" + bytes(6))
EMPTY_BATCH = batch(0, [(0, 0)], [(0, 0)] * 3)
END = b"\xff\xff\xff\xff" + bytes(4)


def starts(*offsets):
    return struct.pack(f"<{len(offsets)}i", *offsets)


def texts(*offsets, content=b"ab"):
    """A batch of texts with these offsets."""
    rows, packed = len(offsets) - 1, starts(*offsets)
    buffers = [(0, 0), (0, len(packed)), (len(packed), len(content))]
    return records(rows, [(rows, 0)], buffers, packed + content)


def words(*offsets, content=b"ab"):
    """A dictionary of texts with these offsets."""
    rows, packed = len(offsets) - 1, starts(*offsets)
    buffers = [(0, 0), (0, len(packed)), (len(packed), len(content))]
    return dictionary(0, rows, [(rows, 0)], buffers, packed + content)


def coded(*places):
    return records(
        len(places),
        [(len(places), 0)],
        [(0, 0), (0, len(places))],
        struct.pack(f"<{len(places)}b", *places) + bytes(8),
    )


def raw(*words_of_header):
    """A message whose header is these 32-bit numbers."""
    header = struct.pack(f"<{len(words_of_header)}i", *words_of_header)
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(header)) + header


def packed(form, *numbers):
    """A part of a table that is no table: just these numbers."""

    def write(out):
        at = len(out)
        out.extend(struct.pack(form, *numbers))
        return at

    return Ref(write)


def unsized(size):
    """A message of records whose body has another size than it says."""
    found = bytearray(NUMBERS)
    at = found.rindex(struct.pack("<q", 8), 0, len(found) - 8)
    found[at : at + 8] = struct.pack("<q", size)
    return bytes(found)


FIT = [
    schema(NUMBER) + NUMBERS,
    schema(NUMBER) + NUMBERS + END,
    schema(NUMBER),
    schema(TEXT) + texts(0, 1, 2),
    schema(CODED) + words(0, 1, 2) + coded(1, 0),
]
DAMAGED = {
    "nothing": (b"", "no schema"),
    "an end alone": (END, "no schema"),
    "records before the schema": (NUMBERS + schema(NUMBER), "a message out of place"),
    "a dictionary before the schema": (words(0, 1) + schema(CODED), "a message out of place"),
    "two schemas": (schema(NUMBER) * 2, "a message out of place"),
    "a message of another kind": (schema(NUMBER) + message(4, table({})), "a message out of place"),
    "a message without a header": (
        schema(NUMBER) + raw(12, 0, (0 << 16) | 4, 4, 0, 0),
        "a message that breaks off",
    ),
    "a body that is longer than the stream": (schema(NUMBER) + unsized(9), "that breaks off"),
    "a body of less than nothing": (schema(NUMBER) + unsized(-8), "that breaks off"),
    "bytes behind the end": (schema(NUMBER) + END + b"\0", "bytes behind the end of the stream"),
    "a body of fewer bytes than come": (schema(NUMBER) + NUMBERS + b"\1", "a place behind the end"),
    "one dictionary of two types": (
        schema(field("n", INT, INT8, 0), CODED),
        "a dictionary of two types",
    ),
    "a dictionary of no column": (schema(TEXT) + words(0, 1), "a dictionary of no column"),
    "a dictionary without values": (
        schema(CODED) + message(DICTIONARY, table({0: ("<q", 0)})),
        "a dictionary of no column",
    ),
    "a part of a dictionary": (
        schema(CODED) + message(DICTIONARY, table({0: ("<q", 0), 1: EMPTY_BATCH, 2: ("<B", 1)})),
        "a part of a dictionary",
    ),
    "an index behind its dictionary": (
        schema(CODED) + words(0, 1, 2) + coded(0, 2),
        "values outside their dictionary",
    ),
    "an index before its dictionary": (
        schema(CODED) + words(0, 1, 2) + coded(-1),
        "values outside their dictionary",
    ),
    "indices without a dictionary": (schema(CODED) + coded(0), "values outside their dictionary"),
    "compressed columns": (
        schema(NUMBER) + message(RECORDS, table({0: ("<q", 0), 3: table({})})),
        "compressed columns",
    ),
    "fewer rows than none": (schema(NUMBER) + records(-1, [(-1, 0)], []), "a batch of -1 rows"),
    "a column of fewer rows": (
        schema(NUMBER) + records(2, [(1, 0)], [(0, 0), (0, 2)], bytes(8)),
        "a column of 1 value in a batch of 2",
    ),
    "a column that is not there": (
        schema(NUMBER, TEXT) + NUMBERS,
        "a column of -1 values in a batch of 2",
    ),
    "a buffer that is not there": (
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
        "8 bytes of 9 values",
    ),
    "fewer bits than rows": (
        schema(NUMBER) + records(9, [(9, 1)], [(0, 1), (0, 9)], bytes(16)),
        "1 byte of 2 values",
    ),
    "texts from before their buffer": (schema(TEXT) + texts(-1, 1), "texts outside their buffer"),
    "texts to behind their buffer": (schema(TEXT) + texts(0, 3), "texts outside their buffer"),
    "texts that go back": (schema(TEXT) + texts(0, 2, 1, 2), "texts outside their buffer"),
    "a word from before its buffer": (
        schema(CODED) + words(-1, 1) + coded(0),
        "texts outside their buffer",
    ),
    "a word to behind its buffer": (
        schema(CODED) + words(0, 3) + coded(0),
        "texts outside their buffer",
    ),
    "a word that goes back": (
        schema(CODED) + words(0, 2, 1) + coded(1),
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
    "a name that is too long": (
        schema(table({0: packed("<I", 2**30), 2: ("<B", NULL), 3: table({})})),
        "a text that is too long",
    ),
    "a name that is not UTF-8": (
        schema(table({0: text(b"\xff"), 2: ("<B", NULL), 3: table({})})),
        "a text that is not UTF-8",
    ),
    "columns that are too many": (
        message(SCHEMA, table({1: packed("<I", 2**20)})),
        "a vector that is too long",
    ),
    "buffers that are too many": (
        schema(NUMBER)
        + message(RECORDS, table({0: ("<q", 0), 1: structs("<qq", []), 2: packed("<I", 2**20)})),
        "a vector that is too long",
    ),
    "a root behind the end": (raw(1000, 0), "a place behind the end"),
    "a root at the edge": (raw(6, 0), "a place behind the end"),
    "a vtable before the beginning": (raw(4, 100), "a place before the beginning"),
    "a vtable behind the end": (raw(4, -100), "a place behind the end"),
}


@pytest.mark.parametrize("body", FIT)
def test_arrow_stream_that_is_not_damaged_is_read(body):
    assert decode_arrow(body, FIELDS)["n"].shape[1] == 1


@pytest.mark.parametrize("damage", DAMAGED)
def test_arrow_damaged_stream_is_refused_and_says_why(damage):
    body, came = DAMAGED[damage]
    with pytest.raises(MalformedBodyError) as raised:
        decode_arrow(body, FIELDS)
    assert raised.value.message.startswith("expected an Arrow stream; got ")
    assert came in raised.value.message


@pytest.mark.parametrize(
    ("columns", "came"),
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
def test_arrow_columns_that_the_model_does_not_take_are_refused(columns, came):
    with pytest.raises(InvalidInstancesError) as raised:
        decode_arrow(schema(*columns), FIELDS)
    assert came in raised.value.message
