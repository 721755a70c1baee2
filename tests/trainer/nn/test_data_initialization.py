"""Data-driven initialization: deviations and bends that hold for the rows it was made from."""

import numpy as np
import pytest

from trainer.nn import BatchNorm, Dense, Dropout, Embedding, Network, initialize_from_rows


def make_network(layers, x, seed=0):
    """Return a network with layers initialized from rows, of the dtype of the rows."""
    network = Network(x.shape[1], layers, rng=np.random.default_rng(9), dtype=x.dtype)
    initialize_from_rows(network, x, np.random.default_rng(seed))
    return network


def compute_layer_inputs(network, x):
    """Yield each dense layer with its inputs, which are computed outside of training."""
    for layer in network.layers:
        if isinstance(layer, Dense):
            yield layer, x
        x = layer.forward(x, training=False).copy()


@pytest.fixture
def rows(rng):
    """Columns of different centres and scales, of which two are correlated."""
    x = rng.normal(size=(300, 5)) * [0.1, 1, 10, 1, 3] + [0, 5, -20, 0.5, 1]
    x[:, 1] += x[:, 2]
    return x


LAYERS = {
    "swish": lambda: [Dense(40, "swish"), Dense(30, "swish"), Dense(3)],
    "relu": lambda: [Dense(40, "relu"), Dense(30, "tanh"), Dense(1)],
    "dropout": lambda: [Dropout(0.5), Dense(40, "selu"), Dropout(0.5), Dense(2)],
    "batch norm": lambda: [Dense(40), BatchNorm("relu"), Dense(20), BatchNorm("swish"), Dense(2)],
    "no hidden layer": lambda: [Dense(4)],
}


@pytest.mark.parametrize("kind", LAYERS)
def test_initialize_from_rows_pre_activations_have_unit_deviation(kind, rows):
    network = make_network(LAYERS[kind](), rows)
    for layer, x in compute_layer_inputs(network, rows):
        deviations = (x @ layer.W).std(axis=0)
        assert deviations.mean() == pytest.approx(1, rel=1e-9)
        # The weights of a layer are scaled together, so that units keep their own deviations.
        assert layer.units == 1 or deviations.std() > 0.01


@pytest.mark.parametrize("kind", LAYERS)
def test_initialize_from_rows_bends_of_units_lie_among_the_rows(kind, rows):
    network = make_network(LAYERS[kind](), rows)
    for layer, x in compute_layer_inputs(network, rows):
        z = x @ layer.W
        assert (z.min(axis=0) < -layer.b).all()
        assert (-layer.b < z.max(axis=0)).all()
        # Each unit has a combination of its own.
        assert len(np.unique(layer.b)) == layer.units


def test_initialize_from_rows_weights_are_normal(rng):
    x = rng.normal(size=(1000, 50))
    (layer, *_) = make_network([Dense(400, "relu"), Dense(1)], x).layers
    values = layer.W.ravel() * np.sqrt(50)  # of independent inputs of deviation 1
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.03)
    assert np.mean(np.abs(values) < 1) == pytest.approx(0.6827, abs=0.01)


def test_initialize_from_rows_bends_are_means_of_five_rows(rng):
    # Of rows with independent values, a combination with shares of a flat Dirichlet distribution
    # has the variance Σ E[shareₖ²] = 5 · 2 / (5 · 6) = 1/3 of that of the rows.
    x = rng.normal(size=(1000, 4))
    layer = make_network([Dense(3000), Dense(1)], x).layers[0]
    assert (layer.b / (x @ layer.W).std(axis=0)).var() == pytest.approx(1 / 3, abs=0.03)


def test_initialize_from_rows_embedding_keeps_its_vectors(rng):
    x = np.column_stack([rng.normal(size=(200, 2)), rng.integers(0, 6, 200)])
    layers = [Embedding([6], [3]), Dense(20, "relu"), Dense(2)]
    network = Network(3, layers, rng=np.random.default_rng(1), dtype=np.float64)
    vectors = network.layers[0].tables[0].copy()
    initialize_from_rows(network, x, np.random.default_rng(0))
    np.testing.assert_array_equal(network.layers[0].tables[0], vectors)
    for layer, inputs in compute_layer_inputs(network, x):
        assert (inputs @ layer.W).std(axis=0).mean() == pytest.approx(1, rel=1e-9)


def test_initialize_from_rows_leaves_batch_norm_as_new(rows):
    network = make_network([Dense(6), BatchNorm("relu"), Dense(2)], rows)
    new = Network(5, [Dense(6), BatchNorm("relu"), Dense(2)], rng=np.random.default_rng(9))
    for key, array in new.layers[1].state().items():
        np.testing.assert_array_equal(network.layers[1].state()[key], array)
    for mine, other in zip(network.layers[1].parameters(), new.layers[1].parameters(), strict=True):
        np.testing.assert_array_equal(mine.value, other.value)


@pytest.mark.parametrize(
    "x",
    [
        np.full((50, 3), 2.5),
        np.zeros((50, 3)),
        np.array([[1.0, -2.0, 3.0]]),
        np.full((50, 3), 1e-30),
        np.linspace(0, 1e-40, 150).reshape(50, 3),
        np.linspace(0, 1e30, 150).reshape(50, 3),
    ],
    ids=["constant", "zero", "one row", "tiny", "subnormal", "huge"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initialize_from_rows_degenerate_rows_give_finite_weights(x, dtype):
    x = x.astype(dtype)
    network = make_network([Dense(8, "swish"), Dense(8, "relu"), Dense(2)], x)
    assert network.parameters.dtype == dtype
    assert np.isfinite(network.parameters).all()
    assert network.layers[0].W.any()
    assert np.isfinite(network.logits(x)).all()


def test_initialize_from_rows_constant_row_has_pre_activation_zero():
    x = np.array([[1.0, -2.0, 3.0]])
    layer = make_network([Dense(8), Dense(2)], x).layers[0]
    np.testing.assert_allclose(x @ layer.W + layer.b, 0, atol=1e-12)


def test_initialize_from_rows_same_seed_gives_same_weights(rows):
    one, same, other = (
        make_network([Dense(8, "relu"), Dense(2)], rows, seed).parameters for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_initialize_from_rows_does_not_change_the_rows(rows):
    before = rows.copy()
    make_network([Dense(8, "relu"), Dropout(0.5), Dense(2)], rows)
    np.testing.assert_array_equal(rows, before)


def test_initialize_from_rows_equal_float64_rows_keep_weights_small(rng):
    network = Network(3, [Dense(8, "swish"), Dense(1)], rng=rng, dtype=np.float64)
    initialize_from_rows(network, np.full((200, 3), 0.3), rng)
    assert np.abs(network.parameters).max() < 100
