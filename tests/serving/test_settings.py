import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.bundle import BundleLimits
from serving.runtime import ProofLimits
from serving.settings import ENV_PREFIX, Settings, usable_cores


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


@pytest.mark.parametrize(
    ("content", "cores"),
    [("max 100000", 4), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("?", 4)],
)
def test_a_containers_share_of_the_cores_counts(content, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores(tmp_path / "cpu.max") == cores
    assert usable_cores(tmp_path / "absent") == 4


@pytest.mark.usefixtures("processes")
def test_no_more_cores_than_this_process_may_use():
    assert 1 <= usable_cores() <= os.cpu_count()
    pinned = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " \
        "from serving.settings import usable_cores; print(usable_cores())"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", pinned], capture_output=True, check=True)
    assert done.stdout == b"1\n"


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
