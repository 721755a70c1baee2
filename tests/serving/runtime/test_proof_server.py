"""The proof server keeps working after the worker that requested a proof has ended."""

import os
import sys
from pathlib import Path

import pytest

from serving.runtime import ProofLimits, proof_server
from tests.processes import wait_until


def list_processes(group):
    """Return the ids of the processes in a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def server_and_group(processes, monkeypatch, capfd):
    """A proof server and the id of its process group.

    The server is not a child of this process, and the servers of other test runs have the same
    name. So it writes its process id to a pipe.
    """
    # The proof server closes all files except the standard streams, and pytest replaces those.
    monkeypatch.setattr(sys, "stderr", open(2, "w", buffering=1, closefd=False))  # noqa: SIM115
    read, write = os.pipe()
    serve = proof_server._serve_requests

    def announce_and_serve(server):
        os.write(write, str(os.getpid()).encode())
        serve(server)

    monkeypatch.setattr(proof_server, "_serve_requests", announce_and_serve)
    server = proof_server.ProofServer()
    os.close(write)
    with os.fdopen(read) as announced:
        group = int(announced.read())
    try:
        yield server, group
    finally:
        server._client.close()
    wait_until(lambda: list_processes(group) == [])


def test_proof_server_inherited_file_is_released_and_its_descriptor_stays_open(processes, request):
    read, write = os.pipe()
    _, group = request.getfixturevalue("server_and_group")
    os.close(write)
    with os.fdopen(read, "rb") as file:
        assert file.read() == b""  # only this process had held the other end open
    # A library that owns the descriptor can still close it after a fork.
    assert Path(f"/proc/{group}/fd/{write}").readlink() == Path(os.devnull)


def test_submit_worker_ends_before_the_report_server_continues(
    server_and_group, only_digits, capfd
):
    server, group = server_and_group
    version, limits = only_digits / "digits" / "1", ProofLimits()
    pending = server.submit(version, only_digits, limits)
    wait_until(lambda: len(list_processes(group)) > 1)
    pending._connection.close()  # as when a worker ends
    wait_until(lambda: list_processes(group) == [group])
    assert capfd.readouterr().err == ""

    reports = []

    def prove_again():  # as a worker does if the fork failed on a busy machine
        reports.append(wait_until(server.submit(version, only_digits, limits).poll))
        return None if reports[-1].is_transient else reports[-1]

    assert wait_until(prove_again, lambda: (reports[-1], capfd.readouterr().err)).error == ""
