import numpy as np
import pytest

from trainer.config import Config
from trainer.data.sources import load_table
from trainer.model import Model


def model_of(name, rng, **options):
    table = load_table(name)
    rows = np.arange(len(table))
    config = Config(data=name, hidden=(8,), **options)
    return table, Model.untrained(
        table, rows, layers=config.build_layers, loss=config.build_loss(table.task), rng=rng
    )


def test_a_classifiers_answers(rng):
    table, model = model_of("digits", rng)
    answers = model.answers(table.records.take(slice(5)))
    assert set(answers) == {"label", "probabilities"}
    assert answers["probabilities"].shape == (5, 10)
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(answers["label"], answers["probabilities"].argmax(axis=1))


def test_a_binary_classifier_has_one_logit_and_two_probabilities(rng):
    table, model = model_of("breast_cancer", rng)
    answers = model.answers(table.records.take(slice(50)))
    assert model.network.n_outputs == 1
    assert answers["probabilities"].shape == (50, 2)
    second = answers["probabilities"][:, 1] >= 0.5
    np.testing.assert_array_equal(answers["label"], np.where(second, "malignant", "benign"))


def test_a_regressor_answers_in_original_units(rng):
    table, model = model_of("linnerud", rng)
    answers = model.answers(table.records)
    assert set(answers) == {"value"}
    assert answers["value"].shape == (20, 3)
    np.testing.assert_allclose(  # untrained, it answers around the mean of each target
        answers["value"].mean(axis=0), table.target.mean(axis=0), rtol=0.3
    )


def test_targets_take_the_form_their_loss_asks_for(rng):
    table, model = model_of("breast_cancer", rng)
    rows = model.rows(table, np.arange(10))
    assert rows.targets.shape == (10, 1)
    assert rows.targets.dtype == np.float32
    table, model = model_of("iris", rng)
    assert model.rows(table, np.array([0, 60, 149])).targets.tolist() == [0, 1, 2]
    table, model = model_of("diabetes", rng)
    targets = model.rows(table, np.arange(442)).targets
    assert targets.mean() == pytest.approx(0, abs=1e-5)
    assert targets.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "linnerud"])
def test_no_rows_have_no_answers(name, rng):
    table, model = model_of(name, rng)
    for output in model.answers(table.records.take(slice(0))).values():
        assert len(output) == 0


def test_counts_are_answered_as_counts(rng):
    table, model = model_of("linnerud", rng, loss="poisson")
    assert model.targets is None
    assert (model.answers(table.records)["value"] > 0).all()
    np.testing.assert_array_equal(model.rows(table, np.arange(20)).targets, table.target)
