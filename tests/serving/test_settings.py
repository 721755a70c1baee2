from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.bundle import BundleLimits
from serving.cores import usable_cores
from serving.environment import ENV_PREFIX
from serving.runtime import ProofLimits
from serving.settings import Settings, unknown_twins


def test_defaults_are_the_documented_ones(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{ENV_PREFIX}{name.upper()}", raising=False)
    settings = Settings()
    assert settings.models == Path("models")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_body == 10 * 1024 * 1024
    assert settings.workers == usable_cores()
    assert (settings.keep, settings.poll, settings.state) == (1, 1.0, Path(".serving.json"))


def test_every_knob_has_an_environment_twin_and_arguments_win(monkeypatch):
    monkeypatch.setenv("FORWARDPASS_PORT", "9000")
    monkeypatch.setenv("FORWARDPASS_MAX_BODY", "77")
    assert Settings().port == 9000
    assert Settings(port=1).port == 1
    assert Settings(port=1).max_body == 77


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("workers", 0),
        ("max_body", 0),
        ("keep", 0),
        ("poll", -1),
        ("variant", ""),
        ("log_level", "loud"),
    ],
)
def test_a_value_out_of_range_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_every_knob_says_what_it_means():
    assert all(field.description for field in Settings.model_fields.values())


BLANK = ["", " ", "\t\n"]


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_settings_blank_variable_is_unset(name, blank, monkeypatch):
    default = Settings()
    monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", blank)
    assert Settings() == default


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_settings_blank_argument_is_refused(name, blank):
    with pytest.raises(ValidationError, match="expected a value; got a blank one; leave it out"):
        Settings(**{name: blank})


def test_unknown_twins_are_variables_that_say_something(monkeypatch):
    variables = {"HOTS": "0.0.0.0", "WORKER": " ", "SERVICE_HOST": "10.0.0.1", "POLL": "2",  # noqa: S104
                 "X_PORT": "tcp://10.0.0.1:80", "Y_PORT": "80"}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"{ENV_PREFIX}{name}", value)
    assert unknown_twins() == ["FORWARDPASS_HOTS", "FORWARDPASS_Y_PORT"]


def test_settings_bundle_limits_default_to_those_of_the_bundle():
    settings, limits = Settings(), BundleLimits()
    assert settings.max_manifest_bytes == limits.manifest_bytes
    assert settings.max_selftest_bytes == limits.selftest_bytes
    assert settings.max_graph_bytes == limits.graph_bytes
    assert settings.allow_loops == limits.allow_loops


def test_settings_proof_limits_default_to_those_of_a_proof():
    settings, limits = Settings(), ProofLimits()
    assert settings.proof_seconds == limits.proof_seconds
    assert settings.max_proof_memory == limits.memory_bytes
