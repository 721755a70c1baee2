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


def make_network(rng):
    return Network(6, [Dense(8, "relu"), BatchNorm(), Dropout(0.1), Dense(3)], rng=rng)


def join_weights(network):
    return np.concatenate([W.ravel() for W, _ in network.weights()])


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.99])
def test_sparsify_sets_the_smallest_weights_of_each_layer_to_zero(share, rng):
    network = make_network(rng)
    for (before, _), (after, _) in zip(
        network.weights(), sparsify(network, share).weights(), strict=True
    ):
        is_zero = after == 0
        assert is_zero.sum() == round(share * before.size)
        np.testing.assert_array_equal(after[~is_zero], before[~is_zero])
        largest_removed = np.abs(before[is_zero]).max(initial=0)
        assert largest_removed <= np.abs(before[~is_zero]).min(initial=np.inf)


def test_sparsify_changes_neither_biases_nor_its_input(rng):
    network = make_network(rng)
    network.parameters[...] = rng.normal(size=network.n_parameters)
    before = network.snapshot()
    sparse = sparsify(network, 0.9)
    np.testing.assert_array_equal(network.parameters, before["parameters"])
    for sparse_layer, layer in zip(sparse.layers, network.layers, strict=True):
        for after, original in zip(sparse_layer.parameters(), layer.parameters(), strict=True):
            if not after.is_weight:
                np.testing.assert_array_equal(after.value, original.value)


def test_sparsify_includes_branches_and_excludes_embeddings(rng):
    network = Network(
        4, [Embedding([3], [2]), Branches((2, [Dense(4, "relu")]), (3, [])), Dense(1)], rng=rng
    )
    sparse = sparsify(network, 0.5)
    assert (join_weights(sparse) == 0).sum() == 8  # half of 2 × 4 + 7, rounded
    np.testing.assert_array_equal(sparse.layers[0].tables[0], network.layers[0].tables[0])


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_sparsify_share_outside_the_range_is_refused(share, rng):
    with pytest.raises(ValueError, match=r"share of zeros in \[0, 1\); got"):
        sparsify(make_network(rng), share)


class ZeroRecorder(Callback):
    """Record after each step whether the weights are 0, in the average of the weights too."""

    def __init__(self, is_zero):
        self.is_zero, self.records = is_zero, []

    def on_step(self, run):
        self.records.append((join_weights(run.network)[self.is_zero] == 0).all())
        with run.use_final_weights():
            self.records.append((join_weights(run.network)[self.is_zero] == 0).all())


@pytest.mark.parametrize("average", [None, 0.9])
def test_keep_zeros_training_keeps_zeros_and_learns_the_other_weights(average, rng):
    network = sparsify(make_network(rng), 0.7)
    is_zero = join_weights(network) == 0
    network.gradients.fill(1)  # An earlier run may leave any gradients.
    update = UpdateRule(Adam(0.01), average=None if average is None else WeightAverage(average))
    x = rng.normal(size=(64, 6)).astype(np.float32)
    rows = TrainingRows(x, x[:, :3] ** 2)
    recorder = ZeroRecorder(is_zero)
    run = TrainingRun(
        network,
        MeanSquaredError(),
        update,
        rows,
        epochs=5,
        batch_size=16,
        rng=rng,
        callbacks=[KeepZeros(), recorder],
    )
    history = run.run()
    assert all(recorder.records)
    assert len(recorder.records) == 2 * 20
    np.testing.assert_array_equal(join_weights(network) == 0, is_zero)
    assert history[-1].train_loss < history[0].train_loss
    assert (network.layers[-1].b != 0).all()  # Biases start at 0 and are not kept there.


def test_keep_zeros_left_out_zeros_become_weights(rng):
    network = sparsify(make_network(rng), 0.7)
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
    assert (join_weights(network) != 0).mean() > 0.9
