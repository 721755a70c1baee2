"""The text and the JSON of `trainer check`, of measurements that were not taken."""

import json
import math
import sys

import pytest
from click.testing import CliRunner

from trainer.cli import main
from trainer.training.diagnostics import FAULTS, Measurement

BOUNDS = {name: fault.bounds for name, fault in FAULTS.items()}
SICK = {
    name: (fault.lower_bound / 10 if fault.lower_bound else 10 * (fault.upper_bound or 1))
    for name, fault in FAULTS.items()
}
WELL = {
    name: (fault.lower_bound if fault.lower_bound else fault.upper_bound)
    for name, fault in FAULTS.items()
}
LONG = "layer 1, Dense(8, 'relu') after a branch of " + 200 * "x"


@pytest.fixture
def check(monkeypatch):
    def run(*measurements, options=()):
        module = sys.modules["trainer.cli.check"]
        monkeypatch.setattr(module, "check_run", lambda *_: iter(measurements))
        return CliRunner().invoke(main, ["check", "iris", *options])

    return run


def rows(text):
    """The lines of the table, each split where columns part."""
    table = text.split("\n\n")[0]
    return [line.split(maxsplit=1) for line in table.splitlines()]


def test_check_without_a_fault_says_so(check):
    done = check(*(Measurement(name, value) for name, value in WELL.items()))
    assert done.exit_code == 0, done.output
    table, last = done.stdout.split("\n\n")
    assert last == "no fault in 16 measures\n"
    assert [name for name, _ in rows(done.stdout)] == list(FAULTS)
    assert all(line.endswith(" ok") for line in table.splitlines())


def test_check_each_fault_at_once_has_a_row_and_a_remedy(check):
    done = check(*(Measurement(name, value) for name, value in SICK.items()))
    assert done.exit_code == 1
    _, *told, last = done.stdout.split("\n\n")
    assert last == "16 faults in 16 measures\n"
    assert [text.split(":")[0] for text in told] == list(FAULTS)
    for text, (name, fault) in zip(told, FAULTS.items(), strict=True):
        assert text.rstrip().endswith(f"expected {BOUNDS[name]} ({fault.source}); {fault.remedy}")
    places = {line.index("FAULT") for line in done.stdout.split("\n\n")[0].splitlines()}
    assert len(places) == 1  # the verdicts stand below each other


def test_check_long_name_of_a_layer_is_whole_and_last_in_its_line(check):
    done = check(Measurement("dead_relu", 0.9, where=LONG), Measurement("saturation", 0.1))
    lines = done.stdout.splitlines()
    assert lines[0].split()[0] == "saturation"
    assert lines[1].endswith(f"FAULT  {LONG}")
    assert done.stdout.count(LONG) == 2
    assert done.stdout.endswith("\n1 fault in 2 measures\n")


def test_check_shows_the_worst_layer_of_a_fault(check):
    done = check(*(Measurement("dead_relu", v, where=f"layer {v}") for v in (0.1, 0.7, 0.5)))
    assert next(line for line in done.stdout.splitlines() if "layer" in line).endswith("layer 0.7")
    assert "1 fault in 1 measure\n" in done.stdout


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "inf")])
def test_check_what_is_no_number_is_a_fault_in_text_and_null_in_json(check, value, shown):
    well, sick = Measurement("exploding_loss", 1.0), Measurement("exploding_loss", value)
    done = check(well, sick, well)
    assert done.exit_code == 1
    assert done.stdout.split()[:2] == ["exploding_loss", shown]
    assert "FAULT" in done.stdout
    (told,) = json.loads(check(well, sick, options=["--json"]).stdout)["measurements"]
    assert told["value"] is None
    assert told["healthy"] is False
