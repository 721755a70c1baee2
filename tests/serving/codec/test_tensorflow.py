"""TensorFlow Serving's protocol: requests and answers as its REST reference describes them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.codec.messages import EncodedRequest
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import ServingError
from tests.fuzzing import examples

ROWS = [[1.5, 1, 2], [0, 0, 3]]
RECORD = {"age": 39, "member": True, "work": "private", "grade": 2, "since": "1970-01-02"}
OUTPUTS = {"label": np.array([1, 0]), "probabilities": np.array([[0.25, 0.75], [1, 0]], "f4")}
VALUES = {"value": np.array([[1.5], [3]], "f4")}
BOTH = [{"label": 1, "probabilities": [0.25, 0.75]}, {"label": 0, "probabilities": [1.0, 0.0]}]


def decode(body, model):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_tensorflow_request(EncodedRequest(text), model.schema)


def get_answer(body, model, outputs=OUTPUTS):
    return json.loads(decode(body, model).encode_answer(model.manifest, outputs).content)


def get_error(body, model):
    with pytest.raises(ServingError) as raised:
        get_answer(body, model)
    return raised.value.message


VECTORS = [
    {"instances": ROWS},
    {"signature_name": "serving_default", "instances": ROWS},
    {"instances": [{"features": row} for row in ROWS]},
    {"instances": [dict(zip("xyz", row, strict=True)) for row in ROWS]},
    {"instances": [ROWS[0], dict(zip("xyz", ROWS[1], strict=True))]},
    {"inputs": ROWS},
    {"inputs": {"features": ROWS}},
    {"signature_name": "serving_default", "inputs": ROWS, "parameters": {"outputs": ["label"]}},
]


@pytest.mark.parametrize("body", VECTORS)
def test_decode_tensorflow_every_form_of_a_matrix_gives_the_same_rows(numeric_model, body):
    found = decode(body, numeric_model).inputs["features"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, ROWS)


def test_decode_tensorflow_every_form_accepts_gaps_and_booleans(numeric_model):
    row = [1, True, None]
    for body in (
        {"instances": [row]},
        {"instances": [{"features": row}]},
        {"inputs": [row]},
        {"instances": [{"x": 1, "y": True}]},
    ):
        np.testing.assert_array_equal(
            decode(body, numeric_model).inputs["features"], [[1, 1, np.nan]]
        )


TABLES = [
    {"instances": [RECORD, RECORD]},
    {"instances": [list(RECORD.values())] * 2},
    {"inputs": {name: [value] * 2 for name, value in RECORD.items()}},
    {"inputs": {name: [[value]] * 2 for name, value in RECORD.items()}},
]


@pytest.mark.parametrize("body", TABLES)
def test_decode_tensorflow_every_form_of_a_table_gives_the_same_columns(mixed_model, body):
    found = {
        name: array.ravel().tolist() for name, array in decode(body, mixed_model).inputs.items()
    }
    assert found == {
        "age": [39.0] * 2,
        "member": [1.0] * 2,
        "work": ["private"] * 2,
        "grade": ["2"] * 2,
        "since": [86400.0] * 2,
    }


def test_decode_tensorflow_absent_column_is_full_of_gaps(mixed_model):
    found = decode({"inputs": {"grade": ["1", "2"]}}, mixed_model).inputs
    assert found["work"].tolist() == [[""], [""]]
    assert np.isnan(found["age"]).all()
    assert np.isnan(found["since"]).all()


def test_encode_tensorflow_answer_has_the_layout_of_the_request(numeric_model, regression):
    assert get_answer({"instances": ROWS}, numeric_model) == {"predictions": BOTH}
    assert get_answer({"inputs": ROWS}, numeric_model) == {
        "outputs": {"label": [1, 0], "probabilities": [[0.25, 0.75], [1.0, 0.0]]}
    }
    pair = [[1, 2, 3], [4, 5, 6]]
    assert get_answer({"instances": pair}, regression, VALUES) == {"predictions": [[1.5], [3.0]]}
    assert get_answer({"inputs": pair}, regression, VALUES) == {"outputs": [[1.5], [3.0]]}
    texts = {**OUTPUTS, "label": np.array(["ü", "b"])}
    assert get_answer({"instances": ROWS}, numeric_model, texts)["predictions"][0]["label"] == "ü"
    nothing = {name: array[:0] for name, array in OUTPUTS.items()}
    assert get_answer({"instances": []}, numeric_model, nothing) == {"predictions": []}


def test_encode_tensorflow_answer_single_output_has_no_name(numeric_model):
    def get_answer_to(key, *names):
        return get_answer({key: ROWS, "parameters": {"outputs": names}}, numeric_model)

    assert get_answer_to("instances", "label") == {"predictions": [1, 0]}
    assert get_answer_to("inputs", "probabilities") == {"outputs": [[0.25, 0.75], [1.0, 0.0]]}
    assert get_answer_to("instances", "probabilities", "label") == {"predictions": BOTH}


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ({"instances": ROWS, "inputs": ROWS}, 'and no other; got the text "inputs"'),
        ({"inputs": ROWS, "instances": ROWS}, 'either "instances" or "inputs"; got both'),
        ({}, "got an empty object"),
        ([ROWS], "expected an object"),
        ({"signature_name": "serving_default"}, 'expected the key "instances"'),
        ({"instances": ROWS, "signature_name": "other"}, 'expected "signature_name" to be'),
        ({"instances": ROWS, "signature_name": "\ud800"}, "or absent; got"),
        ({"instances": ROWS, "signature": 1}, 'got the text "signature"'),
        ({"inputs": ROWS, "signature": 1}, 'got the text "signature"'),
        (b'{"inputs":[[1,1,1]],"inputs":[[1,1,1]]}', 'got the text "inputs" twice'),
        ({"inputs": {"feature": ROWS}}, 'no other keys than features; got the text "feature"'),
        ({"inputs": 5}, "to be a list; got the number 5"),
        ({"inputs": [[1, 1, 1], [1, 1]]}, 'expected 3 values in instance 1 of "inputs"'),
        ({"inputs": [[1, [1], 1]]}, "in instance 0, field 'y'; got a list"),
        ({"inputs": [[[1, 1, 1]]]}, "expected 3 values in instance 0"),
        ({"inputs": [[1, 1, "a"]]}, "in instance 0, field 'z'; got the text \"a\""),
        ({"inputs": [[1, 2, 1]]}, "expected true or false in instance 0, field 'y'"),
        ({"instances": [{"features": [1, 1]}]}, 'expected 3 values in instance 0 of "features"'),
        ({"instances": [{"features": ROWS[0]}, {"x": 1}]}, "expected instance 1 to have no other"),
        ({"instances": [{"features": ROWS[0]}, 3]}, "expected instance 1 to be an object; got the"),
        ({"instances": [[1, [1], 1]], "parameters": {"outputs": ["label"]}}, "got a list"),
        ({"instances": ROWS, "parameters": {"outputs": ["x"]}}, "expected outputs among label"),
        (b'{"inputs":[[1,1,1]', "got one that breaks off at line 1, column 19"),
        (b'{"inputs":[[1,1,NaN]]}', "NaN, which is not valid JSON"),
        (b'{"inputs":[[1,1,1e400]]}', "expected a JSON body"),
    ],
)
def test_decode_tensorflow_invalid_body_error_names_what_is_wrong(numeric_model, body, got):
    assert got in get_error(body, numeric_model)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        ({"agee": [1]}, 'got the text "agee"'),
        ({}, "expected at least one of the model's columns; got none"),
        ({"age": [1], "grade": [1, 2]}, 'got 1 value of "age" and 2 of "grade"'),
        ({"age": [1]}, "field 'grade'; got null"),
        ({"grade": [1, 3]}, "in instance 1, field 'grade'; got the text \"3\""),
        ({"grade": [1, {}]}, "in instance 1, field 'grade'; got an object"),
        ({"grade": [[1], [1, 2]]}, 'expected 1 value in instance 1 of "grade" in "inputs"'),
        ({"grade": 1}, '"grade" in "inputs" to be a list; got the number 1'),
        ([[1]], '"inputs" to be an object; got a list'),
    ],
)
def test_decode_tensorflow_invalid_column_error_names_what_is_wrong(mixed_model, inputs, got):
    assert got in get_error({"inputs": inputs}, mixed_model)


def test_decode_tensorflow_category_called_inputs_is_a_value(mixed_model):
    found = decode({"instances": [{**RECORD, "work": "inputs"}]}, mixed_model).inputs
    assert found["work"].tolist() == [["inputs"]]


@pytest.mark.slow
@examples(300)
@given(st.data())
def test_decode_tensorflow_damaged_body_is_decoded_or_refused(
    numeric_model, mixed_model, damage, data
):
    model, bodies = data.draw(st.sampled_from([(numeric_model, VECTORS), (mixed_model, TABLES)]))
    body = damage(data, json.dumps(data.draw(st.sampled_from(bodies))).encode())
    try:
        inputs = decode(body, model).inputs
    except ServingError as error:
        assert error.status in (400, 422)
    else:
        assert len({len(array) for array in inputs.values()}) == 1
        for array in inputs.values():
            assert array.dtype.kind == "O" or not np.isinf(array).any()
