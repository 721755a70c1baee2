"""A fault of every kind is planted, and found by its name; healthy runs raise none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression

from trainer import check
from trainer.check import check_run
from trainer.config import Config
from trainer.data.sources import REAL, TOYS
from trainer.nn import (
    SGD,
    Adam,
    BatchNorm,
    BinaryCrossEntropy,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    MeanSquaredError,
    Network,
    Poisson,
    Tanh,
)
from trainer.training.diagnostics import (
    FAULTS,
    Diagnostics,
    Measurement,
    check_backpropagation,
    check_initial_state,
    check_overfitting,
    layer_health,
)
from trainer.training.loop import Rows, TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

INPUTS, CLASSES = 10, 3


def classes(n=200):
    x, y = make_classification(
        n, INPUTS, n_informative=6, n_classes=CLASSES, class_sep=2, random_state=0
    )
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return Rows(x.astype(np.float32), y.astype(np.int64))


def values(n=200):
    x, y = make_regression(n, INPUTS, noise=1, random_state=0)
    return Rows(x.astype(np.float32), (y / y.std()).astype(np.float32)[:, None])


def network(*layers, n_outputs=CLASSES):
    layers = layers or (Dense(32, "relu"), Dense(n_outputs))
    return Network(INPUTS, layers, rng=np.random.default_rng(3))


def start(rows, net=None, loss=None):
    return check_initial_state(net or network(), rows, loss or CategoricalCrossEntropy())


def watched(net=None, rows=None, loss=None, optimizer=None, epochs=8, diverges=False):
    """The findings of a run that is watched."""
    watch = Diagnostics()
    run = TrainingRun(
        net or network(),
        loss or CategoricalCrossEntropy(),
        UpdateRule(optimizer or Adam(0.005)),
        rows or classes(),
        epochs=epochs,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[watch],
    )
    if diverges:
        with pytest.raises(TrainingDivergedError):
            run.run()
    else:
        run.run()
    return watch.findings


def health(net, rows=None, loss=None):
    return layer_health(net, rows or classes(), loss or CategoricalCrossEntropy())


def label_shape():
    rows = classes()
    return start(Rows(rows.features, rows.targets.astype(np.float32)[:, None]))


def one_class():
    rows = classes()
    return start(Rows(rows.features, np.zeros_like(rows.targets)))


def unscaled_features():
    rows = classes()
    features = rows.features.copy()
    features[:, 4] *= 1000
    return start(Rows(features, rows.targets))


def unscaled_targets():
    rows = values()
    net = network(n_outputs=1)
    return start(Rows(rows.features, rows.targets * 500), net, MeanSquaredError())


def symmetry():
    return start(classes(), network(Dense(32, "tanh", initializer="zeros"), Dense(CLASSES)))


def initial_loss():
    net = network()
    net.layers[-1].W *= 50
    return start(classes(), net)


class WrongTanh(Tanh):
    def derivative(self, z, a, out):
        np.subtract(1, a, out=out)  # where 1 − a² is right


def wrong_gradient():
    return check_backpropagation(
        network(Dense(6, WrongTanh()), Dense(CLASSES)), classes(), CategoricalCrossEntropy()
    )


def cannot_overfit():
    deep = network(*(Dense(8, "sigmoid") for _ in range(10)), Dense(CLASSES))
    return [check_overfitting(deep, classes(), CategoricalCrossEntropy())]


def exploding_loss():
    net = network(n_outputs=1)
    return watched(net, values(), MeanSquaredError(), SGD(3), diverges=True)


def flat_loss():
    return watched(optimizer=SGD(1e-8), epochs=30)


def saturation():
    net = network(Dense(32, "tanh"), Dense(32, "tanh"), Dense(CLASSES))
    net.layers[1].W *= 30
    return watched(net)


def dead_relu():
    net = network(Dense(32, "relu"), Dense(32, "relu"), Dense(CLASSES))
    net.layers[1].b[:20] = -100
    return watched(net)


def vanishing_gradient():
    return health(network(*(Dense(8, "sigmoid") for _ in range(12)), Dense(CLASSES)))


def exploding_gradient():
    net = network(*(Dense(32, "relu") for _ in range(8)), Dense(CLASSES))
    for layer in net.layers:
        layer.W *= 4
    return health(net)


def large_updates():
    return watched(optimizer=Adam(1.0))


def small_updates():
    return watched(optimizer=Adam(1e-9))


SEEDED = (
    label_shape,
    one_class,
    unscaled_features,
    unscaled_targets,
    symmetry,
    initial_loss,
    wrong_gradient,
    cannot_overfit,
    exploding_loss,
    flat_loss,
    saturation,
    dead_relu,
    vanishing_gradient,
    exploding_gradient,
    large_updates,
    small_updates,
)
# The layer that has the fault, if it is one layer's.
LAYER = {
    "wrong_gradient": "W of layer 1",
    "saturation": "layer 2",
    "dead_relu": "layer 2",
    "vanishing_gradient": "layer 1",
    "symmetry": "layer 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", SEEDED, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found_by_its_name(fault):
    name = fault.__name__
    found = [m for m in fault() if m.fault == name and not m.healthy]
    assert found
    assert (found[0].where or "").startswith(LAYER.get(name, ""))
    assert found[0].strain > 1
    said = str(found[0])
    for part in (name, FAULTS[name].remedy, FAULTS[name].source, FAULTS[name].bounds):
        assert part in said


def test_every_fault_is_planted():
    assert {f.__name__ for f in SEEDED} == set(FAULTS)
    for fault in FAULTS.values():
        assert fault.source
        assert fault.remedy
        assert fault.bounds


@pytest.mark.parametrize("data", [*REAL, *TOYS])
def test_healthy_runs_raise_none(data):
    measured = list(check_run(Config(data=data, epochs=30)))
    assert [str(m) for m in measured if not m.healthy] == []
    # and everything that applies was measured
    sometimes = {"saturation", "one_class", "unscaled_targets", "initial_loss", "flat_loss"}
    assert set(FAULTS) - sometimes <= {m.fault for m in measured}


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "gelu", "selu", "swish", "elu"])
@pytest.mark.parametrize("extra", [{}, {"batch_norm": True}, {"dropout": 0.3}], ids=str)
def test_healthy_runs_of_other_networks_raise_none(activation, extra):
    for data in ("digits", "diabetes"):
        config = Config(data=data, epochs=5, hidden=(64, 32), activation=(activation,), **extra)
        assert [str(m) for m in check_run(config) if not m.healthy] == []


def test_without_a_planted_fault_nothing_is_found():
    assert watched() == []
    assert watched(network(n_outputs=1), values(), MeanSquaredError()) == []


def test_the_findings_of_a_run_are_reported_once_as_they_come():
    told = []
    net = network(Dense(32, "relu"), Dense(32, "relu"), Dense(CLASSES))
    net.layers[1].b[:20] = -100
    watch = Diagnostics(told.append)
    TrainingRun(
        net,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.005)),
        classes(),
        epochs=8,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[watch],
    ).run()
    assert told == watch.findings
    assert [m.fault for m in told] == ["dead_relu"]


def test_a_watched_run_ends_in_the_same_bits():
    def outcome(callbacks):
        net = network(Dense(16), BatchNorm("relu"), Dropout(0.3), Dense(CLASSES))
        TrainingRun(
            net,
            CategoricalCrossEntropy(),
            UpdateRule(Adam(0.01)),
            classes(),
            epochs=5,
            batch_size=20,
            rng=np.random.default_rng(0),
            callbacks=callbacks,
        ).run()
        return net.snapshot()

    np.testing.assert_equal(outcome([Diagnostics()]), outcome([]))


def test_a_stream_is_watched_too():
    rows = classes()

    def stream():
        for i in range(0, 200, 20):
            yield rows.features[i : i + 20], rows.targets[i : i + 20], None

    net = network(Dense(32, "relu"), Dense(CLASSES))
    net.layers[0].b[:] = -100
    watch = Diagnostics()
    TrainingRun(
        net,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.005)),
        stream,
        epochs=2,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[watch],
    ).run()
    assert "dead_relu" in [m.fault for m in watch.findings]


def test_what_is_already_learned_is_neither_flat_nor_too_small():
    net = network()
    watched(net, optimizer=Adam(0.02), epochs=200)
    assert watched(net, optimizer=SGD(1e-6), epochs=30) == []


def test_layers_of_branches_are_examined_one_by_one():
    branches = Branches((4, [Dense(8, "relu")]), (6, [Dense(8, "tanh")]))
    net = network(branches, Dense(CLASSES))
    branches.inner()[0].b[:] = -100
    found = [m for m in health(net) if not m.healthy and m.fault == "dead_relu"]
    assert [m.where for m in found] == ["layer 1, Dense(8, 'relu')"]


def test_counts_and_two_labels_at_once_have_a_start_too():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, INPUTS)).astype(np.float32)
    counts = Rows(x, rng.poisson(3, (50, 1)).astype(np.float32))
    both = Rows(x, rng.integers(0, 2, (50, 2)).astype(np.float32))
    for rows, loss, k in ((counts, Poisson(), 1), (both, BinaryCrossEntropy(0.1), 2)):
        net = network(n_outputs=k)
        assert all(m.healthy for m in start(rows, net, loss))
        assert check_overfitting(net, rows, loss).healthy


def test_a_measure_that_is_no_number_is_not_healthy():
    assert not Measurement("exploding_loss", float("nan")).healthy
    assert Measurement("exploding_loss", float("nan")).strain == float("inf")
    assert Measurement("exploding_loss", 1.5).strain == 0.5


def test_the_page_on_faults_says_what_the_code_does():
    page = (Path(__file__).parents[3] / "docs" / "diagnostics.md").read_text()
    rows = [
        f"| `{f.name}` | {f.measure} | {f.bounds} | {f.source} | {f.remedy} |"
        for f in FAULTS.values()
    ]
    assert "\n".join(rows) in page


@pytest.mark.parametrize(
    "choices",
    [
        {"data": "moons", "input_dropout": 0.5},
        {"data": "moons", "hidden": (4, 4), "seed": 1},
        {"data": "circles", "hidden": (8, 8), "dropout": 0.5},
    ],
    ids=str,
)
def test_units_whose_inputs_are_all_0_have_no_wrong_gradient(choices):
    measured = list(check_run(Config(epochs=2, **choices)))
    assert all(m.healthy for m in measured if m.fault == "wrong_gradient")


def test_zeros_for_weights_are_no_wrong_gradient():
    faults = {
        m.fault
        for m in check_run(Config(data="iris", epochs=2, initializer="zeros"))
        if not m.healthy
    }
    assert "symmetry" in faults
    assert "wrong_gradient" not in faults


@pytest.mark.parametrize("penalty", [{"l2": 0.1}, {"l1": 0.01}], ids=str)
def test_a_penalty_that_shrinks_the_weights_is_no_explosion(penalty):
    measured = check_run(Config(data="wine", epochs=40, **penalty))
    assert [str(m) for m in measured if not m.healthy] == []


def test_a_run_that_diverges_only_on_validation_rows_is_found():
    config = Config(data="diabetes", optimizer="sgd", learning_rate=1e30, batch_size=1000, epochs=9)
    assert "exploding_loss" in {m.fault for m in check_run(config) if not m.healthy}


@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_stands_still_is_flat_however_many_rows_it_has(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, INPUTS)).astype(np.float32)
    rows = Rows(x, rng.integers(0, CLASSES, 2000))
    found = watched(rows=rows, optimizer=SGD(1e-12), epochs=6)
    assert "flat_loss" in [m.fault for m in found]


@pytest.mark.parametrize("size", [1, 4])
def test_a_stream_of_small_batches_raises_no_alarm(size):
    rows = classes()

    def stream():
        for i in range(0, 200, size):
            yield rows.features[i : i + size], rows.targets[i : i + size], None

    watch = Diagnostics()
    TrainingRun(
        network(),
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.002)),
        stream,
        epochs=8,
        batch_size=size,
        rng=np.random.default_rng(0),
        callbacks=[watch],
    ).run()
    assert watch.findings == []


def test_a_second_run_is_watched_afresh():
    watch = Diagnostics()
    for factor in (1, 100):
        rows = values()
        rows = Rows(rows.features, rows.targets * factor / 20)
        TrainingRun(
            network(n_outputs=1),
            MeanSquaredError(),
            UpdateRule(Adam(0.005)),
            rows,
            epochs=4,
            batch_size=20,
            rng=np.random.default_rng(0),
            callbacks=[watch],
        ).run()
        assert watch.findings == []


def test_long_runs_are_remembered_in_short():
    watch = Diagnostics()
    TrainingRun(
        network(),
        CategoricalCrossEntropy(),
        UpdateRule(SGD(0.1)),
        classes(),
        epochs=600,
        batch_size=200,
        rng=np.random.default_rng(0),
        callbacks=[watch],
    ).run()
    assert len(watch.measurements) < 200


def test_a_check_of_rows_the_loss_cannot_take_ends_there(monkeypatch):
    prepared = check.prepare_on

    def spoiled(*arguments):
        task = prepared(*arguments)
        wrong = Rows(task.training_rows.features, task.training_rows.targets.astype(np.float32))
        return replace(task, training_rows=wrong)

    monkeypatch.setattr(check, "prepare_on", spoiled)
    (found,) = check_run(Config(data="iris"))
    assert found.fault == "label_shape"
    assert "expected class indices" in str(found)
