import tracemalloc

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor

from trainer.nn import (
    Adam,
    BatchNorm,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    LeakyReLU,
    MaxNorm,
    MeanSquaredError,
    Nadam,
    Nesterov,
    Network,
    Penalty,
    clip_norm,
)
from trainer.nn import network as network_module


def small(rng, dtype=np.float64):
    return Network(4, [Dense(6, "tanh"), Dense(5, "relu"), Dense(3)], rng=rng, dtype=dtype)


def test_the_classic_mnist_network_has_109386_parameters(rng):
    network = Network(784, [Dense(128, "relu"), Dense(64, "relu"), Dense(10)], rng=rng)
    assert network.n_parameters == 109_386
    assert "109,386" in network.summary()


def test_weights_and_gradients_are_views_of_two_vectors(rng):
    network = small(rng)
    network.parameters[...] = 7
    network.gradients[...] = 8
    for layer in network.layers:
        assert (layer.W == 7).all()
        assert (layer.b == 7).all()
        assert (layer.dW == 8).all()
        assert (layer.db == 8).all()
    assert sum(layer.W.size + layer.b.size for layer in network.layers) == network.n_parameters


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_forward_pass_is_scikit_learns(activation, digits, rng):
    X, y = digits[0][:200].astype(np.float64), digits[1][:200]
    with pytest.warns(match="Maximum iterations"):
        theirs = MLPClassifier(
            hidden_layer_sizes=(20, 15), activation=activation, max_iter=3, random_state=0
        )
        theirs.fit(X, y)
    ours = Network(64, _layers(activation, (20, 15), 10), rng=rng, dtype=np.float64)
    _copy(theirs, ours)
    probabilities = CategoricalCrossEntropy().answers(ours.logits(X))
    np.testing.assert_allclose(probabilities, theirs.predict_proba(X), rtol=1e-10, atol=1e-15)


def test_gradient_step_is_scikit_learns(rng):
    X, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    # one full batch, one plain step; its loss is half of ours, over rows instead of elements
    options = dict(solver="sgd", momentum=0, alpha=0, batch_size=50, shuffle=False, random_state=0)
    theirs = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", learning_rate_init=0.1, **options
    )
    theirs.partial_fit(X, y)
    ours = Network(4, [Dense(8, "tanh"), Dense(2)], rng=rng, dtype=np.float64)
    _copy(theirs, ours)
    before = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", learning_rate_init=1e-300, **options
    )
    before.partial_fit(X, y)
    _copy(before, ours)
    ours.loss_and_gradients(X, y, MeanSquaredError())
    ours.parameters -= 0.1 * ours.gradients * (y.shape[1] / 2)
    for W, b, layer in zip(theirs.coefs_, theirs.intercepts_, ours.layers, strict=True):
        np.testing.assert_allclose(layer.W, W, rtol=1e-12)
        np.testing.assert_allclose(layer.b, b, rtol=1e-12)


def _layers(activation, hidden, outputs):
    name = {"logistic": "sigmoid"}.get(activation, activation)
    return [*(Dense(units, name) for units in hidden), Dense(outputs)]


def _copy(theirs, ours):
    for W, b, layer in zip(theirs.coefs_, theirs.intercepts_, ours.layers, strict=True):
        layer.W[...], layer.b[...] = W, b


def test_any_depth(rng):
    for depth in range(6):
        network = Network(3, [*(Dense(4, "relu") for _ in range(depth)), Dense(2)], rng=rng)
        assert network.logits(np.ones((5, 3), np.float32)).shape == (5, 2)


def test_a_row_has_the_same_logits_alone_and_in_a_batch(rng):
    network, x = small(rng), rng.normal(size=(300, 4))
    together = network.logits(x)
    for size in (1, 2, 7, 256):
        parts = [network.logits(x[i : i + size]) for i in range(0, len(x), size)]
        np.testing.assert_allclose(np.concatenate(parts), together, rtol=1e-12)


def test_a_smaller_batch_after_a_larger_one_is_not_mixed_with_it(rng):
    network, loss = small(rng), CategoricalCrossEntropy()
    x, y = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    network.loss_and_gradients(x[:4], y[:4], loss)
    expected = network.gradients.copy()
    network.loss_and_gradients(x, y, loss)
    network.loss_and_gradients(x[:4], y[:4], loss)
    np.testing.assert_array_equal(network.gradients, expected)


def test_logits_are_the_callers_to_keep(rng):
    network = small(rng)
    first = network.logits(np.ones((2, 4)))
    kept = first.copy()
    network.logits(np.zeros((2, 4)))
    np.testing.assert_array_equal(first, kept)


