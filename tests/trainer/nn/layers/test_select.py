import copy
import pickle

import numpy as np
import pytest

from trainer.nn import (
    BatchNorm,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    FeatureSelect,
    Network,
    check_gradients,
)

COLUMNS = np.array([1, 2, 5])
N_IN = 7


def make_layer(rng, columns=COLUMNS, dtype=np.float64):
    layer = FeatureSelect(columns)
    Network(N_IN, [layer, Dense(1)], rng=rng, dtype=dtype)
    return layer


@pytest.mark.parametrize("columns", [[0], [6], [1, 2, 5], [0, 6], list(range(N_IN))])
@pytest.mark.parametrize("n", [0, 1, 9])
def test_feature_select_forward_outputs_its_columns(columns, n, rng):
    layer, x = make_layer(rng, np.array(columns)), rng.normal(size=(n, N_IN))
    before = x.copy()
    for training in (True, False):
        out = layer.forward(x, training=training)
        np.testing.assert_array_equal(out, x @ np.eye(N_IN)[:, columns])
    np.testing.assert_array_equal(x, before)
    assert out.shape == (n, layer.outputs(N_IN))


@pytest.mark.parametrize("columns", [[0], [1, 2, 5], list(range(N_IN))])
def test_feature_select_backward_matches_numeric_derivative(columns, rng):
    layer = make_layer(rng, np.array(columns))
    for n in (9, 4, 9):  # buffers still contain the batch before
        x, flow = rng.normal(size=(n, N_IN)), rng.normal(size=(n, len(columns)))
        layer.forward(x, training=True)
        gradient = flow.copy()
        dx = layer.backward(gradient, to_inputs=True)
        # ∂(flow · out)/∂x, one input at a time; out is linear in x, so a step of 1 is exact enough.
        expected = np.empty_like(x)
        for column in range(N_IN):
            step = np.eye(N_IN)[column]
            ahead, behind = (layer.forward(x + s * step, training=True).copy() for s in (0.5, -0.5))
            expected[:, column] = (flow * (ahead - behind)).sum(axis=1)
        np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-14)


def test_feature_select_backward_without_to_inputs_returns_none(rng):
    layer = make_layer(rng)
    layer.forward(np.ones((2, N_IN)), training=True)
    assert layer.backward(np.ones((2, 3)), to_inputs=False) is None


def test_feature_select_backward_before_forward_raises(rng):
    with pytest.raises(RuntimeError, match="expected a forward pass before the backward pass"):
        make_layer(rng).backward(np.ones((2, 3)), to_inputs=True)


@pytest.mark.parametrize(("method", "limit"), [("central", 1e-6), ("complex", 1e-11)])
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [FeatureSelect(COLUMNS), Dense(5, "tanh"), Dense(3)],
        lambda: [Dense(8, "tanh"), FeatureSelect(COLUMNS), Dense(3)],
        lambda: [
            Dense(8),
            BatchNorm("tanh"),
            FeatureSelect(COLUMNS),
            FeatureSelect(np.array([0, 2])),
            Dense(3),
        ],
        lambda: [
            Branches((3, [Dense(4, "tanh"), FeatureSelect(np.array([1, 3]))]), (4, [])),
            Dense(3),
        ],
    ],
    ids=["first", "in the middle", "twice", "in a branch"],
)
def test_feature_select_gradients_of_network_are_right(layers, method, limit, rng):
    net = Network(N_IN, layers(), rng=rng, dtype=np.float64)
    net.parameters += 0.1 * rng.normal(size=net.n_parameters)
    x, y = rng.normal(size=(12, N_IN)), rng.integers(0, 3, 12)
    errors = check_gradients(net, x, y, CategoricalCrossEntropy(), method=method)
    assert max(e.relative for e in errors) <= limit


def test_feature_select_other_inputs_have_no_effect(rng):
    net = Network(N_IN, [FeatureSelect(COLUMNS), Dense(4, "relu"), Dense(2)], rng=rng)
    x = rng.normal(size=(9, N_IN)).astype(np.float32)
    other = np.full_like(x, np.nan)
    other[:, COLUMNS] = x[:, COLUMNS]
    np.testing.assert_array_equal(net.logits(other), net.logits(x))
    assert net.n_parameters == (3 + 1) * 4 + (4 + 1) * 2


@pytest.mark.parametrize(
    "copy_network",
    [
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),  # noqa: S301 - written just now
        lambda net: net.astype(np.float64),
    ],
    ids=["deepcopy", "pickle", "astype"],
)
def test_feature_select_copy_is_equal_and_independent(copy_network, rng):
    net = Network(N_IN, [FeatureSelect(COLUMNS.copy()), Dense(2)], rng=rng, dtype=np.float64)
    x = rng.normal(size=(9, N_IN))
    other = copy_network(net)
    np.testing.assert_array_equal(other.logits(x), net.logits(x))
    logits = net.logits(x)
    other.parameters[...] = 0
    other.layers[0].columns[...] = [0, 3, 4]
    np.testing.assert_array_equal(net.logits(x), logits)
    assert repr(other.layers[0]) == "FeatureSelect(3)"


def test_feature_select_preserves_dtype(rng):
    net = Network(N_IN, [FeatureSelect(COLUMNS), Dense(2)], rng=rng)
    assert net.layers[0].forward(np.ones((2, N_IN), np.float32), training=True).dtype == np.float32
    single = net.astype(np.float64).astype(np.float32)
    x = rng.normal(size=(9, N_IN)).astype(np.float32)
    np.testing.assert_array_equal(single.logits(x), net.logits(x))


@pytest.mark.parametrize(
    "columns", [[], [2, 1], [1, 1], [-1, 2], [[0, 1]], 3], ids=lambda c: str(c).replace(" ", "")
)
def test_feature_select_invalid_columns_raises(columns):
    with pytest.raises(
        ValueError, match="expected ascending indices of columns without duplicates; got"
    ):
        FeatureSelect(np.array(columns, np.int64))


def test_feature_select_missing_columns_raises(rng):
    with pytest.raises(ValueError, match="at least 6 inputs to select from; got 5"):
        Network(5, [FeatureSelect(COLUMNS)], rng=rng)
