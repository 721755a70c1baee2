"""Arrow streams that point outside themselves: each would be answered wrongly if it were read."""

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
DATA = [(0, 0), (0, 8), (8, 3)]  # buffers of one text of three bytes: offsets, then content


def numbers(*buffers, body=bytes(range(8))):
    return schema(field("x", INT, INT8)) + records(8, [(8, 0)], [(0, 0), *buffers], body)


def one_text(start=0, end=3, content=b"red"):
    return struct.pack("<ii", start, end) + content + bytes(5)


def texts(**changes):
    return schema(field("x", UTF8)) + records(1, [(1, 0)], DATA, one_text(**changes))


def coded(known):
    """A stream of one row, the first text of a dictionary."""
    return schema(field("x", UTF8, None, 0)) + known + records(1, [(1, 0)], [(0, 0), (0, 1)], b"\0")


def of_texts(**changes):
    return coded(dictionary(0, 1, [(1, 0)], DATA, one_text(**changes)))


def part_of_a_dictionary(says_so):
    header = table({0: ("<q", 0), 1: batch(1, [(1, 0)], DATA), 2: ("<B", says_so)})
    return coded(message(DICTIONARY, header, one_text()))


def column_of_a_name_as_long_as(length):
    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", length) + b"x\0")
        return at

    return schema(table({0: Ref(write), 2: ("<B", INT), 3: table(INT8)})) + records(
        8, [(8, 0)], [(0, 0), (0, 8)], bytes(8)
    )


def test_streams_that_point_into_themselves_are_read():
    np.testing.assert_array_equal(
        decode_arrow(numbers((0, 8)), NUMBER)["features"].ravel(), range(8)
    )
    for body in (texts(), of_texts(), part_of_a_dictionary(0)):
        assert decode_arrow(body, CATEGORY)["x"].tolist() == [["red"]]
    assert len(decode_arrow(column_of_a_name_as_long_as(1), NUMBER)["features"]) == 8


@pytest.mark.parametrize("buffer", [(-8, 16), (1, 8), (8, 8), (0, -8), (2**40, 8)])
def test_buffer_outside_its_message_is_refused(buffer):
    with pytest.raises(MalformedBodyError):
        decode_arrow(numbers(buffer), NUMBER)


@pytest.mark.parametrize("make", [texts, of_texts])
@pytest.mark.parametrize("place", [{"end": 4}, {"start": -1}, {"start": 3, "end": 1}])
def test_text_outside_its_buffer_is_refused(place, make):
    with pytest.raises(MalformedBodyError):
        decode_arrow(make(**place), CATEGORY)


@pytest.mark.parametrize("make", [texts, of_texts])
def test_text_that_is_not_utf_8_is_refused_and_no_gap(make):
    with pytest.raises(InvalidInstancesError, match="UTF-8"):
        decode_arrow(make(content=b"\xff\xfe\xff"), CATEGORY)


def test_part_of_a_dictionary_is_refused_and_not_taken_for_the_whole():
    with pytest.raises(MalformedBodyError):
        decode_arrow(part_of_a_dictionary(1), CATEGORY)


@pytest.mark.parametrize(("other", "is_refused"), [(UTF8, False), (LARGE_UTF8, True)])
def test_dictionary_that_columns_of_two_types_share_is_refused(other, is_refused):
    columns = [
        CategoryColumn(
            name=name, type="category", missing="impute", unseen="unknown", categories=["red"]
        )
        for name in ("x", "y")
    ]
    body = schema(field("x", UTF8, None, 0), field("y", other, None, 0))
    body += dictionary(0, 1, [(1, 0)], DATA, one_text())
    body += records(1, [(1, 0), (1, 0)], [(0, 0), (0, 1), (0, 0), (0, 1)], b"\0")
    if is_refused:
        with pytest.raises(MalformedBodyError):
            decode_arrow(body, InputSchema(columns))
    else:
        assert [c.tolist() for c in decode_arrow(body, InputSchema(columns)).values()] == [
            [["red"]]
        ] * 2


@pytest.mark.parametrize("length", [2**20, 2**32 - 1])
def test_name_longer_than_its_message_is_refused(length):
    with pytest.raises(MalformedBodyError):
        decode_arrow(column_of_a_name_as_long_as(length), NUMBER)


def test_schema_of_numbers_in_big_endian_order_is_refused():
    for order in (0, 1):
        head = message(SCHEMA, table({0: ("<h", order), 1: tables([field("x", INT, INT8)])}))
        body = head + records(8, [(8, 0)], [(0, 0), (0, 8)], bytes(8))
        if order == 0:
            assert len(decode_arrow(body, NUMBER)["features"]) == 8
        else:
            with pytest.raises(MalformedBodyError):
                decode_arrow(body, NUMBER)


def test_column_without_a_type_is_refused():
    head = schema(table({0: text(b"x"), 2: ("<B", INT)}))
    with pytest.raises(MalformedBodyError):
        decode_arrow(head + records(8, [(8, 0)], [(0, 0), (0, 8)], bytes(8)), NUMBER)


@pytest.mark.parametrize("first", ["records", "schema twice", "another kind"])
def test_message_out_of_place_is_refused_and_not_passed_over(first):
    head, rows = schema(field("x", INT, INT8)), records(8, [(8, 0)], [(0, 0), (0, 8)], bytes(8))
    body = {
        "records": rows + head + rows,
        "schema twice": head + head + rows,
        "another kind": head + rows + message(4, table({})),  # a tensor
    }[first]
    with pytest.raises(MalformedBodyError):
        decode_arrow(body, NUMBER)
