"""The JSON body of an answer to `/predict`."""

import json

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.codec.outputs import encode_json_answer


@pytest.fixture
def manifest(shipped):
    return Bundle.open(shipped / "digits" / "1").manifest


def test_encode_json_answer_classifier_has_predictions_and_probabilities(manifest):
    p = np.array([[0.25, 0.75]], np.float32)
    body = encode_json_answer(manifest, {"label": np.array([1]), "probabilities": p})
    assert json.loads(body) == {
        "model": "digits",
        "version": 1,
        "predictions": [1],
        "probabilities": [[0.25, 0.75]],
    }


def test_encode_json_answer_text_labels_are_json_strings(manifest):
    outputs = {"label": np.array(["ü", 'a"b']), "probabilities": np.eye(2, dtype=np.float32)}
    assert json.loads(encode_json_answer(manifest, outputs))["predictions"] == ["ü", 'a"b']


def test_encode_json_answer_one_target_is_a_number_and_several_are_a_list(manifest):
    value = np.array([[1.5, 2], [3, 4]], np.float32)
    several = json.loads(encode_json_answer(manifest, {"value": value}))
    assert several == {"model": "digits", "version": 1, "predictions": [[1.5, 2], [3, 4]]}
    one = json.loads(encode_json_answer(manifest, {"value": value[:, :1]}))
    assert one["predictions"] == [1.5, 3]


def test_encode_json_answer_floats_read_back_as_the_same_float32(manifest, rng):
    p = rng.random((100, 2)).astype(np.float32) ** 8
    body = encode_json_answer(manifest, {"label": np.zeros(100, np.int64), "probabilities": p})
    np.testing.assert_array_equal(np.array(json.loads(body)["probabilities"]).astype("f4"), p)
