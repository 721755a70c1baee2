from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from serving.runtime import GraphSession
from trainer.compress.prune import compute_importances, prune, remove_idle_units
from trainer.compress.to_dense import build_dense_network, dense_layers, to_dense
from trainer.config import Config
from trainer.data.sources import load_table
from trainer.export.graph import build_graph
from trainer.export.parity import check_parity
from trainer.export.selftest_rows import synthetic_records
from trainer.model import Model
from trainer.nn import (
    Adam,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    Embedding,
    FeatureSelect,
    Identity,
    LeakyReLU,
    MeanSquaredError,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule

CLASSES = CategoricalCrossEntropy()


def drawn(n_inputs, widths, activation, rng, *, lookup=None, columns=None):
    """A plain network with every number drawn."""
    looked_at = n_inputs
    if lookup is not None:
        looked_at = Network(n_inputs, [lookup], rng=rng).n_outputs
    sizes = [looked_at if columns is None else len(columns), *widths]
    parts = [
        (
            rng.normal(size=(n_in, n_out)).astype("f4") / n_in**0.5,
            rng.normal(0, 0.3, size=n_out).astype("f4"),
            activation() if i < len(widths) else Identity(),
        )
        for i, (n_in, n_out) in enumerate(zip(sizes, widths, strict=False), start=1)
    ]
    return build_dense_network(n_inputs, lookup, columns, parts)


def widths(network):
    dense = dense_layers(network)
    return [dense[0].n_in, *(layer.units for layer in dense)]


def size(network):
    return sum(layer.W.size + layer.b.size for layer in dense_layers(network))


def columns(network):
    """The inputs of the first dense layer, as places in what it could look at."""
    select = next((layer for layer in network.layers if isinstance(layer, FeatureSelect)), None)
    return list(range(dense_layers(network)[0].n_in)) if select is None else list(select.columns)


def normal(rng, n, width):
    return rng.normal(size=(n, width)).astype(np.float32)


# What is idle


def test_a_network_with_nothing_idle_stays(rng):
    network = drawn(6, [9, 7, 3], Tanh, rng)
    found = remove_idle_units(network, normal(rng, 300, 6))
    assert widths(found) == [6, 9, 7, 3]
    np.testing.assert_array_equal(found.parameters, network.parameters)


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU, Tanh, Sigmoid, Identity])
def test_planted_idle_inputs_and_units_are_exactly_what_goes(activation, rng):
    network = drawn(6, [9, 7, 3], activation, rng)
    first, second, _ = dense_layers(network)
    x, others = normal(rng, 300, 6), normal(rng, 300, 6)
    for rows in (x, others):
        rows[:, 4], rows[:, 0] = 2.5, 0
    first.W[:, 2], first.b[2] = 0, 0.7  # always the same
    if activation is ReLU:
        first.b[3] = -100  # dead
    else:
        first.W[:, 3] = 0
    first.W[:, 6], first.b[6] = first.W[:, 1], first.b[1]  # unit 1 again
    factor = 3 if activation in (ReLU, LeakyReLU, Identity) else 1
    second.W[:, 5], second.b[5] = factor * second.W[:, 0], factor * second.b[0]
    found = remove_idle_units(network, x)
    assert columns(found) == [1, 2, 3, 5]
    left = dense_layers(found)
    np.testing.assert_array_equal(left[0].W, first.W[np.ix_([1, 2, 3, 5], [0, 1, 4, 5, 7, 8])])
    assert widths(found) == [4, 6, 6, 3]
    for rows in (x, others):
        np.testing.assert_allclose(found.logits(rows), network.logits(rows), atol=1e-5)


@pytest.mark.parametrize("activation", [Tanh, Sigmoid, Identity])
def test_a_unit_that_mirrors_another_is_one_with_it(activation, rng):
    network = drawn(5, [6, 2], activation, rng)
    first = dense_layers(network)[0]
    first.W[:, 4], first.b[4] = -first.W[:, 1], -first.b[1]
    found = remove_idle_units(network, normal(rng, 300, 5))
    assert widths(found) == [5, 5, 2]
    rows = normal(rng, 50, 5)
    np.testing.assert_allclose(found.logits(rows), network.logits(rows), atol=1e-5)


