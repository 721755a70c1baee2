import numpy as np
import pytest

from trainer.nn import (
    BatchNorm,
    Dense,
    MaxNorm,
    Network,
    Penalty,
    WeightAverage,
    clip_norm,
    clip_value,
)


@pytest.mark.parametrize("l1, l2", [(0.1, 0.01), (0.1, 0), (0, 0.01), (0, 0)])
def test_penalty_value_and_gradient_match_formula(l1, l2, rng):
    network = Network(2, [Dense(2), Dense(1)], rng=rng, dtype=np.float64)
    network.parameters[...] = [1, -2, 3, -4, 9, 9, 5, 0, 9]  # each 9 is a bias
    penalty = Penalty(l1=l1, l2=l2)
    expected = l1 * (1 + 2 + 3 + 4 + 5) + l2 / 2 * (1 + 4 + 9 + 16 + 25)
    assert penalty.value(network.weights()) == pytest.approx(expected)
    network.gradients[...] = 1
    assert penalty.value_and_gradient(network.weights()) == pytest.approx(expected)
    slopes = [l1 + l2, -l1 - 2 * l2, l1 + 3 * l2, -l1 - 4 * l2, 0, 0, l1 + 5 * l2, 0, 0]
    np.testing.assert_allclose(network.gradients, 1 + np.array(slopes))


def test_penalty_applies_to_weight_matrices_only(rng):
    network = Network(3, [Dense(4), BatchNorm(), Dense(2)], rng=rng)
    assert [W.shape for W, _ in network.weights()] == [(3, 4), (4, 2)]


def test_max_norm_scales_long_columns_only(rng):
    network = Network(5, [Dense(3), Dense(2)], rng=rng, dtype=np.float64)
    W = network.layers[0].W
    W[...] = np.array([0.1, 3.0, 2.0])
    before = W.copy()
    MaxNorm(4.0).apply(network.weights())
    norms = np.linalg.norm(W, axis=0)
    np.testing.assert_allclose(norms, [0.1 * np.sqrt(5), 4, 4])
    np.testing.assert_array_equal(W[:, 0], before[:, 0])


def test_weight_average_forgets_initial_weights(rng):
    average, theta = WeightAverage(0.99), np.full(3, 1e6)
    average.update(theta)
    for _ in range(3000):
        theta[...] = 5 + rng.normal(size=3)
        average.update(theta)
    np.testing.assert_allclose(average.average, 5, atol=0.3)


def test_weight_average_matches_formula():
    average, theta = WeightAverage(0.5), np.array([1.0])
    for value in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0):
        theta[...] = value
        average.update(theta)
    expected = 1.0
    for t, value in enumerate((1, 2, 4, 8, 16, 32, 64, 128, 256, 512), start=1):
        d = min(0.5, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * value
    assert average.average[0] == pytest.approx(expected)


def test_clip_norm_matches_pytorch(torch):
    gradient = np.array([3.0, -4.0])
    assert clip_norm(gradient, 2.0) == 5
    np.testing.assert_allclose(gradient, torch["clipped"], rtol=1e-5)  # it adds 1e-6 to the norm
    np.testing.assert_allclose(gradient, [1.2, -1.6])
    assert clip_norm(gradient, 3.0) == pytest.approx(2)
    np.testing.assert_allclose(gradient, [1.2, -1.6])


def test_clip_value_clips_each_entry():
    gradient = np.array([3.0, -4.0, 0.5])
    clip_value(gradient, 1.0)
    assert gradient.tolist() == [1, -1, 0.5]


def test_regularizers_invalid_arguments_raises():
    with pytest.raises(ValueError, match="penalties of at least 0"):
        Penalty(l1=-1)
    with pytest.raises(ValueError, match="got l1 0.0 and l2 -1"):
        Penalty(l2=-1)
    with pytest.raises(ValueError, match="limit above 0"):
        MaxNorm(0)
    with pytest.raises(ValueError, match=r"decay in \[0, 1\)"):
        WeightAverage(1)
