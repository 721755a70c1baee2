"""Estimators with the presets of `trainer fit`."""

import pickle
from contextlib import nullcontext

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from trainer.config import Config
from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.estimators.convergence import ConvergenceMonitor
from trainer.evaluate.calibration import fit_calibration
from trainer.pipeline import load_and_split, train_on_split
from trainer.training.callbacks import EarlyStopping
from trainer.training.loop import VALIDATION_ERROR, Callback, Epoch

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")

SMALL = dict(hidden_layer_sizes=(8,), max_iter=4, random_state=0)


def load_scaled(load, n=None):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X)[:n], y[:n]


class RuleRecorder(Callback):
    """Callback that keeps the update rule, the number of epochs and the layers of a run."""

    def on_start(self, run):
        self.rule, self.epochs, self.layers = repr(run.update), run.epochs, repr(run.network.layers)
        self.loss, self.batch_rows = repr(run.loss), run.source_size[1]


@pytest.mark.parametrize("preset", ["fast", "balanced"])
@pytest.mark.parametrize(
    ("data", "estimator"), [("digits", MLPClassifier), ("diabetes", MLPRegressor)]
)
def test_from_preset_trains_like_the_pipeline(preset, data, estimator):
    config = Config(data=data, preset=preset, epochs=30)
    table, split = load_and_split(config)
    theirs = RuleRecorder()
    trained = train_on_split(table, split, config, np.random.default_rng(0), callbacks=[theirs])
    rows = np.concatenate([split.train, split.validation])
    X = trained.model.encoder.transform(table.records.take(rows))
    X_test = trained.model.encoder.transform(table.records.take(split.test))
    y, y_test = (np.asarray(table.target)[part].reshape(len(part)) for part in (rows, split.test))
    ours = RuleRecorder()
    model = estimator.from_preset(
        preset, max_iter=30, random_state=0, validation_fraction=0.125, callbacks=[ours]
    ).fit(X, y)
    assert (ours.rule, ours.layers, ours.batch_rows) == (
        theirs.rule,
        theirs.layers,
        theirs.batch_rows,
    )
    answers = trained.model.answers(table.records.take(split.test))
    if data == "digits":
        assert ours.loss == theirs.loss
        accuracy = np.mean(answers["label"] == y_test)
        assert model.score(X_test, y_test) == pytest.approx(accuracy, abs=0.03)
        assert log_loss(y_test, model.predict_proba(X_test)) == pytest.approx(
            log_loss(y_test, answers["probabilities"]), abs=0.1
        )
    else:
        error = np.std(answers["value"][:, 0] - y_test)
        assert np.std(model.predict(X_test) - y_test) == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize("n_rows", [40, 150])
def test_from_preset_number_of_epochs_is_that_of_the_pipeline(n_rows):
    X, y = load_scaled(load_diabetes, n_rows)
    recorder = RuleRecorder()
    MLPRegressor.from_preset(
        "balanced", hidden_layer_sizes=(2,), callbacks=[recorder], random_state=0
    ).fit(X, y)
    n_training = n_rows - int(np.ceil(n_rows * 0.1))
    expected = Config(data="any").resolve("regression", n_training).epochs
    assert recorder.epochs == expected
    assert recorder.batch_rows == min(128, n_training)