@pytest.mark.parametrize(("activation", "factor"), [(ReLU, -1), (Tanh, 3), (Sigmoid, 2)])
def test_a_unit_with_other_outputs_is_no_duplicate(activation, factor, rng):
    network = drawn(5, [6, 2], activation, rng)
    first = dense_layers(network)[0]
    first.W[:, 4], first.b[4] = factor * first.W[:, 1], factor * first.b[1]
    assert widths(remove_idle_units(network, normal(rng, 300, 5))) == [5, 6, 2]


def test_duplicates_of_duplicates_are_one_unit(rng):
    network = drawn(5, [8, 2], ReLU, rng)
    first = dense_layers(network)[0]
    for place, factor in ((3, 2), (5, 0.5), (7, 7)):
        first.W[:, place], first.b[place] = factor * first.W[:, 2], factor * first.b[2]
    found = remove_idle_units(network, normal(rng, 300, 5))
    assert widths(found) == [5, 5, 2]
    rows = normal(rng, 50, 5)
    np.testing.assert_allclose(found.logits(rows), network.logits(rows), atol=1e-5)


def test_almost_alike_is_not_alike(rng):
    network = drawn(5, [6, 2], ReLU, rng)
    first = dense_layers(network)[0]
    first.W[:, 4], first.b[4] = first.W[:, 1], first.b[1]
    first.W[0, 4] += 1e-3
    assert widths(remove_idle_units(network, normal(rng, 300, 5))) == [5, 6, 2]


def test_what_is_alike_to_a_follower_only_stays(rng):
    network = drawn(5, [6, 2], Identity, rng)
    first, x = dense_layers(network)[0], normal(rng, 300, 5)
    first.W[:, 0] = [1, 0, 0, 0, 0]
    for unit, apart in ((2, 3e-6), (4, 6e-6)):  # 4e-6 is alike: 0 and 2 are, 2 and 4, not 0 and 4
        first.W[:, unit] = [1, apart, 0, 0, 0]
    found = remove_idle_units(network, x)
    assert widths(found) == [5, 5, 2]
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-4)


def test_what_only_rounding_moves_is_constant(rng):
    network = drawn(5, [6, 2], Tanh, rng)
    x = normal(rng, 300, 5)
    x[:, 3] = np.nextafter(np.float32(1), rng.integers(0, 3, size=300), dtype=np.float32)
    found = remove_idle_units(network, x)
    assert columns(found) == [0, 1, 2, 4]
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-5)


def test_a_constant_unit_follows_none_whatever_its_rounding_says(rng):
    network = drawn(1, [2, 2], ReLU, rng)
    first, last = dense_layers(network)
    first.W[...], first.b[...] = [[1, 0.1]], [0, 1e6]  # float32 knows 1/16ths there
    x = rng.integers(0, 3, size=(60, 1)).astype(np.float32)
    assert np.ptp(first.forward(x, training=False)[:, 1]) > 0.1
    found = remove_idle_units(network, x)
    assert widths(found) == [1, 1, 2]
    np.testing.assert_array_equal(dense_layers(found)[1].W[0], last.W[0])


def test_inputs_that_say_the_same_both_stay(rng):
    network = drawn(5, [6, 2], Tanh, rng)
    x = normal(rng, 300, 5)
    x[:, 3] = x[:, 1]
    assert widths(remove_idle_units(network, x)) == [5, 6, 2]


def test_one_unit_and_one_input_remain_where_all_are_idle(rng):
    network = drawn(4, [5, 6, 3], ReLU, rng)
    x = np.tile(normal(rng, 1, 4), (20, 1))
    found = remove_idle_units(network, x)
    assert widths(found) == [1, 1, 1, 3]
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-5)


def test_a_network_without_hidden_layers_loses_idle_inputs_only(rng):
    network = drawn(4, [2], Tanh, rng)
    x = normal(rng, 30, 4)
    x[:, 2] = 7
    found = remove_idle_units(network, x)
    assert columns(found) == [0, 1, 3]
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-5)


def test_a_selection_is_narrowed(rng):
    network = drawn(6, [5, 2], Tanh, rng, columns=np.array([0, 2, 3, 5]))
    x = normal(rng, 30, 6)
    x[:, 3] = 1
    found = remove_idle_units(network, x)
    assert columns(found) == [0, 2, 5]
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-5)


# Importances


def forward(parts, a):
    """From some level on, in float64 and one line."""
    for W, b, f in parts:
        a = f(a @ W + b)
    return a


def row_losses(z, y):
    z = z - z.max(axis=1, keepdims=True)
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y]


