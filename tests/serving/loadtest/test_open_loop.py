"""Arrival times of open loops, compared with the distributions they are drawn from."""

import numpy as np
import pytest
from scipy import stats

from serving.loadtest.open_loop import generate_constant_arrivals, generate_poisson_arrivals


def test_poisson_arrivals_intervals_are_exponential(rng):
    due_at = generate_poisson_arrivals(200, 50, rng)
    assert stats.kstest(np.diff(due_at), stats.expon(scale=1 / 200).cdf).pvalue > 1e-3
    assert due_at[0] >= 0
    assert due_at[-1] <= 50


def test_poisson_arrivals_counts_have_equal_mean_and_variance(rng):
    counts = [len(generate_poisson_arrivals(100, 1, rng)) for _ in range(2000)]
    assert np.mean(counts) == pytest.approx(100, rel=0.02)
    assert np.var(counts) == pytest.approx(100, rel=0.15)


def test_constant_arrivals_intervals_are_equal():
    due_at = generate_constant_arrivals(250, 2)
    assert len(due_at) == 500
    assert due_at[0] == 0
    np.testing.assert_allclose(np.diff(due_at), 1 / 250)
