"""Any column and any values: every body format that can write them accepts or refuses them alike.

`DIFFERENCES` is the table of values that formats read differently by design.
"""

import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import CategoryColumn, create_column_schema
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_strict import decode_json_strict
from serving.codec.messages import DecodedRequest, EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.rows import decode_rows_request
from serving.codec.tensorflow import decode_tensorflow_request
from tests.body_formats import (
    RAW,
    assert_same,
    json_records,
    json_rows,
    oip_binary,
    oip_json,
    tensorflow_columns,
    tensorflow_rows,
    write_arrow,
    write_csv,
    write_npy,
)
from tests.fuzzing import examples
from tests.generated_columns import FLOATS, INTEGERS, NAME, columns, values

# A column of another type, so that the graph takes each column as an input of its own.
FILLER = CategoryColumn(
    name="filler", type="category", missing="impute", unseen="unknown", categories=["a"]
)
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)


def only(decode):
    """Return a decoder of requests that uses one of the two decoders of JSON."""

    def decode_request(request, schema):
        inputs = decode(request.content, schema)
        if inputs is None:  # the fast decoder leaves what is unusual to the strict one
            inputs = decode_json_strict(request.content, schema)
        return DecodedRequest(inputs, None)

    return decode_request


def is_number(text):
    """Return whether a text is a number in files."""
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE)


def has_unit(column):
    """Return whether the texts of digits in a column of dates are numbers of a unit."""
    return column.type == "date" and column.format.endswith("seconds")


def is_word(column, value):
    """Return whether a text has a meaning in CSV that it has not in JSON."""
    text = value.strip()
    if column.type == "boolean" and text.lower() in ("true", "false"):
        return True
    schema = create_column_schema(column)
    return column.type in ("number", "boolean") and schema.is_gap(text)


def is_other_category(column, value):
    """Return whether a number or a truth value is another category than its text, or none."""
    if column.type != "category" or isinstance(value, str):
        return False
    if isinstance(value, bool):
        return not column.truth_categories
    is_whole = value == int(value) and abs(value) < 2**53
    return column.json_number_type is None or not (is_whole or repr(value) in column.categories)


def may_be_a_day(column, value):
    """Return whether a number in a column of dates looks like a year or a day."""
    is_exact = column.type != "date" or column.format == "%Y%m%d" or has_unit(column)
    return type(value) is int and not is_exact and len(str(value)) in (4, 8) and value > 0


CSV, TYPED, NARROW = "CSV", "Arrow, tensors, npy", "float32 and shorter"
DIFFERENCES = (  # formats, why they differ from JSON, and whether they do for a column and a value
    (
        CSV,
        "all values are texts, so the text of a number is the number",
        lambda column, v: (
            isinstance(v, str)
            and is_number(v.strip())
            and column.type != "category"
            and not has_unit(column)
        ),
    ),
    (
        CSV,
        "likewise the text of a gap, or of true and false",
        lambda column, v: isinstance(v, str) and is_word(column, v),
    ),
    (
        CSV,
        "a number in a column of categories is a text, which JSON's numbers are not always",
        is_other_category,
    ),
    (CSV, "four or eight digits are refused: they may be a day or seconds", may_be_a_day),
    (
        TYPED,
        "booleans are 1 and 0 in a column of numbers, as NumPy has them",
        lambda column, v: isinstance(v, bool) and column.type == "number",
    ),
    (
        NARROW,
        "float32 may have merged values that a column of float64 tells apart",
        lambda column, v: column.type == "number" and column.dtype == "float64",
    ),
    (
        NARROW,
        "a number is rounded to float32 before it is sent",
        lambda column, v: not isinstance(v, float) or float(np.float32(v)) != v,
    ),
)


@np.errstate(over="ignore")
def differs(formats, column, found):
    """Return whether some formats read a column's values otherwise than JSON."""
    return any(
        of == formats and does(column, value)
        for of, _, does in DIFFERENCES
        for value in found
        if value is not None
    )


def as_cell(column, value):
    """Return the text of a value as a CSV file has it."""
    if isinstance(value, str):
        return value
    if column.type == "category" and isinstance(value, float) and value == int(value):
        return str(int(value))
    return "" if value is None else str(value)


TYPES = {
    bool: (pa.bool_(), "BOOL"),
    int: (pa.int64(), "INT64"),
    float: (pa.float64(), "FP64"),
    str: (pa.string(), "BYTES"),
    type(None): (pa.null(), None),
}


def write_typed(found):
    """Return the bodies of the formats whose columns have a type."""
    kind = next((type(value) for value in found if value is not None), type(None))
    arrow_type, datatype = TYPES[kind]
    array = pa.array(found, arrow_type)
    bodies = {"Arrow": write_arrow({NAME: array})}
    if kind is str:
        bodies["Arrow views"] = write_arrow({NAME: array.cast(pa.string_view())})
        bodies["Arrow large texts"] = write_arrow({NAME: array.cast(pa.large_string())})
    if datatype is None:
        return bodies
    bodies["Arrow dictionary"] = write_arrow({NAME: array.dictionary_encode()})
    tensor = {NAME: (datatype, found)}
    bodies["tensor"] = oip_json(tensor, nested=False)
    bodies["nested tensor"] = oip_json(tensor, nested=True)
    if None not in found or kind in (float, str):  # NaN and the empty text are gaps
        bodies["binary tensor"] = oip_binary(tensor)
    return bodies


