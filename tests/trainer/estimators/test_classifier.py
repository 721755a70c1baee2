import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")


def load_scaled(data):
    X, y = data(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def make_imbalanced(rng, n=1000):
    X = rng.normal(size=(n, 2))
    return X, (X[:, 0] + 0.8 * rng.normal(size=n) > 1.9).astype(int)


def test_classifier_text_labels_are_predicted():
    X, y = load_scaled(load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier((16,), learning_rate_init=0.02, random_state=0).fit(X, names)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    p = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p)
    assert model.score(X, names) > 0.93


def test_classifier_multilabel_learns(rng):
    X = rng.normal(size=(400, 4))
    Y = (X[:, :3] > 0).astype(int)
    model = MLPClassifier((16,), max_iter=100, learning_rate_init=0.01, random_state=0).fit(X, Y)
    assert model.predict(X).shape == model.predict_proba(X).shape == (400, 3)
    assert (model.predict(X) == Y).mean() > 0.97


def test_classifier_class_weight_raises_recall_of_rare_class(rng):
    X, y = make_imbalanced(rng)
    options = dict(hidden_layer_sizes=(8,), max_iter=100, learning_rate_init=0.01, random_state=0)

    def recall(**more):
        model = MLPClassifier(**options, **more).fit(X, y)
        return model.predict(X)[y == 1].mean()

    assert y.mean() < 0.1
    assert recall(class_weight="balanced") > recall() + 0.2
    assert recall(class_weight={0: 1, 1: 20}) > recall() + 0.2


def test_classifier_class_weight_equals_sample_weight(rng):
    X, y = make_imbalanced(rng, 300)
    options = dict(hidden_layer_sizes=(4,), max_iter=5, random_state=0)
    one = MLPClassifier(**options, class_weight={0: 1, 1: 3}).fit(X, y)
    other = MLPClassifier(**options).fit(X, y, sample_weight=np.where(y == 1, 3.0, 1.0))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-12)


def test_classifier_float32_rows_make_float32_network():
    X, y = load_scaled(load_iris)
    model = MLPClassifier((8,), max_iter=3).fit(X.astype(np.float32), y)
    assert model.network_.dtype == np.float32
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert MLPClassifier((8,), max_iter=3).fit(X, y).network_.dtype == np.float64