def taken_apart(network):
    dense = dense_layers(network)
    bend = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0), "identity": lambda z: z}
    return [(p.W.astype(float), p.b.astype(float), bend[p.activation.name]) for p in dense]


def test_importances_are_those_of_finite_differences_and_of_the_formula(rng):
    network = drawn(6, [5, 4, 3], Tanh, rng)
    x, y = normal(rng, 40, 6), rng.integers(0, 3, 40)
    found, parts, h = compute_importances(network, x, y, CLASSES), taken_apart(network), 1e-5
    for level, (magnitude, taylor) in enumerate(zip(*found, strict=True)):
        a = forward(parts[:level], x.astype(float))
        moved = np.zeros(a.shape[1])
        for unit in range(a.shape[1]):
            up, down = a.copy(), a.copy()
            up[:, unit] += h
            down[:, unit] -= h
            slope = (
                row_losses(forward(parts[level:], up), y)
                - row_losses(forward(parts[level:], down), y)
            ) / (2 * h)
            lost = a[:, unit] - a[:, unit].mean()
            assert taylor[unit] == pytest.approx(np.mean((lost * slope) ** 2) / 2, rel=1e-4)
            moved[unit] = a[:, unit].std() ** 2 * np.linalg.norm(parts[level][0][unit]) ** 2
        np.testing.assert_allclose(magnitude, moved / moved.sum(), rtol=1e-5)


@pytest.fixture(scope="module")
def taught():
    """Digits, and a network that knows them."""
    rng = np.random.default_rng(0)
    table = load_table("digits")
    config = Config(data="digits", hidden=(64, 32), dropout=0.1, learning_rate=0.005)
    everything = np.arange(len(table))
    model = Model.untrained(
        table,
        everything,
        layers=config.build_layers,
        loss=config.build_loss(table.task),
        rng=rng,
        encoding=config.get_encoding(),
    )
    rows = model.rows(table, everything)
    known = TrainingRows(rows.features[:1200], rows.targets[:1200])
    TrainingRun(
        model.network,
        model.loss,
        config.build_update_rule(),
        known,
        epochs=15,
        batch_size=64,
        rng=rng,
    ).run()
    return table, replace(model, network=to_dense(model.network)), rows


def test_importances_rank_as_removals_do(taught, rng):
    x, y = taught[2].features, taught[2].targets
    network = Network(64, [Dense(24, "relu"), Dense(12, "relu"), Dense(10)], rng=rng)
    TrainingRun(
        network,
        CLASSES,
        UpdateRule(Adam(0.005)),
        TrainingRows(x, y),
        epochs=10,
        batch_size=64,
        rng=rng,
    ).run()
    network = remove_idle_units(network, x)
    parts, inputs = taken_apart(network), x[:, columns(network)].astype(float)
    before = row_losses(forward(parts, inputs), y).mean()
    for level, scores in enumerate(zip(*compute_importances(network, x, y, CLASSES), strict=True)):
        a = forward(parts[:level], inputs)
        growth = []
        for unit in range(a.shape[1]):
            removed = a.copy()
            removed[:, unit] = a[:, unit].mean()
            growth.append(row_losses(forward(parts[level:], removed), y).mean() - before)
        for score in scores:
            assert spearmanr(score, growth).statistic > 0.6


@pytest.mark.parametrize("loss", [MeanSquaredError(), BinaryCrossEntropy()])
def test_other_losses_have_importances(loss, rng):
    network = drawn(6, [5, 3], Tanh, rng)
    x = normal(rng, 40, 6)
    targets = (rng.random((40, 3)) > 0.5).astype(np.float32)
    for level in (
        level for kind in compute_importances(network, x, targets, loss) for level in kind
    ):
        assert np.isfinite(level).all()
        assert (level > 0).all()


# Pruning


@pytest.mark.parametrize("parameters", [6000, 4000, 3000, 1500, 800, 300])
def test_the_size_is_met_and_widths_fill_vectors(parameters, taught):
    _, model, rows = taught
    x, y = rows.features, rows.targets
    found = prune(model.network, x, y, CLASSES, parameters=parameters)
    assert 0.85 * parameters < size(found) <= parameters
    for hidden in widths(found)[1:-1]:
        assert hidden % (16 if hidden >= 32 else 4) == 0
    assert found.n_inputs == model.network.n_inputs
    assert found.n_outputs == model.network.n_outputs


