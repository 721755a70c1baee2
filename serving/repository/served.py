"""A served model: a version that has proved itself on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from serving.bundle import MANIFEST_FILE, Bundle, BundleError, Manifest, TransientBundleError
from serving.repository.rollout import VersionSnapshot
from serving.repository.stamps import compute_readable_fingerprint
from serving.runtime import GraphError, GraphSession, ProofLimits, RunTimeoutError
from serving.runtime.latency_profile import LatencyProfile
from serving.runtime.variant_selection import VariantCheck, VariantDecision, select_variant


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that has passed its self-test on this machine; equal to itself alone.

    A request holds one from its start to its end. Its session is freed with the last that does.

    Attributes:
        manifest: what it is.
        variant: which of its graphs answers.
        session: runs that graph; it has run batches of several sizes, and is warm.
        why: that one and no other answers, in a sentence.
        trials: how each of its graphs did here.
        pace: of its runs here.
    """

    manifest: Manifest
    variant: str
    session: GraphSession
    why: str
    trials: dict[str, VariantCheck]
    latency_profile: LatencyProfile

    @cached_property
    def label(self) -> tuple[str, str, str]:
        """Name, version and variant, as metrics and logs say them."""
        return self.manifest.name, str(self.manifest.version), self.variant


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
    choice = select_variant(bundle, variant, edition.verdict, limits, unsafe)
    _require_unchanged(path, edition)
    trials = {
        name: replace(trial, reason=strip_models_path(trial.reason, models))
        for name, trial in choice.trials.items()
    }
    try:
        pace = LatencyProfile.measure(choice.session, bundle.read_selftest().inputs)
    except RunTimeoutError as error:
        raise TransientBundleError(f"{path}: {error}") from error
    except GraphError as error:
        raise BundleError(f"{path}: {error}") from error
    model = ServedModel(bundle.manifest, choice.variant, choice.session, choice.why, trials, pace)
    return model, choice.verdict


def _require_unchanged(path: Path, edition: VersionSnapshot) -> None:
    if compute_readable_fingerprint(path) != edition.stamp:
        raise BundleError(f"{path}: expected a version that is complete; got one being written")


def strip_models_path(reason: str, models: Path) -> str:
    """The reason without the server's own paths, which are the log's business."""
    return reason.replace(f"{models}/", "")
