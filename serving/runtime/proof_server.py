"""Prove new versions: run their self-tests in separate processes before a worker loads them.

ONNX Runtime may fold the constants of a graph for hours, allocate all memory or crash while it
loads the graph, and Python cannot interrupt it. In a worker this would stop all requests. So a
version that no worker has loaded yet is first loaded in processes that may fail:

    worker → proof server → supervisor of one version → one process for each variant

The proof server is forked from gunicorn's arbiter after its imports and before any session is
created, so that a proof starts within milliseconds. Under other WSGI servers there is none.
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

from serving.bundle import Bundle, BundleError, BundleLimits
from serving.runtime.bounded_process import AbnormalExit, run_and_exit, run_bounded
from serving.runtime.self_test import ProofLimits, run_self_test

MAX_CONCURRENT_PROOFS = 4  # versions that are proved at the same time; the others are queued
REAP_INTERVAL_MILLISECONDS = 200  # time between two checks for supervisors that have ended
# Processor time of all proofs of a version, as a multiple of the limit for one variant.
VERSION_SECONDS_FACTOR = 2
# Longest elapsed time that a worker waits for a report, as a multiple of the same limit.
REPORT_SECONDS_FACTOR = 40
NICENESS = 5  # gives proofs a lower priority than the workers, which serve requests
# While it loads a graph, ONNX Runtime keeps several copies: the file, the parsed protobuf, the
# weights, and the weights again in the layout that its operators need.
MEMORY_PER_GRAPH_BYTE = 8
# Part of the messages of the C++ library and ONNX Runtime when an allocation fails.
ALLOCATION_FAILURE_TEXT = "alloc"


@dataclass(frozen=True)
class ProofReport:
    """Which variants of a version a worker can load safely.

    A safe variant may still compute wrong outputs, so each worker runs its self-test again.

    Attributes:
        error: Reason why the version must not be loaded at all; empty if a variant may be loaded.
        unsafe: Variants that must not be loaded: a mapping from the variant's name to the reason.
        is_transient: Whether another attempt may succeed, for example because the machine was busy.
    """

    error: str = ""
    unsafe: dict[str, str] = field(default_factory=dict)
    is_transient: bool = False


class PendingProof:
    """A proof in progress.

    Args:
        connection: Non-blocking socket that receives the report.
        seconds: Time after which the proof is given up, in seconds. This is needed because the
            kernel cannot end a process that waits for an unresponsive file system.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._received = connection, b""
        self._deadline = time.monotonic() + seconds

    def poll(self) -> ProofReport | None:
        """Return the report, or None if it is not complete yet. Never wait."""
        try:
            while part := self._connection.recv(65_536):
                self._received += part
        except BlockingIOError:
            if time.monotonic() < self._deadline:
                return None
        except OSError:
            pass  # the connection is broken: use what was received, as at its regular end
        self._connection.close()
        try:
            return ProofReport(**json.loads(self._received))
        except ValueError:
            return ProofReport(
                "expected a report of the process that proved the version; got none; the server "
                "tries again",
                is_transient=True,
            )


class ProofServer:
    """Client of the process that forks a supervisor for each version to prove.

    The constructor starts that process.
    """

    def __init__(self) -> None:
        self._client, server = socket.socketpair()
        # The process is forked twice, because the arbiter expects all of its children to be
        # workers. It ends when all processes that hold the other end of its socket have ended.
        if (child := os.fork()) == 0:
            run_and_exit(self._start_server, server)
        os.waitpid(child, 0)
        server.close()

    def _start_server(self, server: socket.socket) -> None:
        if os.fork() == 0:
            self._client.close()
            _serve_requests(server)

    def submit(self, version_folder: Path, models: Path, limits: ProofLimits) -> PendingProof:
        """Start the proof of a version.

        Args:
            version_folder: Folder of the version.
            models: Folder of models, which must contain the files after links are resolved.
            limits: Limits of the proof.

        Raises:
            OSError: If the proof server has ended, or its queue is full.
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
    """Fork a supervisor for each request until all clients have closed their end of the socket."""
    # In a separate process group, the server does not get the signals of a terminal, and can end
    # all proofs at once.
    os.setpgid(0, 0)
    _release_inherited_files(server.fileno())
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
    """Fork a supervisor for the next request. Return a set of its process id, empty on failure."""
    _, descriptors, *_ = socket.recv_fds(server, 1, 1)
    # If the fork fails, the connection is closed, and the worker sees that there is no report.
    with suppress(OSError, IndexError), socket.socket(fileno=descriptors[0]) as connection:
        if (pid := os.fork()) == 0:
            server.close()
            run_and_exit(_supervise, connection)
        return {pid}
    return set()


def _release_inherited_files(kept_descriptor: int) -> None:
    """Release all inherited files, for example listening sockets, except the standard streams.

    Their descriptors stay open, on `/dev/null`: libraries that own them may close them after the
    next fork, and Arrow ends the process if one is closed already.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for path in Path("/dev/fd").iterdir():
        if int(path.name) > 2 and int(path.name) not in (kept_descriptor, null):  # 2 is stderr
            with suppress(OSError):
                os.dup2(null, int(path.name))


