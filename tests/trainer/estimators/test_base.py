import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.nn import Network
from trainer.nn import network as network_module
from trainer.training.callbacks import CSVLog, EarlyStopping
from trainer.training.loop import Callback

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
SMALL = dict(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
CLASSES = [0, 1, 2]


def test_classifier_warm_start_and_partial_fit_continue_training():
    model = MLPClassifier((8,), max_iter=5, warm_start=True, random_state=0).fit(X, Y)
    first = model.loss_
    assert model.fit(X, Y).loss_ < first
    cold = MLPClassifier((8,), max_iter=5, random_state=0).fit(X, Y)
    assert cold.fit(X, Y).loss_ == pytest.approx(first)
    partial = MLPClassifier((8,), random_state=0)
    with pytest.raises(ValueError, match="expected classes, all there will be"):
        partial.partial_fit(X, Y)
    for _ in range(30):
        partial.partial_fit(X[:100], Y[:100], classes=[0, 1, 2])  # without a row of the third class
    assert partial.n_iter_ == 30
    assert partial.loss_curve_[-1] < partial.loss_curve_[0]
    with pytest.raises(ValueError, match=r"expected classes out of \[0 1 2\]; got \[7\] too"):
        partial.partial_fit(X, np.full(len(X), 7))


def test_warm_start_new_update_parameters_apply_and_network_parameters_raise():
    def make_started():
        return MLPClassifier(**SMALL, warm_start=True).fit(X, Y)

    same, slow = make_started().fit(X, Y), make_started().set_params(learning_rate_init=1e-12)
    before = slow.predict_proba(X)
    np.testing.assert_allclose(slow.fit(X, Y).predict_proba(X), before, atol=1e-6)
    assert np.abs(same.predict_proba(X) - before).max() > 1e-3
    for parameter in (
        {"hidden_layer_sizes": (7,)},
        {"activation": "tanh"},
        {"dropout": 0.5},
        {"batch_norm": True},
    ):
        with pytest.raises(ValueError, match="of the network that is there"):
            make_started().set_params(**parameter).fit(X, Y)
    smoothed = make_started().set_params(label_smoothing=0.9).fit(X, Y)
    assert (smoothed.predict_proba(X) != same.predict_proba(X)).any()
    partial = MLPClassifier(**SMALL).partial_fit(X, Y, classes=CLASSES)
    before = partial.predict_proba(X)
    partial.set_params(learning_rate_init=1e-12).partial_fit(X, Y)
    np.testing.assert_allclose(partial.predict_proba(X), before, atol=1e-6)


def test_partial_fit_class_weight_may_include_absent_classes():
    weighted = MLPClassifier(**SMALL, class_weight={0: 1, 1: 5, 2: 9})
    unweighted = MLPClassifier(**SMALL)
    expected = MLPClassifier(**SMALL)
    weighted.partial_fit(X[:100], Y[:100], classes=CLASSES)
    unweighted.partial_fit(X[:100], Y[:100], classes=CLASSES)
    expected.partial_fit(X[:100], Y[:100], np.where(Y[:100] == 1, 5.0, 1.0), CLASSES)
    assert (weighted.predict_proba(X) != unweighted.predict_proba(X)).any()
    np.testing.assert_array_equal(weighted.predict_proba(X), expected.predict_proba(X))
    with pytest.raises(ValueError, match="expected the classes of the first partial_fit"):
        unweighted.partial_fit(X, Y, classes=[0, 1, 2, 3])


def test_partial_fit_invscaling_continues_over_calls():
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

    class Recorder(Callback):
        def on_epoch(self, run):
            rates.append(run.history[-1].learning_rate)

    model.set_params(callbacks=[Recorder()])
    for _ in range(3):
        model.partial_fit(X, Y, classes=CLASSES)
    np.testing.assert_allclose(rates, 0.5 / np.sqrt([1, 2, 3]))


def test_partial_fit_adaptive_lowers_rate_over_calls():
    model = MLPClassifier(**SMALL, learning_rate="adaptive", learning_rate_init=1e-9)
    model.set_params(n_iter_no_change=1)
    for _ in range(4):
        model.partial_fit(X, Y, classes=CLASSES)
    assert model._update.schedule.level < 1


def test_fit_repeated_resets_callbacks(tmp_path):
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


def test_classifier_callbacks_are_called():
    epochs = []

    class Recorder(Callback):
        def on_epoch(self, run):
            epochs.append(run.history[-1].number)
            run.stop = len(epochs) == 3

    assert MLPClassifier((4,), callbacks=[Recorder()]).fit(X, Y).n_iter_ == 3
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize(
    "weights",
    [np.ones(3), np.full(150, np.nan), np.full(150, -1.0), np.zeros(150), np.ones((150, 2))],
    ids=["short", "nan", "negative", "zeros", "wide"],
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_estimators_invalid_sample_weight_raises_value_error(kind, weights):
    with pytest.raises(ValueError, match=r"[ws]"):
        kind(**SMALL).fit(X, Y, weights)
    options = {"classes": CLASSES} if kind is MLPClassifier else {}
    with pytest.raises(ValueError, match=r"[ws]"):
        kind(**SMALL).partial_fit(X, Y, weights, **options)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_score_uses_sample_weight(kind):
    model = kind(**SMALL).fit(X, Y)
    weights = np.where(Y == 0, 9.0, 0.1)
    assert model.score(X, Y, weights) != model.score(X, Y)
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(X, Y, weights[1:])


def test_network_wide_rows_are_computed_in_slices(monkeypatch, rng):
    monkeypatch.setattr(network_module, "MAX_SLICE_VALUES", 30)
    x = rng.normal(size=(25, 10))
    wide = Network(10, MLPClassifier()._make_hidden_layers(), rng=rng, dtype=np.float64)
    expected = np.concatenate([wide.logits(x[i : i + 3]) for i in range(0, 25, 3)])
    np.testing.assert_array_equal(wide.logits(x), expected)
