"""Values and column names that are written differently and mean the same, in every format."""

import io
import json
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import CategoryColumn, CategorySpelling, NumberColumn
from serving.bundle.column_schema import WrongValueError
from serving.codec.arrow_stream import decode_arrow
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_strict import decode_json_strict
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.rows import decode_json
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import InvalidInstancesError
from serving.http.openapi.column_schemas import build_value_schema
from tests.fuzzing import examples

NAME = "código"
DECOMPOSED = unicodedata.normalize("NFD", NAME)
WORDS = ("1", "-2", "2.5", "1.50", "007", "A", "café", "NA")


def category(*categories, name=NAME, **more):
    more = {"missing": "impute", "unseen": "unknown", "normalized": True, "gaps": ["-"]} | more
    return CategoryColumn(name=name, type="category", categories=list(categories), **more)


COLUMN = category(*WORDS)
ACCEPTED = [
    ("1", "1"),
    ("1.0", "1"),
    (" 1.000\n", "1"),
    (1, "1"),
    (1.0, "1"),
    (-2.0, "-2"),
    ("-2.0", "-2"),
    (2.5, "2.5"),
    ("2.5", "2.5"),
    (1.5, "1.50"),
    (float(np.float32(2.5)), "2.5"),
    (3.25, "3.25"),
    ("2.50", "2.50"),
    ("007", "007"),
    ("007.0", "007.0"),
    (7, "7"),
    (-0.0, "0"),
    (2**60 + 1, str(2**60 + 1)),
    ("cafe\u0301", "café"),
    ("NA", "NA"),
    ("na", "na"),
    ("-", ""),
    (" ", ""),
    (None, ""),
    ("e\u0301" * 40, "e\u0301" * 40),
]


@pytest.mark.parametrize(("value", "expected"), ACCEPTED)
def test_validate_normalized_category_has_one_spelling(value, expected):
    (validator,) = InputSchema([COLUMN]).columns
    assert validator.validate(value) == expected
    assert validator.validate_all([value]) == [expected]


@pytest.mark.parametrize("value", [2.0**53, True, float("nan"), float("inf")])
def test_validate_ambiguous_number_is_refused(value):
    (validator,) = InputSchema([COLUMN]).columns
    with pytest.raises(WrongValueError, match="expected a text or a number"):
        validator.validate(value)


@pytest.mark.parametrize("value", [1, 1.0, "1.0", "cafe\u0301", 2.5])
def test_validate_category_of_an_earlier_bundle_must_match_exactly(value):
    (validator,) = InputSchema([category(*WORDS, unseen="refuse", normalized=False)]).columns
    with pytest.raises(WrongValueError):
        validator.validate(value)


@pytest.mark.parametrize("size", [np.float16, np.float32, np.float64])
def test_validate_float_of_every_width_is_the_category(size):
    column = category("0.1", "2", "1.7")
    (validator,) = InputSchema([column]).columns
    found = [validator.validate(size(text).item()) for text in ("2", "1.7")]
    assert found == (["2", "1.7"] if size != np.float16 else ["2", repr(np.float16("1.7").item())])


SCHEMA = InputSchema(
    [COLUMN, NumberColumn(name="año", type="number", missing="impute", minimum=0, maximum=1)]
)
YEAR = "an\u0303o"


def stream(**columns):
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_json(**members):
    return json.dumps(members).encode()


