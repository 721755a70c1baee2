"""Proofs of new versions in separate processes, where an endless or oversized graph harms no one.

A graph that folds constants for hours, allocates all memory or crashes the library would take the
worker that loads it along, and a session being created cannot be interrupted. So a version that no
worker knows yet is first proved where that does no harm:

    worker → proof server → supervisor of one version → a process for each variant

The proof server is forked from gunicorn's arbiter, after its imports and before any session, so
that a proof starts within milliseconds. Under other servers there is none.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from serving.bundle import Bundle, BundleError, BundleLimits
from serving.runtime.bounded_process import AbnormalExit, run_and_exit, run_bounded
from serving.runtime.self_test import ProofLimits, run_self_test

MAX_CONCURRENT_PROOFS = 4  # versions that are proved at the same time; more wait their turn
REAP_INTERVAL_MILLISECONDS = 200  # between two looks for proofs that have ended
VERSION_SECONDS_FACTOR = (
    2  # times the processor time of one variant's proof, for all of a version's
)
REPORT_SECONDS_FACTOR = 40  # times the same, until a report that has not come is given up
NICENESS = 5  # answering requests comes first
# ONNX Runtime keeps several copies of a graph while it loads: bytes, protobuf, weights, packed.
MEMORY_PER_GRAPH_BYTE = 8
ALLOCATION_FAILURE_TEXT = "alloc"  # part of what the C++ library and ONNX Runtime say then


@dataclass(frozen=True)
class ProofReport:
    """Which variants of a version a worker can load without harm.

    It does not say that they answer as they should: the worker runs the self-test again.

    Attributes:
        error: Why the version must not be loaded at all; empty if one of its variants may be.
        unsafe: Reasons by name of the variants that must not be loaded.
        is_transient: Whether a reason may pass by itself, as on a machine that was too busy.
    """

    error: str = ""
    unsafe: dict[str, str] = field(default_factory=dict)
    is_transient: bool = False


class PendingProof:
    """A proof in progress.

    Args:
        connection: Non-blocking; the report comes by it.
        seconds: Time after which it is given up, in seconds: a process that reads a file system
            which does not answer cannot be ended.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._received = connection, b""
        self._deadline = time.monotonic() + seconds

    def poll(self) -> ProofReport | None:
        """Return the report; None as long as it has not come. Does not wait."""
        try:
            while part := self._connection.recv(65_536):
                self._received += part
        except BlockingIOError:
            if time.monotonic() < self._deadline:
                return None
        except OSError:
            pass  # as if it had ended: what has come counts
        self._connection.close()
        try:
            return ProofReport(**json.loads(self._received))
        except ValueError:
            return ProofReport(
                "expected a report of the process that proved it; got none; it is tried again",
                is_transient=True,
            )


