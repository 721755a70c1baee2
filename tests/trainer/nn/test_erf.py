import numpy as np
import pytest
from scipy import special

from trainer.nn.erf import erf


def ours(x):
    out, work = np.empty_like(x), np.empty_like(x)
    erf(x, out, work)
    return out


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 1e-15), (np.float32, 5e-7)])
def test_it_is_scipys(dtype, digits):
    x = np.linspace(-7, 7, 10_001).astype(dtype)
    np.testing.assert_allclose(ours(x), special.erf(x.astype(float)), rtol=0, atol=digits)
    assert ours(x).dtype == dtype


def test_it_is_odd_and_ends_at_one():
    x = np.linspace(0, 30, 101)
    np.testing.assert_array_equal(ours(-x), -ours(x))
    assert ours(np.array([-1e15, 1e15])).tolist() == [-1, 1]


def test_a_complex_step_is_its_slope():
    x = np.linspace(-3, 3, 101)
    slope = ours(x + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(slope, 2 / np.sqrt(np.pi) * np.exp(-(x**2)), atol=1e-14)
