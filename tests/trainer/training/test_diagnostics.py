"""A fault of every kind is seeded and found; healthy runs have no findings."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression

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
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics import (
    FAULTS,
    Diagnostics,
    Measurement,
    check_backpropagation,
    check_initial_state,
    check_overfitting,
    measure_layer_health,
)
from trainer.training.loop import TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

INPUTS, CLASSES = 10, 3


def make_class_rows(n=200):
    x, y = make_classification(
        n, INPUTS, n_informative=6, n_classes=CLASSES, class_sep=2, random_state=0
    )
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return TrainingRows(x.astype(np.float32), y.astype(np.int64))


def make_value_rows(n=200):
    x, y = make_regression(n, INPUTS, noise=1, random_state=0)
    return TrainingRows(x.astype(np.float32), (y / y.std()).astype(np.float32)[:, None])


def make_network(*layers, n_outputs=CLASSES):
    layers = layers or (Dense(32, "relu"), Dense(n_outputs))
    return Network(INPUTS, layers, rng=np.random.default_rng(3))


def check_start(rows, net=None, loss=None):
    return check_initial_state(net or make_network(), rows, loss or CategoricalCrossEntropy())


def find_faults(net=None, rows=None, loss=None, optimizer=None, epochs=8, diverges=False):
    """Return the findings of a run that is examined."""
    monitor = Diagnostics()
    run = TrainingRun(
        net or make_network(),
        loss or CategoricalCrossEntropy(),
        UpdateRule(optimizer or Adam(0.005)),
        rows or make_class_rows(),
        epochs=epochs,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[monitor],
    )
    if diverges:
        with pytest.raises(TrainingDivergedError):
            run.run()
    else:
        run.run()
    return monitor.findings


def measure_health(net, rows=None, loss=None):
    return measure_layer_health(net, rows or make_class_rows(), loss or CategoricalCrossEntropy())


def make_label_shape():
    rows = make_class_rows()
    return check_start(TrainingRows(rows.features, rows.targets.astype(np.float32)[:, None]))


def make_one_class():
    rows = make_class_rows()
    return check_start(TrainingRows(rows.features, np.zeros_like(rows.targets)))


def make_unscaled_features():
    rows = make_class_rows()
    features = rows.features.copy()
    features[:, 4] *= 1000
    return check_start(TrainingRows(features, rows.targets))


def make_unscaled_targets():
    rows = make_value_rows()
    net = make_network(n_outputs=1)
    return check_start(TrainingRows(rows.features, rows.targets * 500), net, MeanSquaredError())


def make_symmetry():
    return check_start(
        make_class_rows(), make_network(Dense(32, "tanh", initializer="zeros"), Dense(CLASSES))
    )


def make_initial_loss():
    net = make_network()
    net.layers[-1].W *= 50
    return check_start(make_class_rows(), net)


class WrongTanh(Tanh):
    def derivative(self, z, a, out):
        np.subtract(1, a, out=out)  # the correct derivative is 1 − a²


def make_wrong_gradient():
    return check_backpropagation(
        make_network(Dense(6, WrongTanh()), Dense(CLASSES)),
        make_class_rows(),
        CategoricalCrossEntropy(),
    )


def make_cannot_overfit():
    deep = make_network(*(Dense(8, "sigmoid") for _ in range(10)), Dense(CLASSES))
    return [check_overfitting(deep, make_class_rows(), CategoricalCrossEntropy())]


def make_exploding_loss():
    net = make_network(n_outputs=1)
    return find_faults(net, make_value_rows(), MeanSquaredError(), SGD(3), diverges=True)


def make_flat_loss():
    return find_faults(optimizer=SGD(1e-8), epochs=30)


def make_saturation():
    net = make_network(Dense(32, "tanh"), Dense(32, "tanh"), Dense(CLASSES))
    net.layers[1].W *= 30
    return find_faults(net)


def make_dead_relu():
    net = make_network(Dense(32, "relu"), Dense(32, "relu"), Dense(CLASSES))
    net.layers[1].b[:20] = -100
    return find_faults(net)


def make_vanishing_gradient():
    return measure_health(make_network(*(Dense(8, "sigmoid") for _ in range(12)), Dense(CLASSES)))


def make_exploding_gradient():
    net = make_network(*(Dense(32, "relu") for _ in range(8)), Dense(CLASSES))
    for layer in net.layers:
        layer.W *= 4
    return measure_health(net)


def make_large_updates():
    return find_faults(optimizer=Adam(1.0))


def make_small_updates():
    return find_faults(optimizer=Adam(1e-9))


FAULT_MAKERS = (
    make_label_shape,
    make_one_class,
    make_unscaled_features,
    make_unscaled_targets,
    make_symmetry,
    make_initial_loss,
    make_wrong_gradient,
    make_cannot_overfit,
    make_exploding_loss,
    make_flat_loss,
    make_saturation,
    make_dead_relu,
    make_vanishing_gradient,
    make_exploding_gradient,
    make_large_updates,
    make_small_updates,
)
# The layer that has the fault, if the fault belongs to one layer.
FAULTY_LAYERS = {
    "wrong_gradient": "W of layer 1",
    "saturation": "layer 2",
    "dead_relu": "layer 2",
    "vanishing_gradient": "layer 1",
    "symmetry": "layer 1",
}


def get_fault_name(make_fault):
    return make_fault.__name__.removeprefix("make_")


@pytest.mark.slow
@pytest.mark.parametrize("make_fault", FAULT_MAKERS, ids=get_fault_name)
def test_diagnostics_seeded_fault_is_found(make_fault):
    name = get_fault_name(make_fault)
    found = [m for m in make_fault() if m.fault == name and not m.is_healthy]
    assert found
    assert (found[0].where or "").startswith(FAULTY_LAYERS.get(name, ""))
    assert found[0].severity > 1
    text = str(found[0])
    for part in (name, FAULTS[name].remedy, FAULTS[name].source, FAULTS[name].bounds):
        assert part in text


def test_faults_each_has_a_maker_source_remedy_and_bounds():
    assert {get_fault_name(f) for f in FAULT_MAKERS} == set(FAULTS)
    for fault in FAULTS.values():
        assert fault.source
        assert fault.remedy
        assert fault.bounds


def test_diagnostics_healthy_run_has_no_findings():
    assert find_faults() == []
    assert find_faults(make_network(n_outputs=1), make_value_rows(), MeanSquaredError()) == []


def test_diagnostics_finding_is_reported_once():
    reported = []
    net = make_network(Dense(32, "relu"), Dense(32, "relu"), Dense(CLASSES))
    net.layers[1].b[:20] = -100
    monitor = Diagnostics(reported.append)
    TrainingRun(
        net,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.005)),
        make_class_rows(),
        epochs=8,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[monitor],
    ).run()
    assert reported == monitor.findings
    assert [m.fault for m in reported] == ["dead_relu"]


def test_diagnostics_leaves_run_unchanged():
    def outcome(callbacks):
        net = make_network(Dense(16), BatchNorm("relu"), Dropout(0.3), Dense(CLASSES))
        TrainingRun(
            net,
            CategoricalCrossEntropy(),
            UpdateRule(Adam(0.01)),
            make_class_rows(),
            epochs=5,
            batch_size=20,
            rng=np.random.default_rng(0),
            callbacks=callbacks,
        ).run()
        return net.snapshot()

    np.testing.assert_equal(outcome([Diagnostics()]), outcome([]))


def test_diagnostics_stream_is_examined():
    rows = make_class_rows()

    def stream():
        for i in range(0, 200, 20):
            yield rows.features[i : i + 20], rows.targets[i : i + 20], None

    net = make_network(Dense(32, "relu"), Dense(CLASSES))
    net.layers[0].b[:] = -100
    monitor = Diagnostics()
    TrainingRun(
        net,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.005)),
        stream,
        epochs=2,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[monitor],
    ).run()
    assert "dead_relu" in [m.fault for m in monitor.findings]


def test_diagnostics_trained_network_has_no_flat_loss_or_small_updates():
    net = make_network()
    find_faults(net, optimizer=Adam(0.02), epochs=200)
    assert find_faults(net, optimizer=SGD(1e-6), epochs=30) == []


def test_measure_layer_health_branches_names_inner_layer():
    branches = Branches((4, [Dense(8, "relu")]), (6, [Dense(8, "tanh")]))
    net = make_network(branches, Dense(CLASSES))
    branches.inner()[0].b[:] = -100
    found = [m for m in measure_health(net) if not m.is_healthy and m.fault == "dead_relu"]
    assert [m.where for m in found] == ["layer 1, Dense(8, 'relu')"]


def test_checks_poisson_and_multilabel_find_no_fault():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, INPUTS)).astype(np.float32)
    counts = TrainingRows(x, rng.poisson(3, (50, 1)).astype(np.float32))
    both = TrainingRows(x, rng.integers(0, 2, (50, 2)).astype(np.float32))
    for rows, loss, k in ((counts, Poisson(), 1), (both, BinaryCrossEntropy(0.1), 2)):
        net = make_network(n_outputs=k)
        assert all(m.is_healthy for m in check_start(rows, net, loss))
        assert check_overfitting(net, rows, loss).is_healthy


def test_measurement_nan_is_not_healthy():
    assert not Measurement("exploding_loss", float("nan")).is_healthy
    assert Measurement("exploding_loss", float("nan")).severity == float("inf")
    assert Measurement("exploding_loss", 1.5).severity == 0.5


def test_diagnostics_page_lists_all_faults():
    page = (Path(__file__).parents[3] / "docs" / "diagnostics.md").read_text()
    rows = [
        f"| `{f.name}` | {f.measure} | {f.bounds} | {f.source} | {f.remedy} |"
        for f in FAULTS.values()
    ]
    assert "\n".join(rows) in page


@pytest.mark.parametrize("seed", range(5))
def test_diagnostics_tiny_learning_rate_finds_flat_loss(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, INPUTS)).astype(np.float32)
    rows = TrainingRows(x, rng.integers(0, CLASSES, 2000))
    found = find_faults(rows=rows, optimizer=SGD(1e-12), epochs=6)
    assert "flat_loss" in [m.fault for m in found]


@pytest.mark.parametrize("size", [1, 4])
def test_diagnostics_stream_of_small_batches_has_no_findings(size):
    rows = make_class_rows()

    def stream():
        for i in range(0, 200, size):
            yield rows.features[i : i + size], rows.targets[i : i + size], None

    monitor = Diagnostics()
    TrainingRun(
        make_network(),
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.002)),
        stream,
        epochs=8,
        batch_size=size,
        rng=np.random.default_rng(0),
        callbacks=[monitor],
    ).run()
    assert monitor.findings == []


def test_diagnostics_second_run_is_examined_from_scratch():
    monitor = Diagnostics()
    for factor in (1, 100):
        rows = make_value_rows()
        rows = TrainingRows(rows.features, rows.targets * factor / 20)
        TrainingRun(
            make_network(n_outputs=1),
            MeanSquaredError(),
            UpdateRule(Adam(0.005)),
            rows,
            epochs=4,
            batch_size=20,
            rng=np.random.default_rng(0),
            callbacks=[monitor],
        ).run()
        assert monitor.findings == []


def test_diagnostics_long_run_keeps_few_measurements():
    monitor = Diagnostics()
    TrainingRun(
        make_network(),
        CategoricalCrossEntropy(),
        UpdateRule(SGD(0.1)),
        make_class_rows(),
        epochs=600,
        batch_size=200,
        rng=np.random.default_rng(0),
        callbacks=[monitor],
    ).run()
    assert len(monitor.measurements) < 200
