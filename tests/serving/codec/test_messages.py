"""The text of a body in UTF-8: with or without a byte order mark, in every format of text."""

import pytest

from serving.bundle import NumberColumn
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.json_strict import decode_json_strict
from serving.codec.messages import decode_utf8
from serving.errors import MalformedBodyError, NotJsonError

SCHEMA = InputSchema(
    [NumberColumn(name="é", type="number", missing="refuse", minimum=0, maximum=1)]
)
BYTE_ORDER_MARK = "\ufeff".encode()
FORMATS = [
    ("JSON", decode_json_strict, '{"instances":[{"é":1}]}'.encode(), NotJsonError),
    ("CSV", decode_csv, "é\n1\n".encode(), MalformedBodyError),
]


@pytest.mark.parametrize("mark", [b"", BYTE_ORDER_MARK])
def test_decode_utf8_byte_order_mark_is_no_part_of_the_text(mark):
    assert decode_utf8(mark + "é,\n".encode(), "CSV", MalformedBodyError) == "é,\n"


@pytest.mark.parametrize(("name", "decode", "body", "error_class"), FORMATS)
def test_decode_utf8_in_every_format_skips_the_mark_and_names_the_invalid_byte(
    name, decode, body, error_class
):
    assert decode(body, SCHEMA)["features"].tolist() == [[1]]
    assert decode(BYTE_ORDER_MARK + body, SCHEMA)["features"].tolist() == [[1]]
    with pytest.raises(error_class) as raised:
        decode(body + b"\xc3", SCHEMA)
    assert raised.value.message == (
        f"expected {name} in UTF-8; got an invalid byte at position {len(body)}"
    )
    assert raised.value.details == {"position": len(body)}
