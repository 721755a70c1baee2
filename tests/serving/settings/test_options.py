"""The options of the server: defaults, bounds, and where their values come from."""

from pathlib import Path
from typing import get_args

import pytest
from gunicorn.config import Config
from pydantic import ValidationError

from serving.bundle import BundleLimits
from serving.runtime import ProofLimits
from serving.settings.cores import count_usable_cores
from serving.settings.environment import ENV_PREFIX
from serving.settings.options import Settings, find_unknown_variables, parse_networks


def test_settings_defaults_are_the_documented_ones(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{ENV_PREFIX}{name.upper()}", raising=False)
    settings = Settings()
    assert settings.models == Path("models")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_body == 10 * 1024 * 1024
    assert settings.workers == count_usable_cores()
    assert (settings.keep, settings.poll, settings.state) == (1, 1.0, Path(".serving.json"))
    assert settings.take_up == "compatible"


def test_settings_argument_overrides_environment_variable(monkeypatch):
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
        ("keep_alive", 0),
        ("max_body", 0),
        ("keep", 0),
        ("poll", -1),
        ("variant", ""),
        ("take_up", "some"),
        ("log_level", "loud"),
    ],
)
def test_settings_value_out_of_range_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


MIB = 2**20
# Each entry: the default, accepted values at the bounds, refused values beyond them.
NUMBERS = {
    "keep": (1, [1, 99], [0]),
    "poll": (1, [0, 3600], [-0.001]),
    "port": (8000, [0, 65535], [-1, 65536]),
    "workers": (None, [1, 256], [0, 257]),  # one per core
    "max_body": (10 * MIB, [1, 2**40], [0]),
    "request_seconds": (60, [0.001, 3600], [0]),
    "keep_alive": (75, [1, 3600], [0]),
    "timeout": (None, [0.001, 3600], [0]),
    "max_batch_rows": (0, [0, 10**6], [-1]),
    "max_delay": (0, [0, 1], [-0.001, 1.001]),
    "queue_rows": (4096, [1, 10**6], [0]),
    "queue_seconds": (1, [0.001, 3600], [0]),
    "spare_descriptors": (32, [0, 10**6], [-1]),
    "max_manifest_bytes": (2 * MIB, [1, 2**40], [0]),
    "max_selftest_bytes": (64 * MIB, [1, 2**40], [0]),
    "max_graph_bytes": (512 * MIB, [1, 2**31], [0, 2**31 + 1]),
    "run_seconds": (5, [0.001, 3600], [0]),
    "proof_seconds": (10, [0.001, 3600], [0]),
    "max_proof_memory": (256 * MIB, [1, 2**40], [0]),
    "log_sample": (0.01, [0, 1], [-0.001, 1.001]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_settings_number_bounds_are_inclusive(name, monkeypatch):
    monkeypatch.delenv(f"{ENV_PREFIX}{name.upper()}", raising=False)
    default, accepted, refused = NUMBERS[name]
    assert getattr(Settings(), name) == (count_usable_cores() if name == "workers" else default)
    for value in accepted:
        assert getattr(Settings(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            Settings(**{name: value})


def test_settings_every_number_is_tested():
    numbers = {
        name
        for name, field in Settings.model_fields.items()
        if {int, float} & {field.annotation, *get_args(field.annotation)}
    }
    assert numbers == set(NUMBERS)


def test_settings_every_field_has_a_description():
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


def test_find_unknown_variables_ignores_blank_ones_and_service_links(monkeypatch):
    variables = {
        "HOTS": "0.0.0.0",  # noqa: S104 - misspelt HOST: reported, and not bound here
        "WORKER": " ",  # blank: ignored
        "SERVICE_HOST": "10.0.0.1",  # Kubernetes service link: ignored
        "POLL": "2",  # a setting: not unknown
        "X_PORT": "tcp://10.0.0.1:80",  # Kubernetes service link: ignored
        "Y_PORT": "80",  # not a tcp:// address, so no service link: reported
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"{ENV_PREFIX}{name}", value)
    assert find_unknown_variables() == ["FORWARDPASS_HOTS", "FORWARDPASS_Y_PORT"]


def test_settings_defaults_equal_those_of_bundle_limits():
    settings, limits = Settings(), BundleLimits()
    assert settings.max_manifest_bytes == limits.manifest_bytes
    assert settings.max_selftest_bytes == limits.selftest_bytes
    assert settings.max_graph_bytes == limits.graph_bytes
    assert settings.allow_loops == limits.allow_loops


def test_settings_defaults_equal_those_of_proof_limits():
    settings, limits = Settings(), ProofLimits()
    assert settings.proof_seconds == limits.proof_seconds
    assert settings.max_proof_memory == limits.memory_bytes


def test_forwarded_allow_ips_defaults_to_gunicorns_variable(monkeypatch):
    assert Settings().forwarded_allow_ips == "127.0.0.1,::1"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    assert Settings().forwarded_allow_ips == "10.0.0.0/8"
    assert Settings(forwarded_allow_ips="*").forwarded_allow_ips == "*"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    assert Settings().forwarded_allow_ips == "127.0.0.1,::1"


@pytest.mark.parametrize("value", ["proxy", "10.0.0.1/8", "10.0.0.0/8,proxy", "300.1.1.1", "10.1"])
def test_forwarded_allow_ips_invalid_is_refused(value):
    with pytest.raises(ValidationError, match="forwarded_allow_ips"):
        Settings(forwarded_allow_ips=value)


def test_parse_networks_agrees_with_gunicorn():
    for value in ("127.0.0.1,::1", "10.0.0.0/8, 192.0.2.1", "*"):
        config = Config()
        config.set("forwarded_allow_ips", value)
        networks = parse_networks(value)
        assert networks is None if value == "*" else config.forwarded_allow_networks() == networks
