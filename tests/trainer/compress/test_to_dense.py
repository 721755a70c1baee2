import copy

import numpy as np
import pytest

from trainer.compress.to_dense import build_dense_network, dense_layers, to_dense
from trainer.nn import (
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Embedding,
    FeatureSelect,
    IntegerDense,
    LeakyReLU,
    Network,
    Quantization,
    ReLU,
)


def a_network(n_inputs, layers, rng):
    """One whose every number is drawn, those that training would have moved too."""
    network = Network(n_inputs, layers, rng=rng)
    network.parameters[...] = rng.normal(0, 0.5, size=network.n_parameters)
    for layer in network.layers:
        for array in layer.state().values():
            array[...] = rng.uniform(0.5, 2, size=array.shape)
    return network


def rows(rng, n=200, numbers=5, categories=0):
    return np.concatenate(
        [rng.normal(size=(n, numbers)), rng.integers(0, 3, size=(n, categories))], axis=1
    ).astype(np.float32)


KINDS = {  # layers, kinds of layers that are left
    "dense": (lambda: [Dense(4, "relu"), Dense(2)], [Dense, Dense]),
    "one layer": (lambda: [Dense(2)], [Dense]),
    "dropout": (lambda: [Dropout(0.5), Dense(4, "tanh"), Dropout(0.1), Dense(2)], [Dense, Dense]),
    "batch norm": (
        lambda: [Dense(4), BatchNorm("relu"), Dense(3), BatchNorm("gelu"), Dense(2)],
        [Dense, Dense, Dense],
    ),
    "two norms": (lambda: [Dense(4), BatchNorm(), BatchNorm("elu"), Dense(2)], [Dense, Dense]),
    "norm last": (lambda: [Dense(4, LeakyReLU(0.3)), Dense(2), BatchNorm()], [Dense, Dense]),
    "selection": (
        lambda: [FeatureSelect(np.array([0, 2, 3])), Dense(4, "relu"), Dense(2)],
        [FeatureSelect, Dense, Dense],
    ),
    "selection of all": (
        lambda: [FeatureSelect(np.arange(5)), Dense(4, "relu"), Dense(2)],
        [Dense, Dense],
    ),
    "embedding": (
        lambda: [Embedding([3, 3], [2, 3]), Dropout(0.2), Dense(4, "relu"), Dense(2)],
        [Embedding, Dense, Dense],
    ),
    "embedding and selection": (
        lambda: [
            Embedding([3, 3], [2, 3]),
            FeatureSelect(np.array([1, 4, 5, 8])),
            Dense(4),
            Dense(2),
        ],
        [Embedding, FeatureSelect, Dense, Dense],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_network_answers_alike(kind, rng):
    make, left = KINDS[kind]
    layers = make()
    categories = 2 * isinstance(layers[0], Embedding)
    network = a_network(5 + categories, layers, rng)
    before = network.snapshot()
    x = rows(rng, categories=categories)
    found = to_dense(network)
    assert [type(layer) for layer in found.layers] == left
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-5)
    for name, array in network.snapshot().items():
        np.testing.assert_array_equal(array, before[name])


def test_its_weights_are_its_own(rng):
    network = a_network(7, KINDS["embedding"][0](), rng)
    found = to_dense(network)
    before = found.snapshot()["parameters"]
    network.parameters[...] = 0
    np.testing.assert_array_equal(found.parameters, before)
    assert found.n_parameters == network.n_parameters
    assert found.layers[1].activation is not network.layers[2].activation


def test_plain_twice_is_plain_once(rng):
    once = to_dense(a_network(5, KINDS["batch norm"][0](), rng))
    twice = to_dense(once)
    assert repr(twice) == repr(once)
    np.testing.assert_array_equal(twice.parameters, once.parameters)


def whole_numbers():
    return IntegerDense(
        np.ones((5, 2), np.int8),
        np.zeros(2, np.int32),
        np.ones(2, np.float32),
        source=Quantization(np.float32(1), 0),
    )


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([Branches((2, [Dense(2, "relu")]), (3, [])), Dense(1)], "got branches"),
        ([BatchNorm(), Dense(1)], "got a batch normalisation that follows no dense layer"),
        ([Dense(3, "relu"), BatchNorm(), Dense(1)], "normalisation that follows no dense"),
        ([whole_numbers()], "got whole numbers"),
        ([Dense(3), FeatureSelect(np.array([1])), Dense(1)], "got a selection behind another"),
        (
            [FeatureSelect(np.array([0, 1])), FeatureSelect(np.array([1])), Dense(1)],
            "got a selection behind another",
        ),
        (
            [FeatureSelect(np.array([0, 1])), Embedding([3], [2]), Dense(1)],
            "got an embedding behind another",
        ),
        ([Dropout(0.5)], "got no dense layer"),
    ],
)
def test_what_cannot_be_plain_is_refused_by_name(layers, named, rng):
    network = Network(5, copy.deepcopy(layers), rng=rng)
    with pytest.raises(ValueError, match=named):
        to_dense(network)


def test_a_network_is_assembled_of_weights(rng):
    W, b = rng.normal(size=(2, 3)).astype(np.float32), np.ones(3, np.float32)
    network = build_dense_network(4, None, np.array([1, 3]), [(W, b, ReLU())])
    x = rows(rng, numbers=4)
    expected = np.maximum(x[:, [1, 3]] @ W + b, 0)
    np.testing.assert_allclose(network.logits(x), expected, atol=1e-6)
    W[...] = 0
    np.testing.assert_allclose(network.logits(x), expected, atol=1e-6)


@pytest.mark.parametrize(("n_in", "n_bias"), [(3, 3), (2, 2), (2, 1)])
def test_weights_that_do_not_fit_are_refused(n_in, n_bias):
    parts = [(np.ones((n_in, 3), np.float32), np.ones(n_bias, np.float32), ReLU())]
    with pytest.raises(ValueError, match=r"expected weights \(2, 3\) and biases \(3,\); got"):
        build_dense_network(4, None, np.array([1, 3]), parts)


def test_only_plain_networks_have_dense_layers_to_prune(rng):
    network = Network(5, [Dense(4), BatchNorm(), Dense(2)], rng=rng)
    with pytest.raises(ValueError, match="expected a plain network; got BatchNorm"):
        dense_layers(network)
    assert [layer.units for layer in dense_layers(to_dense(network))] == [4, 2]
