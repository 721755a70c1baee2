"""Matrices in JSON: the fast and the strict decoder agree, and hostile bodies are refused."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import NumberColumn
from serving.codec import json_strict
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_matrix
from serving.codec.json_strict import decode_json_strict
from serving.codec.rows import decode_json
from serving.errors import ServingError
from tests.fuzzing import examples

SCHEMA = InputSchema(
    [
        NumberColumn(name=name, missing="refuse", type="number", minimum=0, maximum=1)
        for name in "ab"
    ]
)


def decode_strictly(text):
    return decode_json_strict(text, SCHEMA)["features"]


def decode(text):
    return decode_json(text, SCHEMA)["features"]


def make_body(instances):
    return json.dumps({"instances": instances}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b'{"instances":[[1,2],[3,4.5]]}',
        b' {\n"instances" : [ [ 1 , 2e0 ] , [ -0.0 , 1E-3 ] ] }\t',
        b'{"instances":[]}',
        b'\xef\xbb\xbf{"instances":[[1,2]]}',
        b'{"\\u0069nstances":[[1,2]]}',
        b'{"instances":[[9007199254740993,1e-400]]}',
        b'{"instances":[[3.4028234e38,-3.4028235e38]]}',
    ],
)
def test_json_decoders_ordinary_body_gives_the_same_rows(text):
    fast = decode_json_matrix(text, 2)
    assert fast is not None
    assert fast.dtype == np.float32
    np.testing.assert_array_equal(fast, decode_strictly(text))


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
numbers = finite | st.integers(-(2**53), 2**53)
strange = st.none() | st.booleans() | st.text(max_size=3) | st.floats() | st.integers()
anything = st.recursive(
    numbers | strange,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["instances", "a", "["]), inner, max_size=2)
    ),
    max_leaves=12,
)


@given(st.lists(st.tuples(numbers, numbers), max_size=6))
def test_decode_json_matrix_any_table_of_numbers_is_decoded_fast(rows):
    fast = decode_json_matrix(make_body(rows), 2)
    assert fast is not None
    expected = np.array(rows, np.float64).reshape(len(rows), 2).astype(np.float32)
    np.testing.assert_array_equal(fast, expected)
    np.testing.assert_array_equal(fast, decode_strictly(make_body(rows)))


@pytest.mark.slow
@examples(250)
@given(
    anything
    | st.lists(st.lists(anything, min_size=2, max_size=2), max_size=4).map(
        lambda rows: {"instances": rows}
    )
)
def test_decode_json_matrix_accepts_nothing_that_the_strict_decoder_refuses(document):
    text = json.dumps(document).encode()
    fast = decode_json_matrix(text, 2)
    try:
        strict = decode_strictly(text)
    except ServingError:
        strict = None
    if fast is not None:
        assert strict is not None, text
        np.testing.assert_array_equal(fast, strict)


def decode_in_strides(text, stride):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_strict, "STRIDE_CHARACTERS", stride)
        try:
            return decode_strictly(text).tolist()
        except ServingError as error:
            return error.to_dict()


@pytest.mark.slow
@examples(150)
@given(st.data())
def test_decode_json_strict_strides_change_neither_rows_nor_errors(data):
    rows = data.draw(st.lists(st.tuples(numbers, numbers), max_size=30))
    text = bytearray(make_body(rows))
    for _ in range(data.draw(st.integers(0, 2))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(
            st.sampled_from(b'[]{},":0eE-. ')
        )
    if rows and data.draw(st.booleans()):  # valid, but the fast decoder refuses it
        text += b" "
        text = text.replace(b"1", b"1" + b"0" * 25, 1)
    stride = data.draw(st.integers(1, 60))
    assert decode_in_strides(bytes(text), stride) == decode_in_strides(bytes(text), 10**9)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["{},", "[],", "[[],", "[1,1],[1,1,", '"a":'])
def test_decode_json_strict_hostile_body_takes_no_more_memory_than_its_text(head):
    # As Python objects, the body would take at least 21 bytes for each of its values.
    text = ('{"instances":[' + head * (2**20 // len(head))).encode()
    tracemalloc.start()
    try:
        with pytest.raises(ServingError):
            decode_json_strict(text, SCHEMA)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_decode_json_random_bytes_are_refused(text):
    with pytest.raises(ServingError):
        decode_json(text, SCHEMA)


@pytest.mark.slow
@examples(150)
@given(st.data())
def test_decode_json_matrix_damaged_body_agrees_with_the_strict_decoder(data):
    text = bytearray(make_body([[1.5, 2], [3, 4]]))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(
            st.sampled_from(b'[]{},":0eE-. ')
        )
    fast = decode_json_matrix(bytes(text), 2)
    if fast is not None:
        np.testing.assert_array_equal(fast, decode_strictly(bytes(text)))


@pytest.mark.parametrize(
    "nested",
    [
        "[[1,[2]],[3,4]]",
        "[[1,[2,3]],[[],4]]",
        "[[[1,2]],[3,4]]",
        "[[1,2],3,4]",
        "[1,2,3,4]",
        "[[1,2,3,4]]",
        "[[1],[2,3,4]]",
        "[[[1],2]]",
    ],
)
def test_decode_json_nested_rows_are_refused(nested):
    text = f'{{"instances":{nested}}}'.encode()
    assert decode_json_matrix(text, 2) is None
    with pytest.raises(ServingError):
        decode_json(text, SCHEMA)


def test_decode_json_numbers_are_rounded_once_to_the_nearest_float32(rng):
    values = rng.normal(size=(50, 2)) * 10.0 ** rng.integers(-30, 30, size=(50, 2))
    np.testing.assert_array_equal(decode(make_body(values.tolist())), values.astype("f4"))


def test_decode_json_numbers_that_round_to_infinity_are_refused():
    largest = float(np.finfo(np.float32).max)
    assert decode(make_body([[largest, -largest]])).tolist() == [[largest, -largest]]
    halfway = 2.0**128 - 2.0**103
    below = math.nextafter(halfway, 0)
    assert decode(make_body([[below, 0]])).tolist() == [[largest, 0]]
    for value in (halfway, 1e39, 1e300):
        with pytest.raises(ServingError, match="float32 cannot hold"):
            decode(make_body([[1, value]]))
