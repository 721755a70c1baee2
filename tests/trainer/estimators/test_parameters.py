"""What scikit-learn's MLP takes changes the result here as well, or is refused by name."""

import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.estimators.parameters import check_parameters
from trainer.nn import Cosine, Network
from trainer.nn import network as network_module
from trainer.training.callbacks import CSVLog, EarlyStopping
from trainer.training.diagnostics import Diagnostics
from trainer.training.loop import Callback, TrainingDivergedError

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
SMALL = dict(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
CLASSES = [0, 1, 2]


@pytest.mark.parametrize(
    "kind",
    [
        sp.csr_matrix,
        sp.csc_matrix,
        sp.coo_matrix,
        sp.csr_array,
        sp.csc_array,
        sp.coo_array,
        sp.dok_matrix,
        sp.lil_array,
    ],
)
@pytest.mark.parametrize("more", [{}, {"early_stopping": True}, {"shuffle": False}], ids=str)
def test_sparse_rows_give_what_dense_ones_give(kind, more):
    dense = np.where(X > 0.3, X, 0)
    expected = MLPClassifier(**SMALL, **more).fit(dense, Y)
    model = MLPClassifier(**SMALL, **more).fit(kind(dense), Y)
    np.testing.assert_array_equal(model.predict_proba(kind(dense)), expected.predict_proba(dense))
    np.testing.assert_array_equal(model.predict(dense), expected.predict(kind(dense)))
    assert model.score(kind(dense), Y) == expected.score(dense, Y)
    assert model.loss_curve_ == expected.loss_curve_
    assert model.validation_scores_ == expected.validation_scores_


def test_sparse_rows_are_taken_by_partial_fit_values_and_labels_at_once():
    dense = np.where(X > 0.3, X, 0).astype(np.float32)
    one, other = MLPClassifier(**SMALL), MLPClassifier(**SMALL)
    for _ in range(2):
        one.partial_fit(sp.csr_array(dense), Y, classes=CLASSES)
        other.partial_fit(dense, Y, classes=CLASSES)
    np.testing.assert_array_equal(one.predict_proba(dense), other.predict_proba(dense))
    values = MLPRegressor(**SMALL, callbacks=[Diagnostics()]).fit(sp.csc_matrix(dense), Y)
    assert values.network_.dtype == np.float32
    expected = MLPRegressor(**SMALL).fit(dense, Y)
    np.testing.assert_array_equal(values.predict(sp.coo_array(dense)), expected.predict(dense))
    labels = np.stack([Y == 0, Y == 1], axis=1).astype(int)
    several = MLPClassifier(**SMALL).fit(dense, sp.csr_matrix(labels))
    alike = MLPClassifier(**SMALL).fit(dense, labels)
    np.testing.assert_array_equal(several.predict(dense), alike.predict(dense))


def test_no_more_of_a_sparse_matrix_is_dense_than_a_slice(monkeypatch):
    sizes = []
    whole = sp.csr_matrix.toarray

    def counted(self, *arguments, **options):
        sizes.append(self.shape[0])
        return whole(self, *arguments, **options)

    rows = sp.random(300, 2000, density=0.01, random_state=0, format="csr")
    monkeypatch.setattr(sp.csr_matrix, "toarray", counted)
    monkeypatch.setattr(network_module, "CELLS", 2000 * 40)
    model = MLPClassifier((2,), max_iter=1, batch_size=32, early_stopping=True, random_state=0)
    model.fit(rows, np.arange(300) % 2)
    del sizes[: sizes.index(32)]  # the look for what is not finite, in slices of its own
    model.predict(rows)
    assert max(sizes) == 40


def test_nan_in_sparse_rows_is_refused():
    hole = sp.csr_matrix(X)
    hole.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        MLPClassifier(**SMALL).fit(hole, Y)


def test_partial_fit_has_scikit_learns_signature():
    for ours, theirs in (
        (MLPClassifier, neural_network.MLPClassifier),
        (MLPRegressor, neural_network.MLPRegressor),
    ):
        for method in ("fit", "partial_fit", "score", "predict"):
            assert list(inspect.signature(getattr(ours, method)).parameters) == list(
                inspect.signature(getattr(theirs, method)).parameters
            )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"class_weight": "balanced"}, "class_weight by class for partial_fit"),
        ({"early_stopping": True}, "early_stopping=False for partial_fit"),
        ({"learning_rate": "cosine"}, "follows the progress of a whole fit"),
        ({"learning_rate": Cosine()}, "follows the progress of a whole fit"),
        ({"solver": "lbfgs"}, r"got 'lbfgs', which is not here: .* use adam"),
        ({"class_weight": {7: 1}}, r"of the classes \[0, 1, 2\]; got \[7\] too"),
    ],
    ids=str,
)
def test_what_partial_fit_cannot_heed_is_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL | choice).partial_fit(X, Y, classes=CLASSES)


