"""Each parameter that scikit-learn's MLP accepts has an effect or raises an error."""

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.estimators.parameters import check_parameters
from trainer.nn import Cosine, LeakyReLU

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
SMALL = dict(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
CLASSES = [0, 1, 2]


@pytest.mark.parametrize(
    "parameter",
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
def test_classifier_parameter_changes_result(parameter):
    options = dict(hidden_layer_sizes=(8, 6), max_iter=5, random_state=0)
    default = MLPClassifier(**options).fit(X, Y)
    other = MLPClassifier(**{**options, **parameter}).fit(X, Y)
    assert (default.predict_proba(X) != other.predict_proba(X)).any()
    assert np.isfinite(other.predict_proba(X)).all()
    again = MLPClassifier(**{**options, **parameter}).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    ("parameter", "message"),
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
def test_classifier_invalid_parameter_raises_value_error(parameter, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL | parameter).fit(X, Y)


@pytest.mark.parametrize(
    ("parameter", "message"),
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
def test_partial_fit_unsupported_parameter_raises_value_error(parameter, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL | parameter).partial_fit(X, Y, classes=CLASSES)


def test_check_parameters_defaults_of_scikit_learn_pass():
    for ours, theirs in (
        (MLPClassifier, neural_network.MLPClassifier),
        (MLPRegressor, neural_network.MLPRegressor),
    ):
        shared = theirs().get_params()
        del shared["max_fun"]  # a parameter of lbfgs only, which the estimators do not have
        check_parameters(ours(**shared).get_params(), incremental=True)
    check_parameters(
        MLPClassifier(n_iter_no_change=np.inf, validation_fraction=0).get_params(),
        incremental=False,
    )


def test_estimators_invalid_input_raises_value_error():
    with_nan = X.copy()
    with_nan[3, 1] = np.nan
    fit = MLPClassifier(max_iter=2).fit
    for arguments, message in (
        ((with_nan, Y), "contains NaN"),
        ((X, np.zeros(len(X))), "at least two classes.*got one class"),
        ((X[:0], Y[:0]), "0 sample"),
        ((X, Y[:5]), "inconsistent numbers of samples"),
        ((X, Y + 0.5), "Unknown label type"),
        ((X, Y, np.full(len(X), -1.0)), "[Nn]egative"),
        ((np.full(X.shape, "x"), Y), "could not convert string"),
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
            MLPClassifier(**{"max_iter": 2, **wrong}).fit(X, Y)
    with pytest.raises(ValueError, match="expected a loss out of absolute_error"):
        MLPRegressor("log").fit(X, Y)
    with pytest.warns(UserWarning, match="batch_size of at most the 150 rows; got 999"):
        MLPClassifier(max_iter=2, batch_size=999).fit(X, Y)
