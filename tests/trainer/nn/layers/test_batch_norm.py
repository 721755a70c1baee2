import numpy as np
import pytest

from trainer.nn import BatchNorm, Dense, MeanSquaredError, Network


def make_network(layers, n_in, rng, dtype=np.float64):
    return Network(n_in, layers, rng=rng, dtype=dtype)


def test_batch_norm_forward_backward_inference_match_pytorch(rng, torch):
    expected = torch["batch_norm"]
    layer = BatchNorm(momentum=0.9, epsilon=1e-5)
    make_network([layer, Dense(1)], 3, rng)
    layer.gamma[...], layer.beta[...] = [1.5, -0.5, 2.0], [0.1, 0.2, -0.3]
    layer.forward(expected["first"], training=True)
    out = layer.forward(expected["second"], training=True)
    np.testing.assert_allclose(out, expected["out"], rtol=1e-12)
    dx = layer.backward(expected["flow"].copy(), to_inputs=True)
    np.testing.assert_allclose(dx, expected["dx"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(layer.dgamma, expected["dgamma"], rtol=1e-12)
    np.testing.assert_allclose(layer.dbeta, expected["dbeta"], rtol=1e-12)
    np.testing.assert_allclose(layer.mean, expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(layer.variance, expected["variance"], rtol=1e-12)
    answer = layer.forward(expected["first"], training=False)
    np.testing.assert_allclose(answer, expected["answer"], rtol=1e-12)


def test_batch_norm_inference_does_not_depend_on_batch(rng):
    net = make_network([Dense(8), BatchNorm("relu"), Dense(2)], 4, rng)
    x = rng.normal(size=(50, 4))
    for _ in range(5):
        net.chain.forward(x, training=True)
    together = net.logits(x)
    single = np.concatenate([net.logits(row[None]) for row in x])
    np.testing.assert_allclose(single, together, rtol=1e-12)


def test_batch_norm_training_output_is_standardized(rng):
    layer = BatchNorm()
    make_network([layer, Dense(1)], 3, rng)
    out = layer.forward(rng.normal(50, [1, 10, 100], size=(500, 3)), training=True)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=0), 1, atol=1e-4)


def test_batch_norm_training_one_row_raises(rng):
    net = make_network([BatchNorm(), Dense(1)], 3, rng)
    with pytest.raises(ValueError, match="at least 2 rows for batch normalisation; got one"):
        net.loss_and_gradients(np.ones((1, 3)), np.ones((1, 1)), MeanSquaredError())
    assert net.logits(np.ones((1, 3))).shape == (1, 1)


def test_batch_norm_training_two_rows_works():
    norm = BatchNorm()
    Network(1, [norm], rng=np.random.default_rng(0), dtype=np.float64)
    out = norm.forward(np.array([[1.0], [5.0]]), training=True)
    np.testing.assert_allclose(out, [[-1], [1]], atol=1e-4)
    assert norm.variance[0] > 1  # from 1 towards 8


def test_batch_norm_invalid_arguments_raises():
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\); got 1"):
        BatchNorm(momentum=1)
    with pytest.raises(ValueError, match="epsilon above 0; got 0"):
        BatchNorm(epsilon=0)
