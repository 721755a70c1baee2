import numpy as np
import pytest

from tests.trainer.compress.networks import draw_rows, get_columns, make_dense_network
from trainer.compress.idle_units import remove_idle_units
from trainer.compress.layer_widths import get_widths
from trainer.compress.to_dense import list_dense_layers
from trainer.nn import Embedding, Identity, LeakyReLU, PeriodicEmbedding, ReLU, Sigmoid, Tanh


def test_idle_units_none_idle_changes_nothing(rng):
    network = make_dense_network(6, [9, 7, 3], Tanh, rng)
    reduced = remove_idle_units(network, draw_rows(rng, 300, 6))
    assert get_widths(reduced) == [6, 9, 7, 3]
    np.testing.assert_array_equal(reduced.parameters, network.parameters)


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU, Tanh, Sigmoid, Identity])
def test_idle_units_constant_dead_and_duplicate_units_are_removed(activation, rng):
    network = make_dense_network(6, [9, 7, 3], activation, rng)
    first, second, _ = list_dense_layers(network)
    x, other_x = draw_rows(rng, 300, 6), draw_rows(rng, 300, 6)
    for rows in (x, other_x):
        rows[:, 4], rows[:, 0] = 2.5, 0
    first.W[:, 2], first.b[2] = 0, 0.7  # constant
    if activation is ReLU:
        first.b[3] = -100  # dead
    else:
        first.W[:, 3] = 0
    first.W[:, 6], first.b[6] = first.W[:, 1], first.b[1]  # a duplicate of unit 1
    factor = 3 if activation in (ReLU, LeakyReLU, Identity) else 1
    second.W[:, 5], second.b[5] = factor * second.W[:, 0], factor * second.b[0]
    reduced = remove_idle_units(network, x)
    assert get_columns(reduced) == [1, 2, 3, 5]
    remaining = list_dense_layers(reduced)
    expected = first.W[np.ix_([1, 2, 3, 5], [0, 1, 4, 5, 7, 8])]
    np.testing.assert_array_equal(remaining[0].W, expected)
    assert get_widths(reduced) == [4, 6, 6, 3]
    for rows in (x, other_x):
        np.testing.assert_allclose(reduced.logits(rows), network.logits(rows), atol=1e-5)


@pytest.mark.parametrize("activation", [Tanh, Sigmoid, Identity])
def test_idle_units_negated_weights_are_merged(activation, rng):
    network = make_dense_network(5, [6, 2], activation, rng)
    first = list_dense_layers(network)[0]
    first.W[:, 4], first.b[4] = -first.W[:, 1], -first.b[1]
    reduced = remove_idle_units(network, draw_rows(rng, 300, 5))
    assert get_widths(reduced) == [5, 5, 2]
    rows = draw_rows(rng, 50, 5)
    np.testing.assert_allclose(reduced.logits(rows), network.logits(rows), atol=1e-5)


@pytest.mark.parametrize(("activation", "factor"), [(ReLU, -1), (Tanh, 3), (Sigmoid, 2)])
def test_idle_units_scaled_weights_with_other_outputs_are_kept(activation, factor, rng):
    network = make_dense_network(5, [6, 2], activation, rng)
    first = list_dense_layers(network)[0]
    first.W[:, 4], first.b[4] = factor * first.W[:, 1], factor * first.b[1]
    assert get_widths(remove_idle_units(network, draw_rows(rng, 300, 5))) == [5, 6, 2]


def test_idle_units_several_duplicates_become_one_unit(rng):
    network = make_dense_network(5, [8, 2], ReLU, rng)
    first = list_dense_layers(network)[0]
    for unit, factor in ((3, 2), (5, 0.5), (7, 7)):
        first.W[:, unit], first.b[unit] = factor * first.W[:, 2], factor * first.b[2]
    reduced = remove_idle_units(network, draw_rows(rng, 300, 5))
    assert get_widths(reduced) == [5, 5, 2]
    rows = draw_rows(rng, 50, 5)
    np.testing.assert_allclose(reduced.logits(rows), network.logits(rows), atol=1e-5)


def test_idle_units_similar_unit_is_kept(rng):
    network = make_dense_network(5, [6, 2], ReLU, rng)
    first = list_dense_layers(network)[0]
    first.W[:, 4], first.b[4] = first.W[:, 1], first.b[1]
    first.W[0, 4] += 1e-3
    assert get_widths(remove_idle_units(network, draw_rows(rng, 300, 5))) == [5, 6, 2]