@pytest.mark.parametrize("wrong", ["magnitude", "taylor"])
def test_the_estimate_that_leads_to_the_lower_loss_decides(wrong, taught, monkeypatch):
    _, model, rows = taught
    x, y = rows.features, rows.targets

    def one_misled(*arguments):
        found = compute_importances(*arguments)
        # the most important are the first to go
        return found._replace(**{wrong: [1 / (level + 1e-9) for level in getattr(found, wrong)]})

    before = CLASSES.value(prune(model.network, x, y, CLASSES, parameters=3000).logits(x), y)
    monkeypatch.setattr("trainer.compress.prune.compute_importances", one_misled)
    found = prune(model.network, x, y, CLASSES, parameters=3000)
    assert CLASSES.value(found.logits(x), y) < 3 * before


def test_a_network_that_fits_is_only_rid_of_what_is_idle(taught):
    _, model, rows = taught
    x, y = rows.features, rows.targets
    found = prune(model.network, x, y, CLASSES, parameters=size(model.network))
    always_white = (x == x[0]).all(axis=0)
    assert columns(found) == np.flatnonzero(~always_white).tolist()
    assert widths(found)[1:] == [64, 32, 10]
    np.testing.assert_allclose(found.logits(x), model.network.logits(x), atol=1e-4)


def test_what_is_pruned_is_left_as_it_was(taught):
    _, model, rows = taught
    before = model.network.parameters.copy()
    prune(model.network, rows.features, rows.targets, CLASSES, parameters=2000)
    np.testing.assert_array_equal(model.network.parameters, before)


