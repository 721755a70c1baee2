"""Failures that come in floods make one line an interval and cause."""

import pytest

from serving.observe import failures
from serving.observe.failures import LOG_INTERVAL, FailureLog


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        seconds = 1000.0

    monkeypatch.setattr(failures, "perf_counter", lambda: Clock.seconds)
    return Clock


def test_failure_log_repeated_cause_is_logged_at_once_and_then_counted(caplog, clock):
    found = FailureLog("It failed")
    for _ in range(1000):
        found.add("one cause")
    found.add("another")
    assert caplog.messages == ["It failed: one cause", "It failed: another"]
    found.flush(clock.seconds + LOG_INTERVAL - 1)
    assert len(caplog.messages) == 2
    clock.seconds += LOG_INTERVAL
    found.flush(clock.seconds)
    assert caplog.messages[2:] == ["It failed: one cause; 999 times more in 60 s"]


def test_failure_log_cause_that_comes_again_much_later_is_logged_again(caplog, clock):
    found = FailureLog("It failed")
    found.add("one cause")
    clock.seconds += LOG_INTERVAL
    found.flush(clock.seconds)
    found.add("one cause")
    assert caplog.messages == ["It failed: one cause"] * 2


def test_failure_log_flood_makes_one_line_an_interval(caplog, clock):
    found = FailureLog("It failed")
    for _ in range(10):
        for _ in range(100):
            found.add("one cause")
        clock.seconds += LOG_INTERVAL
        found.flush(clock.seconds)
    assert len(caplog.messages) == 11
