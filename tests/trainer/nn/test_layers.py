import copy
import pickle

import numpy as np
import pytest

from trainer.nn import Adam, BatchNorm, Branches, Dense, Dropout, MeanSquaredError, Network


def make_network(layers, n_in, rng, dtype=np.float64):
    return Network(n_in, layers, rng=rng, dtype=dtype)


# Dropout


def test_dropout_training_zeroes_rate_and_scales_rest(rng):
    layer = Dropout(0.3)
    net = make_network([layer, Dense(1)], 400, rng)
    x = np.ones((200, 400))
    out = layer.forward(x, training=True)
    assert set(np.unique(out)) == {0, 1 / 0.7}
    assert (out == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.01)
    assert net.layers[0].forward(x, training=False) is x


def test_dropout_backward_uses_mask_of_forward(rng):
    layer = Dropout(0.5)
    make_network([layer, Dense(1)], 50, rng)
    snapshot = layer.forward(np.ones((4, 50)), training=True).copy()
    gradient = layer.backward(np.full((4, 50), 3.0), to_inputs=True)
    np.testing.assert_array_equal(gradient, 3 * snapshot)


def test_dropout_mask_changes_per_batch_and_repeats_by_seed():
    def draw_masks(seed):
        layer = Dropout(0.5)
        make_network([layer, Dense(1)], 30, np.random.default_rng(seed))
        return [layer.forward(np.ones((2, 30)), training=True).copy() for _ in range(2)]

    first, second = draw_masks(0)
    assert (first != second).any()
    np.testing.assert_array_equal(draw_masks(0), [first, second])
    assert (draw_masks(1)[0] != first).any()


def test_dropout_forward_leaves_input_unchanged(rng):
    layer, x = Dropout(0.5), rng.normal(size=(5, 6))
    make_network([layer, Dense(1)], 6, rng)
    before = x.copy()
    layer.forward(x, training=True)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_dropout_invalid_rate_raises(rate):
    with pytest.raises(ValueError, match=r"rate in \[0, 1\)"):
        Dropout(rate)


# Batch normalisation


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


# Branches


def test_branches_forward_concatenates_branch_outputs(rng):
    left, right = Dense(4, "tanh"), Dense(3, "relu")
    net = make_network([Branches((2, [left]), (3, [right, Dense(2)]), (1, []))], 6, rng)
    x = rng.normal(size=(7, 6))
    hidden = np.maximum(x[:, 2:5] @ right.W + right.b, 0)
    second = net.layers[0].chains[1].layers[1]
    expected = [np.tanh(x[:, :2] @ left.W + left.b), hidden @ second.W + second.b, x[:, 5:]]
    np.testing.assert_allclose(net.logits(x), np.concatenate(expected, axis=1), rtol=1e-12)


def test_branches_learn_product_of_inputs(rng):
    a, b = rng.normal(size=(400, 3)), rng.normal(size=(400, 2))
    y = (a[:, :1] * b[:, :1]).clip(-2, 2)
    net = make_network(
        [Branches((3, [Dense(16, "tanh")]), (2, [Dense(16, "tanh")])), Dense(32, "tanh"), Dense(1)],
        5,
        rng,
    )
    adam, loss, x = Adam(0.01), MeanSquaredError(), np.concatenate([a, b], axis=1)
    for _ in range(500):
        value = net.loss_and_gradients(x, y, loss)
        adam.step(net.parameters, net.gradients)
    assert value < 0.05 * y.var()


def test_branches_wrong_number_of_inputs_raises(rng):
    with pytest.raises(ValueError, match=r"2 \+ 3 = 5 inputs for the branches; got 6"):
        make_network([Branches((2, []), (3, []))], 6, rng)
    with pytest.raises(ValueError, match="at least 1 input each"):
        Branches((0, []))


# Copies


def make_large_network(rng):
    layers = [
        Branches((2, [Dense(4, "gelu"), Dropout(0.2)]), (3, [BatchNorm("elu")])),
        Dropout(0.1),
        Dense(6),
        BatchNorm("swish"),
        Dense(2),
    ]
    return make_network(layers, 5, rng)


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
        make_network([Dense(2)], 5, rng).restore(snapshot)
