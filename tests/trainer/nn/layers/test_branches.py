import numpy as np
import pytest

from trainer.nn import Adam, Branches, Dense, MeanSquaredError, Network


def make_network(layers, n_in, rng, dtype=np.float64):
    return Network(n_in, layers, rng=rng, dtype=dtype)


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
