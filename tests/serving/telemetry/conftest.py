"""Timers of the limits of log lines."""

import pytest

from serving.telemetry import log_rate_limit as line_limit


@pytest.fixture
def timers(monkeypatch):
    """Return the timers that have been set; their period is short, and the clock stands."""
    monkeypatch.setattr(line_limit, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(line_limit, "monotonic", lambda: 7.0)  # however slow the machine is
    made = []

    class Timer(line_limit.Timer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(line_limit, "Timer", Timer)
    return made
