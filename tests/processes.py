"""Servers and other processes that tests start, wait for and end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from serving.settings.options import Settings

# The only time limit in the tests. It turns a hang into a failure and measures no speed, so it
# suffices on the slowest machine.
HANG_SECONDS = 120.0
POLL_SECONDS = 0.01
READY = "worker ready"  # what a worker logs before it accepts its first connection

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result], describe: Callable[[], object] = lambda: "the condition"
) -> Result:
    """Wait for a condition to become true.

    Args:
        condition: Function that is called until it returns something true.
        describe: Function that returns what to report if that never happens.

    Returns:
        The first true result.

    Raises:
        AssertionError: If the condition is still false after `HANG_SECONDS`.
    """
    deadline = time.monotonic() + HANG_SECONDS
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting after {HANG_SECONDS:g} s: {describe()}")
        time.sleep(POLL_SECONDS)
    return result


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Server:
    """A real server process, its address, and what it has logged so far.

    Attributes:
        process: The arbiter.
        url: Scheme, host and port, without a trailing slash.
        log: Lines of stdout and stderr, in order of arrival.
    """

    process: subprocess.Popen[str]
    url: str = ""
    log: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _reader: threading.Thread | None = field(default=None, repr=False)
    _has_ended: bool = False

    def follow_log(self) -> None:
        """Start to read the output of the process."""
        self._reader = threading.Thread(target=self._read, daemon=True, name="server log")
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.log.append(line)
                    if found := re.search(r"Listening at: (https?://\S+)", line):
                        self.url = found[1]
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], Result]) -> Result:
        """Wait until the log fulfils a condition, which is checked after every line.

        Raises:
            AssertionError: If the server ends first, or after `HANG_SECONDS`.
        """
        deadline = time.monotonic() + HANG_SECONDS
        with self._changed:
            while not (result := condition()):
                left = deadline - time.monotonic()
                if self._has_ended or left < 0:
                    raise AssertionError("the log does not show it: " + "".join(self.log))
                self._changed.wait(left)
            return result

    def wait_for_log(self, phrase: str, times: int = 1) -> None:
        """Wait until so many lines of the log contain a phrase."""
        self.wait_for(lambda: sum(phrase in line for line in self.log) >= times)

    def records(self) -> list[dict[str, Any]]:
        """Return the log; every line is a JSON object."""
        return [json.loads(line) for line in list(self.log)]

    def workers(self) -> list[int]:
        """Return the process ids of the workers, ready or not, the oldest first."""
        return sorted(children_of(self.process.pid))

    def ready_workers(self) -> set[int]:
        """Return the process ids of all workers that have become ready, dead ones included."""
        lines = [line for line in list(self.log) if f'"{READY}"' in line]
        return {json.loads(line)["process"] for line in lines}

    def wait_until_ready(self, workers: int) -> None:
        """Wait until so many workers, dead ones included, have become ready."""
        self.wait_for(lambda: self.url and len(self.ready_workers()) >= workers)

    def stop(self) -> int:
        """Stop the server as an orchestrator does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the server and of its log, and return its exit status."""
        try:
            status = self.process.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if self._reader is not None:
            self._reader.join(HANG_SECONDS)
        return status

    def kill(self) -> None:
        """Kill the server and its workers, stopped ones included."""
        pids = [self.process.pid]
        if self.process.poll() is None:
            pids += self.workers()
        for pid in pids:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(HANG_SECONDS)
        if self._reader is not None:
            self._reader.join(HANG_SECONDS)


def start_server(models: Path, *arguments: str, until: str = "ready") -> Server:
    """Start `python -m serving run` on a free port.

    Args:
        models: The repository.
        *arguments: Further arguments of the command.
        until: "ready" returns once every worker accepts connections, "listening" as soon as
            connections are queued.
    """
    command = [sys.executable, "-m", "serving", "run", "--models", str(models), "--port", "0"]
    # Without `CI`, as for a user: some libraries behave differently if it is set.
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    server = Server(process)
    server.follow_log()
    try:
        server.wait_until_ready(0 if until == "listening" else _number_of_workers(arguments))
    except BaseException:
        server.kill()
        raise
    return server


def _number_of_workers(arguments: tuple[str, ...]) -> int:
    if "--workers" in arguments:
        return int(arguments[arguments.index("--workers") + 1])
    return Settings().workers


class Processes:
    """Processes of a test, other than servers; all of them end with the test."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, command: list[Any], **options: Any) -> subprocess.Popen[str]:
        """Start a process; options are those of `subprocess.Popen`."""
        process = subprocess.Popen([*map(str, command)], text=True, **options)
        self._started.append(process)
        return process

    def run(
        self, command: list[Any], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a process to its end and capture its stdout and stderr separately."""
        options = {"capture_output": True, "text": True, "timeout": HANG_SECONDS} | options
        return subprocess.run([*map(str, command)], check=False, env=env, **options)

    def python(self, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run Python to its end; options are those of `run`."""
        return self.run([sys.executable, *arguments], **options)

    def end(self) -> None:
        """Kill the processes that still run."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(HANG_SECONDS)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
