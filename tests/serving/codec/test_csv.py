"""CSV bodies: a header gives the order of the columns and is never an instance."""

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


def test_decode_csv_header_gives_the_order_of_the_columns():
    expected = {"size": ["big", "big"], "colour": ["red", "blue"]}
    assert columns(b"big,red\nbig,blue\n") == expected
    assert columns(b"size,colour\nbig,red\nbig,blue\n") == expected
    assert columns(b'"colour", size \r\nred,big\r\nblue,big\r\n') == expected


def test_decode_csv_numbers_below_a_header_are_reordered():
    found = decode_csv(b"c,a,b\n3,1,2\n6,4,5\n", NUMBERS)["features"]
    assert found.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert decode_csv(b"a,b,c\n1,2,3\n", NUMBERS)["features"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"Size,Colour\nbig,red\n", 'got no "size" and "Size"'),
        (b"size,color\nbig,red\n", 'got no "colour" and "color"'),
        (b"size,colour,price\nbig,red,3\n", 'got "price"'),
        (b"size,size\nbig,red\n", 'got no "colour"'),
        (b"size,colour,size\nbig,red,big\n", "got one of them twice"),
    ],
)
def test_decode_csv_header_with_wrong_names_is_refused_and_never_an_instance(body, expected):
    with pytest.raises(
        InvalidInstancesError, match="expected the names of the 2 columns"
    ) as raised:
        decode_csv(body, TEXTS)
    assert expected in str(raised.value)
    assert raised.value.details == {"instance": 0}


def test_decode_csv_first_line_of_values_is_an_instance():
    with pytest.raises(InvalidInstancesError, match="instance 0, field 'a'"):
        decode_csv(b"x,y,z\n1,2,3\n", NUMBERS)


@pytest.mark.parametrize("values", [6, 9])
def test_decode_csv_row_over_two_lines_is_counted_before_it_is_split(values):
    body = b'"\n' + b'",' + b",".join([b"1"] * (values - 1)) + b"\n"
    with pytest.raises(InvalidInstancesError, match="expected 3 values in instance 0") as raised:
        decode_csv(body, NUMBERS)
    assert raised.value.details["got"] == ("more" if values > 6 else values)


@pytest.mark.parametrize("text", ["1e", "1e+", "1.5e-", "2.x", ".", "+", "-.", "1e5.", "1_0"])
def test_decode_csv_text_that_starts_like_a_number_is_refused(text):
    with pytest.raises(InvalidInstancesError, match="instance 0, field 'b'"):
        decode_csv(f"1,{text},3\n".encode(), NUMBERS)


@pytest.mark.parametrize("text", ["1.", ".5", "+1e5", "-1.5E-03", "00.25"])
def test_decode_csv_number_is_read_in_every_form(text):
    assert decode_csv(f"1,{text},3\n".encode(), NUMBERS)["features"][0, 1] == float(text)


@pytest.mark.parametrize("gap_text", ["-999", "9999.0", "-1e9", "7."])
@pytest.mark.parametrize("other", ["1", "-", "1.5"])
def test_decode_csv_gap_number_is_a_gap_next_to_any_other_value(gap_text, other):
    columns = [
        NumberColumn(
            name="a", type="number", missing="impute", minimum=0, maximum=1, gaps=[gap_text, "-"]
        ),
        NumberColumn(name="b", type="number", missing="impute", minimum=0, maximum=1, gaps=["-"]),
    ]
    body = f"a,b\n{gap_text},{other}\n1,1\n".encode()
    found = decode_csv(body, InputSchema(columns))["features"]
    expected = [[np.nan, np.nan if other == "-" else float(other)], [1, 1]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
