import numpy as np
import pytest

from trainer.nn import ACTIVATIONS, ELU, GELU, SELU, LeakyReLU, Swish

Z = np.linspace(-6, 6, 97).reshape(1, -1)  # contains 0
ALL = [*(kind() for kind in ACTIVATIONS.values()), LeakyReLU(0.3), ELU(0.4), ELU(2.5)]


def compute_value(f, z):
    out = np.empty_like(z)
    f.value(z, out)
    return out


def compute_derivative(f, z):
    out = np.empty_like(z)
    f.derivative(z, compute_value(f, z), out)
    return out


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"identity"}))
def test_activation_value_and_derivative_match_pytorch(name, torch):
    z, expected = torch["activations"]["z"][None], torch["activations"]["functions"][name]
    f = ACTIVATIONS[name]()
    np.testing.assert_allclose(compute_value(f, z)[0], expected["value"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        compute_derivative(f, z)[0], expected["slope"], rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_activation_derivative_matches_finite_difference(f):
    h = 1e-6
    z = Z[Z != 0].reshape(1, -1)  # away from the kink
    slope = (compute_value(f, z + h) - compute_value(f, z - h)) / (2 * h)
    np.testing.assert_allclose(compute_derivative(f, z), slope, atol=3e-9)


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_activation_derivative_matches_complex_step(f):
    z = Z[Z != 0].reshape(1, -1)
    slope = compute_value(f, z + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(compute_derivative(f, z), slope, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_activation_backward_multiplies_by_derivative(f, rng):
    gradient = rng.normal(size=Z.shape)
    expected = gradient * compute_derivative(f, Z)
    f.backward(gradient, Z, compute_value(f, Z))
    np.testing.assert_allclose(gradient, expected, rtol=1e-15)


@pytest.mark.parametrize("f", [f for f in ALL if f.has_output_derivative], ids=repr)
def test_activation_has_output_derivative_z_overwritten_gives_same_result(f):
    z = Z.copy()
    f.value(z, z)
    np.testing.assert_array_equal(z, compute_value(f, Z))
    out = np.empty_like(z)
    f.derivative(np.full_like(z, np.nan), z, out)
    np.testing.assert_array_equal(out, compute_derivative(f, Z))


@pytest.mark.parametrize("f", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_extreme_z_stays_finite(f, dtype):
    z = np.array([[-1e15, -1000, 0, 1000, 1e15]], dtype)
    assert np.isfinite(compute_value(f, z)).all()
    assert np.isfinite(compute_derivative(f, z)).all()
    assert compute_value(f, z).dtype == dtype


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_activation_max_slope_is_the_maximum(f):
    max_slope = np.abs(compute_derivative(f, np.linspace(-20, 20, 40001)[None])).max()
    assert f.max_slope * 0.98 <= max_slope <= f.max_slope


@pytest.mark.parametrize("f", [GELU(), Swish(), SELU()], ids=repr)
def test_activation_float32_is_close_to_float64(f):
    z = Z.astype(np.float32)
    np.testing.assert_allclose(compute_value(f, z), compute_value(f, Z), rtol=1e-6, atol=1e-6)


def test_activation_batch_size_or_dtype_changes_result_is_right():
    f = GELU()
    large = compute_value(f, Z.reshape(97, 1))
    np.testing.assert_array_equal(compute_value(f, Z.reshape(97, 1)[:5]), large[:5])
    assert compute_value(f, Z.astype(np.float32)).dtype == np.float32


def test_sigmoid_largest_derivative_is_a_quarter_at_zero():
    slopes = compute_derivative(ACTIVATIONS["sigmoid"](), Z)
    assert slopes.max() == 0.25
    assert Z[0, slopes.argmax()] == 0


def test_relu_derivative_at_zero_is_zero():
    assert compute_derivative(ACTIVATIONS["relu"](), np.zeros((1, 1))) == 0


def test_selu_preserves_mean_and_variance(rng):
    z = rng.normal(size=(1000, 1000))
    a = compute_value(SELU(), z)
    assert abs(a.mean()) < 0.005
    assert a.var() == pytest.approx(1, abs=0.005)


def test_activation_invalid_alpha_raises():
    for alpha in (0, 1, -0.1):
        with pytest.raises(ValueError, match="slope between 0 and 1"):
            LeakyReLU(alpha)
    with pytest.raises(ValueError, match="alpha above 0; got 0"):
        ELU(0)
