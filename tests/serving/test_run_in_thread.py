"""`run_in_thread` in a process with gevent's event loop and in one without."""

import subprocess
import sys
import threading

import pytest

from serving.event_loop import run_in_thread

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import gevent, hashlib, time
from serving.event_loop import run_in_thread

thread = monkey.get_original("_thread", "get_ident")
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
    return thread()

loop_thread, work_thread = thread(), run_in_thread(work)
assert loop_thread != work_thread == run_in_thread(thread), "all work shares one other thread"
longest = max(b - a for a, b in zip(ticks, ticks[1:]))
whole = ticks[-1] - ticks[0]
assert whole > 3 * longest and len(ticks) > 10, (whole, longest, len(ticks))
try:
    run_in_thread(lambda: 1 / 0)
except ZeroDivisionError:
    print("passed on")
"""


@pytest.mark.usefixtures("processes")
def test_run_in_thread_in_event_loop_does_not_block_it():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The error is raised in the caller, and gevent must not print it as well.
    assert (done.returncode, done.stdout, done.stderr) == (0, "passed on\n", "")


def test_run_in_thread_without_event_loop_calls_directly():
    assert run_in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        run_in_thread(lambda: 1 / 0)