def test_from_preset_overrides_change_what_depends_on_them():
    rate = MLPClassifier.from_preset("balanced", learning_rate_init=0.01)
    assert (rate.layer_rates, rate.learning_rate_init) == ("equal", 0.01)
    sgd = MLPClassifier.from_preset("balanced", solver="sgd")
    assert (sgd.layer_rates, sgd.learning_rate_init, sgd.alpha) == ("equal", 0.001, 0)
    weighted = MLPClassifier.from_preset("balanced", class_weight="balanced")
    assert (weighted.calibrate, weighted.label_smoothing) == (False, 0)
    uncalibrated = MLPClassifier.from_preset("balanced", calibrate=False)
    assert uncalibrated.label_smoothing == 0
    plain = MLPClassifier.from_preset("balanced", early_stopping=False)
    assert (plain.calibrate, plain.monitor) == (False, "score")
    assert plain.n_iter_no_change == np.inf
    assert MLPRegressor.from_preset("balanced", loss="absolute_error").monitor == "loss"
    assert MLPRegressor.from_preset("balanced", loss="poisson").target_scaling is None
    default = MLPRegressor.from_preset("balanced")
    assert (default.monitor, default.target_scaling) == ("squared_error", "standard")
    assert MLPClassifier.from_preset("balanced", hidden_layer_sizes=(7,)).hidden_layer_sizes == (7,)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_from_preset_unknown_names_are_refused(estimator):
    with pytest.raises(ValueError, match="expected the preset fast or balanced for an estimator; "):
        estimator.from_preset("best")
    with pytest.raises(TypeError, match="hidden"):
        estimator.from_preset("fast", hidden=(3,))
    X, y = load_scaled(load_iris)
    with pytest.raises(ValueError, match="expected a solver out of"):
        estimator.from_preset("balanced", solver="lbfgs").fit(X, y)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_from_preset_estimators_are_cloned_pickled_and_trained_further(estimator, early_stopping):
    X, y = load_scaled(load_iris)
    model = estimator.from_preset("balanced", **SMALL, early_stopping=early_stopping)
    assert clone(model).get_params() == model.get_params()
    model.fit(X, y)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 - made by the line itself
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    before = model.loss_
    for continued in (model, copy):
        continued.set_params(warm_start=True).fit(X, y)
        assert continued.loss_ < before
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("estimator", "change", "message"),
    [
        (MLPClassifier, {}, "expected early_stopping=False for partial_fit"),
        (
            MLPRegressor,
            {"early_stopping": False},
            "expected target_scaling=None for partial_fit",
        ),
        (
            MLPRegressor,
            {"early_stopping": False, "target_scaling": None},
            "expected clip_predictions=False for partial_fit",
        ),
        (
            MLPClassifier,
            {"early_stopping": False},
            "expected a regularization_schedule constant for partial_fit; got 'flat_cosine'",
        ),
        (
            MLPClassifier,
            {"early_stopping": False, "regularization_schedule": "constant"},
            "expected a learning_rate constant, invscaling or adaptive for partial_fit",
        ),
    ],
)
def test_from_preset_partial_fit_is_refused_in_words(estimator, change, message):
    X, y = load_scaled(load_iris)
    model = estimator.from_preset("balanced", **change)
    classes = {"classes": [0, 1, 2]} if estimator is MLPClassifier else {}
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, y, **classes)


@pytest.mark.parametrize(
    ("estimator", "parameters", "message"),
    [
        (MLPClassifier, {"initializer": "xavier"}, "expected initializer out of None, data, "),
        (MLPClassifier, {"layer_rates": "deep"}, "expected layer_rates out of equal, fan_in; got"),
        (
            MLPClassifier,
            {"layer_rates": "fan_in", "solver": "sgd"},
            "expected the solver adam or adamw for layer_rates 'fan_in'; got 'sgd'",
        ),
        (MLPClassifier, {"monitor": "loss"}, "expected early_stopping=True for monitor"),
        (MLPClassifier, {"calibrate": True}, "expected early_stopping=True for calibrate"),
        (MLPClassifier, {"calibrate": 1}, "expected calibrate True or False; got 1"),
        (
            MLPClassifier,
            {"calibrate": True, "early_stopping": True, "class_weight": "balanced"},
            "expected class_weight=None with calibrate=True",
        ),
        (MLPRegressor, {"target_scaling": "log"}, "expected target_scaling out of None, standard"),
        (
            MLPRegressor,
            {"target_scaling": "standard", "loss": "poisson"},
            "expected target_scaling=None for the loss poisson",
        ),
        (MLPRegressor, {"clip_predictions": "yes"}, "expected clip_predictions True or False"),
        (MLPRegressor, {"max_iter": "all"}, "expected max_iter of at least 1"),
    ],
    ids=str,
)
def test_fit_invalid_parameter_is_refused(estimator, parameters, message):
    X, y = load_scaled(load_iris)
    with pytest.raises(ValueError, match=message):
        estimator(**parameters).fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"initializer": "data"},
        {"initializer": "glorot_normal"},
        {"layer_rates": "fan_in"},
        {"regularization_schedule": "flat_cosine", "dropout": 0.3},
        {"calibrate": True, "early_stopping": True},
    ],
    ids=str,
)
def test_classifier_parameter_of_presets_changes_result(parameters):
    X, y = load_scaled(load_iris)
    kept = {k: v for k, v in parameters.items() if k in ("dropout", "early_stopping")}
    default = MLPClassifier(**SMALL, **kept).fit(X, y)
    other = MLPClassifier(**SMALL, **parameters).fit(X, y)
    assert np.abs(default.predict_proba(X) - other.predict_proba(X)).max() > 1e-6


