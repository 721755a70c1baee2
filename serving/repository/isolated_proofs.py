"""Proofs of new versions in processes of their own, as far as this worker waits for them."""

from __future__ import annotations

import errno
from collections.abc import Set
from pathlib import Path

from serving.repository.rollout import VersionSnapshot
from serving.runtime.limits import ProofLimits
from serving.runtime.proof_server import PendingProof, ProofReport, ProofServer

NO_UNSAFE_VARIANTS = ProofReport()

ProofKey = tuple[str, int, str]  # name, version and stamp of an edition


class IsolatedProofs:
    """Has editions that no worker knows proved before this one loads them.

    Args:
        server: Proves them; without one they count as safe at once.
        models: The folder of models.
        limits: Limits of the proofs.
    """

    def __init__(self, server: ProofServer | None, models: Path, limits: ProofLimits) -> None:
        self._server, self._models, self._limits = server, models, limits
        self._pending: dict[ProofKey, PendingProof] = {}
        self._reports: dict[ProofKey, ProofReport] = {}

    def find(self, name: str, edition: VersionSnapshot) -> ProofReport | None:
        """Return what came of an edition's proof, which begins if it is new; None until then."""
        if self._server is None or edition.verdict is not None:
            return NO_UNSAFE_VARIANTS
        key = name, edition.version, edition.stamp
        if (report := self._reports.get(key)) is not None:
            return report
        if (pending := self._pending.get(key)) is None:
            return self._begin(self._server, key)
        if (report := pending.poll()) is not None:
            del self._pending[key]
            self._reports[key] = report
        return report

    def is_pending(self, name: str) -> bool:
        """Return whether the proof of one of a model's editions is still in progress."""
        for key in [key for key in self._pending if key[0] == name]:
            if (report := self._pending[key].poll()) is None:
                return True
            del self._pending[key]
            self._reports[key] = report
        return False

    def take(self, name: str, edition: VersionSnapshot) -> ProofReport:
        """Return what came of an edition's proof, and forget it.

        Raises:
            KeyError: If it was never found.
        """
        if self._server is None or edition.verdict is not None:
            return NO_UNSAFE_VARIANTS
        return self._reports.pop((name, edition.version, edition.stamp))

    def forget_all_but(self, names: Set[str]) -> None:
        """Forget what came of the proofs of all other models."""
        self._reports = {key: found for key, found in self._reports.items() if key[0] in names}

    def _begin(self, server: ProofServer, key: ProofKey) -> ProofReport | None:
        version = self._models / key[0] / str(key[1])
        try:
            self._pending[key] = server.submit(version, self._models, self._limits)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE):
                return None  # very many wait already: next time
            reason = (
                f"{version}: expected the process serving-proofs, which proves new versions; it "
                f"has ended ({error.strerror}); restart the server"
            )
            self._reports[key] = ProofReport(reason, is_transient=True)
        return self._reports.get(key)
