import numpy as np
import pytest

from trainer.compress.sparsify import KeepZeros, sparsify
from trainer.nn import (
    Adam,
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Embedding,
    MeanSquaredError,
    Network,
    WeightAverage,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, TrainingRun
from trainer.training.update import UpdateRule


def a_network(rng):
    return Network(6, [Dense(8, "relu"), BatchNorm(), Dropout(0.1), Dense(3)], rng=rng)


def all_weights(network):
    return np.concatenate([W.ravel() for W, _ in network.weights()])


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.99])
def test_the_smallest_weights_of_each_layer_become_zero(share, rng):
    network = a_network(rng)
    for (before, _), (after, _) in zip(
        network.weights(), sparsify(network, share).weights(), strict=True
    ):
        gone = after == 0
        assert gone.sum() == round(share * before.size)
        np.testing.assert_array_equal(after[~gone], before[~gone])
        assert np.abs(before[gone]).max(initial=0) <= np.abs(before[~gone]).min(initial=np.inf)


def test_nothing_else_changes(rng):
    network = a_network(rng)
    network.parameters[...] = rng.normal(size=network.n_parameters)
    before = network.snapshot()
    sparse = sparsify(network, 0.9)
    np.testing.assert_array_equal(network.parameters, before["parameters"])
    for ours, theirs in zip(sparse.layers, network.layers, strict=True):
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            if not own.is_weight:
                np.testing.assert_array_equal(own.value, other.value)


def test_weights_within_branches_count_and_vectors_of_categories_do_not(rng):
    network = Network(
        4, [Embedding([3], [2]), Branches((2, [Dense(4, "relu")]), (3, [])), Dense(1)], rng=rng
    )
    sparse = sparsify(network, 0.5)
    assert (all_weights(sparse) == 0).sum() == 8  # half of 2 × 4 + 7, rounded
    np.testing.assert_array_equal(sparse.layers[0].tables[0], network.layers[0].tables[0])


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_an_impossible_share_is_refused(share, rng):
    with pytest.raises(ValueError, match=r"share of zeros in \[0, 1\); got"):
        sparsify(a_network(rng), share)


class Watch(Callback):
    """Whether the zeros were zeros whenever one could look, in a snapshot of the average too."""

    def __init__(self, zeros):
        self.zeros, self.seen = zeros, []

    def on_step(self, run):
        self.seen.append((all_weights(run.network)[self.zeros] == 0).all())
        with run.use_final_weights():
            self.seen.append((all_weights(run.network)[self.zeros] == 0).all())


@pytest.mark.parametrize("average", [None, 0.9])
def test_zeros_outlast_training_and_the_rest_learns(average, rng):
    network = sparsify(a_network(rng), 0.7)
    zeros = all_weights(network) == 0
    network.gradients.fill(1)  # as an earlier run may have left them
    update = UpdateRule(Adam(0.01), average=None if average is None else WeightAverage(average))
    x = rng.normal(size=(64, 6)).astype(np.float32)
    rows = TrainingRows(x, x[:, :3] ** 2)
    watch = Watch(zeros)
    run = TrainingRun(
        network,
        MeanSquaredError(),
        update,
        rows,
        epochs=5,
        batch_size=16,
        rng=rng,
        callbacks=[KeepZeros(), watch],
    )
    history = run.run()
    assert all(watch.seen)
    assert len(watch.seen) == 2 * 20
    np.testing.assert_array_equal(all_weights(network) == 0, zeros)
    assert history[-1].train_loss < history[0].train_loss
    assert (network.layers[-1].b != 0).all()  # as biases are at first, which are free


def test_without_it_the_zeros_go(rng):
    network = sparsify(a_network(rng), 0.7)
    x = rng.normal(size=(64, 6)).astype(np.float32)
    run = TrainingRun(
        network,
        MeanSquaredError(),
        UpdateRule(Adam(0.01)),
        TrainingRows(x, x[:, :3]),
        epochs=1,
        batch_size=16,
        rng=rng,
    )
    run.run()
    assert (all_weights(network) != 0).mean() > 0.9
