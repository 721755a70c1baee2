"""The estimators have the interface and the results of scikit-learn's MLP."""

import inspect
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
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")

ESTIMATOR_CHECKS = """
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


def load_scaled(data):
    X, y = data(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.mark.usefixtures("processes")
def test_estimators_pass_all_checks_of_scikit_learn():
    # One of the checks needs an environment variable that is set before SciPy is imported.
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ESTIMATOR_CHECKS],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_estimators_have_all_parameters_of_scikit_learn(name):
    theirs = getattr(neural_network, name)().get_params()
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name]().get_params()
    del theirs["max_fun"]  # a parameter of lbfgs only
    assert theirs.items() <= ours.items()


def test_estimators_methods_have_signatures_of_scikit_learn():
    for ours, theirs in (
        (MLPClassifier, neural_network.MLPClassifier),
        (MLPRegressor, neural_network.MLPRegressor),
    ):
        for method in ("fit", "partial_fit", "score", "predict"):
            assert list(inspect.signature(getattr(ours, method)).parameters) == list(
                inspect.signature(getattr(theirs, method)).parameters
            )


@pytest.mark.slow
@pytest.mark.parametrize(("data", "min_accuracy"), [(load_iris, 0.93), (load_breast_cancer, 0.95)])
def test_classifier_accuracy_is_near_scikit_learns(data, min_accuracy):
    X, y = load_scaled(data)
    options = dict(hidden_layer_sizes=(32,), learning_rate_init=0.01, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        theirs = cross_val_score(neural_network.MLPClassifier(**options), X, y).mean()
        ours = cross_val_score(MLPClassifier(**options), X, y).mean()
    assert ours >= min_accuracy
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
def test_estimators_same_initial_weights_train_like_scikit_learn(solver, kind):
    X, y = load_scaled(load_digits if kind == "classes" else load_diabetes)
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
        first_call = {"classes": np.arange(10)}
    else:
        ours, theirs = MLPRegressor(**options), neural_network.MLPRegressor(**options)
        first_call = {}
    ours.partial_fit(X, y, **first_call)
    theirs.partial_fit(X, y, **first_call)
    start = theirs.coefs_ + theirs.intercepts_
    for mine, their in zip(ours.coefs_ + ours.intercepts_, start, strict=True):
        mine[...] = their
    ours._update.optimizer = ours._make_optimizer()  # both drop the state of the first epoch
    del theirs._optimizer
    for _ in range(5):
        ours.partial_fit(X, y)
        theirs.partial_fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    for mine, their in zip(ours.coefs_, theirs.coefs_, strict=True):
        # Their Adam adds ε at another place, which matters where a gradient is nearly 0.
        np.testing.assert_allclose(mine, their, rtol=1e-4, atol=3e-5)


def test_classifier_in_pipeline_search_and_calibration_predicts():
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


def test_classifier_fitted_attributes_match_scikit_learn():
    X, y = load_scaled(load_iris)
    ours = MLPClassifier((8, 5), max_iter=2).fit(X, y)
    with warnings.catch_warnings(action="ignore"):
        theirs = neural_network.MLPClassifier((8, 5), max_iter=2).fit(X, y)
    for mine, their in ((ours.coefs_, theirs.coefs_), (ours.intercepts_, theirs.intercepts_)):
        assert [a.shape for a in mine] == [a.shape for a in their]
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "n_iter_", "t_"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_classifier_unpickled_predicts_and_trains_same():
    X, y = load_scaled(load_iris)
    model = MLPClassifier((8,), dropout=0.2, batch_norm=True, max_iter=5, random_state=0)
    model.fit(X, y)
    copied = pickle.loads(pickle.dumps(model))  # noqa: S301 - made in this test
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    copied.partial_fit(X, y)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
