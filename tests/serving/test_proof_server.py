"""What the server of proofs does when the worker that asked has ended."""

import sys
from pathlib import Path

from serving.runtime import ProofLimits
from serving.runtime.proof_server import ProofServer
from tests.processes import wait_until


def proofs(group):
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


def groups():
    """Groups of servers of proofs."""
    found = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text() == "serving-proofs\n":
                stat = comm.with_name("stat").read_text()
                found.add(int(stat.rpartition(")")[2].split()[2]))
        except OSError:
            continue
    return found


def test_a_report_that_no_one_waits_for_is_no_fault(only_digits, capfd, monkeypatch):
    # Of files but the standard streams, as pytest's is, the server of proofs leaves none open.
    monkeypatch.setattr(sys, "stderr", open(2, "w", buffering=1, closefd=False))  # noqa: SIM115
    before = groups()
    server = ProofServer()
    wait_until(lambda: len(groups() - before) == 1)
    (group,) = groups() - before
    version, limits = only_digits / "digits" / "1", ProofLimits()
    pending = server.submit(version, only_digits, limits)
    wait_until(lambda: len(proofs(group)) > 1)
    pending._connection.close()  # as the end of a worker does
    wait_until(lambda: proofs(group) == [group])
    assert capfd.readouterr().err == ""
    again = server.submit(version, only_digits, limits)
    report = wait_until(again.poll)
    assert report.error == ""
    server._client.close()
    wait_until(lambda: proofs(group) == [])
