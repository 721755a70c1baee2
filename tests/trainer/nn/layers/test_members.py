import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from trainer.nn import (
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    BinaryCrossEntropy,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    Embedding,
    FlatCosine,
    MaxNorm,
    MeanSquaredError,
    Members,
    Network,
    Penalty,
    WeightAverage,
    check_gradients,
    initialize_from_rows,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule

N_CLASSES = 3


def make_layers(n_outputs=N_CLASSES):
    return [
        Dropout(0.1),
        Dense(16),
        BatchNorm("swish"),
        Dropout(0.2),
        Dense(8, "tanh"),
        Dense(n_outputs),
    ]


def make_network(n_members=2, layers=make_layers, n_in=5, seed=0, dtype=np.float32, shared=()):
    rng = np.random.default_rng(seed)
    members = Members(*(layers() for _ in range(n_members)))
    return Network(n_in, [*shared, members], rng=rng, dtype=dtype)


def split_members(network, layers=make_layers):
    """Return a network for each member, with the weights and generators of the member."""
    size = network.n_parameters // network.n_members
    generators = copy.deepcopy(network.generators())
    singles = []
    for k in range(network.n_members):
        single = Network(
            network.n_inputs, layers(), rng=np.random.default_rng(9), dtype=network.dtype
        )
        single.parameters[...] = network.parameters[k * size : (k + 1) * size]
        for generator in single.generators():
            generator.bit_generator.state = generators.pop(0).bit_generator.state
        singles.append(single)
    return singles


def make_rows(n=96, seed=1, n_in=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_in)).astype(np.float32)
    return x, rng.integers(0, N_CLASSES, n), rng.random(n).astype(np.float32)


UPDATES = {
    "adamw": lambda: UpdateRule(
        AdamW(0.02, weight_decay=0.1),
        has_layer_rates=True,
        regularization_schedule=FlatCosine(),
        average=WeightAverage(0.9),
    ),
    "adam, clipping": lambda: UpdateRule(Adam(0.02), clip_norm=0.1, clip_value=0.05),
    "sgd, penalty": lambda: UpdateRule(
        SGD(0.1), penalty=Penalty(l1=0.001, l2=0.01), max_norm=MaxNorm(0.8), clip_norm=0.3
    ),
}


def train(network, update, has_weights):
    x, targets, weights = make_rows()
    rows = TrainingRows(x, targets, weights if has_weights else None)
    run = TrainingRun(
        network,
        CategoricalCrossEntropy(0.1),
        update,
        rows,
        epochs=3,
        batch_size=32,
        rng=np.random.default_rng(3),
    )
    return [epoch.train_loss for epoch in run.run()]


