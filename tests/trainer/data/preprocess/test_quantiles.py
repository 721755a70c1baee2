import numpy as np
import pytest
from scipy.stats import norm
from sklearn.preprocessing import QuantileTransformer

from trainer.data.preprocess import Quantiles


def test_a_column_is_bent_as_scikit_learn_bends_it(rng):
    known, other = rng.lognormal(3, 2, (2, 5000, 3)).astype(np.float32)
    ours = Quantiles.fit(known).transform(other)
    theirs = QuantileTransformer(n_quantiles=65, output_distribution="normal").fit(known)
    expected = theirs.transform(other)
    inside = np.abs(expected) < 2  # at the ends theirs goes on to ±5.2
    np.testing.assert_allclose(ours[inside], expected[inside], atol=0.08)
    assert abs(ours.mean()) < 0.05
    assert ours.std() == pytest.approx(1, abs=0.1)


def test_the_order_is_kept_and_outliers_are_the_largest_value(rng):
    known = rng.lognormal(3, 2, (500, 1)).astype(np.float32)
    fitted = Quantiles.fit(known)
    far = np.sort(np.concatenate([known, [[-1e30], [1e30], [0]]])).astype(np.float32)
    bent = fitted.transform(np.sort(far, axis=0))[:, 0]
    assert (np.diff(bent) >= -1e-5).all()
    edge = norm.ppf(1 - 0.5 / 64)
    np.testing.assert_allclose(bent[[0, -1]], [-edge, edge], atol=1e-5)


def test_a_value_that_most_rows_share_lies_in_the_middle_of_them():
    known = np.zeros((1000, 1), np.float32)
    known[900:] = np.arange(100)[:, None] + 1
    bent = Quantiles.fit(known).transform(np.array([[0], [100]], np.float32))[:, 0]
    assert -1 < bent[0] < 0
    assert bent[1] > 2


def test_a_constant_column_stays_one():
    fitted = Quantiles.fit(np.full((50, 1), 7, np.float32))
    bent = fitted.transform(np.array([[7], [-3], [1e9]], np.float32))
    assert np.isfinite(bent).all()
    assert np.ptp(bent) == 0


def test_no_value_reaches_beyond_the_span_that_rounding_is_measured_by(rng):
    known = rng.lognormal(size=(500, 3)).astype(np.float32)
    fitted = Quantiles.fit(known)
    far = np.float32([[-1e9] * 3, [1e9] * 3])
    reached = np.abs(fitted.transform(far)).max(axis=0)
    assert (fitted.span >= reached).all()
    assert (fitted.span <= 4 * reached).all()