BODIES = {
    "record": (decode_json, as_json(instances=[{DECOMPOSED: "1.0", YEAR: 3}])),
    "record, strict": (decode_json_strict, as_json(instances=[{DECOMPOSED: "1.0", YEAR: 3}])),
    "CSV": (decode_csv, f"{YEAR},{DECOMPOSED}\n3,1.0\n".encode()),
    "Arrow": (decode_arrow, stream(**{DECOMPOSED: ["1.0"], YEAR: [3.0]})),
    "Arrow, dictionary": (
        decode_arrow,
        stream(**{DECOMPOSED: pa.array(["1.0"]).dictionary_encode(), YEAR: [3.0]}),
    ),
    "Arrow, dictionary of floats": (
        decode_arrow,
        stream(**{DECOMPOSED: pa.array([1.0]).dictionary_encode(), YEAR: [3.0]}),
    ),
    "tensors": (
        lambda body, schema: decode_inference_request(EncodedRequest(body), schema).inputs,
        as_json(
            inputs=[
                {"name": DECOMPOSED, "shape": [1], "datatype": "BYTES", "data": ["1.0"]},
                {"name": YEAR, "shape": [1], "datatype": "FP32", "data": [3]},
            ]
        ),
    ),
    "tensors of integers": (
        lambda body, schema: decode_inference_request(EncodedRequest(body), schema).inputs,
        as_json(
            inputs=[
                {"name": DECOMPOSED, "shape": [1], "datatype": "INT64", "data": [1]},
                {"name": YEAR, "shape": [1], "datatype": "FP32", "data": [3]},
            ]
        ),
    ),
    "columns": (
        lambda body, schema: decode_tensorflow_request(EncodedRequest(body), schema).inputs,
        as_json(inputs={DECOMPOSED: ["1.0"], YEAR: [3]}),
    ),
}


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("form", BODIES)
def test_decode_column_name_in_another_unicode_form_is_the_column(form, extra):
    decode, body = BODIES[form]
    inputs = decode(
        body,
        InputSchema(
            [
                COLUMN,
                NumberColumn(name="año", type="number", missing="refuse", minimum=0, maximum=1),
            ],
            should_ignore_extra=extra,
        ),
    )
    assert {name: array.tolist() for name, array in inputs.items()} == {
        NAME: [["1"]],
        "año": [[3.0]],
    }


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("decode", [decode_json, decode_json_strict])
def test_decode_column_name_in_two_unicode_forms_is_refused(decode, extra):
    schema = InputSchema([COLUMN], should_ignore_extra=extra)
    with pytest.raises(InvalidInstancesError, match="every field once"):
        decode(as_json(instances=[{DECOMPOSED: "1", NAME: "A"}]), schema)


def test_decode_json_fast_accepts_names_in_another_unicode_form():
    body = as_json(instances=[{DECOMPOSED: "cafe\u0301", YEAR: 3}])
    assert decode_json_fast(body, SCHEMA)[NAME].tolist() == [["café"]]


def test_resolve_column_name_very_long_name_is_not_normalized(monkeypatch):
    def refuse(text):
        raise AssertionError(f"{len(text)} characters were normalized")

    for module in ("serving.bundle.spelling", "serving.codec.input_schema"):
        monkeypatch.setattr(f"{module}.to_nfc", refuse)
    hostile = "a" + "\u0316\u0301" * 10_000
    assert SCHEMA.resolve_column_name(hostile) == hostile
    assert SCHEMA.columns[0].validate(hostile) == hostile[:256]


def test_resolve_column_name_decomposed_column_name_is_kept():
    schema = InputSchema([category("a", name=DECOMPOSED)])
    assert schema.resolve_column_name(DECOMPOSED) == DECOMPOSED
    assert schema.resolve_column_name(NAME) == NAME  # no column has this form of the name


@given(text=st.one_of(st.sampled_from([*WORDS, "1.0", "na", "-", "cafe\u0301", ""]), st.text()))
@examples(300)
def test_category_schema_accepts_texts_that_are_spelled_like_a_category(text):
    column = category(*WORDS, missing="refuse", unseen="refuse")
    (schema,) = InputSchema([column]).columns
    is_category = CategorySpelling(column).spell_text(text) in WORDS
    assert schema.accepts(text) == is_category
    if is_category:
        assert schema.validate(text) == CategorySpelling(column).spell_text(text)
    else:
        with pytest.raises(WrongValueError):
            schema.validate(text)


def test_value_schema_category_has_its_gap_texts_and_numbers():
    schema = build_value_schema(
        category("1", "2.5", "A", missing="refuse", gaps=["-", "não", "[x]"])
    )
    assert schema["type"] == ["string", "number"]
    gap = re.compile(schema["not"]["pattern"])
    assert all(gap.search(text) for text in ("-", " NÃO", "não", "[X]", ""))
    assert not any(gap.search(text) for text in ("NA", "x", "--"))
    refused = build_value_schema(
        category("1", "2.5", "007", "A", unseen="refuse", missing="refuse")
    )
    assert refused == {"enum": ["1", "2.5", "007", "A", 1, 2.5]}
    assert build_value_schema(category("1", "A"))["type"] == ["string", "integer", "null"]