def test_fit_data_initializer_of_sparse_rows_equals_dense():
    X, y = load_scaled(load_digits, 200)
    X[np.abs(X) < 0.5] = 0
    options = SMALL | {"initializer": "data", "max_iter": 2}
    dense = MLPClassifier(**options).fit(X, y)
    sparse = MLPClassifier(**options).fit(csr_matrix(X), y)
    np.testing.assert_allclose(sparse.predict_proba(X), dense.predict_proba(X), rtol=1e-9)


class FakeRun:
    """A run whose validation values are given."""

    def __init__(self, errors):
        self.history, self.stop, self._errors, self.restored = [], False, list(errors), None
        self.network = self

    def step(self):
        number, value = len(self.history) + 1, self._errors.pop(0)
        self.history.append(Epoch(number, 1.0, value, 0.1, {VALIDATION_ERROR: value}))

    def use_final_weights(self):
        return nullcontext()

    def snapshot(self):
        return {"epoch": np.array(len(self.history))}

    def restore(self, weights):
        self.restored = int(weights["epoch"])


class Parameters:
    verbose, tol = False, 0.0

    def __init__(self, monitor, n):
        self.monitor, self.n_iter_no_change = monitor, n


@pytest.mark.parametrize("monitor", ["loss", "squared_error"])
@pytest.mark.parametrize(
    "errors",
    [
        [5, 4, 4, 4, 4, 4, 4, 4],
        [3, 2, 5, 5, 5, 5, 1],
        [3, 3, 4, 2, 4, 4, 2, 3, 3, 3],
        [0.1 - 1e-7 * epoch for epoch in range(12)],
        [0.1 - 4e-7 * epoch for epoch in range(12)],
    ],
)
def test_monitor_stops_and_restores_like_early_stopping(monitor, errors):
    patience, outcomes = 3, []
    for callback in (
        EarlyStopping(patience, monitor),
        ConvergenceMonitor(Parameters(monitor, patience - 1), lambda run: 0.5),
    ):
        run = FakeRun(errors)
        while not run.stop and len(run.history) < len(errors):
            run.step()
            callback.on_epoch(run)
        callback.on_end(run)
        outcomes.append((len(run.history), run.restored))
    assert outcomes[0] == outcomes[1]


def test_classifier_calibrate_is_that_of_the_held_out_rows():
    X, y = load_scaled(load_digits, 600)
    options = dict(early_stopping=True, validation_fraction=0.3, hidden_layer_sizes=(10,))
    options |= dict(max_iter=60, label_smoothing=0.2, random_state=0)
    plain = MLPClassifier(**options).fit(X, y)
    calibrated = MLPClassifier(**options, calibrate=True).fit(X, y)
    assert plain.temperature_ is None
    _, held_out = train_test_split(
        np.arange(600), test_size=0.3, stratify=y, random_state=np.random.RandomState(0)
    )
    expected = fit_calibration(
        plain.decision_function(X[held_out]),
        y[held_out],
        "multiclass",
        label_smoothing=0.2,
        fit_bias=False,
    )
    assert calibrated.temperature_ == pytest.approx(expected.temperature, rel=1e-6)
    logits = plain.decision_function(X) / expected.temperature
    np.testing.assert_allclose(calibrated.decision_function(X), logits, rtol=1e-5, atol=1e-5)
    losses = [log_loss(y[held_out], m.predict_proba(X[held_out])) for m in (calibrated, plain)]
    assert losses[0] < losses[1]


