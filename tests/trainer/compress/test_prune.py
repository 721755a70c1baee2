from dataclasses import replace

import numpy as np
import pytest

from serving.runtime import GraphSession
from tests.trainer.compress.networks import (
    count_network_parameters,
    draw_rows,
    get_columns,
    make_dense_network,
)
from trainer.compress.layer_widths import get_widths
from trainer.compress.prune import prune
from trainer.compress.to_dense import list_dense_layers
from trainer.compress.unit_importance import compute_importances
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import check_parity
from trainer.export.self_test import create_synthetic_records
from trainer.nn import (
    Adam,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    Embedding,
    FeatureSelect,
    Identity,
    MeanSquaredError,
    Network,
    PeriodicEmbedding,
    ReLU,
    Tanh,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule

CLASS_LOSS = CategoricalCrossEntropy()


@pytest.mark.parametrize("max_parameters", [6000, 4000, 3000, 1500, 800, 300])
def test_prune_reaches_the_size_with_widths_that_are_multiples_of_4_or_16(
    max_parameters, trained_digits
):
    _, model, rows = trained_digits
    x, y = rows.features, rows.targets
    pruned = prune(model.network, x, y, CLASS_LOSS, max_parameters=max_parameters)
    assert 0.85 * max_parameters < count_network_parameters(pruned) <= max_parameters
    for width in get_widths(pruned)[1:-1]:
        assert width % (16 if width >= 32 else 4) == 0
    assert pruned.n_inputs == model.network.n_inputs
    assert pruned.n_outputs == model.network.n_outputs


@pytest.mark.parametrize("wrong_estimate", ["magnitude", "taylor"])
def test_prune_uses_whichever_importance_estimate_gives_the_lower_loss(
    wrong_estimate, trained_digits, monkeypatch
):
    _, model, rows = trained_digits
    x, y = rows.features, rows.targets

    def compute_wrong_importances(*arguments):
        importances = compute_importances(*arguments)
        # With inverse importances, pruning would remove the most important units first.
        inverse = [1 / (level + 1e-9) for level in getattr(importances, wrong_estimate)]
        return importances._replace(**{wrong_estimate: inverse})

    correct = prune(model.network, x, y, CLASS_LOSS, max_parameters=3000)
    loss = CLASS_LOSS.value(correct.logits(x), y)
    monkeypatch.setattr("trainer.compress.prune.compute_importances", compute_wrong_importances)
    pruned = prune(model.network, x, y, CLASS_LOSS, max_parameters=3000)
    assert CLASS_LOSS.value(pruned.logits(x), y) < 3 * loss


def test_prune_network_that_is_small_enough_loses_only_constant_inputs(trained_digits):
    _, model, rows = trained_digits
    x, y = rows.features, rows.targets
    n_parameters = count_network_parameters(model.network)
    pruned = prune(model.network, x, y, CLASS_LOSS, max_parameters=n_parameters)
    is_constant = (x == x[0]).all(axis=0)
    assert get_columns(pruned) == np.flatnonzero(~is_constant).tolist()
    assert get_widths(pruned)[1:] == [64, 32, 10]
    np.testing.assert_allclose(pruned.logits(x), model.network.logits(x), atol=1e-4)


def test_prune_does_not_change_its_input(trained_digits):
    _, model, rows = trained_digits
    before = model.network.parameters.copy()
    prune(model.network, rows.features, rows.targets, CLASS_LOSS, max_parameters=2000)
    np.testing.assert_array_equal(model.network.parameters, before)


def test_prune_half_of_the_parameters_keeps_the_accuracy(trained_digits):
    _, model, rows = trained_digits
    x, y = rows.features, rows.targets
    half = count_network_parameters(model.network) // 2
    pruned = prune(model.network, x[:1200], y[:1200], CLASS_LOSS, max_parameters=half)
    before, after = (
        np.mean(network.logits(x[1200:]).argmax(axis=1) == y[1200:])
        for network in (model.network, pruned)
    )
    assert after > before - 0.05


def test_prune_keeps_informative_inputs_and_removes_noise(rng):
    # The answer depends on the inputs 3, 5 and 9, through the units 0 to 7. The other inputs and
    # units have small weights, although input 0 has large values.
    x = draw_rows(rng, 500, 12)
    x[:, 0] *= 20
    network = make_dense_network(12, [16, 1], ReLU, rng)
    first, last = list_dense_layers(network)
    informative, noisy = [3, 5, 9], [0, 1, 2, 4, 6, 7, 8, 10, 11]
    first.W[np.ix_(noisy, range(8))] = 1e-4
    last.W[8:] *= 1e-3
    targets = network.logits(x) + rng.normal(0, 0.1, size=(500, 1)).astype("f4")
    pruned = prune(network, x, targets, MeanSquaredError(), max_parameters=8 * 3 + 8 + 8 + 1)
    assert get_columns(pruned) == informative
    assert get_widths(pruned) == [3, 8, 1]
    expected = first.W[np.ix_(informative, range(8))]
    np.testing.assert_array_equal(list_dense_layers(pruned)[0].W, expected)
    rows = draw_rows(rng, 500, 12)
    np.testing.assert_allclose(pruned.logits(rows), network.logits(rows), atol=0.05)


def test_prune_adds_the_means_of_what_it_removes_to_the_biases(rng):
    x = draw_rows(rng, 400, 5) + 10  # Far from 0, so that answers without the means would be wrong.
    network = make_dense_network(5, [12, 2], Identity, rng)
    targets = network.logits(x)
    pruned = prune(network, x, targets, MeanSquaredError(), max_parameters=40)
    np.testing.assert_allclose(pruned.logits(x).mean(axis=0), targets.mean(axis=0), rtol=1e-4)


def test_prune_rounding_of_widths_does_not_remove_any_of_few_inputs(rng):
    network = make_dense_network(3, [64, 64, 1], Tanh, rng)
    x = draw_rows(rng, 300, 3)
    targets = network.logits(x)
    for max_parameters in (3000, 2000, 1000):
        pruned = prune(network, x, targets, MeanSquaredError(), max_parameters=max_parameters)
        assert get_widths(pruned)[0] == 3


def test_prune_spends_parameters_left_over_by_rounding_on_inputs(rng):
    network = make_dense_network(40, [60, 20, 2], Tanh, rng)
    list_dense_layers(network)[0].W[...] *= np.linspace(0.3, 1, 40, dtype=np.float32)[:, None]
    x = draw_rows(rng, 300, 40)
    targets = network.logits(x)
    for max_parameters in range(2700, 3700, 100):
        pruned = prune(network, x, targets, MeanSquaredError(), max_parameters=max_parameters)
        n_inputs, n_units, *_ = get_widths(pruned)
        assert n_inputs == 40 or count_network_parameters(pruned) + n_units > max_parameters


def test_prune_hidden_layer_of_fewer_than_four_units_keeps_them_all(rng):
    network = make_dense_network(30, [3, 2], Tanh, rng)
    x = draw_rows(rng, 300, 30)
    pruned = prune(network, x, network.logits(x), MeanSquaredError(), max_parameters=50)
    assert get_widths(pruned) == [13, 3, 2]


def test_prune_smallest_network_has_one_input_and_four_units(rng):
    network = make_dense_network(9, [20, 3], Tanh, rng)
    x = draw_rows(rng, 100, 9)
    targets = network.logits(x)
    smallest = 2 * 4 + 5 * 3
    pruned = prune(network, x, targets, MeanSquaredError(), max_parameters=smallest)
    assert get_widths(pruned) == [1, 4, 3]
    with pytest.raises(ValueError, match=r"at least 23 parameters, .* 1 → 4 → 3; got 22"):
        prune(network, x, targets, MeanSquaredError(), max_parameters=smallest - 1)


def test_prune_no_hidden_layers_removes_inputs(rng):
    network = make_dense_network(6, [2], Identity, rng)
    list_dense_layers(network)[0].W[[1, 4]] *= 0.01
    x = draw_rows(rng, 100, 6)
    pruned = prune(network, x, network.logits(x), MeanSquaredError(), max_parameters=10)
    assert get_columns(pruned) == [0, 2, 3, 5]


def test_prune_embedding_keeps_its_vectors_and_loses_outputs(rng):
    embedding = Embedding([4, 3], [3, 2])
    network = make_dense_network(5, [16, 2], ReLU, rng, embeddings=[embedding])
    list_dense_layers(network)[0].W[[0, 4]] = 1e-5
    x = np.concatenate([draw_rows(rng, 200, 3), rng.integers(0, 3, size=(200, 2))], axis=1).astype(
        np.float32
    )
    for vectors in network.layers[0].tables:
        vectors[...] = rng.normal(size=vectors.shape)
    pruned = prune(network, x, network.logits(x), MeanSquaredError(), max_parameters=80)
    assert count_network_parameters(pruned) <= 80
    assert {0, 4}.isdisjoint(get_columns(pruned))
    for after, before in zip(pruned.layers[0].tables, network.layers[0].tables, strict=True):
        np.testing.assert_array_equal(after, before)


def test_prune_periodic_embedding_keeps_its_parameters_and_loses_outputs(rng):
    embedding = PeriodicEmbedding(3, n_frequencies=4, units=2)
    network = make_dense_network(5, [16, 2], ReLU, rng, embeddings=[embedding])
    list_dense_layers(network)[0].W[[1, 4, 8]] = 1e-5
    x = draw_rows(rng, 200, 5)
    pruned = prune(network, x, network.logits(x), MeanSquaredError(), max_parameters=110)
    assert count_network_parameters(pruned) <= 110
    assert {1, 4, 8}.isdisjoint(get_columns(pruned))
    for after, before in zip(
        pruned.layers[0].parameters(), network.layers[0].parameters(), strict=True
    ):
        np.testing.assert_array_equal(after.value, before.value)


def test_prune_network_with_dropout_is_refused(rng):
    network = Network(4, [Dense(8, "relu"), Dropout(0.1), Dense(2)], rng=rng)
    x, y = draw_rows(rng, 20, 4), np.zeros(20, np.int64)
    with pytest.raises(ValueError, match="expected a network of dense layers; got Dropout"):
        prune(network, x, y, CLASS_LOSS, max_parameters=20)


def test_prune_pruned_network_can_be_trained(trained_digits):
    _, model, rows = trained_digits
    training_rows = TrainingRows(rows.features[:1200], rows.targets[:1200])
    pruned = prune(
        model.network,
        training_rows.features,
        training_rows.targets,
        CLASS_LOSS,
        max_parameters=2000,
    )
    history = TrainingRun(
        pruned,
        CLASS_LOSS,
        UpdateRule(Adam(0.005)),
        training_rows,
        epochs=5,
        batch_size=64,
        rng=np.random.default_rng(1),
    ).run()
    labels = pruned.logits(rows.features[1200:]).argmax(axis=1)
    assert history[-1].train_loss < 0.1
    assert np.mean(labels == rows.targets[1200:]) > 0.88


def test_prune_exported_graph_is_smaller_and_has_parity(trained_digits, rng):
    table, model, rows = trained_digits
    network = prune(model.network, rows.features, rows.targets, CLASS_LOSS, max_parameters=3000)
    assert isinstance(network.layers[0], FeatureSelect)
    pruned = replace(model, network=network)
    graph = build_graph(pruned)
    records = table.records.take(np.arange(300))
    parity = check_parity(
        pruned, GraphSession(graph), records, create_synthetic_records(pruned, rng)
    )
    assert parity.label_agreement == 1
    assert len(graph) < 0.6 * len(build_graph(model))
