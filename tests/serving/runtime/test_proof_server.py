"""What the server of proofs does when the worker that asked has ended."""

import os
import sys
from pathlib import Path

import pytest

from serving.runtime import ProofLimits, proof_server
from tests.processes import wait_until


def processes_of(group):
    """Processes of a group."""
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
def started(processes, monkeypatch, capfd):
    """A server of proofs and its process group.

    It is no child of this process, and other test runs have servers of the same name: so it says
    its own number.
    """
    # Of files but the standard streams, as pytest's is, the server of proofs leaves none open.
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
    wait_until(lambda: processes_of(group) == [])


def test_a_report_that_no_one_waits_for_is_no_fault(started, only_digits, capfd):
    server, group = started
    version, limits = only_digits / "digits" / "1", ProofLimits()
    pending = server.submit(version, only_digits, limits)
    wait_until(lambda: len(processes_of(group)) > 1)
    pending._connection.close()  # as the end of a worker does
    wait_until(lambda: processes_of(group) == [group])
    assert capfd.readouterr().err == ""

    def prove_again():  # as a worker does where the machine was too busy to fork
        report = wait_until(server.submit(version, only_digits, limits).poll)
        return None if report.is_transient else report

    assert wait_until(prove_again).error == ""