def test_classifier_calibrate_of_multilabel_targets_is_one_of_each_label():
    X, y = load_scaled(load_digits, 400)
    labels = np.stack([y % 2, y > 4], axis=1).astype(int)
    options = dict(early_stopping=True, hidden_layer_sizes=(8,), max_iter=20, random_state=0)
    plain = MLPClassifier(**options).fit(X, labels)
    calibrated = MLPClassifier(**options, calibrate=True).fit(X, labels)
    assert calibrated.temperature_.shape == (2,)
    logits = plain.decision_function(X) / calibrated.temperature_
    np.testing.assert_allclose(calibrated.decision_function(X), logits)
    np.testing.assert_array_equal(calibrated.predict(X), (calibrated.predict_proba(X) >= 0.5))


def test_calibration_weights_of_rows_count_like_repetitions():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    weights = rng.integers(0, 4, 60)
    weighted = fit_calibration(logits, targets, "multiclass", row_weights=weights)
    repeated = fit_calibration(
        np.repeat(logits, weights, axis=0), np.repeat(targets, weights), "multiclass"
    )
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-4)
    np.testing.assert_allclose(weighted.bias, repeated.bias, atol=1e-4)


def test_regressor_target_scaling_predictions_follow_the_units_of_the_target():
    X, y = load_scaled(load_diabetes)
    options = SMALL | {"target_scaling": "standard", "max_iter": 20}
    model = MLPRegressor(**options).fit(X, y)
    shifted = MLPRegressor(**options).fit(X, 1000 * y - 7)
    np.testing.assert_allclose(shifted.predict(X), 1000 * model.predict(X) - 7, rtol=1e-6)
    both = MLPRegressor(**options).fit(X, np.stack([y, 1000 * y - 7], axis=1))
    assert both.predict(X).shape == (len(X), 2)
    constant = MLPRegressor(**options).fit(X, np.full(len(X), 3.0))
    assert np.isfinite(constant.predict(X)).all()


def test_regressor_target_scaling_weights_of_rows_count_like_repetitions():
    X, y = load_scaled(load_diabetes, 50)
    weights = np.arange(50) % 3
    model = MLPRegressor(**SMALL, target_scaling="standard").fit(X, y, sample_weight=weights)
    repeated = np.repeat(y, weights)
    mean, deviation = model._target_scale
    np.testing.assert_allclose([mean[0], deviation[0]], [repeated.mean(), repeated.std()])


def test_regressor_clip_predictions_keeps_the_range_of_the_training_targets():
    X, _ = load_scaled(load_diabetes)
    model = MLPRegressor(**SMALL | {"target_scaling": "standard"}, clip_predictions=True)
    model.fit(X[:, :1], X[:, 0])
    far = np.array([[-1e4], [1e4]])
    assert set(model.predict(far)) <= {X[:, 0].min(), X[:, 0].max()}
    model.set_params(warm_start=True).fit(X[:50, :1], X[:50, 0] - 3)
    low, high = model._target_range
    assert (low, high) == (X[:50, 0].min() - 3, X[:, 0].max())


def test_warm_start_other_initializer_or_target_scaling_is_refused():
    X, y = load_scaled(load_diabetes, 100)
    for change in ({"initializer": "data"}, {"target_scaling": "standard"}):
        model = MLPRegressor(**SMALL, warm_start=True).fit(X, y).set_params(**change)
        with pytest.raises(ValueError, match="of the network that is there"):
            model.fit(X, y)
