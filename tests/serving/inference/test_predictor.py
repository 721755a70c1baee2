"""Predictions of whole request bodies, against the session and against NumPy."""

import json

import numpy as np
import pytest

from serving.call_context import CallContext
from serving.codec.messages import EncodedRequest
from serving.errors import NotFiniteAnswerError
from serving.inference.batching import Batcher
from serving.inference.predictor import Predictor
from tests.repositories import load_repository
from trainer.data.sources import load_table


@pytest.fixture(scope="session")
def models(zoo):
    return load_repository(zoo)


def predict(model, rows):
    request = EncodedRequest(json.dumps({"instances": rows}).encode())
    return json.loads(Predictor(Batcher())("rows", model, request, CallContext()).content)


@pytest.mark.slow
@pytest.mark.parametrize("size", [4095, 4096, 4097, 9000])
def test_predictor_many_rows_in_slices_equal_the_session(size, models, digits):
    model = models.find_model("digits")
    rows = np.resize(digits[0], (size, 64))
    expected = model.session.run({"features": rows})
    found = predict(model, rows.tolist())
    assert found["predictions"] == expected["label"].tolist()
    np.testing.assert_array_equal(
        np.array(found["probabilities"], np.float32), expected["probabilities"]
    )


@pytest.mark.parametrize("size", [0, 1, 7, 256])
def test_predictor_rows_equal_the_session(size, models, digits):
    model = models.find_model("digits")
    rows = digits[0][:size]
    expected = model.session.run({"features": rows})
    found = predict(model, rows.tolist())
    assert found["model"] == "digits"
    assert found["version"] == 1
    assert found["predictions"] == expected["label"].tolist()
    np.testing.assert_array_equal(
        np.array(found["probabilities"], np.float32).reshape(-1, 10), expected["probabilities"]
    )


def test_predictor_text_classes_have_probabilities_in_their_order(models):
    model = models.find_model("flowers")
    found = predict(model, [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    assert found["predictions"] == ["setosa", "virginica"]
    assert model.manifest.classes == ["setosa", "versicolor", "virginica"]
    assert np.argmax(found["probabilities"], axis=1).tolist() == [0, 2]


def test_predictor_binary_classifier_has_two_probabilities(models):
    table = load_table("breast_cancer")
    found = predict(models.find_model("tumours"), table.records.numbers[:20].tolist())
    assert np.shape(found["probabilities"]) == (20, 2)
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1, rtol=1e-6)
    assert found["predictions"] == [
        "malignant" if p >= 0.5 else "benign" for _, p in found["probabilities"]
    ]


def test_predictor_regressor_returns_original_units(models):
    table = load_table("diabetes")
    found = predict(models.find_model("progress"), table.records.numbers[:50].tolist())
    assert set(found) == {"model", "version", "predictions"}
    assert 25 < np.median(found["predictions"]) < 346
    several = predict(
        models.find_model("physique"), load_table("linnerud").records.numbers[:5].tolist()
    )
    assert np.shape(several["predictions"]) == (5, 3)


def test_predictor_overflow_raises_and_names_the_instance(models):
    model = models.find_model("digits")
    huge = [[3e38] * 64]
    with pytest.raises(NotFiniteAnswerError, match="got an instance 2 so large") as raised:
        predict(model, [[0] * 64, [1] * 64, *huge])
    assert raised.value.details == {"instance": 2}


@pytest.fixture(scope="session")
def mixed_model(adults):
    return load_repository(adults).find_model(None)


@pytest.mark.parametrize("size", [0, 1, 50, 5000])
def test_predictor_records_equal_numpy(size, mixed_model, mixed, rng):
    records = mixed.records(50, rng)
    records = [records[i % 50] for i in range(size)]
    probabilities, label = mixed.answers(records)
    found = predict(mixed_model, records)
    assert found["predictions"] == label.tolist()
    got = np.array(found["probabilities"]).reshape(-1, 2)
    np.testing.assert_allclose(got, probabilities, atol=1e-6)


def test_predictor_rows_in_column_order_equal_records(mixed_model, mixed, rng):
    records = mixed.records(20, rng)
    assert predict(mixed_model, [list(record.values()) for record in records]) == predict(
        mixed_model, records
    )
    records_without_nulls = [
        {k: v for k, v in record.items() if v is not None} for record in records
    ]
    assert predict(mixed_model, records_without_nulls) == predict(mixed_model, records)


def test_predictor_single_instance_equals_the_same_instance_in_a_batch(mixed_model, mixed, rng):
    records = mixed.records(20, rng)
    together = predict(mixed_model, records)["probabilities"]
    alone = [predict(mixed_model, [record])["probabilities"][0] for record in records]
    np.testing.assert_allclose(alone, together, rtol=1e-6)


def test_predictor_numeric_model_accepts_records(shipped, digits):
    model = load_repository(shipped).find_model(None)
    rows = digits[0][:3].tolist()
    names = [column.name for column in model.manifest.inputs]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    assert predict(model, records) == predict(model, rows)
