import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.nn import Cosine, LeakyReLU
from trainer.training.loop import Callback, TrainingDivergedError

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")

ALL_CHECKS = """
import sys, warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
from trainer.estimators import MLPClassifier, MLPRegressor
for estimator in (MLPClassifier(), MLPRegressor()):
    results = check_estimator(estimator, on_fail=None)
    bad = [(r["check_name"], r["status"], r["exception"]) for r in results
           if r["status"] != "passed"]
    print(type(estimator).__name__, len(results), bad)
    if bad or len(results) < 60:
        sys.exit(1)
"""


@pytest.mark.usefixtures("processes")
def test_scikit_learns_own_checks_pass_and_none_is_skipped():
    # In a process of its own: one of the checks wants a variable set before SciPy is imported.
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ALL_CHECKS],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_choice_of_scikit_learns_is_there_under_its_name(name):
    theirs = getattr(neural_network, name)().get_params()
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name]().get_params()
    del theirs["max_fun"]  # of lbfgs alone
    assert theirs.items() <= ours.items()


def scaled(data):
    X, y = data(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.mark.slow
@pytest.mark.parametrize(("data", "least"), [(load_iris, 0.93), (load_breast_cancer, 0.95)])
def test_it_is_as_good_as_scikit_learns(data, least):
    X, y = scaled(data)
    options = dict(hidden_layer_sizes=(32,), learning_rate_init=0.01, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        theirs = cross_val_score(neural_network.MLPClassifier(**options), X, y).mean()
        ours = cross_val_score(MLPClassifier(**options), X, y).mean()
    assert ours >= least
    assert ours == pytest.approx(theirs, abs=0.03)


@pytest.mark.parametrize(
    "solver",
    [
        {"solver": "adam", "beta_1": 0.8},
        {"solver": "sgd", "learning_rate_init": 0.05},
        {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_from_the_same_start_it_goes_the_way_of_scikit_learns(solver, kind):
    X, y = scaled(load_digits if kind == "classes" else load_diabetes)
    X, y = X[:300], y[:300]
    y = y if kind == "classes" else (y - y.mean()) / y.std()
    options = dict(
        hidden_layer_sizes=(8,),
        activation="tanh",
        shuffle=False,
        alpha=0.5,
        batch_size=100,
        random_state=0,
        **solver,
    )
    if kind == "classes":
        ours, theirs = MLPClassifier(**options), neural_network.MLPClassifier(**options)
        more = {"classes": np.arange(10)}
    else:
        ours, theirs = MLPRegressor(**options), neural_network.MLPRegressor(**options)
        more = {}
    ours.partial_fit(X, y, **more)
    theirs.partial_fit(X, y, **more)
    start = theirs.coefs_ + theirs.intercepts_
    for mine, their in zip(ours.coefs_ + ours.intercepts_, start, strict=True):
        mine[...] = their
    ours._update.optimizer = ours._optimizer()  # both forget the first epoch
    del theirs._optimizer
    for _ in range(5):
        ours.partial_fit(X, y)
        theirs.partial_fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    for mine, their in zip(ours.coefs_, theirs.coefs_, strict=True):
        # ε stands elsewhere in their Adam, which shows where a gradient is as good as 0.
        np.testing.assert_allclose(mine, their, rtol=1e-4, atol=3e-5)


def test_it_works_inside_pipelines_searches_and_calibration():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(), MLPClassifier((8,), learning_rate_init=0.02, max_iter=60, random_state=0)
    )
    search = GridSearchCV(
        pipeline,
        {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__activation": ["tanh", "swish"]},
        cv=3,
    )
    search.fit(X, y)
    assert search.best_score_ > 0.85
    calibrated = CalibratedClassifierCV(pipeline, cv=3).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_text_classes_and_their_probabilities():
    X, y = scaled(load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier((16,), learning_rate_init=0.02, random_state=0).fit(X, names)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    p = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p)
    assert model.score(X, names) > 0.93


def test_several_labels_at_once(rng):
    X = rng.normal(size=(400, 4))
    Y = (X[:, :3] > 0).astype(int)
    model = MLPClassifier((16,), max_iter=100, learning_rate_init=0.01, random_state=0).fit(X, Y)
    assert model.predict(X).shape == model.predict_proba(X).shape == (400, 3)
    assert (model.predict(X) == Y).mean() > 0.97


def test_several_values_at_once(rng):
    X = rng.normal(size=(300, 3))
    Y = np.column_stack([X[:, 0], -2 * X[:, 1]])
    model = MLPRegressor(
        hidden_layer_sizes=(32,), max_iter=200, learning_rate_init=0.01, random_state=0
    ).fit(X, Y)
    assert model.predict(X).shape == (300, 2)
    assert model.score(X, Y) > 0.98
    assert model.fit(X, Y[:, 0]).predict(X).shape == (300,)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_outliers_pull_on_the_squared_error_most(loss, rng):
    X, y = np.zeros((200, 1)), rng.normal(size=200)
    y[:10] = 100
    options = dict(hidden_layer_sizes=(), max_iter=800, learning_rate_init=0.05, alpha=0)
    value = MLPRegressor(loss, **options, random_state=0, tol=0).fit(X, y).predict(X[:1])[0]
    expected = {"squared_error": y.mean(), "absolute_error": np.median(y)}
    if loss == "huber":
        assert np.median(y) < value < 0.5
    else:
        assert value == pytest.approx(expected[loss], abs=0.2)


def test_counts_are_answered_by_their_expectation(rng):
    X = rng.normal(size=(2000, 1))
    y = rng.poisson(np.exp(0.5 + 0.8 * X[:, 0])).astype(float)
    options = dict(hidden_layer_sizes=(), max_iter=300, learning_rate_init=0.02, random_state=0)
    model = MLPRegressor("poisson", **options).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0][0], 0.8, atol=0.05)
    with pytest.raises(ValueError, match="expected counts for the loss poisson"):
        model.fit(X, y - 5)


def rare(rng, n=1000):
    X = rng.normal(size=(n, 2))
    return X, (X[:, 0] + 0.8 * rng.normal(size=n) > 1.9).astype(int)


def test_class_weights_find_the_rare(rng):
    X, y = rare(rng)
    options = dict(hidden_layer_sizes=(8,), max_iter=100, learning_rate_init=0.01, random_state=0)

    def recall(**more):
        model = MLPClassifier(**options, **more).fit(X, y)
        return model.predict(X)[y == 1].mean()

    assert y.mean() < 0.1
    assert recall(class_weight="balanced") > recall() + 0.2
    assert recall(class_weight={0: 1, 1: 20}) > recall() + 0.2


def test_class_weights_are_sample_weights(rng):
    X, y = rare(rng, 300)
    options = dict(hidden_layer_sizes=(4,), max_iter=5, random_state=0)
    one = MLPClassifier(**options, class_weight={0: 1, 1: 3}).fit(X, y)
    other = MLPClassifier(**options).fit(X, y, sample_weight=np.where(y == 1, 3.0, 1.0))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize(
    "choice",
    [
        {"dropout": 0.3},
        {"batch_norm": True},
        {"label_smoothing": 0.1},
        {"l1": 0.1},
        {"max_norm": 0.5},
        {"clip_norm": 0.01},
        {"average": 0.9},
        {"alpha": 1.0},
        {"activation": "logistic"},
        {"activation": ["tanh", LeakyReLU(0.2)]},
        {"solver": "sgd"},
        {"solver": "sgd", "momentum": 0},
        {"solver": "rmsprop"},
        {"solver": "adamw"},
        {"solver": "nadam"},
        {"solver": "sgd", "nesterovs_momentum": False},
        {"learning_rate": "invscaling"},
        {"learning_rate": Cosine()},
        {"learning_rate": "one_cycle"},
        {"batch_size": 50},
        {"shuffle": False},
        {"beta_1": 0.5},
        {"random_state": 1},
    ],
    ids=str,
)
def test_every_choice_is_heeded(choice):
    X, y = scaled(load_iris)
    options = dict(hidden_layer_sizes=(8, 6), max_iter=5, random_state=0)
    plain = MLPClassifier(**options).fit(X, y)
    other = MLPClassifier(**{**options, **choice}).fit(X, y)
    assert (plain.predict_proba(X) != other.predict_proba(X)).any()
    assert np.isfinite(other.predict_proba(X)).all()
    again = MLPClassifier(**{**options, **choice}).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), other.predict_proba(X))


def test_early_stopping_keeps_the_best_and_shows_both_curves():
    X, y = scaled(load_digits)
    model = MLPClassifier(
        (32,), early_stopping=True, learning_rate_init=0.01, n_iter_no_change=5, random_state=0
    ).fit(X, y)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert len(model.loss_curve_) == model.n_iter_ < 200
    assert model.best_validation_score_ == max(model.validation_scores_) > 0.95
    assert model.best_loss_ is None


def test_training_stops_when_the_loss_no_longer_falls():
    X, y = scaled(load_iris)
    model = MLPClassifier((8,), tol=0.5, n_iter_no_change=4, random_state=0).fit(X, y)
    assert model.n_iter_ < 20
    with pytest.warns(ConvergenceWarning, match="reached max_iter=3 first"):
        MLPClassifier((8,), max_iter=3).fit(X, y)


def test_warm_start_and_partial_fit_go_on():
    X, y = scaled(load_iris)
    model = MLPClassifier((8,), max_iter=5, warm_start=True, random_state=0).fit(X, y)
    first = model.loss_
    assert model.fit(X, y).loss_ < first
    cold = MLPClassifier((8,), max_iter=5, random_state=0).fit(X, y)
    assert cold.fit(X, y).loss_ == pytest.approx(first)
    partial = MLPClassifier((8,), random_state=0)
    with pytest.raises(ValueError, match="expected classes, all there will be"):
        partial.partial_fit(X, y)
    for _ in range(30):
        partial.partial_fit(X[:100], y[:100], classes=[0, 1, 2])  # no third one yet
    assert partial.n_iter_ == 30
    assert partial.loss_curve_[-1] < partial.loss_curve_[0]
    with pytest.raises(ValueError, match=r"expected classes out of \[0 1 2\]; got \[7\] too"):
        partial.partial_fit(X, np.full(len(X), 7))


def test_float32_is_trained_in_float32():
    X, y = scaled(load_iris)
    model = MLPClassifier((8,), max_iter=3).fit(X.astype(np.float32), y)
    assert model.network_.dtype == np.float32
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert MLPClassifier((8,), max_iter=3).fit(X, y).network_.dtype == np.float64


def test_callbacks_are_called():
    heard = []

    class Ear(Callback):
        def on_epoch(self, run):
            heard.append(run.history[-1].number)
            run.stop = len(heard) == 3

    X, y = scaled(load_iris)
    assert MLPClassifier((4,), callbacks=[Ear()]).fit(X, y).n_iter_ == 3
    assert heard == [1, 2, 3]


def test_coefficients_have_scikit_learns_shapes():
    X, y = scaled(load_iris)
    ours = MLPClassifier((8, 5), max_iter=2).fit(X, y)
    with warnings.catch_warnings(action="ignore"):
        theirs = neural_network.MLPClassifier((8, 5), max_iter=2).fit(X, y)
    for mine, their in ((ours.coefs_, theirs.coefs_), (ours.intercepts_, theirs.intercepts_)):
        assert [a.shape for a in mine] == [a.shape for a in their]
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "n_iter_", "t_"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_a_pickled_model_answers_and_learns_on():
    X, y = scaled(load_iris)
    model = MLPClassifier((8,), dropout=0.2, batch_norm=True, max_iter=5, random_state=0)
    model.fit(X, y)
    copied = pickle.loads(pickle.dumps(model))  # noqa: S301 - of our own making
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    copied.partial_fit(X, y)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))