def _supervise(connection: socket.socket) -> None:
    """Prove the variants of one version, each in a separate process, and send the report."""
    os.nice(NICENESS)
    # If memory runs out, the kernel should kill this process rather than a worker.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    received = b""
    while part := connection.recv(65_536):
        received += part
    request = json.loads(received)
    limits = request["limits"]
    limits = ProofLimits(**limits | {"bundle": BundleLimits(**limits["bundle"])})
    report = _prove_version(Path(request["version"]), Path(request["models"]), limits)
    with suppress(BrokenPipeError, ConnectionResetError):  # the worker has ended
        connection.sendall(json.dumps(asdict(report)).encode())


def _prove_version(version: Path, models: Path, limits: ProofLimits) -> ProofReport:
    """Load each variant of a version in a separate process, and report how the processes ended."""

    def open_bundle() -> Bundle:
        return Bundle.open(version, models, limits.bundle)

    def list_files() -> dict[str, str]:
        try:
            variants = open_bundle().manifest.variants
            return {name: variant.file for name, variant in variants.items()}
        except BundleError:
            return {}  # the worker gets the same error when it opens the bundle, and reports it

    def prove_variant(variant: str) -> str:
        try:
            return run_self_test(open_bundle(), variant, limits=limits).failure
        except BundleError as error:
            return str(error)
        except MemoryError:
            return ALLOCATION_FAILURE_TEXT

    # The manifest is not trusted either, so reading it is limited like a proof.
    memory_bytes = limits.memory_bytes
    files, abnormal_exit = run_bounded(list_files, limits.proof_seconds, memory_bytes)
    if abnormal_exit is not None:
        cause = f"reading its manifest {abnormal_exit.reason}"
        error = f"{version}: {cause}; {_describe_limits(limits, memory_bytes)}"
        return ProofReport(error, {}, abnormal_exit.is_transient)
    unsafe, is_transient = {}, False
    for variant, file in files.items():
        seconds = min(
            limits.proof_seconds,
            VERSION_SECONDS_FACTOR * limits.proof_seconds - _measure_children_cpu_seconds(),
        )
        if seconds <= 0:
            unsafe[variant] = f"{version}: the proofs of its other variants took too long"
            continue
        file_size = _bounded_file_size(version / file, limits)
        memory_bytes = limits.memory_bytes + MEMORY_PER_GRAPH_BYTE * file_size
        failure, abnormal_exit = run_bounded(partial(prove_variant, variant), seconds, memory_bytes)
        if abnormal_exit is None and ALLOCATION_FAILURE_TEXT in failure:
            abnormal_exit = AbnormalExit("could get no more memory", is_transient=False)
        if abnormal_exit is not None:
            cause = f"the proof of {variant} {abnormal_exit.reason}"
            unsafe[variant] = f"{version}: {cause}; {_describe_limits(limits, memory_bytes)}"
            is_transient |= abnormal_exit.is_transient
    error = "; ".join(unsafe.values()) if files and len(unsafe) == len(files) else ""
    return ProofReport(error, unsafe, is_transient)


def _measure_children_cpu_seconds() -> float:
    """Return the processor time of all proofs that this process has started, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _describe_limits(limits: ProofLimits, memory_bytes: int) -> str:
    return (
        f"expected at most {limits.proof_seconds:g} s of processor time (--proof-seconds) and "
        f"{memory_bytes / 2**20:.0f} MiB (--max-proof-memory, plus {MEMORY_PER_GRAPH_BYTE} times "
        f"the file's size); export a smaller graph or raise the option"
    )


def _bounded_file_size(file: Path, limits: ProofLimits) -> int:
    try:
        return min(file.stat().st_size, limits.bundle.graph_bytes)
    except OSError:
        return 0
