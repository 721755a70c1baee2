import json

import numpy as np
import pytest

from serving.call_context import CallContext
from serving.codec.messages import EncodedRequest
from serving.errors import NotFiniteAnswerError
from serving.inference.batching import Batcher
from serving.inference.predictor import Predictor
from serving.repository import Repository
from trainer.data.sources import load


@pytest.fixture(scope="session")
def models(zoo):
    return Repository(zoo)


def answer(model, rows):
    message = EncodedRequest(json.dumps({"instances": rows}).encode())
    return json.loads(Predictor(Batcher())("rows", model, message, CallContext()).content)


@pytest.mark.slow
@pytest.mark.parametrize("size", [4095, 4096, 4097, 9000])
def test_a_body_of_many_rows_is_answered_in_slices_to_the_same_answers(size, models, digits):
    model = models.find("digits")
    rows = np.resize(digits[0], (size, 64))
    expected = model.session.run({"features": rows})
    found = answer(model, rows.tolist())
    assert found["predictions"] == expected["label"].tolist()
    np.testing.assert_array_equal(
        np.array(found["probabilities"], np.float32), expected["probabilities"]
    )


@pytest.mark.parametrize("size", [0, 1, 7, 256])
def test_the_answer_is_the_sessions(size, models, digits):
    model = models.find("digits")
    rows = digits[0][:size]
    expected = model.session.run({"features": rows})
    found = answer(model, rows.tolist())
    assert found["model"] == "digits"
    assert found["version"] == 1
    assert found["predictions"] == expected["label"].tolist()
    np.testing.assert_array_equal(
        np.array(found["probabilities"], np.float32).reshape(-1, 10), expected["probabilities"]
    )


def test_text_classes_come_in_the_order_of_classes(models):
    model = models.find("flowers")
    found = answer(model, [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    assert found["predictions"] == ["setosa", "virginica"]
    assert model.manifest.classes == ["setosa", "versicolor", "virginica"]
    assert np.argmax(found["probabilities"], axis=1).tolist() == [0, 2]


def test_two_classes_have_two_probabilities(models):
    table = load("breast_cancer")
    found = answer(models.find("tumours"), table.records.numbers[:20].tolist())
    assert np.shape(found["probabilities"]) == (20, 2)
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1, rtol=1e-6)
    assert found["predictions"] == [
        "malignant" if p >= 0.5 else "benign" for _, p in found["probabilities"]
    ]


def test_values_come_in_original_units_without_probabilities(models):
    table = load("diabetes")
    found = answer(models.find("progress"), table.records.numbers[:50].tolist())
    assert set(found) == {"model", "version", "predictions"}
    assert 25 < np.median(found["predictions"]) < 346
    several = answer(models.find("physique"), load("linnerud").records.numbers[:5].tolist())
    assert np.shape(several["predictions"]) == (5, 3)


def test_an_answer_that_overflows_is_an_error_that_names_the_instance(models):
    model = models.find("digits")
    huge = [[3e38] * 64]
    with pytest.raises(NotFiniteAnswerError, match="got an instance 2 so large") as raised:
        answer(model, [[0] * 64, [1] * 64, *huge])
    assert raised.value.details == {"instance": 2}


@pytest.fixture(scope="session")
def table(adults):
    return Repository(adults).find(None)


@pytest.mark.parametrize("size", [0, 1, 50, 5000])
def test_records_are_answered_as_numpy_does(size, table, mixed, rng):
    records = mixed.records(50, rng)
    records = [records[i % 50] for i in range(size)]
    probabilities, label = mixed.answers(records)
    found = answer(table, records)
    assert found["predictions"] == label.tolist()
    got = np.array(found["probabilities"]).reshape(-1, 2)
    np.testing.assert_allclose(got, probabilities, atol=1e-6)


def test_rows_in_the_order_of_the_columns_are_answered_as_records_are(table, mixed, rng):
    records = mixed.records(20, rng)
    assert answer(table, [list(record.values()) for record in records]) == answer(table, records)
    without_gaps = [{k: v for k, v in record.items() if v is not None} for record in records]
    assert answer(table, without_gaps) == answer(table, records)


def test_an_instance_is_answered_alike_alone_and_among_others(table, mixed, rng):
    records = mixed.records(20, rng)
    together = answer(table, records)["probabilities"]
    alone = [answer(table, [record])["probabilities"][0] for record in records]
    np.testing.assert_allclose(alone, together, rtol=1e-6)


def test_a_numeric_model_takes_records_as_well(shipped, digits):
    model = Repository(shipped).find(None)
    rows = digits[0][:3].tolist()
    names = [column.name for column in model.manifest.inputs]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    assert answer(model, records) == answer(model, rows)