class ProofServer:
    """Hands versions to processes that prove them.

    Attributes:
        shared: Instance started by gunicorn's arbiter for its workers; None under other servers.
    """

    shared: ClassVar[ProofServer | None] = None

    def __init__(self) -> None:
        self._client, server = socket.socketpair()
        # Twice, so that it is no child of the arbiter's, whose children are its workers. It ends
        # with the last process that holds the other end of its socket.
        if (child := os.fork()) == 0:
            run_and_exit(self._start_server, server)
        os.waitpid(child, 0)
        server.close()

    def _start_server(self, server: socket.socket) -> None:
        if os.fork() == 0:
            self._client.close()
            _serve_requests(server)

    def submit(self, version_folder: Path, models: Path, limits: ProofLimits) -> PendingProof:
        """Begin to prove a version.

        Args:
            version_folder: Its folder.
            models: The folder of models, which its files must really lie in.
            limits: Limits of the proof.

        Raises:
            OSError: If the proof server is gone or takes no more.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            request = {
                "version": str(version_folder),
                "models": str(models),
                "limits": asdict(limits),
            }
            ours.sendall(json.dumps(request).encode())
            ours.shutdown(socket.SHUT_WR)
            ours.setblocking(False)
            socket.send_fds(self._client, [b"\0"], [theirs.fileno()], socket.MSG_DONTWAIT)
        return PendingProof(ours, REPORT_SECONDS_FACTOR * limits.proof_seconds)


def _serve_requests(server: socket.socket) -> None:
    """Fork a supervisor for each request until no one is left to make any."""
    os.setpgid(0, 0)  # not to get the signals of a terminal, and to end all proofs at once
    _close_inherited_files(server.fileno())
    with suppress(OSError):
        Path("/proc/self/comm").write_text("serving-proofs")
    supervisors: set[int] = set()
    poll = select.poll()
    while True:
        is_full = len(supervisors) >= MAX_CONCURRENT_PROOFS
        poll.register(server, 0 if is_full else select.POLLIN)
        events = poll.poll(REAP_INTERVAL_MILLISECONDS if supervisors else None)
        supervisors = {pid for pid in supervisors if not os.waitpid(pid, os.WNOHANG)[0]}
        if any(event & select.POLLHUP for _, event in events):
            os.killpg(0, signal.SIGKILL)
        if events:
            supervisors |= _fork_supervisor(server)


def _fork_supervisor(server: socket.socket) -> set[int]:
    """Fork a supervisor for the next request, and return its process id."""
    _, descriptors, *_ = socket.recv_fds(server, 1, 1)
    # Where no process can be forked, the worker sees its connection end without a report.
    with suppress(OSError, IndexError), socket.socket(fileno=descriptors[0]) as connection:
        if (pid := os.fork()) == 0:
            server.close()
            run_and_exit(_supervise, connection)
        return {pid}
    return set()


def _close_inherited_files(kept: int) -> None:
    """Close what was inherited, such as listening sockets, but the standard streams."""
    for path in Path("/dev/fd").iterdir():
        if int(path.name) > 2 and int(path.name) != kept:  # 2 is standard error
            with suppress(OSError):
                os.close(int(path.name))


def _supervise(connection: socket.socket) -> None:
    """Prove the variants of one version, each in a process of its own, and report."""
    os.nice(NICENESS)
    with suppress(OSError):  # where memory runs out, this process goes before any worker
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    received = b""
    while part := connection.recv(65_536):
        received += part
    request = json.loads(received)
    limits = request["limits"]
    limits = ProofLimits(**limits | {"bundle": BundleLimits(**limits["bundle"])})
    report = _prove_version(Path(request["version"]), Path(request["models"]), limits)
    with suppress(BrokenPipeError, ConnectionResetError):  # who asked has ended
        connection.sendall(json.dumps(asdict(report)).encode())


def _prove_version(version: Path, models: Path, limits: ProofLimits) -> ProofReport:
    """Open a version and prove each variant, and see what becomes of the processes that do."""

    def open_bundle() -> Bundle:
        return Bundle.open(version, models, limits.bundle)

    def list_files() -> dict[str, str]:
        try:
            return {name: found.file for name, found in open_bundle().manifest.variants.items()}
        except BundleError:
            return {}  # the worker will find the same, and say so

    def prove_variant(variant: str) -> str:
        try:
            return run_self_test(open_bundle(), variant, limits=limits).failure
        except BundleError as error:
            return str(error)
        except MemoryError:
            return ALLOCATION_FAILURE_TEXT

    # The manifest comes from outside, too: reading it is bounded like a proof.
    memory = limits.memory_bytes
    files, ended = run_bounded(list_files, limits.proof_seconds, memory)
    if ended is not None:
        reason = f"reading its manifest {ended.reason}; {_describe_limits(limits, memory)}"
        return ProofReport(f"{version}: {reason}", {}, ended.is_transient)
    unsafe, is_transient = {}, False
    for variant, file in files.items():
        seconds = min(
            limits.proof_seconds,
            VERSION_SECONDS_FACTOR * limits.proof_seconds - _measure_children_cpu_seconds(),
        )
        if seconds <= 0:
            unsafe[variant] = f"{version}: the proofs of its other variants took too long"
            continue
        memory = limits.memory_bytes + MEMORY_PER_GRAPH_BYTE * _bounded_file_size(
            version / file, limits
        )
        reason, ended = run_bounded(partial(prove_variant, variant), seconds, memory)
        if ended is None and ALLOCATION_FAILURE_TEXT in reason:
            ended = AbnormalExit("could get no more memory", is_transient=False)
        if ended is not None:
            reason = f"the proof of {variant} {ended.reason}; {_describe_limits(limits, memory)}"
            unsafe[variant] = f"{version}: {reason}"
            is_transient |= ended.is_transient
    error = "; ".join(unsafe.values()) if files and len(unsafe) == len(files) else ""
    return ProofReport(error, unsafe, is_transient)


def _measure_children_cpu_seconds() -> float:
    """Return the processor time of the proofs that this process has had done, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _describe_limits(limits: ProofLimits, memory: int) -> str:
    return (
        f"expected at most {limits.proof_seconds:g} s of processor time (--proof-seconds) "
        f"and {memory / 2**20:.0f} MiB (--max-proof-memory, and {MEMORY_PER_GRAPH_BYTE} times its "
        f"file); export a smaller graph or raise the option"
    )


def _bounded_file_size(file: Path, limits: ProofLimits) -> int:
    try:
        return min(file.stat().st_size, limits.bundle.graph_bytes)
    except OSError:
        return 0
