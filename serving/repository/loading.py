"""Load versions in one worker, after a self-test in a separate process.

A new version may crash the process that loads it, or use up its memory. So it is first loaded and
tested in a separate process, which is called its proof. A worker loads the version, and runs the
self-test again, only if the proof has succeeded.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path

from serving.bundle import MANIFEST_FILE, Bundle, BundleError, TransientBundleError
from serving.bundle.files import is_transient_error
from serving.codec.input_schema import InputSchema
from serving.event_loop import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import compute_readable_fingerprint
from serving.repository.loaded_models import LoadedVersions, ServedModel
from serving.repository.repository_options import RepositoryOptions
from serving.repository.rollout import ServedVersions, VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.runtime import GraphError, ProofLimits, RunTimeoutError
from serving.runtime.heap import request_trim
from serving.runtime.latency_profile import LatencyProfile
from serving.runtime.proof_server import PendingProof, ProofReport, ProofServer
from serving.runtime.variant_selection import VariantDecision, select_variant

log = logging.getLogger(__name__)

MAX_ERROR_CHARACTERS = 200  # longest text of an unexpected exception in a reason
ALL_VARIANTS_SAFE = ProofReport()

ProofKey = tuple[str, int, str]  # name of the model, version, fingerprint
# Callback with the name of a model, the refused version, the reason, and whether the reason is
# transient, which means that another attempt may succeed.
OnRefused = Callable[[str, VersionSnapshot, str, bool], None]


class VersionLoader:
    """Loads versions for one worker and tests them.

    Args:
        desired_versions: Reader of the folder of models.
        store: Rollout plan that all workers share.
        options: Variant to serve, limits of the self-tests, and what requests may contain.
        proof_server: Server that tests versions in separate processes before they are loaded; None
            to load them without that test.
    """

    def __init__(
        self,
        desired_versions: DesiredVersions,
        store: RolloutStore,
        options: RepositoryOptions,
        proof_server: ProofServer | None,
    ) -> None:
        self._models, self._store = desired_versions.models, store
        self._options = options
        self._proofs = IsolatedProofs(proof_server, desired_versions.models, options.limits)
        self._loaded_not_served: dict[str, LoadedVersions] = {}

    def is_proving(self, name: str) -> bool:
        """Return whether the proof of one of a model's versions is in progress."""
        return self._proofs.is_pending(name)

    def is_safe_to_load(self, name: str, snapshots: ServedVersions, served: LoadedVersions) -> bool:
        """Return whether all proofs have ended; start those that have not begun.

        Args:
            name: Name of the model.
            snapshots: Versions to load.
            served: Versions of the model that this worker serves.
        """
        missing = [
            snapshot for snapshot in snapshots if self._find_loaded(name, snapshot, served) is None
        ]
        # A list, not a generator: all proofs have to start, since they run at the same time.
        reports = [self._proofs.get_report(name, snapshot) for snapshot in missing]
        return None not in reports

    def load_versions(
        self, name: str, snapshots: ServedVersions, served: LoadedVersions, on_refused: OnRefused
    ) -> LoadedVersions | None:
        """Load versions that are safe to load, and run their self-tests in this process.

        Args:
            name: Name of the model.
            snapshots: Versions to load.
            served: Versions of the model that this worker serves, which are not loaded again.
            on_refused: Callback for a version that cannot be loaded or fails its self-test.

        Returns:
            The loaded versions in the same order; None if one is refused.
        """
        loaded: LoadedVersions = []
        for snapshot in snapshots:
            found = self._find_loaded(name, snapshot, served)
            if found is None:
                if (found := self._load_version(name, snapshot, on_refused)) is None:
                    return None
                self._loaded_not_served.setdefault(name, []).append(found)
            loaded.append(found)
        return loaded

    def discard_except(self, rolling_out: Set[str], pending: Set[str]) -> None:
        """Free loaded versions and forget proof reports that are not needed any more.

        Args:
            rolling_out: Names of the models whose loaded versions may still be served.
            pending: Names of the models whose proof reports may still be needed.
        """
        self._loaded_not_served = {
            name: loaded for name, loaded in self._loaded_not_served.items() if name in rolling_out
        }
        self._proofs.discard_except(pending)

    def _find_loaded(
        self, name: str, snapshot: VersionSnapshot, served: LoadedVersions
    ) -> tuple[VersionSnapshot, ServedModel] | None:
        loaded = [*served, *self._loaded_not_served.get(name, [])]
        return next((pair for pair in loaded if _can_reuse(pair[0], snapshot)), None)

    def _load_version(
        self, name: str, snapshot: VersionSnapshot, on_refused: OnRefused
    ) -> tuple[VersionSnapshot, ServedModel] | None:
        if self._store.read_plan().get_exclusion_reason(name, snapshot) is not None:
            return None
        report = self._proofs.pop_report(name, snapshot)
        if report.error:
            log.error("refused %s/%s: %s", name, snapshot.version, report.error)
            reason = strip_models_path(report.error, self._models)
            on_refused(name, snapshot, reason, report.is_transient)
            return None

        def load() -> tuple[ServedModel, VariantDecision]:
            return load_version(self._models, name, snapshot, self._options, report.unsafe)

        try:
            with self._store.record_load_attempt(name, snapshot):
                model, decision = run_in_thread(load)
        except (BundleError, OSError) as error:
            log.error("refused %s/%s: %s", name, snapshot.version, error)
            reason = strip_models_path(str(error), self._models)
            on_refused(name, snapshot, reason, is_transient_error(error))
            return None
        except Exception as error:  # Bundles are not trusted, and may fail in any way.
            log.exception("refused %s/%s", name, snapshot.version)
            reason = f"unexpected internal error: {error!r}"[:MAX_ERROR_CHARACTERS]
            on_refused(name, snapshot, reason, False)
            return None
        finally:
            request_trim()  # Loading has allocated and freed memory, even if it failed.
        return snapshot.model_copy(update={"variant_decision": decision}), model


