import copy
import pickle
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


def make_network(rng, dtype=np.float64):
    return Network(4, [Dense(6, "tanh"), Dense(5, "relu"), Dense(3)], rng=rng, dtype=dtype)


def test_network_mnist_has_109386_parameters(rng):
    network = Network(784, [Dense(128, "relu"), Dense(64, "relu"), Dense(10)], rng=rng)
    assert network.n_parameters == 109_386
    assert "109,386" in network.summary()


def test_network_weights_and_gradients_are_views(rng):
    network = make_network(rng)
    network.parameters[...] = 7
    network.gradients[...] = 8
    for layer in network.layers:
        assert (layer.W == 7).all()
        assert (layer.b == 7).all()
        assert (layer.dW == 8).all()
        assert (layer.db == 8).all()
    assert sum(layer.W.size + layer.b.size for layer in network.layers) == network.n_parameters


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_network_logits_match_scikit_learn(activation, digits, rng):
    X, y = digits[0][:200].astype(np.float64), digits[1][:200]
    with pytest.warns(match="Maximum iterations"):
        theirs = MLPClassifier(
            hidden_layer_sizes=(20, 15), activation=activation, max_iter=3, random_state=0
        )
        theirs.fit(X, y)
    ours = Network(64, _make_layers(activation, (20, 15), 10), rng=rng, dtype=np.float64)
    _copy_weights(theirs, ours)
    probabilities = CategoricalCrossEntropy().answers(ours.logits(X))
    np.testing.assert_allclose(probabilities, theirs.predict_proba(X), rtol=1e-10, atol=1e-15)


def test_network_gradient_step_matches_scikit_learn(rng):
    X, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    # One full batch and one plain step. scikit-learn's loss is half the squared error per row,
    # ours the mean over all elements.
    options = dict(solver="sgd", momentum=0, alpha=0, batch_size=50, shuffle=False, random_state=0)
    theirs = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", learning_rate_init=0.1, **options
    )
    theirs.partial_fit(X, y)
    ours = Network(4, [Dense(8, "tanh"), Dense(2)], rng=rng, dtype=np.float64)
    _copy_weights(theirs, ours)
    before = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", learning_rate_init=1e-300, **options
    )
    before.partial_fit(X, y)
    _copy_weights(before, ours)
    ours.loss_and_gradients(X, y, MeanSquaredError())
    ours.parameters -= 0.1 * ours.gradients * (y.shape[1] / 2)
    for W, b, layer in zip(theirs.coefs_, theirs.intercepts_, ours.layers, strict=True):
        np.testing.assert_allclose(layer.W, W, rtol=1e-12)
        np.testing.assert_allclose(layer.b, b, rtol=1e-12)


def _make_layers(activation, hidden, outputs):
    name = {"logistic": "sigmoid"}.get(activation, activation)
    return [*(Dense(units, name) for units in hidden), Dense(outputs)]


def _copy_weights(theirs, ours):
    for W, b, layer in zip(theirs.coefs_, theirs.intercepts_, ours.layers, strict=True):
        layer.W[...], layer.b[...] = W, b


def test_network_any_depth_works(rng):
    for depth in range(6):
        network = Network(3, [*(Dense(4, "relu") for _ in range(depth)), Dense(2)], rng=rng)
        assert network.logits(np.ones((5, 3), np.float32)).shape == (5, 2)


def test_network_logits_do_not_depend_on_batch(rng):
    network, x = make_network(rng), rng.normal(size=(300, 4))
    expected = network.logits(x)
    for size in (1, 2, 7, 256):
        parts = [network.logits(x[i : i + size]) for i in range(0, len(x), size)]
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-12)


def test_network_gradients_smaller_batch_after_larger_is_right(rng):
    network, loss = make_network(rng), CategoricalCrossEntropy()
    x, y = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    network.loss_and_gradients(x[:4], y[:4], loss)
    expected = network.gradients.copy()
    network.loss_and_gradients(x, y, loss)
    network.loss_and_gradients(x[:4], y[:4], loss)
    np.testing.assert_array_equal(network.gradients, expected)


def test_network_logits_are_a_new_array(rng):
    network = make_network(rng)
    first = network.logits(np.ones((2, 4)))
    copy = first.copy()
    network.logits(np.zeros((2, 4)))
    np.testing.assert_array_equal(first, copy)


def test_network_logits_many_rows_are_sliced(rng, monkeypatch):
    network, x = make_network(rng), rng.normal(size=(50, 4))
    whole = network.logits(x)
    monkeypatch.setattr(network_module, "SLICE_ROWS", 7)
    np.testing.assert_allclose(network.logits(x), whole, rtol=1e-12)


def test_network_logits_no_rows_are_empty(rng):
    assert make_network(rng).logits(np.empty((0, 4))).shape == (0, 3)


@pytest.mark.parametrize("x", [np.ones(4), np.ones((2, 5)), np.ones((2, 4, 1))])
def test_network_logits_wrong_shape_raises(x, rng):
    with pytest.raises(ValueError, match=r"expected rows of shape \(n, 4\); got"):
        make_network(rng).logits(x)


def test_network_logits_wrong_dtype_raises(rng):
    with pytest.raises(ValueError, match="expected rows of float32; got float64"):
        make_network(rng, np.float32).logits(np.ones((2, 4)))


