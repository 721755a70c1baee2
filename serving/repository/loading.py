"""Loading: the editions of a model as one worker proves and holds them."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path

from serving.bundle import MANIFEST_FILE, Bundle, BundleError, TransientBundleError
from serving.bundle.files import is_transient_error
from serving.event_loop import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import compute_readable_fingerprint
from serving.repository.loaded_models import ServedModel
from serving.repository.rollout import ServedVersions, VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.runtime import GraphError, ProofLimits, RunTimeoutError
from serving.runtime.heap import request_trim
from serving.runtime.latency_profile import LatencyProfile
from serving.runtime.proof_server import PendingProof, ProofReport, ProofServer
from serving.runtime.variant_selection import VariantDecision, select_variant


def load_version(
    models: Path,
    name: str,
    edition: VersionSnapshot,
    variant: str,
    limits: ProofLimits,
    unsafe: Mapping[str, str],
) -> tuple[ServedModel, VariantDecision]:
    """Load an edition, and put its variants to their self-test.

    Args:
        models: the folder of models.
        name: of the model.
        edition: abides by its verdict, if it has one.
        variant: to serve if there is no verdict yet; see `select_variant`.
        limits: Limits of the proof.
        unsafe: Reasons by name of variants that must not be loaded here.

    Returns:
        The edition, ready to answer, and the verdict on which of its variants does.

    Raises:
        BundleError: it does not prove itself, or is another one by now.
    """
    path = models / name / str(edition.version)
    if (path / MANIFEST_FILE).exists():  # what is not there is for `open` to say
        _require_unchanged(path, edition)  # since it was proved in another process
    bundle = Bundle.open(path, models, limits.bundle)
    choice = select_variant(bundle, variant, edition.variant_decision, limits, unsafe)
    _require_unchanged(path, edition)
    trials = {
        name: replace(trial, failure=strip_models_path(trial.failure, models))
        for name, trial in choice.checks.items()
    }
    try:
        pace = LatencyProfile.measure(choice.session, bundle.read_selftest().inputs)
    except RunTimeoutError as error:
        raise TransientBundleError(f"{path}: {error}") from error
    except GraphError as error:
        raise BundleError(f"{path}: {error}") from error
    model = ServedModel(
        bundle.manifest, choice.variant, choice.session, choice.reason, trials, pace
    )
    return model, choice.decision


def _require_unchanged(path: Path, edition: VersionSnapshot) -> None:
    if compute_readable_fingerprint(path) != edition.fingerprint:
        raise BundleError(f"{path}: expected a version that is complete; got one being written")


def strip_models_path(reason: str, models: Path) -> str:
    """The reason without the server's own paths, which are the log's business."""
    return reason.replace(f"{models}/", "")


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

    def get_report(self, name: str, edition: VersionSnapshot) -> ProofReport | None:
        """Return what came of an edition's proof, which begins if it is new; None until then."""
        if self._server is None or edition.variant_decision is not None:
            return NO_UNSAFE_VARIANTS
        key = name, edition.version, edition.fingerprint
        if (report := self._reports.get(key)) is not None:
            return report
        if (pending := self._pending.get(key)) is None:
            return self._submit_proof(self._server, key)
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

    def pop_report(self, name: str, edition: VersionSnapshot) -> ProofReport:
        """Return what came of an edition's proof, and forget it.

        Raises:
            KeyError: If it was never found.
        """
        if self._server is None or edition.variant_decision is not None:
            return NO_UNSAFE_VARIANTS
        return self._reports.pop((name, edition.version, edition.fingerprint))

    def forget_all_but(self, names: Set[str]) -> None:
        """Forget what came of the proofs of all other models."""
        self._reports = {key: found for key, found in self._reports.items() if key[0] in names}

    def _submit_proof(self, server: ProofServer, key: ProofKey) -> ProofReport | None:
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


log = logging.getLogger(__name__)
MAX_ERROR_CHARACTERS = 200  # characters of an error of ours
LoadedVersions = list[
    tuple[VersionSnapshot, ServedModel]
]  # with the verdict on which variant answers
# Called with a model's name, the edition that is refused, why, and whether that may pass by itself.
OnRefused = Callable[[str, VersionSnapshot, str, bool], None]