def test_half_the_parameters_know_most_of_the_digits_they_never_saw(taught):
    _, model, rows = taught
    x, y = rows.features, rows.targets
    found = prune(model.network, x[:1200], y[:1200], CLASSES, parameters=size(model.network) // 2)
    right = [np.mean(n.logits(x[1200:]).argmax(axis=1) == y[1200:]) for n in (model.network, found)]
    assert right[1] > right[0] - 0.05


def test_what_informs_stays_and_noise_goes(rng):
    # Inputs 3, 5 and 9 are the answer, by way of units 0 … 7; the rest says little, loudly.
    x = normal(rng, 500, 12)
    x[:, 0] *= 20
    network = drawn(12, [16, 1], ReLU, rng)
    first, last = dense_layers(network)
    informed, silent = [3, 5, 9], [0, 1, 2, 4, 6, 7, 8, 10, 11]
    first.W[np.ix_(silent, range(8))] = 1e-4
    last.W[8:] *= 1e-3
    targets = network.logits(x) + rng.normal(0, 0.1, size=(500, 1)).astype("f4")
    found = prune(network, x, targets, MeanSquaredError(), parameters=8 * 3 + 8 + 8 + 1)
    assert columns(found) == informed
    assert widths(found) == [3, 8, 1]
    left = dense_layers(found)[0]
    np.testing.assert_array_equal(left.W, first.W[np.ix_(informed, range(8))])
    rows = normal(rng, 500, 12)
    np.testing.assert_allclose(found.logits(rows), network.logits(rows), atol=0.05)


def test_what_goes_leaves_its_mean(rng):
    x = normal(rng, 400, 5) + 10  # far from zero: without their means, answers would be far off
    network = drawn(5, [12, 2], Identity, rng)
    targets = network.logits(x)
    found = prune(network, x, targets, MeanSquaredError(), parameters=40)
    np.testing.assert_allclose(found.logits(x).mean(axis=0), targets.mean(axis=0), rtol=1e-4)


def test_few_inputs_do_not_pay_for_the_rounding_of_units(rng):
    network = drawn(3, [64, 64, 1], Tanh, rng)
    x = normal(rng, 300, 3)
    targets = network.logits(x)
    for parameters in (3000, 2000, 1000):
        found = prune(network, x, targets, MeanSquaredError(), parameters=parameters)
        assert widths(found)[0] == 3


def test_room_that_rounding_leaves_is_given_to_inputs(rng):
    network = drawn(40, [60, 20, 2], Tanh, rng)
    dense_layers(network)[0].W[...] *= np.linspace(0.3, 1, 40, dtype=np.float32)[:, None]
    x = normal(rng, 300, 40)
    targets = network.logits(x)
    for parameters in range(2700, 3700, 100):
        found = prune(network, x, targets, MeanSquaredError(), parameters=parameters)
        inputs, hidden, *_ = widths(found)
        assert inputs == 40 or size(found) + hidden > parameters


def test_narrow_layers_stay_as_narrow_as_they_are(rng):
    network = drawn(30, [3, 2], Tanh, rng)
    x = normal(rng, 300, 30)
    found = prune(network, x, network.logits(x), MeanSquaredError(), parameters=50)
    assert widths(found) == [13, 3, 2]


def test_the_smallest_there_is_has_one_input_and_four_units(rng):
    network = drawn(9, [20, 3], Tanh, rng)
    x = normal(rng, 100, 9)
    targets = network.logits(x)
    smallest = 2 * 4 + 5 * 3
    found = prune(network, x, targets, MeanSquaredError(), parameters=smallest)
    assert widths(found) == [1, 4, 3]
    with pytest.raises(ValueError, match=r"at least 23 parameters, .* 1 → 4 → 3; got 22"):
        prune(network, x, targets, MeanSquaredError(), parameters=smallest - 1)


def test_a_network_without_hidden_layers_loses_inputs(rng):
    network = drawn(6, [2], Identity, rng)
    dense_layers(network)[0].W[[1, 4]] *= 0.01
    x = normal(rng, 100, 6)
    found = prune(network, x, network.logits(x), MeanSquaredError(), parameters=10)
    assert columns(found) == [0, 2, 3, 5]


def test_vectors_of_categories_stay_whole_and_what_they_say_is_an_input(rng):
    network = drawn(5, [16, 2], ReLU, rng, lookup=Embedding([4, 3], [3, 2]))
    dense_layers(network)[0].W[[0, 4]] = 1e-5
    x = np.concatenate([normal(rng, 200, 3), rng.integers(0, 3, size=(200, 2))], axis=1).astype(
        np.float32
    )
    for table in network.layers[0].tables:
        table[...] = rng.normal(size=table.shape)
    found = prune(network, x, network.logits(x), MeanSquaredError(), parameters=80)
    assert size(found) <= 80
    assert {0, 4}.isdisjoint(columns(found))
    for ours, theirs in zip(found.layers[0].tables, network.layers[0].tables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_category_that_says_nothing_goes_and_its_table_stays(rng):
    network = drawn(5, [16, 2], ReLU, rng, lookup=Embedding([4, 3], [3, 2]))
    for table in network.layers[0].tables:
        table[...] = rng.normal(size=table.shape)
    x = normal(rng, 200, 5)
    x[:, 3], x[:, 4] = rng.integers(0, 4, size=200), 2  # the last is always the same
    found = remove_idle_units(network, x)
    assert columns(found) == [0, 1, 2, 3, 4, 5]
    assert found.layers[0].sizes == [4, 3]
    np.testing.assert_allclose(found.logits(x), network.logits(x), atol=1e-5)


def test_networks_that_are_not_plain_are_refused(rng):
    network = Network(4, [Dense(8, "relu"), Dropout(0.1), Dense(2)], rng=rng)
    with pytest.raises(ValueError, match="expected a plain network; got Dropout"):
        prune(network, normal(rng, 20, 4), np.zeros(20, np.int64), CLASSES, parameters=20)


def test_a_pruned_network_learns_on(taught):
    _, model, rows = taught
    known = TrainingRows(rows.features[:1200], rows.targets[:1200])
    found = prune(model.network, known.features, known.targets, CLASSES, parameters=2000)
    history = TrainingRun(
        found,
        CLASSES,
        UpdateRule(Adam(0.005)),
        known,
        epochs=5,
        batch_size=64,
        rng=np.random.default_rng(1),
    ).run()
    right = np.mean(found.logits(rows.features[1200:]).argmax(axis=1) == rows.targets[1200:])
    assert history[-1].train_loss < 0.1
    assert right > 0.88


def test_a_pruned_network_is_exported_proves_itself_and_is_smaller(taught, rng):
    table, model, rows = taught
    network = prune(model.network, rows.features, rows.targets, CLASSES, parameters=3000)
    assert isinstance(network.layers[0], FeatureSelect)
    small = replace(model, network=network)
    graph = build_graph(small)
    records = table.records.take(np.arange(300))
    parity = check_parity(small, GraphSession(graph), records, synthetic_records(small, rng))
    assert parity.label_agreement == 1
    assert len(graph) < 0.6 * len(build_graph(model))
