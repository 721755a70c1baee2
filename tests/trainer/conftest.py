"""Fixtures of all tests of the trainer, which make exports fast."""

from __future__ import annotations

import pytest


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
