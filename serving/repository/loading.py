"""Loading: the editions of a model as one worker proves and holds them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set

from serving.bundle import BundleError
from serving.bundle.files import is_transient_error
from serving.event_loop_threads import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.isolated_proofs import IsolatedProofs
from serving.repository.rollout import RolloutStore, ServedVersions, VersionSnapshot
from serving.repository.served import ServedModel, load_version, strip_models_path
from serving.runtime import ProofLimits
from serving.runtime.heap import request_trim
from serving.runtime.proof_server import ProofServer
from serving.runtime.variant_selection import VariantDecision

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
        self._waiting: dict[str, LoadedVersions] = {}  # loaded, and not served yet

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
        unknown = [edition for edition in line if self._find(name, edition, served) is None]
        # Of all of them at once: the proofs of several run at the same time.
        reports = [self._isolated.find(name, edition) for edition in unknown]
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
            found = self._find(name, edition, served)
            if found is None:
                if (found := self._load(name, edition, on_refused)) is None:
                    return None
                self._waiting.setdefault(name, []).append(found)
            loaded.append(found)
        return loaded

    def forget_all_but(self, rolled_out: Set[str], due: Set[str]) -> None:
        """Let go of what came to nothing.

        Args:
            rolled_out: Models whose loaded editions may still be served.
            due: Models whose proofs may still be asked for.
        """
        self._waiting = {name: known for name, known in self._waiting.items() if name in rolled_out}
        self._isolated.forget_all_but(due)

    def _find(
        self, name: str, edition: VersionSnapshot, served: LoadedVersions
    ) -> tuple[VersionSnapshot, ServedModel] | None:
        known = [*served, *self._waiting.get(name, [])]
        return next((pair for pair in known if _can_reuse(pair[0], edition)), None)

    def _load(
        self, name: str, edition: VersionSnapshot, on_refused: OnRefused
    ) -> tuple[VersionSnapshot, ServedModel] | None:
        if self._agenda.read().reason(name, edition) is not None:
            return None
        report = self._isolated.take(name, edition)
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
        return edition.model_copy(update={"verdict": verdict}), model


def _can_reuse(known: VersionSnapshot, edition: VersionSnapshot) -> bool:
    """Return whether it has the same content, and the same verdict if there is one already."""
    return known == edition if edition.verdict else known.same(edition)
