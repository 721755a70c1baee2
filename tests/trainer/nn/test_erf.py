import numpy as np
import pytest
from scipy import special

from trainer.nn.erf import erf


def compute_erf(x):
    out, work = np.empty_like(x), np.empty_like(x)
    erf(x, out, work)
    return out


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 1e-15), (np.float32, 5e-7)])
def test_erf_matches_scipy(dtype, digits):
    x = np.linspace(-7, 7, 10_001).astype(dtype)
    np.testing.assert_allclose(compute_erf(x), special.erf(x.astype(float)), rtol=0, atol=digits)
    assert compute_erf(x).dtype == dtype


def test_erf_is_odd_and_tends_to_one():
    x = np.linspace(0, 30, 101)
    np.testing.assert_array_equal(compute_erf(-x), -compute_erf(x))
    assert compute_erf(np.array([-1e15, 1e15])).tolist() == [-1, 1]


def test_erf_complex_step_gives_derivative():
    x = np.linspace(-3, 3, 101)
    slope = compute_erf(x + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(slope, 2 / np.sqrt(np.pi) * np.exp(-(x**2)), atol=1e-14)
