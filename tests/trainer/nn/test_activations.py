import numpy as np
import pytest

from trainer.nn import ACTIVATIONS, ELU, GELU, SELU, LeakyReLU, Swish

Z = np.linspace(-6, 6, 97).reshape(1, -1)  # 0 is among them
ALL = [*(kind() for kind in ACTIVATIONS.values()), LeakyReLU(0.3), ELU(0.4), ELU(2.5)]


def value(f, z):
    out = np.empty_like(z)
    f.value(z, out)
    return out


def derivative(f, z):
    out = np.empty_like(z)
    f.derivative(z, value(f, z), out)
    return out


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"identity"}))
def test_value_and_slope_are_pytorchs(name, torch):
    z, expected = torch["activations"]["z"][None], torch["activations"]["functions"][name]
    f = ACTIVATIONS[name]()
    np.testing.assert_allclose(value(f, z)[0], expected["value"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(derivative(f, z)[0], expected["slope"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_derivative_is_the_slope(f):
    h = 1e-6
    z = Z[Z != 0].reshape(1, -1)  # away from the kink
    slope = (value(f, z + h) - value(f, z - h)) / (2 * h)
    np.testing.assert_allclose(derivative(f, z), slope, atol=3e-9)


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_derivative_is_the_complex_steps(f):
    z = Z[Z != 0].reshape(1, -1)
    slope = value(f, z + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(derivative(f, z), slope, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_chain_multiplies_by_the_slope(f, rng):
    gradient = rng.normal(size=Z.shape)
    expected = gradient * derivative(f, Z)
    f.backward(gradient, Z, value(f, Z))
    np.testing.assert_allclose(gradient, expected, rtol=1e-15)


@pytest.mark.parametrize("f", [f for f in ALL if f.has_output_derivative], ids=repr)
def test_what_needs_only_its_output_may_overwrite_z(f):
    z = Z.copy()
    f.value(z, z)
    np.testing.assert_array_equal(z, value(f, Z))
    out = np.empty_like(z)
    f.derivative(np.full_like(z, np.nan), z, out)
    np.testing.assert_array_equal(out, derivative(f, Z))


@pytest.mark.parametrize("f", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_arguments_stay_finite_without_warnings(f, dtype):
    z = np.array([[-1e15, -1000, 0, 1000, 1e15]], dtype)
    assert np.isfinite(value(f, z)).all()
    assert np.isfinite(derivative(f, z)).all()
    assert value(f, z).dtype == dtype


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_no_slope_is_steeper_than_said(f):
    steepest = np.abs(derivative(f, np.linspace(-20, 20, 40001)[None])).max()
    assert f.max_slope * 0.98 <= steepest <= f.max_slope


@pytest.mark.parametrize("f", [GELU(), Swish(), SELU()], ids=repr)
def test_float32_is_as_good_as_its_digits(f):
    z = Z.astype(np.float32)
    np.testing.assert_allclose(value(f, z), value(f, Z), rtol=1e-6, atol=1e-6)


def test_a_batch_of_another_size_or_type_is_not_mixed_with_the_last():
    f = GELU()
    large = value(f, Z.reshape(97, 1))
    np.testing.assert_array_equal(value(f, Z.reshape(97, 1)[:5]), large[:5])
    assert value(f, Z.astype(np.float32)).dtype == np.float32


def test_sigmoid_slope_is_a_quarter_at_most_and_at_zero():
    slopes = derivative(ACTIVATIONS["sigmoid"](), Z)
    assert slopes.max() == 0.25
    assert Z[0, slopes.argmax()] == 0


def test_relu_slope_at_the_kink_is_zero():
    assert derivative(ACTIVATIONS["relu"](), np.zeros((1, 1))) == 0


def test_selu_keeps_mean_and_variance(rng):
    z = rng.normal(size=(1000, 1000))
    a = value(SELU(), z)
    assert abs(a.mean()) < 0.005
    assert a.var() == pytest.approx(1, abs=0.005)


def test_impossible_numbers_are_refused():
    for alpha in (0, 1, -0.1):
        with pytest.raises(ValueError, match="slope between 0 and 1"):
            LeakyReLU(alpha)
    with pytest.raises(ValueError, match="alpha above 0; got 0"):
        ELU(0)