def test_partial_fit_takes_class_weights_by_class_also_of_classes_that_did_not_come():
    weighted = MLPClassifier(**SMALL, class_weight={0: 1, 1: 5, 2: 9})
    plain = MLPClassifier(**SMALL)
    expected = MLPClassifier(**SMALL)
    weighted.partial_fit(X[:100], Y[:100], classes=CLASSES)
    plain.partial_fit(X[:100], Y[:100], classes=CLASSES)
    expected.partial_fit(X[:100], Y[:100], np.where(Y[:100] == 1, 5.0, 1.0), CLASSES)
    assert (weighted.predict_proba(X) != plain.predict_proba(X)).any()
    np.testing.assert_array_equal(weighted.predict_proba(X), expected.predict_proba(X))
    with pytest.raises(ValueError, match="expected the classes of the first partial_fit"):
        plain.partial_fit(X, Y, classes=[0, 1, 2, 3])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"alpha": -1}, "alpha of at least 0"),
        ({"tol": float("nan")}, "tol of at least 0"),
        ({"epsilon": 0}, "epsilon above 0"),
        ({"momentum": 1}, r"momentum in \[0, 1\)"),
        ({"beta_1": -0.1}, r"beta_1 in \[0, 1\)"),
        ({"beta_2": "x"}, r"beta_2 in \[0, 1\)"),
        ({"learning_rate_init": 0}, "learning_rate_init above 0"),
        ({"power_t": -1}, "power_t of at least 0"),
        ({"batch_size": 2.5}, "batch_size of at least"),
        ({"max_iter": 2.5}, "max_iter of at least 1"),
        ({"shuffle": "no"}, "shuffle True or False"),
        ({"n_iter_no_change": 0}, "n_iter_no_change of at least 1"),
        ({"warm_start": 2}, "warm_start True or False"),
        ({"max_norm": 0}, "max_norm above 0"),
        ({"dropout": 1}, "dropout in"),
        ({"average": -1}, "average in"),
        ({"label_smoothing": 1}, "label_smoothing in"),
        ({"hidden_layer_sizes": (2.5,)}, "whole"),
        ({"class_weight": {9: 1}}, r"got \[9\] too"),
        ({"class_weight": 3}, "balanced, or by"),
        ({"class_weight": "even"}, "balanced"),
        ({"early_stopping": 1}, "early_stopping True or"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "validation_fraction|test_size"),
    ],
    ids=str,
)
def test_wrong_choices_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL | choice).fit(X, Y)


def test_what_scikit_learn_takes_passes_the_check():
    for ours, theirs in (
        (MLPClassifier, neural_network.MLPClassifier),
        (MLPRegressor, neural_network.MLPRegressor),
    ):
        shared = theirs().get_params()
        del shared["max_fun"]  # of lbfgs alone, and unknown here: a TypeError
        check_parameters(ours(**shared).get_params(), incremental=True)
    check_parameters(
        MLPClassifier(n_iter_no_change=np.inf, validation_fraction=0).get_params(),
        incremental=False,
    )


