"""A forked process is ended when it exceeds its limits, and the reason is reported."""

import faulthandler
import os
import signal

import pytest

from serving.runtime.bounded_process import run_bounded
from tests.processes import children_of

pytestmark = pytest.mark.usefixtures("processes")

MEMORY = 64 * 2**20  # bytes


def spin():
    while True:
        pass


def allocate():
    return len(bytearray(2 * MEMORY))


def kill_itself(number):
    faulthandler.disable()  # pytest's handler would print a long traceback
    os.kill(os.getpid(), number)
    signal.pause()


def test_run_bounded_within_the_limits_returns_the_result():
    assert run_bounded(lambda: {"pid": os.getppid()}, 10, MEMORY) == ({"pid": os.getpid()}, None)


def test_run_bounded_result_larger_than_a_pipe_is_complete():
    assert run_bounded(lambda: "x" * 2**20, 10, MEMORY) == ("x" * 2**20, None)


@pytest.mark.parametrize(
    ("work", "reason", "is_transient"),
    [
        (spin, "took more than 0.2 s of processor time", False),
        (signal.pause, "was not done after 2 s on a busy machine", True),
        (allocate, "crashed or could not allocate memory (status 1)", False),
        (
            lambda: kill_itself(signal.SIGSEGV),
            "crashed or could not allocate memory (SIGSEGV)",
            False,
        ),
        (lambda: kill_itself(signal.SIGKILL), "was killed, most likely for lack of memory", True),
        (lambda: os._exit(0), "crashed or could not allocate memory (status 0)", False),
    ],
)
def test_run_bounded_exceeded_limit_or_crash_returns_the_reason(work, reason, is_transient, capfd):
    result, abnormal_exit = run_bounded(work, 0.2, MEMORY)
    assert result is None
    assert (abnormal_exit.reason, abnormal_exit.is_transient) == (reason, is_transient)
    assert ("MemoryError" in capfd.readouterr().err) == (work is allocate)


def test_run_bounded_leaves_no_process_behind():
    before = children_of(os.getpid())
    run_bounded(spin, 0.1, MEMORY)
    assert children_of(os.getpid()) == before
