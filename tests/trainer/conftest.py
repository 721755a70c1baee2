"""What tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _graphs_are_timed_briefly(monkeypatch):
    """How fast a graph is, which every export measures for a second, is no test's question here."""
    monkeypatch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)


@pytest.fixture(autouse=True)
def _disks_are_not_waited_for(monkeypatch):
    """Each export and save waits several times, for tens of milliseconds on a busy machine.

    That they wait, and in which order, is for tests that put something in the place of this.
    """
    monkeypatch.setattr("os.fsync", lambda handle: None)
