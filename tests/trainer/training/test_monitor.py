"""The callback `Diagnostics` examines runs."""

import numpy as np
import pytest

from tests.trainer.training.diagnosed_runs import (
    CLASSES,
    INPUTS,
    find_faults,
    make_class_rows,
    make_network,
    make_value_rows,
)
from trainer.nn import (
    SGD,
    Adam,
    BatchNorm,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    MeanSquaredError,
)
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics import (
    Diagnostics,
)
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule


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


@pytest.mark.parametrize("seed", range(5))
def test_diagnostics_tiny_learning_rate_finds_flat_loss(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, INPUTS)).astype(np.float32)
    rows = TrainingRows(x, rng.integers(0, CLASSES, 2000))
    findings = find_faults(rows=rows, optimizer=SGD(1e-12), epochs=6)
    assert "flat_loss" in [m.fault for m in findings]


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
