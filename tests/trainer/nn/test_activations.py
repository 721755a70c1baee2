import numpy as np
import pytest
from scipy.special import expit

from trainer.nn import ACTIVATIONS

Z = np.linspace(-6, 6, 97).reshape(1, -1)  # 0 is among them
REFERENCES = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z > 0, z, 0),
    "sigmoid": expit,
    "tanh": np.tanh,
}


def value(name, z):
    out = np.empty_like(z)
    ACTIVATIONS[name].value(z, out=out)
    return out


def derivative(name, z):
    out = np.empty_like(z)
    ACTIVATIONS[name].derivative(z, value(name, z), out=out)
    return out


def test_every_activation_has_a_reference():
    assert set(REFERENCES) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_is_the_reference(name):
    np.testing.assert_allclose(value(name, Z), REFERENCES[name](Z), rtol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_is_the_slope(name):
    h = 1e-6
    z = Z[Z != 0].reshape(1, -1)  # away from the kink
    slope = (value(name, z + h) - value(name, z - h)) / (2 * h)
    np.testing.assert_allclose(derivative(name, z), slope, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_may_be_written_over_its_argument(name):
    z = Z.copy()
    ACTIVATIONS[name].value(z, out=z)
    np.testing.assert_array_equal(z, value(name, Z))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_may_be_written_over_z(name):
    z = Z.copy()
    ACTIVATIONS[name].derivative(z, value(name, Z), out=z)
    np.testing.assert_array_equal(z, derivative(name, Z))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_arguments_stay_finite_without_warnings(name, dtype):
    z = np.array([[-1e30, -1000, 0, 1000, 1e30]], dtype)
    assert np.isfinite(value(name, z)).all()
    assert np.isfinite(derivative(name, z)).all()
    assert value(name, z).dtype == dtype


def test_sigmoid_slope_is_a_quarter_at_most_and_at_zero():
    slopes = derivative("sigmoid", Z)
    assert slopes.max() == 0.25
    assert Z[0, slopes.argmax()] == 0


def test_relu_slope_at_the_kink_is_zero():
    assert derivative("relu", np.zeros((1, 1))) == 0
