import numpy as np
import pytest

from trainer.config import Config
from trainer.data.sources import load_table
from trainer.model import Model


def build_model(name, rng, **options):
    table = load_table(name)
    rows = np.arange(len(table))
    config = Config(data=name, hidden=(8,), **options)
    return table, Model.build(
        table, rows, layers=config.build_layers, loss=config.build_loss(table.task), rng=rng
    )


def test_answers_multiclass_has_label_and_probabilities(rng):
    table, model = build_model("digits", rng)
    answers = model.answers(table.records.take(slice(5)))
    assert set(answers) == {"label", "probabilities"}
    assert answers["probabilities"].shape == (5, 10)
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(answers["label"], answers["probabilities"].argmax(axis=1))


def test_answers_binary_has_two_probabilities(rng):
    table, model = build_model("breast_cancer", rng)
    answers = model.answers(table.records.take(slice(50)))
    assert model.network.n_outputs == 1
    assert answers["probabilities"].shape == (50, 2)
    second = answers["probabilities"][:, 1] >= 0.5
    np.testing.assert_array_equal(answers["label"], np.where(second, "malignant", "benign"))


def test_answers_regression_has_units_of_target(rng):
    table, model = build_model("linnerud", rng)
    answers = model.answers(table.records)
    assert set(answers) == {"value"}
    assert answers["value"].shape == (20, 3)
    np.testing.assert_allclose(  # without training, near the mean of each target
        answers["value"].mean(axis=0), table.target.mean(axis=0), rtol=0.3
    )


def test_encode_rows_targets_fit_the_loss(rng):
    table, model = build_model("breast_cancer", rng)
    rows = model.encode_rows(table, np.arange(10))
    assert rows.targets.shape == (10, 1)
    assert rows.targets.dtype == np.float32
    table, model = build_model("iris", rng)
    assert model.encode_rows(table, np.array([0, 60, 149])).targets.tolist() == [0, 1, 2]
    table, model = build_model("diabetes", rng)
    targets = model.encode_rows(table, np.arange(442)).targets
    assert targets.mean() == pytest.approx(0, abs=1e-5)
    assert targets.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "linnerud"])
def test_answers_no_rows_are_empty(name, rng):
    table, model = build_model(name, rng)
    for output in model.answers(table.records.take(slice(0))).values():
        assert len(output) == 0


def test_answers_poisson_are_positive_and_unscaled(rng):
    table, model = build_model("linnerud", rng, loss="poisson")
    assert model.target_scaler is None
    assert (model.answers(table.records)["value"] > 0).all()
    np.testing.assert_array_equal(model.encode_rows(table, np.arange(20)).targets, table.target)
