import warnings
from itertools import product

import numpy as np
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from trainer.data.preprocess import Scaler
from trainer.data.preprocess.scaler import limit_smoothly


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


def test_scaler_robust_clip_is_the_smooth_limit_of_the_robust_scaling(rng):
    rows = rng.lognormal(0, 2, size=(300, 3)).astype(np.float32)
    ours = Scaler.fit(rows, "robust_clip").transform(rows)
    z = RobustScaler().fit_transform(rows.astype(np.float64))
    np.testing.assert_allclose(ours, z / np.sqrt(1 + (z / 3) ** 2), atol=1e-6)
    assert ours.dtype == np.float32
    assert np.abs(ours).max() <= 3


def test_limit_smoothly_extreme_values_are_limited_without_warning():
    z = np.array([0, 1e-38, 1e5, 1e19, 3e38, np.inf], np.float32)
    with warnings.catch_warnings(action="error"):
        np.testing.assert_allclose(limit_smoothly(z), [0, 1e-38, 3, 3, 3, 3], rtol=1e-6)
        np.testing.assert_array_equal(limit_smoothly(-z), -limit_smoothly(z))
        assert np.isnan(limit_smoothly(np.array([np.nan], np.float32))).all()


def test_scaler_robust_clip_far_outlier_is_limited_without_warning():
    rows = np.array([[0.0], [1e-6], [2e-6], [3e-6]], np.float32)
    scaler = Scaler.fit(rows, "robust_clip")
    with warnings.catch_warnings(action="error"):
        outliers = scaler.transform(np.array([[3e38], [-3e38]], np.float32))
    assert outliers.ravel().tolist() == [3, -3]