class IsolatedProofs:
    """The proofs whose reports this worker waits for.

    A version needs no proof if it has a variant decision: then another worker has loaded it.

    Args:
        server: Server that runs the proofs; None to regard every version as safe.
        models: Folder of models.
        limits: Limits of time and memory of the proofs.
    """

    def __init__(self, server: ProofServer | None, models: Path, limits: ProofLimits) -> None:
        self._server, self._models, self._limits = server, models, limits
        self._pending: dict[ProofKey, PendingProof] = {}
        self._reports: dict[ProofKey, ProofReport] = {}

    def get_report(self, name: str, snapshot: VersionSnapshot) -> ProofReport | None:
        """Return the report of a version's proof; None while it is in progress.

        A proof that was not started yet is started.

        Args:
            name: Name of the model.
            snapshot: Version with the fingerprint of its content.
        """
        if self._server is None or snapshot.variant_decision is not None:
            return ALL_VARIANTS_SAFE
        key = name, snapshot.version, snapshot.fingerprint
        if (report := self._reports.get(key)) is not None:
            return report
        if (pending := self._pending.get(key)) is None:
            return self._submit_proof(self._server, key)
        if (report := pending.poll()) is not None:
            del self._pending[key]
            self._reports[key] = report
        return report

    def is_pending(self, name: str) -> bool:
        """Return whether the proof of one of a model's versions is in progress."""
        for key in [key for key in self._pending if key[0] == name]:
            if (report := self._pending[key].poll()) is None:
                return True
            del self._pending[key]
            self._reports[key] = report
        return False

    def pop_report(self, name: str, snapshot: VersionSnapshot) -> ProofReport:
        """Return the report of a version's proof, and forget it.

        Args:
            name: Name of the model.
            snapshot: Version with the fingerprint of its content.

        Raises:
            KeyError: If there is no report yet.
        """
        if self._server is None or snapshot.variant_decision is not None:
            return ALL_VARIANTS_SAFE
        return self._reports.pop((name, snapshot.version, snapshot.fingerprint))

    def discard_except(self, names: Set[str]) -> None:
        """Forget the reports of all models except those in `names`."""
        self._reports = {key: report for key, report in self._reports.items() if key[0] in names}

    def _submit_proof(self, server: ProofServer, key: ProofKey) -> ProofReport | None:
        version = self._models / key[0] / str(key[1])
        try:
            self._pending[key] = server.submit(version, self._models, self._limits)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE):
                return None  # The queue of the proof server is full; the next call tries again.
            reason = (
                f"{version}: expected the process serving-proofs, which tests new versions; it "
                f"has ended ({error.strerror}); restart the server"
            )
            self._reports[key] = ProofReport(reason, is_transient=True)
        return self._reports.get(key)


def load_version(
    models: Path,
    name: str,
    snapshot: VersionSnapshot,
    options: RepositoryOptions,
    unsafe: Mapping[str, str],
) -> tuple[ServedModel, VariantDecision]:
    """Load a version, run the self-tests of its variants and measure the selected one.

    Args:
        models: Folder of models.
        name: Name of the model.
        snapshot: Version with the fingerprint that its folder must have. If it has a variant
            decision, that decision is followed.
        options: Preferred variant, which is ignored if there is a decision; limits of the
            self-tests; and whether requests may name other columns.
        unsafe: Variants that must not be loaded: a mapping from the variant's name to the reason.

    Returns:
        The loaded version, and the decision which of its variants is served.

    Raises:
        BundleError: If the version cannot be loaded or fails its self-test, or if its content has
            changed.
    """
    path = models / name / str(snapshot.version)
    # If there is no manifest, `Bundle.open` raises the error.
    if (path / MANIFEST_FILE).exists():
        # The files may have changed since another process ran the proof.
        _require_unchanged(path, snapshot)
    bundle = Bundle.open(path, models, options.limits.bundle)
    selection = select_variant(
        bundle, options.variant, snapshot.variant_decision, options.limits, unsafe
    )
    _require_unchanged(path, snapshot)
    checks = {
        name: replace(check, failure=strip_models_path(check.failure, models))
        for name, check in selection.checks.items()
    }
    try:
        profile = LatencyProfile.measure(selection.session, bundle.read_selftest().inputs)
    except RunTimeoutError as error:
        raise TransientBundleError(f"{path}: {error}") from error
    except GraphError as error:
        raise BundleError(f"{path}: {error}") from error
    model = ServedModel(
        manifest=bundle.manifest,
        input_schema=InputSchema(
            bundle.manifest.inputs, should_ignore_extra=options.should_ignore_extra
        ),
        variant=selection.variant,
        session=selection.session,
        variant_reason=selection.reason,
        variant_checks=checks,
        latency_profile=profile,
    )
    return model, selection.decision


def strip_models_path(reason: str, models: Path) -> str:
    """Return a reason without the path of the folder of models, which clients need not know.

    Args:
        reason: Reason as a sentence, with paths inside the folder.
        models: Folder of models.
    """
    return reason.replace(f"{models}/", "")


def _require_unchanged(path: Path, snapshot: VersionSnapshot) -> None:
    if compute_readable_fingerprint(path) != snapshot.fingerprint:
        raise BundleError(f"{path}: expected a complete version; got one that is being written")


def _can_reuse(loaded: VersionSnapshot, snapshot: VersionSnapshot) -> bool:
    """Return whether a loaded version has the content and, if decided, the variant of another."""
    if snapshot.variant_decision:
        return loaded == snapshot
    return loaded.has_same_content(snapshot)
