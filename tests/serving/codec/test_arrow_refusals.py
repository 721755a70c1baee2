"""Arrow streams with references outside their buffers, which must not be followed."""

import struct

import numpy as np
import pytest

from serving.bundle import CategoryColumn, NumberColumn
from serving.codec.arrow_stream import decode_arrow
from serving.codec.input_schema import InputSchema
from serving.errors import InvalidInstancesError, MalformedBodyError
from tests.serving.codec.arrow_messages import (
    DICTIONARY,
    INT,
    LARGE_UTF8,
    SCHEMA,
    UTF8,
    Ref,
    batch,
    dictionary,
    field,
    message,
    records,
    schema,
    table,
    tables,
    text,
)

INT8 = {0: ("<i", 8), 1: ("<B", 1)}
NUMBER = InputSchema(
    [NumberColumn(name="x", type="number", missing="impute", minimum=0, maximum=1)]
)
CATEGORY = InputSchema(
    [
        CategoryColumn(
            name="x", type="category", missing="impute", unseen="unknown", categories=["red"]
        )
    ]
)
TEXT_BUFFERS = [(0, 0), (0, 8), (8, 3)]  # Of one text of 3 bytes: validity, offsets, content.


def number_stream(*buffers, body=bytes(range(8))):
    return schema(field("x", INT, INT8)) + records(8, [(8, 0)], [(0, 0), *buffers], body)


def one_text(start=0, end=3, content=b"red"):
    return struct.pack("<ii", start, end) + content + bytes(5)


def text_stream(**changes):
    return schema(field("x", UTF8)) + records(1, [(1, 0)], TEXT_BUFFERS, one_text(**changes))


def encoded_stream(values):
    """Return a stream of one row, the first text of a dictionary."""
    return (
        schema(field("x", UTF8, None, 0)) + values + records(1, [(1, 0)], [(0, 0), (0, 1)], b"\0")
    )


def text_dictionary_stream(**changes):
    return encoded_stream(dictionary(0, 1, [(1, 0)], TEXT_BUFFERS, one_text(**changes)))


def dictionary_delta_stream(is_delta):
    header = table({0: ("<q", 0), 1: batch(1, [(1, 0)], TEXT_BUFFERS), 2: ("<B", is_delta)})
    return encoded_stream(message(DICTIONARY, header, one_text()))


def declared_name_length_stream(length):
    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", length) + b"x\0")
        return at

    return schema(table({0: Ref(write), 2: ("<B", INT), 3: table(INT8)})) + records(
        8, [(8, 0)], [(0, 0), (0, 8)], bytes(8)
    )


def test_decode_arrow_references_inside_their_buffers_are_read():
    np.testing.assert_array_equal(
        decode_arrow(number_stream((0, 8)), NUMBER)["features"].ravel(), range(8)
    )
    for body in (text_stream(), text_dictionary_stream(), dictionary_delta_stream(0)):
        assert decode_arrow(body, CATEGORY)["x"].tolist() == [["red"]]
    assert len(decode_arrow(declared_name_length_stream(1), NUMBER)["features"]) == 8


@pytest.mark.parametrize("buffer", [(-8, 16), (1, 8), (8, 8), (0, -8), (2**40, 8)])
def test_decode_arrow_buffer_outside_its_message_is_refused(buffer):
    with pytest.raises(MalformedBodyError):
        decode_arrow(number_stream(buffer), NUMBER)


@pytest.mark.parametrize("build_stream", [text_stream, text_dictionary_stream])
@pytest.mark.parametrize("offsets", [{"end": 4}, {"start": -1}, {"start": 3, "end": 1}])
def test_decode_arrow_text_outside_its_buffer_is_refused(offsets, build_stream):
    with pytest.raises(MalformedBodyError):
        decode_arrow(build_stream(**offsets), CATEGORY)


@pytest.mark.parametrize("build_stream", [text_stream, text_dictionary_stream])
def test_decode_arrow_text_that_is_not_utf_8_is_refused_and_not_a_gap(build_stream):
    with pytest.raises(InvalidInstancesError, match="UTF-8"):
        decode_arrow(build_stream(content=b"\xff\xfe\xff"), CATEGORY)


def test_decode_arrow_dictionary_delta_is_refused():
    with pytest.raises(MalformedBodyError):
        decode_arrow(dictionary_delta_stream(1), CATEGORY)


@pytest.mark.parametrize(("other", "is_refused"), [(UTF8, False), (LARGE_UTF8, True)])
def test_decode_arrow_dictionary_shared_by_columns_of_two_types_is_refused(other, is_refused):
    columns = [
        CategoryColumn(
            name=name, type="category", missing="impute", unseen="unknown", categories=["red"]
        )
        for name in ("x", "y")
    ]
    body = schema(field("x", UTF8, None, 0), field("y", other, None, 0))
    body += dictionary(0, 1, [(1, 0)], TEXT_BUFFERS, one_text())
    body += records(1, [(1, 0), (1, 0)], [(0, 0), (0, 1), (0, 0), (0, 1)], b"\0")
    if is_refused:
        with pytest.raises(MalformedBodyError):
            decode_arrow(body, InputSchema(columns))
    else:
        assert [c.tolist() for c in decode_arrow(body, InputSchema(columns)).values()] == [
            [["red"]]
        ] * 2


@pytest.mark.parametrize("length", [2**20, 2**32 - 1])
def test_decode_arrow_name_longer_than_its_message_is_refused(length):
    with pytest.raises(MalformedBodyError):
        decode_arrow(declared_name_length_stream(length), NUMBER)


def test_decode_arrow_big_endian_schema_is_refused():
    for order in (0, 1):
        head = message(SCHEMA, table({0: ("<h", order), 1: tables([field("x", INT, INT8)])}))
        body = head + records(8, [(8, 0)], [(0, 0), (0, 8)], bytes(8))
        if order == 0:
            assert len(decode_arrow(body, NUMBER)["features"]) == 8
        else:
            with pytest.raises(MalformedBodyError):
                decode_arrow(body, NUMBER)


def test_decode_arrow_column_without_a_type_is_refused():
    head = schema(table({0: text(b"x"), 2: ("<B", INT)}))
    with pytest.raises(MalformedBodyError):
        decode_arrow(head + records(8, [(8, 0)], [(0, 0), (0, 8)], bytes(8)), NUMBER)


@pytest.mark.parametrize("misplaced", ["records", "schema twice", "another kind"])
def test_decode_arrow_unexpected_message_is_refused(misplaced):
    head, rows = schema(field("x", INT, INT8)), records(8, [(8, 0)], [(0, 0), (0, 8)], bytes(8))
    body = {
        "records": rows + head + rows,
        "schema twice": head + head + rows,
        "another kind": head + rows + message(4, table({})),  # Kind 4 is a tensor.
    }[misplaced]
    with pytest.raises(MalformedBodyError):
        decode_arrow(body, NUMBER)
