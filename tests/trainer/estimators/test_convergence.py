import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.training.loop import Callback

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")


def load_scaled(data):
    X, y = data(return_X_y=True)
    return StandardScaler().fit_transform(X), y


X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
SMALL = dict(hidden_layer_sizes=(6,), max_iter=3, random_state=0)


def test_classifier_early_stopping_keeps_best_weights_and_both_curves():
    X, y = load_scaled(load_digits)
    model = MLPClassifier(
        (32,), early_stopping=True, learning_rate_init=0.01, n_iter_no_change=5, random_state=0
    ).fit(X, y)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert len(model.loss_curve_) == model.n_iter_ < 200
    assert model.best_validation_score_ == max(model.validation_scores_) > 0.95
    assert model.best_loss_ is None


def test_classifier_loss_stops_falling_ends_training():
    X, y = load_scaled(load_iris)
    model = MLPClassifier((8,), tol=0.5, n_iter_no_change=4, random_state=0).fit(X, y)
    assert model.n_iter_ < 20
    with pytest.warns(ConvergenceWarning, match="reached max_iter=3 first"):
        MLPClassifier((8,), max_iter=3).fit(X, y)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_early_stopping_score_uses_sample_weight(kind):
    rng = np.random.default_rng(0)
    weights = rng.random(150) ** 4
    options = SMALL | {"early_stopping": True, "max_iter": 4, "validation_fraction": 0.3}
    epochs = []

    class Recorder(Callback):
        def on_epoch(self, run):
            epochs.append((run.validation, run.network.logits(run.validation.features)))

    model = kind(**options, callbacks=[Recorder()]).fit(X, Y, weights)
    rows, logits = epochs[-1]
    if kind is MLPClassifier:
        score = np.average(logits.argmax(axis=1) == rows.targets, weights=rows.weights)
    else:
        truth = rows.targets[:, 0]
        middle = np.average(truth, weights=rows.weights)
        residual = np.sum(rows.weights * (truth - logits[:, 0]) ** 2)
        score = 1 - residual / np.sum(rows.weights * (truth - middle) ** 2)
    assert model.validation_scores_[-1] == pytest.approx(score, rel=1e-9)


def test_early_stopping_single_epoch_has_score():
    model = MLPClassifier(**SMALL | {"max_iter": 1, "early_stopping": True}).fit(X, Y)
    assert len(model.validation_scores_) == 1