@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("n_members", [2, 3])
@pytest.mark.parametrize("update", UPDATES)
def test_members_are_trained_as_single_networks(update, n_members, has_weights):
    together = make_network(n_members)
    singles = split_members(together)
    losses = train(together, UPDATES[update](), has_weights)
    single_losses = [train(single, UPDATES[update](), has_weights) for single in singles]
    np.testing.assert_allclose(losses, np.mean(single_losses, axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        together.parameters, np.concatenate([s.parameters for s in singles]), rtol=1e-5, atol=1e-6
    )
    x = make_rows(seed=2)[0]
    expected = np.mean([single.logits(x) for single in singles], axis=0)
    np.testing.assert_allclose(together.logits(x), expected, atol=1e-5)


def test_members_gradients_are_those_of_single_networks():
    together = make_network(3)
    singles = split_members(together)
    x, targets, weights = make_rows()
    loss = CategoricalCrossEntropy()
    value = together.loss_and_gradients(x, targets, loss, weights)
    values = [single.loss_and_gradients(x, targets, loss, weights) for single in singles]
    assert value == pytest.approx(np.mean(values), rel=1e-12)
    # The operations are the same, but BLAS may add in another order if arrays are aligned
    # differently in memory.
    np.testing.assert_allclose(
        together.gradients, np.concatenate([s.gradients for s in singles]), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("training", [False, True])
def test_members_forward_returns_mean_or_outputs_of_each(training, rng):
    network = make_network(3, lambda: [Dense(4, "relu"), Dense(2)], dtype=np.float64)
    x = rng.normal(size=(7, 5))
    outputs = []
    for chain in network.layers[0].chains:
        hidden, last = chain.layers
        outputs.append(np.maximum(x @ hidden.W + hidden.b, 0) @ last.W + last.b)
    expected = np.concatenate(outputs) if training else np.mean(outputs, axis=0)
    actual = network.chain.forward(x, training=training)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_members_backward_agrees_with_differences_of_inputs(training, rng):
    network = make_network(3, lambda: [Dense(4, "tanh"), Dense(2)], dtype=np.float64)
    layer, x, h = network.layers[0], rng.normal(size=(4, 5)), 1e-6
    factors = rng.normal(size=layer.forward(x, training=training).shape)

    def evaluate(x):
        return (factors * layer.forward(x, training=training)).sum()

    numeric = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        numeric[index] = (evaluate(x + step) - evaluate(x - step)) / (2 * h)
    layer.forward(x, training=training)
    dx = layer.backward(factors.copy(), to_inputs=True)
    np.testing.assert_allclose(dx, numeric, atol=1e-8)


@pytest.mark.parametrize(("method", "limit"), [("central", 1e-6), ("complex", 1e-11)])
@pytest.mark.parametrize("penalty", [None, Penalty(0.01, 0.02)], ids=str)
@pytest.mark.parametrize(
    ("loss", "targets", "n_outputs"),
    [
        (CategoricalCrossEntropy(0.1), lambda rng: rng.integers(0, 3, 12), 3),
        (BinaryCrossEntropy(), lambda rng: rng.integers(0, 2, (12, 1)).astype(float), 1),
        (MeanSquaredError(), lambda rng: rng.normal(size=(12, 2)), 2),
    ],
)
def test_members_gradients_agree_with_numeric_ones(
    method, limit, penalty, loss, targets, n_outputs
):
    rng = np.random.default_rng(7)
    network = make_network(
        3, lambda: make_layers(n_outputs), dtype=np.float64, shared=[Embedding([4, 3], [2, 3])]
    )
    network.parameters += 0.1 * rng.normal(size=network.n_parameters)
    x = np.concatenate([rng.normal(size=(12, 3)), rng.integers(0, 3, size=(12, 2))], axis=1)
    errors = check_gradients(
        network, x, targets(rng), loss, weights=rng.random(12), penalty=penalty, method=method
    )
    assert max(error.relative for error in errors) <= limit


def test_members_shared_embedding_gets_the_sum_of_gradients(rng):
    network = make_network(2, lambda: [Dense(4, "tanh"), Dense(2)], n_in=3, dtype=np.float64)
    joint = Network(
        3,
        [Embedding([4], [2]), Members(*([Dense(4, "tanh"), Dense(2)] for _ in range(2)))],
        rng=rng,
        dtype=np.float64,
    )
    x = np.concatenate([rng.normal(size=(9, 2)), rng.integers(0, 4, size=(9, 1))], axis=1)
    y, loss, gradients = rng.normal(size=(9, 2)), MeanSquaredError(), []
    joint.loss_and_gradients(x, y, loss)
    n_table, size = 8, (joint.n_parameters - 8) // 2
    for k in range(2):
        single = Network(
            3, [Embedding([4], [2]), Dense(4, "tanh"), Dense(2)], rng=rng, dtype=np.float64
        )
        start = n_table + k * size
        single.parameters[:n_table] = joint.parameters[:n_table]
        single.parameters[n_table:] = joint.parameters[start : start + size]
        single.loss_and_gradients(x, y, loss)
        gradients.append(single.gradients[:n_table].copy())
    np.testing.assert_allclose(joint.gradients[:n_table], sum(gradients), rtol=1e-12)
    assert [len(part) for part in joint.gradient_parts] == [n_table, size, size]
    assert [len(part) for part in network.gradient_parts] == [network.n_parameters // 2] * 2


def test_members_initial_weights_differ_from_each_other():
    network = make_network(3)
    first, second, third = (chain.layers[1].W for chain in network.layers[0].chains)
    assert (first != second).all()
    assert (first != third).all()


def test_initialize_from_rows_members_each_have_own_draws_and_unit_deviation(rng):
    network = make_network(2, lambda: [Dense(40, "relu"), Dense(30, "relu"), Dense(1)])
    x = (3 * rng.normal(size=(500, 5)) + 1).astype(np.float32)
    initialize_from_rows(network, x, rng)
    for chain in network.layers[0].chains:
        a = x
        for layer in chain.layers:
            z = a @ layer.W
            assert z.std(axis=0).mean() == pytest.approx(1, rel=1e-4)
            assert layer.b.any()
            a = layer.forward(a, training=False).copy()
    first, second = (chain.layers[0].W for chain in network.layers[0].chains)
    assert (first != second).all()


def copy_by_pickle(network):
    return pickle.loads(pickle.dumps(network))  # noqa: S301 - written just now


@pytest.mark.parametrize("copy_network", [copy.deepcopy, copy_by_pickle, lambda n: n.astype("f4")])
def test_members_copy_is_equal_and_independent(copy_network):
    network = make_network(shared=[Dense(6, "relu")])
    x, targets, _ = make_rows()
    loss = CategoricalCrossEntropy()
    network.loss_and_gradients(x, targets, loss)  # changes the averages of batch normalisation
    other = copy_network(network)
    np.testing.assert_array_equal(other.logits(x), network.logits(x))
    value = network.loss_and_gradients(x, targets, loss)
    assert other.loss_and_gradients(x, targets, loss) == value
    np.testing.assert_array_equal(other.gradients, network.gradients)
    snapshot = network.snapshot()
    other.parameters[...] = 0
    np.testing.assert_array_equal(network.parameters, snapshot["parameters"])
    other.restore(snapshot)
    np.testing.assert_array_equal(other.logits(x), network.logits(x))


def test_members_summary_counts_the_parameters_of_all():
    text = make_network(2, lambda: [Dense(4, "relu"), Dense(3)]).summary()
    assert text.splitlines()[1].split() == ["2", "×", "Dense(4,", "'relu')", "5", "→", "4", "48"]
    assert text.splitlines()[-1].split() == ["total", "5", "→", "3", "78"]


def test_members_wrong_layers_raise():
    with pytest.raises(ValueError, match="expected members with the same layers; got"):
        Members([Dense(3)], [Dense(3, "relu")])
    with pytest.raises(ValueError, match="at least one member, of at least one layer"):
        Members()
    with pytest.raises(ValueError, match="at least one member, of at least one layer"):
        Members([])
    with pytest.raises(ValueError, match="members without members of their own"):
        Members([Members([Dense(3)], [Dense(3)])])
    with pytest.raises(ValueError, match="expected members as the last layer only"):
        Network(2, [Members([Dense(3)], [Dense(3)]), Dense(1)], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected branches without members"):
        Branches((2, [Members([Dense(3)], [Dense(3)])]))


def test_members_last_layer_with_activation_is_refused_by_a_loss_of_logits():
    network = make_network(2, lambda: [Dense(N_CLASSES, "tanh")])
    with pytest.raises(ValueError, match="got a last layer with tanh"):
        train(network, UpdateRule(SGD(0.1)), has_weights=False)


@pytest.mark.slow
def test_members_training_step_allocates_no_array():
    layers = [[Dense(256), BatchNorm("swish"), Dropout(0.2), Dense(N_CLASSES)] for _ in range(2)]
    network = Network(256, [Dense(256, "relu"), Members(*layers)], rng=np.random.default_rng(0))
    x, targets, weights = make_rows(256, n_in=256)
    loss, update = CategoricalCrossEntropy(0.1), UpdateRule(Adam(0.01), clip_norm=0.1)
    update.start(network)

    def step(index):
        update.step(network, loss, x, targets, weights, step_index=index, n_steps=10)

    step(0)
    step(1)
    tracemalloc.start()
    step(2)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for index in range(3, 6):
        step(index)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 200_000  # a layer's output or a weight matrix has 256 KB or more
    assert after - before < 10_000
