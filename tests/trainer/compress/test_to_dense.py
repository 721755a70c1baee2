import copy

import numpy as np
import pytest

from trainer.compress.to_dense import (
    build_dense_network,
    list_dense_layers,
    list_members,
    simplify_members,
    to_dense,
)
from trainer.nn import (
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Embedding,
    FeatureSelect,
    IntegerDense,
    LeakyReLU,
    Members,
    Network,
    PeriodicEmbedding,
    Quantization,
    ReLU,
)


def make_network(n_inputs, layers, rng):
    """Return a network in which every number is random, running statistics included."""
    network = Network(n_inputs, layers, rng=rng)
    network.parameters[...] = rng.normal(0, 0.5, size=network.n_parameters)
    for layer in network.layers:
        for array in layer.state().values():
            array[...] = rng.uniform(0.5, 2, size=array.shape)
    return network


def draw_rows(rng, n=200, numbers=5, categories=0):
    return np.concatenate(
        [rng.normal(size=(n, numbers)), rng.integers(0, 3, size=(n, categories))], axis=1
    ).astype(np.float32)


def make_member(_):
    return [Dense(4, "relu"), Dropout(0.2), Dense(3, "swish"), Dense(2)]


NETWORKS = {  # layers before, types of layers after
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
    "members": (lambda: [Members(*map(make_member, range(3)))], [Dense, Dense, Dense]),
    "members of one layer": (lambda: [Members([Dense(2)], [Dense(2)])], [Dense]),
    "embedding, selection and members": (
        lambda: [
            Embedding([3, 3], [2, 3]),
            FeatureSelect(np.array([1, 4, 5, 8])),
            Members(*map(make_member, range(2))),
        ],
        [Embedding, FeatureSelect, Dense, Dense, Dense],
    ),
    "periodic embedding": (
        lambda: [PeriodicEmbedding(4), Dropout(0.2), Dense(4, "relu"), Dense(2)],
        [PeriodicEmbedding, Dense, Dense],
    ),
    "both embeddings and selection": (
        lambda: [
            PeriodicEmbedding(3, 4, 2),
            Embedding([3, 3], [2, 3]),
            FeatureSelect(np.array([1, 4, 5, 8, 15])),
            Dense(4),
            Dense(2),
        ],
        [PeriodicEmbedding, Embedding, FeatureSelect, Dense, Dense],
    ),
}


def test_to_dense_members_have_no_weights_between_them(rng):
    network = make_network(5, NETWORKS["members"][0](), rng)
    _, hidden, last = to_dense(network).layers
    assert hidden.W.shape == (3 * 4, 3 * 3)
    for k, chain in enumerate(network.layers[0].chains):
        block = hidden.W[4 * k : 4 * (k + 1)]
        np.testing.assert_array_equal(block[:, 3 * k : 3 * (k + 1)], chain.layers[2].W)
        assert np.count_nonzero(block) == 4 * 3
        expected = chain.layers[3].W / 3
        np.testing.assert_allclose(last.W[3 * k : 3 * (k + 1)], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["members", "embedding, selection and members"])
def test_simplify_members_keeps_members_and_answers(kind, rng):
    categories = 2 * kind.startswith("embedding")
    network = make_network(5 + categories, NETWORKS[kind][0](), rng)
    x, simplified = draw_rows(rng, categories=categories), simplify_members(network)
    np.testing.assert_allclose(simplified.logits(x), network.logits(x), atol=1e-5)
    expected = network.n_members
    assert [len(chain) for chain in list_members(simplified)] == [3] * expected
    assert simplified.n_members == expected


@pytest.mark.parametrize("kind", ["batch norm", "embedding"])
def test_simplify_members_of_a_single_network_is_to_dense(kind, rng):
    network = make_network(7, NETWORKS[kind][0](), rng)
    simplified, dense = simplify_members(network), to_dense(network)
    assert repr(simplified) == repr(dense)
    np.testing.assert_array_equal(simplified.parameters, dense.parameters)
    assert list_members(simplified) == []


