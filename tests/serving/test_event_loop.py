"""Yielding to the event loop, and work in a thread: with gevent's loop and without it."""

import socket
import subprocess
import sys
import threading

import pytest

from serving import event_loop
from serving.event_loop import TurnBudget, is_readable, run_in_thread

IN_PATCHED_PROCESS = """
from gevent import monkey
monkey.patch_all()
import gevent, hashlib, time
from serving.event_loop import run_in_thread

thread_id = monkey.get_original("_thread", "get_ident")
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.002)
gevent.spawn(tick)
gevent.sleep(0)

def work():
    for _ in range(20):
        hashlib.sha256(bytes(10_000_000)).digest()
    return thread_id()

caller, worker = thread_id(), run_in_thread(work)
assert caller != worker == run_in_thread(thread_id), "always the same other thread"
longest = max(b - a for a, b in zip(ticks, ticks[1:]))
whole = ticks[-1] - ticks[0]
assert whole > 3 * longest and len(ticks) > 10, (whole, longest, len(ticks))
try:
    run_in_thread(lambda: 1 / 0)
except ZeroDivisionError:
    print("raised in the caller")
"""


@pytest.mark.usefixtures("processes")
def test_run_in_thread_gevent_process_loop_goes_on():
    command = [sys.executable, "-c", IN_PATCHED_PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # gevent prints nothing about an error that the caller receives.
    assert (done.returncode, done.stdout, done.stderr) == (0, "raised in the caller\n", "")


def test_run_in_thread_other_process_calls_directly():
    assert run_in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        run_in_thread(lambda: 1 / 0)


def test_turn_budget_exceeded_yields_and_starts_again(monkeypatch):
    yields = []
    monkeypatch.setattr(event_loop, "yield_to_loop", lambda: yields.append(1))
    budget = TurnBudget(10)
    for units, expected in ((10, 0), (1, 1), (10, 1), (25, 2), (1, 2)):
        budget.spend(units)
        assert len(yields) == expected, units


def test_is_readable_bytes_arrived_returns_true():
    client, server = socket.socketpair()
    with client, server:
        assert not is_readable(server.fileno())
        client.sendall(b"x")
        assert is_readable(server.fileno())
