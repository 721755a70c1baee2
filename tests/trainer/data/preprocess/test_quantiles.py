import numpy as np
import pytest
from scipy.stats import norm
from sklearn.preprocessing import QuantileTransformer

from trainer.data.preprocess import Quantiles


def test_quantiles_agree_with_scikit_learn(rng):
    known, other = rng.lognormal(3, 2, (2, 5000, 3)).astype(np.float32)
    ours = Quantiles.fit(known).transform(other)
    theirs = QuantileTransformer(n_quantiles=65, output_distribution="normal").fit(known)
    expected = theirs.transform(other)
    inside = np.abs(expected) < 2  # scikit-learn continues to ±5.2 at the ends
    np.testing.assert_allclose(ours[inside], expected[inside], atol=0.08)
    assert abs(ours.mean()) < 0.05
    assert ours.std() == pytest.approx(1, abs=0.1)


def test_quantiles_keep_order_and_clip_outliers(rng):
    known = rng.lognormal(3, 2, (500, 1)).astype(np.float32)
    fitted = Quantiles.fit(known)
    far = np.sort(np.concatenate([known, [[-1e30], [1e30], [0]]])).astype(np.float32)
    transformed = fitted.transform(np.sort(far, axis=0))[:, 0]
    assert (np.diff(transformed) >= -1e-5).all()
    edge = norm.ppf(1 - 0.5 / 64)
    np.testing.assert_allclose(transformed[[0, -1]], [-edge, edge], atol=1e-5)


def test_quantiles_frequent_value_is_at_mean_of_its_quantiles():
    known = np.zeros((1000, 1), np.float32)
    known[900:] = np.arange(100)[:, None] + 1
    transformed = Quantiles.fit(known).transform(np.array([[0], [100]], np.float32))[:, 0]
    assert -1 < transformed[0] < 0
    assert transformed[1] > 2


def test_quantiles_constant_column_stays_constant():
    fitted = Quantiles.fit(np.full((50, 1), 7, np.float32))
    transformed = fitted.transform(np.array([[7], [-3], [1e9]], np.float32))
    assert np.isfinite(transformed).all()
    assert np.ptp(transformed) == 0


def test_quantiles_span_bounds_all_results(rng):
    known = rng.lognormal(size=(500, 3)).astype(np.float32)
    fitted = Quantiles.fit(known)
    far = np.float32([[-1e9] * 3, [1e9] * 3])
    largest = np.abs(fitted.transform(far)).max(axis=0)
    assert (fitted.span >= largest).all()
    assert (fitted.span <= 4 * largest).all()
