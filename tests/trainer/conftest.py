"""Fixtures of all tests of the trainer: a working folder, and fast exports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _run_in_temporary_folder(tmp_path_factory) -> Iterator[None]:
    """Run in a temporary folder, in which commands write models and runs by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("working_folder"))
        yield


@pytest.fixture(autouse=True)
def _measure_latency_briefly(monkeypatch):
    """Time each exported graph with few runs, since no test depends on its latency."""
    monkeypatch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)


@pytest.fixture(autouse=True)
def _skip_fsync(monkeypatch):
    """Do not wait for the disk, which takes tens of milliseconds in each export and checkpoint.

    Tests of the calls of fsync replace this function themselves.
    """
    monkeypatch.setattr("os.fsync", lambda handle: None)
