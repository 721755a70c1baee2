"""Work aside, in a process that runs gevent's loop and in one that does not."""

import subprocess
import sys
import threading

import pytest

from serving.event_loop import run_in_thread

IN_A_LOOP = """
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

here, there = thread(), run_in_thread(work)
assert here != there == run_in_thread(thread), "it has one thread of its own"
longest = max(b - a for a, b in zip(ticks, ticks[1:]))
whole = ticks[-1] - ticks[0]
assert whole > 3 * longest and len(ticks) > 10, (whole, longest, len(ticks))
try:
    run_in_thread(lambda: 1 / 0)
except ZeroDivisionError:
    print("passed on")
"""


@pytest.mark.usefixtures("processes")
def test_in_a_loop_others_go_on_meanwhile():
    command = [sys.executable, "-c", IN_A_LOOP]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # And nothing is printed: an error that is passed on is for who gets it to tell.
    assert (done.returncode, done.stdout, done.stderr) == (0, "passed on\n", "")


def test_elsewhere_it_is_simply_called():
    assert run_in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        run_in_thread(lambda: 1 / 0)
