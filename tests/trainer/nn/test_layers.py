import copy
import pickle

import numpy as np
import pytest

from trainer.nn import Adam, BatchNorm, Branches, Dense, Dropout, MeanSquaredError, Network


def network(layers, n_in, rng, dtype=np.float64):
    return Network(n_in, layers, rng=rng, dtype=dtype)


# Dropout


def test_dropout_silences_the_share_and_scales_the_rest(rng):
    layer = Dropout(0.3)
    net = network([layer, Dense(1)], 400, rng)
    x = np.ones((200, 400))
    out = layer.forward(x, training=True)
    assert set(np.unique(out)) == {0, 1 / 0.7}
    assert (out == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.01)
    assert net.layers[0].forward(x, training=False) is x


def test_dropout_passes_on_the_gradient_of_what_it_kept(rng):
    layer = Dropout(0.5)
    network([layer, Dense(1)], 50, rng)
    kept = layer.forward(np.ones((4, 50)), training=True).copy()
    gradient = layer.backward(np.full((4, 50), 3.0), to_inputs=True)
    np.testing.assert_array_equal(gradient, 3 * kept)


def test_dropout_draws_anew_each_batch_and_alike_from_the_same_seed():
    def draws(seed):
        layer = Dropout(0.5)
        network([layer, Dense(1)], 30, np.random.default_rng(seed))
        return [layer.forward(np.ones((2, 30)), training=True).copy() for _ in range(2)]

    first, second = draws(0)
    assert (first != second).any()
    np.testing.assert_array_equal(draws(0), [first, second])
    assert (draws(1)[0] != first).any()


def test_dropout_never_touches_what_it_was_given(rng):
    layer, x = Dropout(0.5), rng.normal(size=(5, 6))
    network([layer, Dense(1)], 6, rng)
    before = x.copy()
    layer.forward(x, training=True)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate in \[0, 1\)"):
        Dropout(rate)


# Batch normalisation


def test_batch_norm_is_pytorchs_forward_backward_and_later(rng, torch):
    expected = torch["batch_norm"]
    layer = BatchNorm(momentum=0.9, epsilon=1e-5)
    network([layer, Dense(1)], 3, rng)
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


def test_an_answer_after_batch_norm_does_not_depend_on_its_batch(rng):
    net = network([Dense(8), BatchNorm("relu"), Dense(2)], 4, rng)
    x = rng.normal(size=(50, 4))
    for _ in range(5):
        net.chain.forward(x, training=True)
    together = net.logits(x)
    alone = np.concatenate([net.logits(row[None]) for row in x])
    np.testing.assert_allclose(alone, together, rtol=1e-12)


def test_batch_norm_brings_any_input_to_mean_0_and_variance_1(rng):
    layer = BatchNorm()
    network([layer, Dense(1)], 3, rng)
    out = layer.forward(rng.normal(50, [1, 10, 100], size=(500, 3)), training=True)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=0), 1, atol=1e-4)


def test_a_batch_of_one_row_has_no_variance(rng):
    net = network([BatchNorm(), Dense(1)], 3, rng)
    with pytest.raises(ValueError, match="at least 2 rows for batch normalisation; got one"):
        net.loss_and_gradients(np.ones((1, 3)), np.ones((1, 1)), MeanSquaredError())
    assert net.logits(np.ones((1, 3))).shape == (1, 1)


def test_a_batch_of_two_rows_has_one():
    norm = BatchNorm()
    Network(1, [norm], rng=np.random.default_rng(0), dtype=np.float64)
    out = norm.forward(np.array([[1.0], [5.0]]), training=True)
    np.testing.assert_allclose(out, [[-1], [1]], atol=1e-4)
    assert norm.variance[0] > 1  # from 1 towards 8


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\); got 1"):
        BatchNorm(momentum=1)
    with pytest.raises(ValueError, match="epsilon above 0; got 0"):
        BatchNorm(epsilon=0)


# Branches


def test_branches_are_separate_networks_side_by_side(rng):
    left, right = Dense(4, "tanh"), Dense(3, "relu")
    net = network([Branches((2, [left]), (3, [right, Dense(2)]), (1, []))], 6, rng)
    x = rng.normal(size=(7, 6))
    hidden = np.maximum(x[:, 2:5] @ right.W + right.b, 0)
    second = net.layers[0].chains[1].layers[1]
    expected = [np.tanh(x[:, :2] @ left.W + left.b), hidden @ second.W + second.b, x[:, 5:]]
    np.testing.assert_allclose(net.logits(x), np.concatenate(expected, axis=1), rtol=1e-12)


def test_branches_learn_from_both_inputs(rng):
    a, b = rng.normal(size=(400, 3)), rng.normal(size=(400, 2))
    y = (a[:, :1] * b[:, :1]).clip(-2, 2)
    net = network(
        [Branches((3, [Dense(16, "tanh")]), (2, [Dense(16, "tanh")])), Dense(32, "tanh"), Dense(1)],
        5,
        rng,
    )
    adam, loss, x = Adam(0.01), MeanSquaredError(), np.concatenate([a, b], axis=1)
    for _ in range(500):
        value = net.loss_and_gradients(x, y, loss)
        adam.step(net.parameters, net.gradients)
    assert value < 0.05 * y.var()


def test_branches_that_do_not_add_up_are_refused(rng):
    with pytest.raises(ValueError, match=r"2 \+ 3 = 5 inputs for the branches; got 6"):
        network([Branches((2, []), (3, []))], 6, rng)
    with pytest.raises(ValueError, match="at least 1 input each"):
        Branches((0, []))


# Copies


def busy(rng):
    layers = [
        Branches((2, [Dense(4, "gelu"), Dropout(0.2)]), (3, [BatchNorm("elu")])),
        Dropout(0.1),
        Dense(6),
        BatchNorm("swish"),
        Dense(2),
    ]
    return network(layers, 5, rng)


def pickled(net):
    return pickle.loads(pickle.dumps(net))  # noqa: S301 - of our own making


@pytest.mark.parametrize("way", [copy.deepcopy, pickled, lambda net: net.astype(np.float64)])
def test_a_copy_goes_on_alike_and_apart(way, rng):
    net, x, y = busy(rng), rng.normal(size=(9, 5)), rng.normal(size=(9, 2))
    loss = MeanSquaredError()
    net.loss_and_gradients(x, y, loss)
    other = way(net)
    np.testing.assert_array_equal(other.logits(x), net.logits(x))
    assert other.loss_and_gradients(x, y, loss) == net.loss_and_gradients(x, y, loss)
    np.testing.assert_array_equal(other.gradients, net.gradients)
    other.parameters[...] = 0  # its layers look at its own vector
    assert (other.logits(x) == 0).all()
    assert (net.logits(x) != 0).any()


def test_a_snapshot_holds_all_that_training_changes(rng):
    net, x, y = busy(rng), rng.normal(size=(9, 5)), rng.normal(size=(9, 2))
    net.loss_and_gradients(x, y, MeanSquaredError())
    kept, before = net.snapshot(), net.logits(x)
    assert set(kept) == {
        "parameters",
        "0.2.mean",
        "0.2.variance",
        "3.mean",
        "3.variance",
    }
    net.parameters += 1
    net.loss_and_gradients(x * 9, y, MeanSquaredError())
    assert (net.logits(x) != before).any()
    net.restore(kept)
    np.testing.assert_array_equal(net.logits(x), before)
    with pytest.raises(ValueError, match="expected a snapshot of a network like"):
        network([Dense(2)], 5, rng).restore(kept)
