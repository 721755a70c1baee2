"""Work in a process of its own, which the kernel ends when it takes too much time or memory.

Python can neither interrupt a call into a library nor bound what it allocates. Timers whose signals
have their default effect and `RLIMIT_DATA` can, whatever the process is doing.
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

# How many times as long as its processor time a process may last, as on a busy machine.
WALL_TIME_FACTOR = 10


def run_and_exit(work: Callable[..., object], *arguments: Any) -> NoReturn:
    """Do the work of a forked process, and leave it without a way back to its parent's code."""
    status = 1
    try:
        work(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - this process has no one else to tell
        traceback.print_exc()
    finally:
        os._exit(status)


@dataclass(frozen=True)
class AbnormalExit:
    """How a process ended without a result.

    Attributes:
        reason: What it did, as the end of a sentence.
        is_transient: Whether that may pass by itself, as on a machine that was too busy.
    """

    reason: str
    is_transient: bool


def run_bounded(
    work: Callable[[], Any], seconds: float, memory_bytes: int
) -> tuple[Any, AbnormalExit | None]:
    """Run work in a process that the kernel ends when it takes too much.

    Args:
        work: Returns something that JSON can write.
        seconds: Processor time it may take, in seconds.
        memory_bytes: Memory it may take beyond what this process has, in bytes.

    Returns:
        What the work returned, and None; or None, and how its process ended before.
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
        most = used + memory_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    result = json.dumps(work()).encode()
    with open(writer, "wb") as file:
        file.write(result)


def _read_data_segment_bytes() -> int | None:
    """Return the bytes of this process that `RLIMIT_DATA` counts; None where no one says."""
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
    how = signal.Signals(number).name if number else f"status {os.waitstatus_to_exitcode(status)}"
    return AbnormalExit(f"crashed or could get no memory ({how})", False)
