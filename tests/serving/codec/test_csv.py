"""CSV bodies: a first line of names says the order of the columns, and is never an instance."""

import numpy as np
import pytest

from serving.bundle import CategoryColumn, NumberColumn
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.errors import InvalidInstancesError


def category(name):
    return CategoryColumn(
        name=name, type="category", missing="refuse", unseen="unknown", categories=["red", "big"]
    )


TEXTS = InputSchema([category("size"), category("colour")])
NUMBERS = InputSchema(
    [
        NumberColumn(name=n, type="number", missing="impute", minimum=0, maximum=1)
        for n in ("a", "b", "c")
    ]
)


def columns(body, fields=TEXTS):
    return {name: array[:, 0].tolist() for name, array in decode_csv(body, fields).items()}


def test_names_above_say_the_order_of_the_columns():
    expected = {"size": ["big", "big"], "colour": ["red", "blue"]}
    assert columns(b"big,red\nbig,blue\n") == expected
    assert columns(b"size,colour\nbig,red\nbig,blue\n") == expected
    assert columns(b'"colour", size \r\nred,big\r\nblue,big\r\n') == expected


def test_numbers_come_in_the_order_of_their_names():
    found = decode_csv(b"c,a,b\n3,1,2\n6,4,5\n", NUMBERS)["features"]
    assert found.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert decode_csv(b"a,b,c\n1,2,3\n", NUMBERS)["features"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"Size,Colour\nbig,red\n", 'got no "size" and "Size"'),
        (b"size,color\nbig,red\n", 'got no "colour" and "color"'),
        (b"size,colour,price\nbig,red,3\n", 'got "price"'),
        (b"size,size\nbig,red\n", 'got no "colour"'),
        (b"size,colour,size\nbig,red,big\n", "got one of them twice"),
    ],
)
def test_names_that_are_not_the_columns_are_refused_and_never_answered(body, said):
    with pytest.raises(InvalidInstancesError, match="expected the names of the 2 columns") as found:
        decode_csv(body, TEXTS)
    assert said in str(found.value)
    assert found.value.details == {"instance": 0}


def test_a_first_line_of_values_is_an_instance():
    with pytest.raises(InvalidInstancesError, match="instance 0, field 'a'"):
        decode_csv(b"x,y,z\n1,2,3\n", NUMBERS)


@pytest.mark.parametrize("values", [6, 9])
def test_row_that_goes_on_in_another_line_is_counted_before_it_is_split(values):
    body = b'"\n' + b'",' + b",".join([b"1"] * (values - 1)) + b"\n"
    with pytest.raises(InvalidInstancesError, match="expected 3 values in instance 0") as refused:
        decode_csv(body, NUMBERS)
    assert refused.value.details["got"] == ("more" if values > 6 else values)


@pytest.mark.parametrize("text", ["1e", "1e+", "1.5e-", "2.x", ".", "+", "-.", "1e5.", "1_0"])
def test_a_text_that_begins_like_a_number_is_none(text):
    with pytest.raises(InvalidInstancesError, match="instance 0, field 'b'"):
        decode_csv(f"1,{text},3\n".encode(), NUMBERS)


@pytest.mark.parametrize("text", ["1.", ".5", "+1e5", "-1.5E-03", "00.25"])
def test_a_number_is_read_in_every_form(text):
    assert decode_csv(f"1,{text},3\n".encode(), NUMBERS)["features"][0, 1] == float(text)


@pytest.mark.parametrize("word", ["-999", "9999.0", "-1e9", "7."])
@pytest.mark.parametrize("other", ["1", "-", "1.5"])
def test_a_number_that_stands_for_a_gap_does_so_beside_any_other_value(word, other):
    columns = [
        NumberColumn(
            name="a", type="number", missing="impute", minimum=0, maximum=1, gaps=[word, "-"]
        ),
        NumberColumn(name="b", type="number", missing="impute", minimum=0, maximum=1, gaps=["-"]),
    ]
    body = f"a,b\n{word},{other}\n1,1\n".encode()
    found = decode_csv(body, InputSchema(columns))["features"]
    expected = [[np.nan, np.nan if other == "-" else float(other)], [1, 1]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