def test_idle_units_duplicate_of_a_duplicate_only_is_kept(rng):
    network = make_dense_network(5, [6, 2], Identity, rng)
    first, x = list_dense_layers(network)[0], draw_rows(rng, 300, 5)
    first.W[:, 0] = [1, 0, 0, 0, 0]
    # The tolerance is 4e-6: units 0 and 2 are duplicates, and so are 2 and 4, but not 0 and 4.
    for unit, difference in ((2, 3e-6), (4, 6e-6)):
        first.W[:, unit] = [1, difference, 0, 0, 0]
    reduced = remove_idle_units(network, x)
    assert get_widths(reduced) == [5, 5, 2]
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-4)


def test_idle_units_input_that_varies_by_rounding_is_constant(rng):
    network = make_dense_network(5, [6, 2], Tanh, rng)
    x = draw_rows(rng, 300, 5)
    x[:, 3] = np.nextafter(np.float32(1), rng.integers(0, 3, size=300), dtype=np.float32)
    reduced = remove_idle_units(network, x)
    assert get_columns(reduced) == [0, 1, 2, 4]
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-5)


def test_idle_units_constant_unit_with_rounding_is_no_duplicate(rng):
    network = make_dense_network(1, [2, 2], ReLU, rng)
    first, last = list_dense_layers(network)
    first.W[...], first.b[...] = [[1, 0.1]], [0, 1e6]  # There, float32 has steps of 1/16.
    x = rng.integers(0, 3, size=(60, 1)).astype(np.float32)
    assert np.ptp(first.forward(x, training=False)[:, 1]) > 0.1
    reduced = remove_idle_units(network, x)
    assert get_widths(reduced) == [1, 1, 2]
    np.testing.assert_array_equal(list_dense_layers(reduced)[1].W[0], last.W[0])


def test_idle_units_equal_inputs_are_kept(rng):
    network = make_dense_network(5, [6, 2], Tanh, rng)
    x = draw_rows(rng, 300, 5)
    x[:, 3] = x[:, 1]
    assert get_widths(remove_idle_units(network, x)) == [5, 6, 2]


def test_idle_units_all_idle_keeps_one_input_and_one_unit_per_layer(rng):
    network = make_dense_network(4, [5, 6, 3], ReLU, rng)
    x = np.tile(draw_rows(rng, 1, 4), (20, 1))
    reduced = remove_idle_units(network, x)
    assert get_widths(reduced) == [1, 1, 1, 3]
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-5)


def test_idle_units_no_hidden_layers_removes_inputs(rng):
    network = make_dense_network(4, [2], Tanh, rng)
    x = draw_rows(rng, 30, 4)
    x[:, 2] = 7
    reduced = remove_idle_units(network, x)
    assert get_columns(reduced) == [0, 1, 3]
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-5)


def test_idle_units_network_with_selection_reduces_the_selection(rng):
    network = make_dense_network(6, [5, 2], Tanh, rng, columns=np.array([0, 2, 3, 5]))
    x = draw_rows(rng, 30, 6)
    x[:, 3] = 1
    reduced = remove_idle_units(network, x)
    assert get_columns(reduced) == [0, 2, 5]
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-5)


def test_idle_units_constant_category_is_removed_and_its_vectors_stay(rng):
    embedding = Embedding([4, 3], [3, 2])
    network = make_dense_network(5, [16, 2], ReLU, rng, embeddings=[embedding])
    for vectors in network.layers[0].tables:
        vectors[...] = rng.normal(size=vectors.shape)
    x = draw_rows(rng, 200, 5)
    x[:, 3], x[:, 4] = rng.integers(0, 4, size=200), 2
    reduced = remove_idle_units(network, x)
    assert get_columns(reduced) == [0, 1, 2, 3, 4, 5]
    assert reduced.layers[0].sizes == [4, 3]
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-5)


def test_idle_units_constant_number_loses_all_outputs_of_its_embedding(rng):
    embedding = PeriodicEmbedding(3, n_frequencies=4, units=2)
    network = make_dense_network(5, [16, 2], ReLU, rng, embeddings=[embedding])
    before = network.layers[0].frequencies.copy()
    x = draw_rows(rng, 200, 5)
    x[:, 1] = 0.3
    reduced = remove_idle_units(network, x)
    assert get_columns(reduced) == [0, 1, 4, 5, 6, 8, 9, 10]
    np.testing.assert_array_equal(reduced.layers[0].frequencies, before)
    np.testing.assert_allclose(reduced.logits(x), network.logits(x), atol=1e-5)
