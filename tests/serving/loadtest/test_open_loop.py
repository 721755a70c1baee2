import numpy as np
import pytest
from scipy import stats

from serving.loadtest import open_loop


def test_poisson_gaps_are_exponential(rng):
    due = open_loop.generate_poisson_arrivals(200, 50, rng)
    assert stats.kstest(np.diff(due), stats.expon(scale=1 / 200).cdf).pvalue > 1e-3
    assert due[0] >= 0
    assert due[-1] <= 50


def test_poisson_counts_vary_as_they_should(rng):
    counts = [len(open_loop.generate_poisson_arrivals(100, 1, rng)) for _ in range(2000)]
    assert np.mean(counts) == pytest.approx(100, rel=0.02)
    assert np.var(counts) == pytest.approx(100, rel=0.15)


def test_constant_arrivals_are_equally_far_apart():
    due = open_loop.generate_constant_arrivals(250, 2)
    assert len(due) == 500
    assert due[0] == 0
    np.testing.assert_allclose(np.diff(due), 1 / 250)