def write_formats(column, found):
    """Return the bodies of all formats that can write the values of a column, by name."""
    table = {NAME: found, "filler": [None] * len(found)}
    decoder, records = json_records(table)
    bodies = {
        "records": (decoder, records),
        "records, strict": (only(decode_json_strict), records),
        "records, fast": (only(decode_json_fast), records),
        "rows": json_rows(table),
        "rows, strict": (only(decode_json_strict), json_rows(table)[1]),
        "tensorflow rows": tensorflow_rows(table),
        "tensorflow columns": tensorflow_columns({NAME: found}),
    }
    if not differs(CSV, column, found):
        cells = [as_cell(column, value) for value in found]
        table = {NAME: cells, "filler": [""] * len(found)}
        bodies["CSV"] = write_csv(table, header=False)
        bodies["CSV, header"] = write_csv(table, header=True)
    if not differs(TYPED, column, found):
        bodies |= write_typed(found)
    if any(value is not None for value in found) and not differs(NARROW, column, found):
        bodies["Arrow float32"] = write_arrow({NAME: pa.array(found, pa.float32())})
        bodies["tensor of FP32"] = oip_json({NAME: ("FP32", found)}, nested=False)
        bodies["binary tensor of FP32"] = oip_binary({NAME: ("FP32", found)})
    return bodies


@pytest.mark.slow
@examples(400)
@given(columns(), values())
def test_decode_column_every_format_accepts_or_refuses_alike(column, found):
    assert_same(write_formats(column, found), InputSchema([column, FILLER]))


@st.composite
def matrices(draw):
    """Return columns of numbers and booleans that the graph takes as one matrix, and its rows."""
    width, count = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    declared = [draw(columns(("number", "boolean"), f"x{place}")) for place in range(width)]
    dtype = draw(st.sampled_from(["f8", "f4", "i8", "?"]))
    value = {
        "f8": st.none() | FLOATS | st.sampled_from([0.0, 1.0]),
        "f4": st.none() | st.sampled_from([0.0, 1.0, -999.0]) | SINGLES,
        "i8": INTEGERS | st.sampled_from([0, 1]),
        "?": st.booleans(),
    }[dtype]
    rows = st.lists(value, min_size=width, max_size=width)
    return declared, draw(st.lists(rows, min_size=count, max_size=count)), dtype


@pytest.mark.slow
@examples(300)
@given(matrices())
def test_decode_matrix_every_format_accepts_or_refuses_alike(matrix):
    declared, rows, dtype = matrix
    names = [column.name for column in declared]
    by_column = [list(of) for of in zip(*rows, strict=True)]
    table = dict(zip(names, by_column, strict=True))
    array = np.array([[math.nan if v is None else v for v in row] for row in rows], dtype)
    arrow_type = pa.from_numpy_dtype(array.dtype)
    features = {
        "name": "features",
        "shape": array.shape,
        "datatype": {"f8": "FP64", "f4": "FP32", "i8": "INT64", "?": "BOOL"}[dtype],
    }
    bodies = {
        "npy": write_npy(array),
        "npy, Fortran": write_npy(np.asfortranarray(array)),
        "Arrow": write_arrow({name: pa.array(of, arrow_type) for name, of in table.items()}),
        "tensor": as_tensors({**features, "data": [v for row in rows for v in row]}),
        "nested tensor": as_tensors({**features, "data": rows}),
        "binary tensor": as_tensors(
            {**features, "parameters": {"binary_data_size": array.nbytes}}, array.tobytes()
        ),
    }
    if dtype == "f4":
        bodies["raw"] = decode_rows_request, EncodedRequest(array.tobytes(), RAW)
        raw = EncodedRequest(array.tobytes(), json_length=0)
        bodies["raw tensor"] = decode_inference_request, raw
    if not any(differs(TYPED, column, table[column.name]) for column in declared):
        inputs = EncodedRequest(json.dumps({"inputs": rows}).encode())
        named = EncodedRequest(json.dumps({"instances": [{"features": r} for r in rows]}).encode())
        bodies |= {
            "records": json_records(table),
            "records, strict": (only(decode_json_strict), json_records(table)[1]),
            "rows": json_rows(table),
            "rows, strict": (only(decode_json_strict), json_rows(table)[1]),
            "tensorflow inputs": (decode_tensorflow_request, inputs),
            "tensorflow instances": tensorflow_rows(table),
            "tensorflow named": (decode_tensorflow_request, named),
        }
        cells = {c.name: [as_cell(c, v) for v in table[c.name]] for c in declared}
        bodies["CSV"] = write_csv(cells, header=False)
        bodies["CSV, header"] = write_csv(cells, header=True)
    assert_same(bodies, InputSchema(declared))


def as_tensors(tensor, content=b""):
    """Return a request with the input of a matrix, in JSON or with binary content."""
    head = json.dumps({"inputs": [tensor]}).encode()
    length = len(head) if content else None
    return decode_inference_request, EncodedRequest(head + content, json_length=length)