@pytest.mark.parametrize(
    "weights",
    [np.ones(3), np.full(150, np.nan), np.full(150, -1.0), np.zeros(150), np.ones((150, 2))],
    ids=["short", "nan", "negative", "zeros", "wide"],
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_wrong_sample_weights_are_refused(kind, weights):
    with pytest.raises(ValueError, match=r"[ws]"):
        kind(**SMALL).fit(X, Y, weights)
    more = {"classes": CLASSES} if kind is MLPClassifier else {}
    with pytest.raises(ValueError, match=r"[ws]"):
        kind(**SMALL).partial_fit(X, Y, weights, **more)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_score_that_stops_early_counts_rows_by_their_weights(kind):
    rng = np.random.default_rng(0)
    weights = rng.random(150) ** 4
    options = SMALL | {"early_stopping": True, "max_iter": 4, "validation_fraction": 0.3}
    seen = []

    class Ear(Callback):
        def on_epoch(self, run):
            seen.append((run.validation, run.network.logits(run.validation.features)))

    model = kind(**options, callbacks=[Ear()]).fit(X, Y, weights)
    rows, logits = seen[-1]
    if kind is MLPClassifier:
        score = np.average(logits.argmax(axis=1) == rows.targets, weights=rows.weights)
    else:
        truth = rows.targets[:, 0]
        middle = np.average(truth, weights=rows.weights)
        residual = np.sum(rows.weights * (truth - logits[:, 0]) ** 2)
        score = 1 - residual / np.sum(rows.weights * (truth - middle) ** 2)
    assert model.validation_scores_[-1] == pytest.approx(score, rel=1e-9)


def test_early_stopping_is_heeded_in_one_epoch_too():
    model = MLPClassifier(**SMALL | {"max_iter": 1, "early_stopping": True}).fit(X, Y)
    assert len(model.validation_scores_) == 1


def test_invscaling_goes_on_from_one_partial_fit_to_the_next_as_scikit_learns():
    options = dict(
        hidden_layer_sizes=(3,),
        solver="sgd",
        learning_rate="invscaling",
        momentum=0,
        batch_size=150,
        learning_rate_init=0.5,
        random_state=0,
    )
    model = MLPClassifier(**options)
    rates = []

    class Ear(Callback):
        def on_epoch(self, run):
            rates.append(run.history[-1].learning_rate)

    model.set_params(callbacks=[Ear()])
    for _ in range(3):
        model.partial_fit(X, Y, classes=CLASSES)
    np.testing.assert_allclose(rates, 0.5 / np.sqrt([1, 2, 3]))


def test_an_adaptive_rate_falls_over_several_partial_fits():
    model = MLPClassifier(**SMALL, learning_rate="adaptive", learning_rate_init=1e-9)
    model.set_params(n_iter_no_change=1)
    for _ in range(4):
        model.partial_fit(X, Y, classes=CLASSES)
    assert model._update.schedule.level < 1


def test_a_warm_start_takes_up_new_choices_of_the_steps_and_refuses_others():
    def started():
        return MLPClassifier(**SMALL, warm_start=True).fit(X, Y)

    same, slow = started().fit(X, Y), started().set_params(learning_rate_init=1e-12)
    before = slow.predict_proba(X)
    np.testing.assert_allclose(slow.fit(X, Y).predict_proba(X), before, atol=1e-6)
    assert np.abs(same.predict_proba(X) - before).max() > 1e-3
    for choice in (
        {"hidden_layer_sizes": (7,)},
        {"activation": "tanh"},
        {"dropout": 0.5},
        {"batch_norm": True},
    ):
        with pytest.raises(ValueError, match="of the network that is there"):
            started().set_params(**choice).fit(X, Y)
    smooth = started().set_params(label_smoothing=0.9).fit(X, Y)
    assert (smooth.predict_proba(X) != same.predict_proba(X)).any()
    partial = MLPClassifier(**SMALL).partial_fit(X, Y, classes=CLASSES)
    before = partial.predict_proba(X)
    partial.set_params(learning_rate_init=1e-12).partial_fit(X, Y)
    np.testing.assert_allclose(partial.predict_proba(X), before, atol=1e-6)


def test_fit_starts_anew_with_the_same_callbacks(tmp_path):
    def callbacks():
        return [EarlyStopping(2), CSVLog(tmp_path / "log.csv")]

    options = SMALL | {"early_stopping": True, "max_iter": 5}
    model = MLPClassifier(**options, callbacks=callbacks())
    model.fit(X, Y)
    again = model.fit(X[:, ::-1], Y).predict_proba(X)
    expected = MLPClassifier(**options, callbacks=callbacks()).fit(X[:, ::-1], Y).predict_proba(X)
    np.testing.assert_array_equal(again, expected)
    copied = clone(model).fit(X[:, ::-1], Y).predict_proba(X)
    np.testing.assert_array_equal(copied, expected)


def test_after_a_run_that_diverged_the_optimizer_has_forgotten_it():
    digits, _ = load_digits(return_X_y=True)
    values = digits[:, 10]
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=0).partial_fit(digits, values)
    huge = digits.copy()
    huge[0] = 1e300
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        with pytest.raises((TrainingDivergedError, ValueError)):
            model.partial_fit(huge, values)
        assert np.isfinite(model.partial_fit(digits, values).predict(digits)).all()


def test_wide_rows_pass_the_network_in_smaller_slices(monkeypatch, rng):
    monkeypatch.setattr(network_module, "CELLS", 30)
    x = rng.normal(size=(25, 10))
    wide = Network(10, MLPClassifier()._hidden(), rng=rng, dtype=np.float64)
    expected = np.concatenate([wide.logits(x[i : i + 3]) for i in range(0, 25, 3)])
    np.testing.assert_array_equal(wide.logits(x), expected)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_score_counts_rows_by_their_weights(kind):
    model = kind(**SMALL).fit(X, Y)
    weights = np.where(Y == 0, 9.0, 0.1)
    assert model.score(X, Y, weights) != model.score(X, Y)
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(X, Y, weights[1:])
