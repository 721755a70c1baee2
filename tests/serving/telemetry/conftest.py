"""Timers of the rate limits of log lines."""

import pytest

from serving.telemetry import log_rate_limit


@pytest.fixture
def timers(monkeypatch):
    """Return the list of timers that are started. Periods are short, and the clock stands still."""
    monkeypatch.setattr(log_rate_limit, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(
        log_rate_limit, "monotonic", lambda: 7.0
    )  # one period, however slow the machine is
    started = []

    class Timer(log_rate_limit.Timer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(log_rate_limit, "Timer", Timer)
    return started