@pytest.mark.parametrize("kind", NETWORKS)
def test_to_dense_gives_the_same_answers(kind, rng):
    make_layers, expected_types = NETWORKS[kind]
    layers = make_layers()
    categories = 2 * any(isinstance(layer, Embedding) for layer in layers)
    network = make_network(5 + categories, layers, rng)
    before = network.snapshot()
    x = draw_rows(rng, categories=categories)
    dense = to_dense(network)
    assert [type(layer) for layer in dense.layers] == expected_types
    np.testing.assert_allclose(dense.logits(x), network.logits(x), atol=1e-5)
    for name, array in network.snapshot().items():
        np.testing.assert_array_equal(array, before[name])


def test_to_dense_shares_no_weights_with_its_input(rng):
    network = make_network(7, NETWORKS["embedding"][0](), rng)
    dense = to_dense(network)
    before = dense.snapshot()["parameters"]
    network.parameters[...] = 0
    np.testing.assert_array_equal(dense.parameters, before)
    assert dense.n_parameters == network.n_parameters
    assert dense.layers[1].activation is not network.layers[2].activation


def test_to_dense_of_a_dense_network_changes_nothing(rng):
    once = to_dense(make_network(5, NETWORKS["batch norm"][0](), rng))
    twice = to_dense(once)
    assert repr(twice) == repr(once)
    np.testing.assert_array_equal(twice.parameters, once.parameters)


def make_integer_layer():
    return IntegerDense(
        np.ones((5, 2), np.int8),
        np.zeros(2, np.int32),
        np.ones(2, np.float32),
        source=Quantization(np.float32(1), 0),
    )


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([Branches((2, [Dense(2, "relu")]), (3, [])), Dense(1)], "got branches"),
        ([BatchNorm(), Dense(1)], "got a batch normalization that follows no dense layer"),
        ([Dense(3, "relu"), BatchNorm(), Dense(1)], "normalization that follows no dense"),
        ([make_integer_layer()], "got integer layers"),
        ([Dense(3), FeatureSelect(np.array([1])), Dense(1)], "got a selection after another"),
        (
            [FeatureSelect(np.array([0, 1])), FeatureSelect(np.array([1])), Dense(1)],
            "got a selection after another",
        ),
        (
            [FeatureSelect(np.array([0, 1])), Embedding([3], [2]), Dense(1)],
            "got an embedding after another",
        ),
        ([Dense(3), PeriodicEmbedding(2), Dense(1)], "got an embedding after another"),
        ([Dropout(0.5)], "got no dense layer"),
        ([Members(*([BatchNorm(), Dense(1)] for _ in range(2)))], "got members with other layers"),
        ([Members([Dense(1, "tanh")], [Dense(1, "tanh")])], "members whose last layer has an act"),
    ],
)
def test_to_dense_other_layers_are_refused(layers, problem, rng):
    network = Network(5, copy.deepcopy(layers), rng=rng)
    with pytest.raises(ValueError, match=problem):
        to_dense(network)


def test_build_dense_network_copies_the_weights(rng):
    W, b = rng.normal(size=(2, 3)).astype(np.float32), np.ones(3, np.float32)
    network = build_dense_network(4, (), np.array([1, 3]), [(W, b, ReLU())])
    x = draw_rows(rng, numbers=4)
    expected = np.maximum(x[:, [1, 3]] @ W + b, 0)
    np.testing.assert_allclose(network.logits(x), expected, atol=1e-6)
    W[...] = 0
    np.testing.assert_allclose(network.logits(x), expected, atol=1e-6)


@pytest.mark.parametrize(("n_in", "n_bias"), [(3, 3), (2, 2), (2, 1)])
def test_build_dense_network_wrong_shapes_are_refused(n_in, n_bias):
    parameters = [(np.ones((n_in, 3), np.float32), np.ones(n_bias, np.float32), ReLU())]
    with pytest.raises(ValueError, match=r"expected weights \(2, 3\) and biases \(3,\); got"):
        build_dense_network(4, (), np.array([1, 3]), parameters)


def test_list_dense_layers_other_layers_are_refused(rng):
    network = Network(5, [Dense(4), BatchNorm(), Dense(2)], rng=rng)
    with pytest.raises(ValueError, match="expected a network of dense layers; got BatchNorm"):
        list_dense_layers(network)
    assert [layer.units for layer in list_dense_layers(to_dense(network))] == [4, 2]
