"""What tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _graphs_are_timed_briefly(monkeypatch):
    """How fast a graph is, which every export measures for a second, is no test's question here."""
    monkeypatch.setattr("serving.runtime.timing.TIMED_RUNS", 3)
