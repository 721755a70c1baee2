import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss

from trainer.data.records import Records
from trainer.data.sources import load_table
from trainer.data.tables import DataError, make_table
from trainer.search import RefusedError
from trainer.search.estimator import ConfiguredModel
from trainer.search.journal import digest_of_rows


def parameters(model):
    return model.model_.network.parameters


def offset(model):
    return model.model_.encoder.numbers.scaler.offset


def test_it_learns_from_the_rows_it_is_given_and_from_no_others(bench, rows, poisoned):
    table = load_table("iris")
    known, scored = rows[:90], rows[90:]
    model = ConfiguredModel(bench(table)).fit(known)
    other = ConfiguredModel(bench(poisoned(table, scored[:, 0]))).fit(known)
    np.testing.assert_array_equal(parameters(model), parameters(other))
    np.testing.assert_array_equal(offset(model), offset(other))
    # But the rows that are scored are looked at.
    assert model.score(scored) != other.score(scored)


def test_rows_held_out_to_stop_by_give_no_statistics_either(bench, poisoned, rows):
    table = load_table("iris")
    first = offset(ConfiguredModel(bench(table)).fit(rows))
    moved = [
        not np.array_equal(
            first, offset(ConfiguredModel(bench(poisoned(table, [place]), epochs=1)).fit(rows))
        )
        for place in rows[:, 0]
    ]
    assert sum(moved) == 108  # one row in ten is held out


def test_the_score_is_scikit_learns(bench, rows):
    table = load_table("iris")
    known, scored = rows[:90], rows[90:]
    model = ConfiguredModel(bench(table)).fit(known)
    answers = model.model_.answers(table.records.take(scored[:, 0]))
    truth = table.target[scored[:, 0]]
    assert model.score(scored) == accuracy_score(truth, answers["label"])
    lower = ConfiguredModel(bench(table, metric="log_loss", seed=1)).fit(known)
    answers = lower.model_.answers(table.records.take(scored[:, 0]))
    p = answers["probabilities"].astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    assert lower.score(scored) == pytest.approx(-log_loss(truth, p), rel=1e-12)


def test_a_clone_shares_the_table_and_has_learned_nothing(bench, rows):
    model = ConfiguredModel(bench(), hidden=(4,)).fit(rows)
    copy = clone(model)
    assert copy.bench is model.bench
    assert not hasattr(copy, "model_")
    assert copy.get_params() == model.get_params()
    assert copy.get_params()["hidden"] == (4,)
    assert clone(model).set_params(hidden=[5, 6]).get_params()["hidden"] == (5, 6)
    assert model.get_params()["hidden"] == (4,)


def test_what_the_journal_knows_is_not_learned_again(bench, rows):
    shared = bench()
    first = ConfiguredModel(shared).fit(rows[:90])
    score = first.score(rows[90:])
    again = ConfiguredModel(shared).fit(rows[:90])
    assert again.model_ is None
    assert again.score(rows[90:]) == score
    assert (shared.journal.added, shared.journal.reused) == (1, 1)
    # Scored on other rows it has to be learned all the same.
    assert again.score(rows[90:110]) == first.score(rows[90:110])
    assert again.model_ is not None
    for other in ({"hidden": 9}, {"epochs": 5}, {"patience": 3}):
        assert ConfiguredModel(shared, **other).fit(rows[:90]).model_ is not None
    assert ConfiguredModel(shared).fit(rows[:91]).model_ is not None


def test_other_data_are_other_fits(bench, rows, poisoned):
    ConfiguredModel(bench()).fit(rows[:90]).score(rows[90:])
    other = ConfiguredModel(bench(poisoned(load_table("iris"), [149]))).fit(rows[:90])
    assert other.model_ is not None


def test_training_that_diverges_has_no_score(bench, rows):
    table = load_table("diabetes")
    shared = bench(table, "r2", optimizer="sgd", learning_rate=1e9)
    model = ConfiguredModel(shared).fit(rows[:90])
    assert model.model_ is None
    assert math.isnan(model.score(rows[90:]))
    assert math.isnan(ConfiguredModel(shared).fit(rows[:90]).score(rows[90:]))
    assert shared.journal.added == 1


def test_answers_that_overflow_have_no_score(bench, rng):
    x = rng.normal(size=(120, 1))
    x[100:] = 1e6  # beyond anything that the candidate has learned from
    table = make_table(
        source="t",
        records=Records.of_numbers(["x"], x),
        target=np.exp(x.clip(max=3)),
        target_names=("y",),
    )
    shared = bench(table, "r2", target_scaling="log", hidden=(4,))
    rows = np.arange(120)[:, None]
    model = ConfiguredModel(shared).fit(rows[:100])
    assert model.model_ is not None
    assert math.isnan(model.score(rows[100:]))
    assert (
        "answer overflows" in shared.journal.find(model._fit, digest_of_rows(rows[100:, 0])).failure
    )


def test_faults_name_the_candidate(bench, rows):
    with pytest.raises(RefusedError, match=r"candidate hidden=0: hidden: expected integers"):
        ConfiguredModel(bench(), hidden=[0])
    with pytest.raises(DataError, match="candidate aim=f1: expected two classes for the aim f1"):
        ConfiguredModel(bench(), aim="f1").fit(rows)


def test_a_metric_that_rows_of_one_class_do_not_have_is_named(bench):
    model = ConfiguredModel(bench(metric="roc_auc")).fit(np.arange(40, 150)[:, None])
    with pytest.raises(
        DataError, match=r"iris: expected rows of every class in each fold.*roc_auc"
    ):
        model.score(np.arange(40)[:, None])
