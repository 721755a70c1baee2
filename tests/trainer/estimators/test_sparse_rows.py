import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.nn import network as network_module
from trainer.training.diagnostics import Diagnostics

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
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"shuffle": False}], ids=str)
def test_classifier_sparse_matrix_predicts_like_dense(kind, options):
    dense = np.where(X > 0.3, X, 0)
    expected = MLPClassifier(**SMALL, **options).fit(dense, Y)
    model = MLPClassifier(**SMALL, **options).fit(kind(dense), Y)
    np.testing.assert_array_equal(model.predict_proba(kind(dense)), expected.predict_proba(dense))
    np.testing.assert_array_equal(model.predict(dense), expected.predict(kind(dense)))
    assert model.score(kind(dense), Y) == expected.score(dense, Y)
    assert model.loss_curve_ == expected.loss_curve_
    assert model.validation_scores_ == expected.validation_scores_


def test_estimators_sparse_matrix_in_partial_fit_regression_and_multilabel():
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
    from_sparse = MLPClassifier(**SMALL).fit(dense, sp.csr_matrix(labels))
    from_dense = MLPClassifier(**SMALL).fit(dense, labels)
    np.testing.assert_array_equal(from_sparse.predict(dense), from_dense.predict(dense))


def test_classifier_sparse_matrix_is_made_dense_in_slices(monkeypatch):
    sizes = []
    to_dense = sp.csr_matrix.toarray

    def record_size(self, *arguments, **options):
        sizes.append(self.shape[0])
        return to_dense(self, *arguments, **options)

    rows = sp.random(300, 2000, density=0.01, random_state=0, format="csr")
    monkeypatch.setattr(sp.csr_matrix, "toarray", record_size)
    monkeypatch.setattr(network_module, "MAX_SLICE_VALUES", 2000 * 40)
    model = MLPClassifier((2,), max_iter=1, batch_size=32, early_stopping=True, random_state=0)
    model.fit(rows, np.arange(300) % 2)
    del sizes[: sizes.index(32)]  # the test for NaN, which uses slices of its own
    model.predict(rows)
    assert max(sizes) == 40


def test_classifier_sparse_matrix_with_nan_raises_value_error():
    with_nan = sp.csr_matrix(X)
    with_nan.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        MLPClassifier(**SMALL).fit(with_nan, Y)