class VersionLoader:
    """Loads editions, and proves them in this process.

    Args:
        outlook: What should be served, and the folder of models.
        agenda: The plan of all workers.
        variant: Name of the variant to serve where there is one, or "auto".
        limits: Limits within which versions are proved.
        proof_server: Proves versions that no worker knows in processes of their own first; None to
            load them at once.
    """

    def __init__(
        self,
        outlook: DesiredVersions,
        agenda: RolloutStore,
        variant: str,
        limits: ProofLimits,
        proof_server: ProofServer | None,
    ) -> None:
        self._models, self._agenda = outlook.models, agenda
        self._variant, self._limits = variant, limits
        self._isolated = IsolatedProofs(proof_server, outlook.models, limits)
        self._loaded_not_served: dict[str, LoadedVersions] = {}  # loaded, and not served yet

    def is_proving(self, name: str) -> bool:
        """Return whether an edition of a model is being proved in a process of its own."""
        return self._isolated.is_pending(name)

    def is_safe_to_load(self, name: str, line: ServedVersions, served: LoadedVersions) -> bool:
        """Return whether all editions were proved elsewhere; begin with those that were not.

        Args:
            name: Name of the model.
            line: The editions.
            served: Editions that are served here.
        """
        unknown = [edition for edition in line if self._find_loaded(name, edition, served) is None]
        # Of all of them at once: the proofs of several run at the same time.
        reports = [self._isolated.get_report(name, edition) for edition in unknown]
        return None not in reports

    def load_versions(
        self, name: str, line: ServedVersions, served: LoadedVersions, on_refused: OnRefused
    ) -> LoadedVersions | None:
        """Load editions that are safe to load, and prove them here.

        Args:
            name: Name of the model.
            line: The editions.
            served: Editions that are served here.
            on_refused: Called with one that does not prove itself.

        Returns:
            The editions in the order of the line; None if one is refused.
        """
        loaded: LoadedVersions = []
        for edition in line:
            found = self._find_loaded(name, edition, served)
            if found is None:
                if (found := self._load_version(name, edition, on_refused)) is None:
                    return None
                self._loaded_not_served.setdefault(name, []).append(found)
            loaded.append(found)
        return loaded

    def discard_except(self, rolled_out: Set[str], due: Set[str]) -> None:
        """Let go of what came to nothing.

        Args:
            rolled_out: Models whose loaded editions may still be served.
            due: Models whose proofs may still be asked for.
        """
        self._loaded_not_served = {
            name: known for name, known in self._loaded_not_served.items() if name in rolled_out
        }
        self._isolated.forget_all_but(due)

    def _find_loaded(
        self, name: str, edition: VersionSnapshot, served: LoadedVersions
    ) -> tuple[VersionSnapshot, ServedModel] | None:
        known = [*served, *self._loaded_not_served.get(name, [])]
        return next((pair for pair in known if _can_reuse(pair[0], edition)), None)

    def _load_version(
        self, name: str, edition: VersionSnapshot, on_refused: OnRefused
    ) -> tuple[VersionSnapshot, ServedModel] | None:
        if self._agenda.read_plan().get_refusal_reason(name, edition) is not None:
            return None
        report = self._isolated.pop_report(name, edition)
        if report.error:
            log.error("refused %s/%s: %s", name, edition.version, report.error)
            on_refused(
                name, edition, strip_models_path(report.error, self._models), report.is_transient
            )
            return None

        def load() -> tuple[ServedModel, VariantDecision]:
            return load_version(
                self._models, name, edition, self._variant, self._limits, report.unsafe
            )

        try:
            with self._agenda.record_load_attempt(name, edition):
                model, verdict = run_in_thread(load)
        except (BundleError, OSError) as error:
            log.error("refused %s/%s: %s", name, edition.version, error)
            on_refused(
                name,
                edition,
                strip_models_path(str(error), self._models),
                is_transient_error(error),
            )
            return None
        except Exception as error:  # bundles are not trusted, and may fail in ways no one foresaw
            log.exception("refused %s/%s", name, edition.version)
            on_refused(
                name, edition, f"an internal error came: {error!r}"[:MAX_ERROR_CHARACTERS], False
            )
            return None
        finally:
            request_trim()  # whether it was loaded or refused, its files and trials took memory
        return edition.model_copy(update={"variant_decision": verdict}), model


def _can_reuse(known: VersionSnapshot, edition: VersionSnapshot) -> bool:
    """Return whether it has the same content, and the same verdict if there is one already."""
    return known == edition if edition.variant_decision else known.has_same_content(edition)
