"""The rollout plan: which versions all workers serve, are rolling out, refuse and hold.

A new version reaches all workers in four steps: one worker claims the model and proposes the
version; each worker loads it and reports that it is ready, or refuses it; once all are ready, the
proposing worker commits it; each worker serves it at its next look at the plan. `RolloutStore`
makes these changes to the plan, and `Reconciler` calls it.

All classes are pydantic models, since the workers share the plan as JSON text.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serving.runtime.variant_selection import VariantDecision


class VersionSnapshot(BaseModel, frozen=True):
    """A version of a model with a fingerprint of its content.

    Attributes:
        version: Number of the version.
        fingerprint: Hash of the content of its folder.
        variant_decision: Variant that all workers serve, and the reason; None until the first
            worker has loaded the version.
    """

    version: int
    fingerprint: str
    variant_decision: VariantDecision | None = None

    def has_same_content(self, other: VersionSnapshot) -> bool:
        """Return whether both are the same version with the same files."""
        return (self.version, self.fingerprint) == (other.version, other.fingerprint)


# Versions of one model that are, or should be, served. The first is the live one, which serves
# requests that name no version.
ServedVersions = list[VersionSnapshot]


class Rollout(BaseModel):
    """A change of the served versions of one model that is in progress.

    Attributes:
        leader_pid: Process id of the worker that started the rollout, and commits it.
        renewed_at: Time at which the leader last changed or renewed the rollout, in seconds of the
            monotonic clock.
        versions: Versions to be served; None while the leader has not loaded them yet.
        ready_pids: Process ids of the workers that have loaded `versions`.
    """

    leader_pid: int
    renewed_at: float
    versions: ServedVersions | None = None
    ready_pids: list[int] = []


class LoadAttempt(BaseModel):
    """A version that a worker is loading at this moment.

    Attributes:
        key: Model and version, `NAME/VERSION`.
        fingerprint: Hash of the content of the version's folder.
    """

    key: str
    fingerprint: str


class Refusal(BaseModel):
    """A version that cannot be loaded or fails its self-test, so that no worker serves it.

    Attributes:
        kind: The constant "refused", which tells the two kinds of exclusions apart in the plan's
            text.
        reason: Reason as a sentence.
        retry_at: Time at which the version is tried again, in seconds of the monotonic clock; None
            if it is tried again only when its files change.
    """

    kind: Literal["refused"] = "refused"
    reason: str
    retry_at: float | None = None


class Hold(BaseModel):
    """A version that passed its self-test, but does not accept all requests of the live version.

    Attributes:
        kind: The constant "held", which tells the two kinds of exclusions apart in the plan's text.
        reason: Reason as a sentence.
        live_fingerprint: Fingerprint of the live version that it is incompatible with.
        live_version: Number of that live version, which is the held version's own number if files
            were replaced in place.
    """

    kind: Literal["held"] = "held"
    reason: str
    live_fingerprint: str
    live_version: int


# Why a version with a given content is not served.
Exclusion = Annotated[Refusal | Hold, Field(discriminator="kind")]


class RolloutPlan(BaseModel):
    """The state that all workers agree on.

    Attributes:
        worker_pids: Process ids of the workers; some may have died.
        served_versions: Served versions of each model, by its name.
        rollouts: Rollout in progress of each model, by its name.
        exclusions: Refused and held versions by `NAME/VERSION`, then by fingerprint, the latest
            last.
        load_attempts: Version that each worker is loading now, by process id.
        crash_counts: Number of workers that ended while they loaded a version, by `NAME/VERSION`,
            then by fingerprint.
        implicit_default: Name of the default model if --default-model is not given: the first
            model that was served while no other model was. None until a model has been served
            alone.
    """

    worker_pids: list[int] = []
    served_versions: dict[str, ServedVersions] = {}
    rollouts: dict[str, Rollout] = {}
    exclusions: dict[str, dict[str, Exclusion]] = {}
    load_attempts: dict[int, LoadAttempt] = {}
    crash_counts: dict[str, dict[str, int]] = {}
    implicit_default: str | None = None

    def get_exclusion_reason(self, name: str, snapshot: VersionSnapshot) -> str | None:
        """Return why a version with this content is refused or held; None if it is neither."""
        exclusion = self.exclusions.get(f"{name}/{snapshot.version}", {}).get(snapshot.fingerprint)
        return None if exclusion is None else exclusion.reason

    def list_refusal_reasons(self) -> dict[str, str]:
        """Return the reason of each version that was excluded by a refusal, by `NAME/VERSION`.

        Its latest exclusion counts.
        """
        return self._list_reasons("refused")

    def list_hold_reasons(self) -> dict[str, str]:
        """Return the reason of each version that was excluded by a hold, by `NAME/VERSION`.

        Its latest exclusion counts.
        """
        return self._list_reasons("held")

    def _list_reasons(self, kind: Literal["refused", "held"]) -> dict[str, str]:
        latest = {key: list(found.values())[-1] for key, found in self.exclusions.items()}
        return {key: found.reason for key, found in latest.items() if found.kind == kind}