def test_a_diverging_run_is_named_and_leaves_what_was_there():
    X, y = load_diabetes(return_X_y=True)
    model = MLPRegressor(hidden_layer_sizes=(8,), solver="sgd", max_iter=5).partial_fit(X, y / 100)
    before = model.predict(X)
    model.learning_rate_init = 1e300
    model._update.full_rate = model._update.optimizer.learning_rate = 1e300
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingDivergedError, match="lower the learning"),
    ):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_bad_input_is_named():
    X, y = scaled(load_iris)
    hole = X.copy()
    hole[3, 1] = np.nan
    fit = MLPClassifier(max_iter=2).fit
    for arguments, message in (
        ((hole, y), "contains NaN"),
        ((X, np.zeros(len(X))), "at least two classes.*got one class"),
        ((X[:0], y[:0]), "0 sample"),
        ((X, y[:5]), "inconsistent numbers of samples"),
        ((X, y + 0.5), "Unknown label type"),
        ((X, y, np.full(len(X), -1.0)), "[Nn]egative"),
        ((np.full(X.shape, "x"), y), "could not convert string"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(*arguments)
    with pytest.raises(NotFittedError):
        MLPRegressor().predict(X)
    for wrong, message in (
        ({"solver": "lbfgs"}, "expected a solver out of sgd, rmsprop"),
        ({"learning_rate": "fast"}, "expected a learning_rate out of"),
        ({"activation": "rleu"}, "expected the name of an activation"),
        ({"activation": ["relu", "tanh"]}, "expected one activation, or 1"),
        ({"hidden_layer_sizes": (0,)}, "at least 1 unit each"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"max_iter": 0}, "max_iter of at least 1"),
        ({"early_stopping": True, "validation_fraction": 1}, r"validation_fraction in \(0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**{"max_iter": 2, **wrong}).fit(X, y)
    with pytest.raises(ValueError, match="expected a loss out of absolute_error"):
        MLPRegressor("log").fit(X, y)
    with pytest.warns(UserWarning, match="batch_size of at most the 150 rows; got 999"):
        MLPClassifier(max_iter=2, batch_size=999).fit(X, y)
