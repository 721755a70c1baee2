import copy
import math
import tracemalloc

import numpy as np
import pytest

from trainer.nn import (
    Adam,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Embedding,
    MaxNorm,
    MeanSquaredError,
    Network,
    Penalty,
    PeriodicEmbedding,
    check_gradients,
    compute_parameter_rates,
    initialize_from_rows,
)
from trainer.nn.layers import periodic_embedding


def make_network(rng, n_inputs=5, n_numbers=3, n_frequencies=4, units=2, dtype=np.float64):
    layers = [PeriodicEmbedding(n_numbers, n_frequencies, units), Dense(2)]
    return Network(n_inputs, layers, rng=rng, dtype=dtype)


def embed_number(layer, position, x):
    """Return the embedding of one number, computed term by term."""
    waves = [
        math.cos(2 * math.pi * w * x + p)
        for w, p in zip(
            layer.frequencies[position].tolist(), layer.phases[position].tolist(), strict=True
        )
    ]
    return [
        math.fsum(w * wave for w, wave in zip(weights, waves, strict=True)) + bias
        for weights, bias in zip(
            layer.W[position].tolist(), layer.b[position].tolist(), strict=True
        )
    ]


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("training", [False, True])
def test_periodic_embedding_forward_equals_formula(training, dtype, close, rng):
    layer = make_network(rng, dtype=dtype).layers[0]
    x = rng.normal(size=(9, 5)).astype(dtype)
    out = layer.forward(x, training=training)
    assert out.shape == (9, layer.outputs(5)) == (9, 11)
    for row, outputs in zip(x.tolist(), out, strict=True):
        expected = [v for k in range(3) for v in embed_number(layer, k, row[k])] + row
        np.testing.assert_allclose(outputs, expected, rtol=close, atol=close)


@pytest.mark.parametrize("method, limit", [("central", 1e-6), ("complex", 1e-11)])
def test_periodic_embedding_gradients_match_numeric_derivative(method, limit, rng):
    below = Branches((3, [Dense(3, "tanh")]), (1, []))
    layers = [below, PeriodicEmbedding(2, 3, 2), Embedding([4], [2]), Dense(5, "tanh"), Dense(3)]
    net = Network(4, layers, rng=rng, dtype=np.float64)
    net.parameters[...] = rng.normal(0, 0.5, size=net.n_parameters)
    x = np.column_stack([rng.normal(size=(15, 3)), rng.integers(0, 4, 15)]).astype(np.float64)
    errors = check_gradients(
        net, x, rng.integers(0, 3, 15), CategoricalCrossEntropy(), method=method
    )
    assert [e.parameter for e in errors[2:6]] == ["frequencies", "phases", "W", "b"]
    assert max(e.relative for e in errors) <= limit


def test_periodic_embedding_initial_values_have_their_distributions(rng):
    layer = make_network(rng, 400, 400, 16, 3).layers[0]
    assert layer.frequencies.std() == pytest.approx(0.1, rel=0.05)
    for values, limit in ((layer.phases, np.pi), (layer.W, 0.25), (layer.b, 0.25)):
        assert limit * 0.98 < np.abs(values).max() <= limit
        assert values.std() == pytest.approx(limit / 3**0.5, rel=0.05)


def test_periodic_embedding_parameters_are_not_weight_matrices(rng):
    net = make_network(rng)
    size = net.layers[0].size(5)
    x, y, loss = rng.normal(size=(9, 5)), rng.normal(size=(9, 2)), MeanSquaredError()
    net.loss_and_gradients(x, y, loss)
    plain = net.gradients[:size].copy()
    net.loss_and_gradients(x, y, loss, penalty=Penalty(l1=1.0, l2=1.0))
    np.testing.assert_array_equal(net.gradients[:size], plain)
    net.parameters[...] = 7
    MaxNorm(0.1).apply(net.weights())
    assert (net.parameters[:size] == 7).all()
    rates, decays = compute_parameter_rates(net)
    np.testing.assert_allclose(rates[:size], 0.1)
    assert not decays[:size].any()


