import warnings
from itertools import product

import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from trainer.data.preprocess import Scaler


def test_scaler_standard_equals_scikit_learn(rng):
    rows = rng.normal(50, 9, size=(200, 5)).astype(np.float32)
    ours = Scaler.fit(rows).transform(rows)
    theirs = StandardScaler().fit_transform(rows.astype(np.float64))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_scaler_range_is_of_all_columns_together(rng):
    rows = rng.uniform(-3, 5, size=(200, 5)).astype(np.float32) * np.array([1, 0.5, 0, 1, 1])
    rows = rows.astype(np.float32)
    ours = Scaler.fit(rows, "range").transform(rows)
    flat = MinMaxScaler().fit_transform(rows.reshape(-1, 1).astype(np.float64))
    np.testing.assert_allclose(ours, flat.reshape(rows.shape), atol=1e-6)


def test_scaler_constant_column_becomes_zero_without_warning():
    for constant, scaling in product((0.0, 0.1, 1e30, 1e-40), ("standard", "range")):
        rows = np.full((7, 1), constant, np.float32)
        with warnings.catch_warnings(action="error"):
            assert (Scaler.fit(rows, scaling).transform(rows) == 0).all()


def test_scaler_small_deviation_is_not_constant(rng):
    rows = (2000 + rng.normal(0, 0.01, size=(500, 1))).astype(np.float32)
    np.testing.assert_allclose(Scaler.fit(rows).transform(rows).std(), 1, rtol=1e-3)


def test_scaler_large_float64_rows_keep_differences():
    rows = 1e6 + np.arange(1000.0)[:, None] / 50  # steps of 0.02, where those of float32 are 0.06
    ours = Scaler.fit(rows).transform(rows)
    assert ours.dtype == np.float32
    assert len(np.unique(ours)) == 1000


def test_scaler_inverse_undoes_transform(rng):
    rows = rng.normal(150, 77, size=(50, 2)).astype(np.float32)
    fitted = Scaler.fit(rows)
    np.testing.assert_allclose(fitted.inverse(fitted.transform(rows)), rows, rtol=1e-6)
