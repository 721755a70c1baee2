import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss

from trainer.data.records import Records
from trainer.data.sources import load_table
from trainer.data.tables import DataError, make_table
from trainer.search import InvalidSearchError
from trainer.search.estimator import CandidateEstimator
from trainer.search.journal import hash_rows


def get_parameters(model):
    return model.model_.network.parameters


def get_offset(model):
    return model.model_.encoder.numbers.scaler.offset


def test_estimator_fit_uses_the_given_rows_only(make_context, rows, spoil_rows):
    table = load_table("iris")
    training, scored = rows[:90], rows[90:]
    model = CandidateEstimator(make_context(table)).fit(training)
    other = CandidateEstimator(make_context(spoil_rows(table, scored[:, 0]))).fit(training)
    np.testing.assert_array_equal(get_parameters(model), get_parameters(other))
    np.testing.assert_array_equal(get_offset(model), get_offset(other))
    # The scored rows change the score.
    assert model.score(scored) != other.score(scored)


def test_estimator_fit_excludes_the_held_out_rows_from_the_scaling(make_context, spoil_rows, rows):
    table = load_table("iris")
    first = get_offset(CandidateEstimator(make_context(table)).fit(rows))
    changes = [
        not np.array_equal(
            first,
            get_offset(
                CandidateEstimator(make_context(spoil_rows(table, [row]), epochs=1)).fit(rows)
            ),
        )
        for row in rows[:, 0]
    ]
    assert sum(changes) == 108  # One row in ten is held out.


def test_estimator_score_equals_scikit_learn(make_context, rows):
    table = load_table("iris")
    training, scored = rows[:90], rows[90:]
    model = CandidateEstimator(make_context(table)).fit(training)
    answers = model.model_.answers(table.records.take(scored[:, 0]))
    truth = table.target[scored[:, 0]]
    assert model.score(scored) == accuracy_score(truth, answers["label"])
    lower = CandidateEstimator(make_context(table, metric="log_loss", seed=1)).fit(training)
    answers = lower.model_.answers(table.records.take(scored[:, 0]))
    p = answers["probabilities"].astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    assert lower.score(scored) == pytest.approx(-log_loss(truth, p), rel=1e-12)


def test_estimator_clone_is_unfitted_and_shares_the_context(make_context, rows):
    model = CandidateEstimator(make_context(), hidden=(4,)).fit(rows)
    copy = clone(model)
    assert copy.context is model.context
    assert not hasattr(copy, "model_")
    assert copy.get_params() == model.get_params()
    assert copy.get_params()["hidden"] == (4,)
    assert clone(model).set_params(hidden=[5, 6]).get_params()["hidden"] == (5, 6)
    assert model.get_params()["hidden"] == (4,)


def test_estimator_fit_in_the_journal_is_not_run_again(make_context, rows):
    shared = make_context()
    first = CandidateEstimator(shared).fit(rows[:90])
    score = first.score(rows[90:])
    second = CandidateEstimator(shared).fit(rows[:90])
    assert second.model_ is None
    assert second.score(rows[90:]) == score
    assert (shared.journal.n_added, shared.journal.n_reused) == (1, 1)
    # Scores on other rows need the model.
    assert second.score(rows[90:110]) == first.score(rows[90:110])
    assert second.model_ is not None
    for other in ({"hidden": 9}, {"epochs": 5}, {"patience": 3}):
        assert CandidateEstimator(shared, **other).fit(rows[:90]).model_ is not None
    assert CandidateEstimator(shared).fit(rows[:91]).model_ is not None


def test_estimator_fit_on_changed_data_is_run_again(make_context, rows, spoil_rows):
    CandidateEstimator(make_context()).fit(rows[:90]).score(rows[90:])
    other = CandidateEstimator(make_context(spoil_rows(load_table("iris"), [149]))).fit(rows[:90])
    assert other.model_ is not None


def test_estimator_diverged_training_has_no_score(make_context, rows):
    table = load_table("diabetes")
    shared = make_context(table, "r2", optimizer="sgd", learning_rate=1e9)
    model = CandidateEstimator(shared).fit(rows[:90])
    assert model.model_ is None
    assert math.isnan(model.score(rows[90:]))
    assert math.isnan(CandidateEstimator(shared).fit(rows[:90]).score(rows[90:]))
    assert shared.journal.n_added == 1


def test_estimator_overflowing_answers_have_no_score(make_context, rng):
    x = rng.normal(size=(120, 1))
    x[100:] = 1e6  # far outside the training data
    table = make_table(
        source="t",
        records=Records.of_numbers(["x"], x),
        target=np.exp(x.clip(max=3)),
        target_names=("y",),
    )
    shared = make_context(table, "r2", target_scaling="log", hidden=(4,))
    rows = np.arange(120)[:, None]
    model = CandidateEstimator(shared).fit(rows[:100])
    assert model.model_ is not None
    assert math.isnan(model.score(rows[100:]))
    assert (
        "answer overflows" in shared.journal.find(model._fit_key, hash_rows(rows[100:, 0])).failure
    )


def test_estimator_errors_name_the_candidate(make_context, rows):
    with pytest.raises(InvalidSearchError, match=r"candidate hidden=0: hidden: expected integers"):
        CandidateEstimator(make_context(), hidden=[0])
    with pytest.raises(DataError, match="candidate aim=f1: expected two classes for the aim f1"):
        CandidateEstimator(make_context(), aim="f1").fit(rows)


def test_estimator_metric_undefined_for_one_class_is_refused(make_context):
    model = CandidateEstimator(make_context(metric="roc_auc")).fit(np.arange(40, 150)[:, None])
    with pytest.raises(
        DataError, match=r"iris: expected rows of every class in each fold.*roc_auc"
    ):
        model.score(np.arange(40)[:, None])