def test_periodic_embedding_data_initialization_leaves_it_alone(rng):
    net = make_network(rng, dtype=np.float32)
    before, size = net.parameters.copy(), net.layers[0].size(5)
    x = rng.normal(size=(50, 5)).astype(np.float32)
    initialize_from_rows(net, x, rng)
    np.testing.assert_array_equal(net.parameters[:size], before[:size])
    assert net.logits(x).std(axis=0).mean() == pytest.approx(1, rel=1e-4)


def test_periodic_embedding_many_rows_are_computed_in_slices(rng, monkeypatch):
    net, x = make_network(rng), rng.normal(size=(30, 5))
    whole = net.layers[0].forward(x, training=False).copy()
    monkeypatch.setattr(periodic_embedding, "SLICE_VALUES", 7 * 12)
    np.testing.assert_array_equal(net.layers[0].forward(x, training=False), whole)
    # The cosines of the last slice are not those of the batch.
    with pytest.raises(RuntimeError, match="expected a forward pass"):
        net.layers[0].backward(np.ones((30, 11)), to_inputs=False)
    np.testing.assert_array_equal(net.layers[0].forward(x, training=True), whole)
    net.layers[0].backward(np.ones((30, 11)), to_inputs=False)


def test_periodic_embedding_smaller_and_empty_batches_are_right(rng):
    net, x, y = make_network(rng), rng.normal(size=(30, 5)), np.ones((30, 2))
    together = net.logits(x)
    np.testing.assert_allclose(net.logits(x[:4]), together[:4], rtol=1e-12)
    assert net.logits(x[:0]).shape == (0, 2)
    fresh = copy.deepcopy(net)
    for rows in (slice(0, 30), slice(0, 7), slice(3, 30)):
        net.loss_and_gradients(x[rows], y[rows], MeanSquaredError())
    fresh.loss_and_gradients(x[3:], y[3:], MeanSquaredError())
    np.testing.assert_array_equal(net.gradients, fresh.gradients)


def test_periodic_embedding_copy_gives_same_logits(rng):
    net, x = make_network(rng), rng.normal(size=(9, 5))
    other = copy.deepcopy(net)
    np.testing.assert_array_equal(other.logits(x), net.logits(x))
    assert repr(other.layers[0]) == "PeriodicEmbedding(3, 4, 2)"


def test_periodic_embedding_sources_are_the_inputs_that_change_an_output(rng):
    net, x = make_network(rng), rng.normal(size=(1, 5))
    layer = net.layers[0]
    before = layer.forward(x, training=False).copy()
    for column in range(5):
        changed = x.copy()
        changed[0, column] += 0.1
        is_changed = layer.forward(changed, training=False)[0] != before[0]
        np.testing.assert_array_equal(is_changed, layer.find_sources() == column)


def test_periodic_embedding_learns_what_a_linear_model_cannot(rng):
    x = rng.uniform(-2, 2, size=(300, 1))
    y = np.sin(3 * x)
    net = Network(1, [PeriodicEmbedding(1), Dense(1)], rng=rng, dtype=np.float64)
    adam, loss = Adam(0.02), MeanSquaredError()
    for _ in range(1500):
        value = net.loss_and_gradients(x, y, loss)
        adam.step(net.parameters, net.gradients)
    assert value < 0.05 * y.var()


def test_periodic_embedding_step_allocates_no_batch_sized_array(rng):
    net = make_network(rng, 60, 50, 16, 3, dtype=np.float32)
    x, y = rng.normal(size=(1024, 60)).astype(np.float32), np.ones((1024, 2), np.float32)
    loss = MeanSquaredError()

    def step():
        net.loss_and_gradients(x, y, loss)

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
    assert peak - before < 100_000  # the numbers have 200 KB, the cosines 3.2 MB
    assert after - before < 10_000


@pytest.mark.parametrize("numbers", [(0, 16, 3), (2, 0, 3), (2, 16, 0)])
def test_periodic_embedding_invalid_sizes_raises(numbers):
    with pytest.raises(ValueError, match="at least 1 number, 1 frequency and 1 unit; got"):
        PeriodicEmbedding(*numbers)


def test_periodic_embedding_too_few_inputs_raises(rng):
    with pytest.raises(ValueError, match="at least 3 inputs, the numbers to embed; got 2"):
        Network(2, [PeriodicEmbedding(3)], rng=rng)
