"""The rollout plan: which versions all workers serve, are rolling out, and refuse.

All classes are pydantic models, since the plan is the JSON text that workers share.
"""

from __future__ import annotations

from pydantic import BaseModel

from serving.runtime.variant_selection import VariantDecision


class VersionSnapshot(BaseModel, frozen=True):
    """A version with the content that its folder had when it was found.

    Attributes:
        version: Number of the version.
        fingerprint: Hash of the content of its folder.
        variant_decision: Variant that answers in all workers, and the reason; None until the first
            worker has loaded the version.
    """

    version: int
    fingerprint: str
    variant_decision: VariantDecision | None = None

    def has_same_content(self, other: VersionSnapshot) -> bool:
        """Return whether both are the same version with the same files."""
        return (self.version, self.fingerprint) == (other.version, other.fingerprint)


# Versions of one model that are, or should be, served; the first is the live one, which answers
# requests that name no version.
ServedVersions = list[VersionSnapshot]


class Rollout(BaseModel):
    """A model's change from the versions that are served to others.

    Attributes:
        leader_pid: Process id of the worker that started the rollout, and commits it.
        renewed_at: Time at which the leader last changed it, in seconds of the monotonic clock.
        versions: Versions to be served; None while the leader has not loaded them yet.
        ready_pids: Process ids of the workers that have loaded them.
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
    """The reason not to serve a version with a certain content.

    Attributes:
        reason: Reason as a sentence.
        retry_at: Time at which the version is tried again, in seconds of the monotonic clock; None
            if it is tried again only when its files change.
        live_fingerprint: Fingerprint of the live version with which this one is incompatible, if
            it is held; None if it failed its self-test or could not be loaded.
        live_version: Number of that live version. It equals the number of the held version if the
            files of the live version were replaced.
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
        implicit_default: Name of the model that answers requests that name none, unless
            --default-model is given: the first one that was served while no other was. None until
            there was one.
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
