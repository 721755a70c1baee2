"""The rollout plan: which versions all workers serve, are rolling out, and refuse.

All classes are pydantic models, since the workers share the plan as JSON text.
"""

from __future__ import annotations

from pydantic import BaseModel

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
    """The reason why a version with a given content is not served: it is refused or held.

    Attributes:
        reason: Reason as a sentence.
        retry_at: Time at which the version is tried again, in seconds of the monotonic clock; None
            if it is tried again only when its files change.
        live_fingerprint: For a held version, fingerprint of the live version that it is
            incompatible with; None for a refused version.
        live_version: For a held version, number of that live version, which is the held version's
            own number if files were replaced in place; None for a refused version.
    """

    reason: str
    retry_at: float | None = None
    live_fingerprint: str | None = None
    live_version: int | None = None


class RolloutPlan(BaseModel):
    """The state that all workers agree on.

    Attributes:
        worker_pids: Process ids of the workers; some may have died.
        served_versions: Served versions of each model, by its name.
        rollouts: Rollout in progress of each model, by its name.
        refusals: Refusals by `NAME/VERSION`, then by fingerprint.
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
    refusals: dict[str, dict[str, Refusal]] = {}
    load_attempts: dict[int, LoadAttempt] = {}
    crash_counts: dict[str, dict[str, int]] = {}
    implicit_default: str | None = None

    def get_refusal_reason(self, name: str, snapshot: VersionSnapshot) -> str | None:
        """Return why a version with this content is refused or held; None if it is neither."""
        refusal = self.refusals.get(f"{name}/{snapshot.version}", {}).get(snapshot.fingerprint)
        return None if refusal is None else refusal.reason

    def list_refusal_reasons(self, *, is_held: bool = False) -> dict[str, str]:
        """Return the latest reason of each refused version, by `NAME/VERSION`.

        Args:
            is_held: Whether to return the versions that are held instead of the refused ones.
        """
        latest = {key: list(refusals.values())[-1] for key, refusals in self.refusals.items()}
        return {
            key: refusal.reason
            for key, refusal in latest.items()
            if (refusal.live_fingerprint is not None) == is_held
        }