def test_many_rows_pass_in_slices_that_do_not_show(rng, monkeypatch):
    network, x = small(rng), rng.normal(size=(50, 4))
    whole = network.logits(x)
    monkeypatch.setattr(network_module, "SLICE_ROWS", 7)
    np.testing.assert_allclose(network.logits(x), whole, rtol=1e-12)


def test_no_rows_give_no_logits(rng):
    assert small(rng).logits(np.empty((0, 4))).shape == (0, 3)


@pytest.mark.parametrize("x", [np.ones(4), np.ones((2, 5)), np.ones((2, 4, 1))])
def test_rows_of_another_shape_are_refused(x, rng):
    with pytest.raises(ValueError, match=r"expected rows of shape \(n, 4\); got"):
        small(rng).logits(x)


def test_rows_of_another_dtype_are_refused(rng):
    with pytest.raises(ValueError, match="expected rows of float32; got float64"):
        small(rng, np.float32).logits(np.ones((2, 4)))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"identity, leaky_relu, relu.*got 'rleu'"):
        Dense(3, "rleu")
    with pytest.raises(ValueError, match=r"glorot_uniform, he_normal, .*got 'ones'"):
        Dense(3, initializer="ones")


def test_impossible_sizes_are_refused(rng):
    with pytest.raises(ValueError, match="at least 1 unit; got 0"):
        Dense(0)
    with pytest.raises(ValueError, match="at least 1 input; got 0"):
        Network(0, [Dense(1)], rng=rng)
    with pytest.raises(ValueError, match="at least 1 layer"):
        Network(1, [], rng=rng)


def test_a_layer_belongs_to_one_network(rng):
    shared = Dense(2)
    Network(2, [shared], rng=rng)
    with pytest.raises(ValueError, match="expected a layer of its own"):
        Network(2, [shared], rng=rng)


def test_backward_before_forward_is_refused(rng):
    network = small(rng)
    for layer in (network.layers[0], BatchNorm(), Branches((6, []))):
        with pytest.raises(RuntimeError, match="expected a forward pass"):
            layer.backward(np.ones((1, 6)), to_inputs=False)


def test_a_hidden_layer_learns_exclusive_or_and_none_cannot(rng):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0])
    for hidden, solved in (([], False), ([Dense(8, "tanh")], True)):
        network, adam = Network(2, [*hidden, Dense(2)], rng=rng), Adam(0.05)
        for _ in range(500):
            network.loss_and_gradients(x, y, CategoricalCrossEntropy())
            adam.step(network.parameters, network.gradients)
        assert (network.logits(x).argmax(axis=1) == y).all() == solved


def test_twenty_rows_can_be_learned_by_heart(digits, rng):
    x, y = digits[0][:20] / 16, digits[1][:20]
    network, adam = Network(64, [Dense(32, "relu"), Dense(10)], rng=rng), Adam(0.01)
    first = network.loss_and_gradients(x, y, CategoricalCrossEntropy())
    for _ in range(400):
        last = network.loss_and_gradients(x, y, CategoricalCrossEntropy())
        adam.step(network.parameters, network.gradients)
    assert first > 2
    assert last < 1e-3


@pytest.mark.slow
def test_a_training_step_allocates_no_array():
    rng = np.random.default_rng(0)
    layers = [
        Dense(256),
        BatchNorm("relu"),
        Dropout(0.2),
        Dense(256, "gelu"),
        Dense(256, LeakyReLU(0.1)),
        Dense(10),
    ]
    network = Network(256, layers, rng=rng)
    x, y = rng.normal(size=(256, 256)).astype(np.float32), rng.integers(0, 10, 256)
    weights = rng.random(256).astype(np.float32)
    loss, penalty, bound = CategoricalCrossEntropy(0.1), Penalty(1e-5, 1e-4), MaxNorm(3.0)
    for optimizer in (Adam(), Nadam(), Nesterov()):

        def step(optimizer=optimizer):
            network.loss_and_gradients(x, y, loss, weights, penalty)
            clip_norm(network.gradients, 1.0)
            optimizer.step(network.parameters, network.gradients)
            bound.apply(network.weights())

        step()
        step()
        tracemalloc.start()
        step()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            step()
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # A layer's output or a weight matrix has 256 KB or more. What is left are the 32 KB for
        # each operand that NumPy itself takes for the time of an operation that broadcasts or
        # converts, whatever its size.
        assert peak - before < 200_000, repr(optimizer)
        assert after - before < 10_000
