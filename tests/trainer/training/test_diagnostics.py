"""A fault of every kind is seeded and found."""

from pathlib import Path

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
    BinaryCrossEntropy,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    MeanSquaredError,
    Members,
    Poisson,
    Tanh,
)
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics import (
    FAULTS,
    Measurement,
    check_backpropagation,
    check_initial_state,
    check_overfitting,
    measure_layer_health,
)


def check_start(rows, net=None, loss=None):
    return check_initial_state(net or make_network(), rows, loss or CategoricalCrossEntropy())


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
    findings = [m for m in make_fault() if m.fault == name and not m.is_healthy]
    assert findings
    assert (findings[0].where or "").startswith(FAULTY_LAYERS.get(name, ""))
    assert findings[0].severity > 1
    text = str(findings[0])
    for part in (name, FAULTS[name].remedy, FAULTS[name].source, FAULTS[name].bounds):
        assert part in text


def test_faults_each_has_a_maker_source_remedy_and_bounds():
    assert {get_fault_name(f) for f in FAULT_MAKERS} == set(FAULTS)
    for fault in FAULTS.values():
        assert fault.source
        assert fault.remedy
        assert fault.bounds


def test_measure_layer_health_branches_names_inner_layer():
    branches = Branches((4, [Dense(8, "relu")]), (6, [Dense(8, "tanh")]))
    net = make_network(branches, Dense(CLASSES))
    branches.list_sublayers()[0].b[:] = -100
    findings = [m for m in measure_health(net) if not m.is_healthy and m.fault == "dead_relu"]
    assert [m.where for m in findings] == ["layer 1, Dense(8, 'relu')"]


def test_measure_layer_health_members_names_member_and_layer():
    members = Members(*([Dense(8, "relu"), Dense(CLASSES)] for _ in range(2)))
    net = make_network(Dense(8, "tanh"), members)
    members.chains[1].layers[0].b[:] = -100
    findings = [m for m in measure_health(net) if not m.is_healthy and m.fault == "dead_relu"]
    assert [m.where for m in findings] == ["member 2, layer 2, Dense(8, 'relu')"]


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
