"""`check_run` takes all measurements of a run: healthy runs have no findings, faulty ones do."""

from dataclasses import replace

import numpy as np
import pytest

from trainer import check
from trainer.check import check_run
from trainer.config import Config
from trainer.data.sources import REAL, TOYS
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics import FAULTS


@pytest.mark.parametrize("data", [*REAL, *TOYS])
def test_check_run_built_in_data_finds_no_fault(data):
    measured = list(check_run(Config(preset="fast", data=data, epochs=30)))
    assert [str(m) for m in measured if not m.is_healthy] == []
    # Everything that applies was measured.
    conditional = {"saturation", "one_class", "unscaled_targets", "initial_loss", "flat_loss"}
    assert set(FAULTS) - conditional <= {m.fault for m in measured}


@pytest.mark.slow
@pytest.mark.parametrize("data", ["iris", "breast_cancer", "diabetes"])
def test_check_run_default_options_find_no_fault(data):
    measured = list(check_run(Config(data=data, epochs=20)))
    assert [str(m) for m in measured if not m.is_healthy] == []
    assert {"wrong_gradient", "vanishing_gradient", "small_updates"} <= {m.fault for m in measured}


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "gelu", "selu", "swish", "elu"])
@pytest.mark.parametrize("extra", [{}, {"batch_norm": True}, {"dropout": 0.3}], ids=str)
def test_check_run_other_networks_finds_no_fault(activation, extra):
    for data in ("digits", "diabetes"):
        options = {"hidden": (64, 32), "activation": (activation,), **extra}
        config = Config(preset="fast", data=data, epochs=5, **options)
        assert [str(m) for m in check_run(config) if not m.is_healthy] == []


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_check_run_members_finds_no_fault_and_names_them(data):
    config = Config(data=data, epochs=10, hidden=(32, 16), members=2, l2=0.001)
    measured = list(check_run(config))
    assert [str(m) for m in measured if not m.is_healthy] == []
    places = {m.where.split(",")[0] for m in measured if m.fault == "vanishing_gradient"}
    assert places == {"member 1", "member 2"}


@pytest.mark.parametrize(
    "choices",
    [
        {"data": "moons", "input_dropout": 0.5},
        {"data": "moons", "hidden": (4, 4), "seed": 1},
        {"data": "circles", "hidden": (8, 8), "dropout": 0.5},
    ],
    ids=str,
)
def test_check_run_units_with_zero_inputs_have_no_wrong_gradient(choices):
    measured = list(check_run(Config(preset="fast", epochs=2, **choices)))
    assert all(m.is_healthy for m in measured if m.fault == "wrong_gradient")


def test_check_run_zero_weights_finds_symmetry_but_no_wrong_gradient():
    faults = {
        m.fault
        for m in check_run(Config(preset="fast", data="iris", epochs=2, initializer="zeros"))
        if not m.is_healthy
    }
    assert "symmetry" in faults
    assert "wrong_gradient" not in faults


@pytest.mark.parametrize("penalty", [{"l2": 0.1}, {"l1": 0.01}], ids=str)
def test_check_run_large_penalty_finds_no_exploding_loss(penalty):
    measured = check_run(Config(preset="fast", data="wine", epochs=40, **penalty))
    assert [str(m) for m in measured if not m.is_healthy] == []


def test_check_run_diverges_on_validation_rows_finds_exploding_loss():
    options = {"optimizer": "sgd", "learning_rate": 1e30, "batch_size": 1000, "epochs": 9}
    config = Config(preset="fast", data="diabetes", **options)
    assert "exploding_loss" in {m.fault for m in check_run(config) if not m.is_healthy}


def test_check_run_rows_not_accepted_by_loss_stops_after_label_shape(monkeypatch):
    prepare = check.prepare_training

    def prepare_wrong_targets(*arguments):
        task = prepare(*arguments)
        wrong = TrainingRows(
            task.training_rows.features, task.training_rows.targets.astype(np.float32)
        )
        return replace(task, training_rows=wrong)

    monkeypatch.setattr(check, "prepare_training", prepare_wrong_targets)
    (found,) = check_run(Config(preset="fast", data="iris"))
    assert found.fault == "label_shape"
    assert "expected class indices" in str(found)