def test_dense_unknown_name_raises_with_known_names():
    with pytest.raises(ValueError, match=r"identity, leaky_relu, relu.*got 'rleu'"):
        Dense(3, "rleu")
    with pytest.raises(ValueError, match=r"glorot_uniform, he_normal, .*got 'ones'"):
        Dense(3, initializer="ones")


def test_network_invalid_sizes_raises(rng):
    with pytest.raises(ValueError, match="at least 1 unit; got 0"):
        Dense(0)
    with pytest.raises(ValueError, match="at least 1 input; got 0"):
        Network(0, [Dense(1)], rng=rng)
    with pytest.raises(ValueError, match="at least 1 layer"):
        Network(1, [], rng=rng)


def test_network_layer_of_other_network_raises(rng):
    shared = Dense(2)
    Network(2, [shared], rng=rng)
    with pytest.raises(ValueError, match="expected a layer that is in no network yet"):
        Network(2, [shared], rng=rng)


def test_layer_backward_before_forward_raises(rng):
    network = make_network(rng)
    for layer in (network.layers[0], BatchNorm(), Branches((6, []))):
        with pytest.raises(RuntimeError, match="expected a forward pass"):
            layer.backward(np.ones((1, 6)), to_inputs=False)


def test_network_hidden_layer_learns_exclusive_or(rng):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0])
    for hidden, solved in (([], False), ([Dense(8, "tanh")], True)):
        network, adam = Network(2, [*hidden, Dense(2)], rng=rng), Adam(0.05)
        for _ in range(500):
            network.loss_and_gradients(x, y, CategoricalCrossEntropy())
            adam.step(network.parameters, network.gradients)
        assert (network.logits(x).argmax(axis=1) == y).all() == solved


def test_network_overfits_twenty_rows(digits, rng):
    x, y = digits[0][:20] / 16, digits[1][:20]
    network, adam = Network(64, [Dense(32, "relu"), Dense(10)], rng=rng), Adam(0.01)
    first = network.loss_and_gradients(x, y, CategoricalCrossEntropy())
    for _ in range(400):
        last = network.loss_and_gradients(x, y, CategoricalCrossEntropy())
        adam.step(network.parameters, network.gradients)
    assert first > 2
    assert last < 1e-3


@pytest.mark.slow
def test_network_training_step_allocates_no_array():
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
    loss, penalty, max_norm = CategoricalCrossEntropy(0.1), Penalty(1e-5, 1e-4), MaxNorm(3.0)
    for optimizer in (Adam(), Nadam(), Nesterov()):

        def step(optimizer=optimizer):
            network.loss_and_gradients(x, y, loss, weights, penalty)
            clip_norm(network.gradients, 1.0)
            optimizer.step(network.parameters, network.gradients)
            max_norm.apply(network.weights())

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
        # A layer's output or a weight matrix has 256 KB or more. The rest are
        # 32 KB per operand that NumPy allocates during operations that broadcast or convert.
        assert peak - before < 200_000, repr(optimizer)
        assert after - before < 10_000


def make_large_network(rng):
    layers = [
        Branches((2, [Dense(4, "gelu"), Dropout(0.2)]), (3, [BatchNorm("elu")])),
        Dropout(0.1),
        Dense(6),
        BatchNorm("swish"),
        Dense(2),
    ]
    return Network(5, layers, rng=rng, dtype=np.float64)


def pickle_copy(net):
    return pickle.loads(pickle.dumps(net))  # noqa: S301 - written just now


@pytest.mark.parametrize(
    "copy_network", [copy.deepcopy, pickle_copy, lambda net: net.astype(np.float64)]
)
def test_network_copy_is_equal_and_independent(copy_network, rng):
    net, x, y = make_large_network(rng), rng.normal(size=(9, 5)), rng.normal(size=(9, 2))
    loss = MeanSquaredError()
    net.loss_and_gradients(x, y, loss)
    other = copy_network(net)
    np.testing.assert_array_equal(other.logits(x), net.logits(x))
    assert other.loss_and_gradients(x, y, loss) == net.loss_and_gradients(x, y, loss)
    np.testing.assert_array_equal(other.gradients, net.gradients)
    other.parameters[...] = 0  # its layers are views of its own vector
    assert (other.logits(x) == 0).all()
    assert (net.logits(x) != 0).any()


def test_network_snapshot_restores_all_trained_arrays(rng):
    net, x, y = make_large_network(rng), rng.normal(size=(9, 5)), rng.normal(size=(9, 2))
    net.loss_and_gradients(x, y, MeanSquaredError())
    snapshot, before = net.snapshot(), net.logits(x)
    assert set(snapshot) == {
        "parameters",
        "0.2.mean",
        "0.2.variance",
        "3.mean",
        "3.variance",
    }
    net.parameters += 1
    net.loss_and_gradients(x * 9, y, MeanSquaredError())
    assert (net.logits(x) != before).any()
    net.restore(snapshot)
    np.testing.assert_array_equal(net.logits(x), before)
    with pytest.raises(ValueError, match="expected a snapshot of a network like"):
        Network(5, [Dense(2)], rng=rng, dtype=np.float64).restore(snapshot)
