"""`trainer check`: the text and the JSON of measurements that each test makes up."""

import json
import math
import sys

import pytest
from click.testing import CliRunner

from trainer.cli import main
from trainer.training.diagnostics import FAULTS, Measurement

BOUNDS = {name: fault.bounds for name, fault in FAULTS.items()}
FAULTY = {
    name: (fault.lower_bound / 10 if fault.lower_bound else 10 * (fault.upper_bound or 1))
    for name, fault in FAULTS.items()
}
HEALTHY = {
    name: (fault.lower_bound if fault.lower_bound else fault.upper_bound)
    for name, fault in FAULTS.items()
}
LONG_LAYER_NAME = "layer 1, Dense(8, 'relu') after a branch of " + 200 * "x"


@pytest.fixture
def check(monkeypatch):
    def run(*measurements, options=()):
        module = sys.modules["trainer.cli.check"]
        monkeypatch.setattr(module, "check_run", lambda *_: iter(measurements))
        return CliRunner().invoke(main, ["check", "iris", *options])

    return run


def split_rows(text):
    """Return the name and the rest of each row of the table."""
    table = text.split("\n\n")[0]
    return [line.split(maxsplit=1) for line in table.splitlines()]


def test_check_no_fault_prints_ok_in_each_row(check):
    done = check(*(Measurement(name, value) for name, value in HEALTHY.items()))
    assert done.exit_code == 0, done.output
    table, last = done.stdout.split("\n\n")
    assert last == "no fault in 16 measurements\n"
    assert [name for name, _ in split_rows(done.stdout)] == list(FAULTS)
    assert all(line.endswith(" ok") for line in table.splitlines())


def test_check_all_faults_prints_a_row_and_a_remedy_for_each(check):
    done = check(*(Measurement(name, value) for name, value in FAULTY.items()))
    assert done.exit_code == 1
    _, *paragraphs, last = done.stdout.split("\n\n")
    assert last == "16 faults in 16 measurements\n"
    assert [text.split(":")[0] for text in paragraphs] == list(FAULTS)
    for text, (name, fault) in zip(paragraphs, FAULTS.items(), strict=True):
        assert text.rstrip().endswith(f"expected {BOUNDS[name]} ({fault.source}); {fault.remedy}")
    positions = {line.index("FAULT") for line in done.stdout.split("\n\n")[0].splitlines()}
    assert len(positions) == 1  # the verdicts are aligned


def test_check_long_layer_name_is_printed_in_full_at_the_end_of_its_row(check):
    done = check(
        Measurement("dead_relu", 0.9, where=LONG_LAYER_NAME), Measurement("saturation", 0.1)
    )
    lines = done.stdout.splitlines()
    assert lines[0].split()[0] == "saturation"
    assert lines[1].endswith(f"FAULT  {LONG_LAYER_NAME}")
    assert done.stdout.count(LONG_LAYER_NAME) == 2
    assert done.stdout.endswith("\n1 fault in 2 measurements\n")


def test_check_several_layers_prints_the_worst(check):
    done = check(*(Measurement("dead_relu", v, where=f"layer {v}") for v in (0.1, 0.7, 0.5)))
    assert next(line for line in done.stdout.splitlines() if "layer" in line).endswith("layer 0.7")
    assert "1 fault in 1 measurement\n" in done.stdout


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf")])
def test_check_value_that_is_not_finite_is_a_fault_in_text_and_null_in_json(check, value, text):
    healthy, faulty = Measurement("exploding_loss", 1.0), Measurement("exploding_loss", value)
    done = check(healthy, faulty, healthy)
    assert done.exit_code == 1
    assert done.stdout.split()[:2] == ["exploding_loss", text]
    assert "FAULT" in done.stdout
    (measurement,) = json.loads(check(healthy, faulty, options=["--json"]).stdout)["measurements"]
    assert measurement["value"] is None
    assert measurement["healthy"] is False
