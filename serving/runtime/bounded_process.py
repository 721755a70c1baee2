"""Run a function in a forked process that the kernel ends when it takes too much time or memory.

Python can neither interrupt a call into a C library nor limit the memory that it allocates.
Interval timers, whose signals kill the process, and `RLIMIT_DATA` take effect during such a call.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# Limit of the elapsed time, as a multiple of the limit of processor time. On a busy machine, a
# process is idle for a part of the elapsed time.
WALL_TIME_FACTOR = 10


def run_and_exit(work: Callable[..., object], *arguments: Any) -> NoReturn:
    """Call a function in a forked process and exit, so that the parent's code never continues.

    Args:
        work: Function to call. If it raises, its traceback is printed and the status is 1.
        *arguments: Arguments of the function.
    """
    status = 1
    try:
        work(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing above this function could handle it
        traceback.print_exc()
    finally:
        os._exit(status)


@dataclass(frozen=True)
class AbnormalExit:
    """The reason why a process ended without a result.

    Attributes:
        reason: Predicate of a sentence about the process or its work, for example "crashed".
        is_transient: Whether another attempt may succeed, for example because the machine was busy.
    """

    reason: str
    is_transient: bool


def run_bounded(
    work: Callable[[], Any], seconds: float, memory_bytes: int
) -> tuple[Any, AbnormalExit | None]:
    """Call a function in a forked process with limits.

    Args:
        work: Function whose result can be converted to JSON.
        seconds: Largest processor time, in seconds.
        memory_bytes: Largest memory in addition to that of this process, in bytes.

    Returns:
        `(result, None)`, or `(None, exit)` if the process ended without a result.
    """
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        run_and_exit(_run_in_child, work, seconds, memory_bytes, writer)
    os.close(writer)
    with open(reader, "rb") as file:  # noqa: PTH123 - a descriptor
        content = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and content:
        return json.loads(content), None
    return None, _describe_exit(status, seconds)


def _run_in_child(work: Callable[[], Any], seconds: float, memory_bytes: int, writer: int) -> None:
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_TIME_FACTOR * seconds)
    if (used := _read_data_segment_bytes()) is not None:
        limit = used + memory_bytes
        _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
        if hard_limit != resource.RLIM_INFINITY:
            limit = min(limit, hard_limit)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    result = json.dumps(work()).encode()
    with open(writer, "wb") as file:
        file.write(result)


def _read_data_segment_bytes() -> int | None:
    """Return the memory that `RLIMIT_DATA` counts for this process; None if /proc lacks it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), None)


def _describe_exit(status: int, seconds: float) -> AbnormalExit:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGPROF:
        return AbnormalExit(f"took more than {seconds:g} s of processor time", False)
    if number == signal.SIGALRM:
        lasted = WALL_TIME_FACTOR * seconds
        return AbnormalExit(f"was not done after {lasted:g} s on a busy machine", True)
    if number == signal.SIGKILL:
        return AbnormalExit("was killed, most likely for lack of memory", True)
    cause = signal.Signals(number).name if number else f"status {os.waitstatus_to_exitcode(status)}"
    return AbnormalExit(f"crashed or could not allocate memory ({cause})", False)
