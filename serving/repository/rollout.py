"""The rollout plan: which versions all workers serve, roll out or refuse."""

from __future__ import annotations

from pydantic import BaseModel

from serving.runtime.variant_selection import VariantDecision


class VersionSnapshot(BaseModel, frozen=True):
    """A version with the content it had when it was found.

    Attributes:
        version: its number.
        fingerprint: tells one content of its folder from another.
        variant_decision: which of its variants answers, in all workers; None until one has decided.
    """

    version: int
    fingerprint: str
    variant_decision: VariantDecision | None = None

    def has_same_content(self, other: VersionSnapshot) -> bool:
        """Of the same content."""
        return (self.version, self.fingerprint) == (other.version, other.fingerprint)


ServedVersions = list[
    VersionSnapshot
]  # the editions of a model that are served; the first answers by default


class Rollout(BaseModel):
    """A line that is to be served.

    Attributes:
        leader_pid: the process that found it, and commits it.
        renewed_at: when that was, seconds of the machine's monotonic clock.
        line: what is to be served; None while `by` has not proved it.
        ready_pids: processes that have proved it.
    """

    leader_pid: int
    renewed_at: float
    versions: ServedVersions | None = None
    ready_pids: list[int] = []


class LoadAttempt(BaseModel):
    """A worker's attempt to load an edition.

    Attributes:
        key: `name/version`.
        fingerprint: Content of the edition.
    """

    key: str
    fingerprint: str


class Refusal(BaseModel):
    """Why an edition is not served.

    Attributes:
        reason: in a sentence.
        until: it is put to the proof again, seconds of the machine's monotonic clock; None for as
            long as its content is what it is.
        against: Stamp of the version that answered when this one was found incompatible with it:
            it is held. None of one that does not prove itself.
        live_version: Number of that version, which is its own where its files were replaced.
    """

    reason: str
    retry_at: float | None = None
    live_fingerprint: str | None = None
    live_version: int | None = None


class RolloutPlan(BaseModel):
    """What the workers agree on.

    Attributes:
        worker_pids: the processes that serve, some of which may have died.
        served_versions: what is served, by model.
        rollouts: what is to be served, by model.
        refusals: by `name/version` and stamp.
        load_attempts: What each process is loading just now, by process number.
        deaths: How many processes ended while they loaded an edition, by `name/version` and stamp.
        implicit_default: Name of the first model that was served alone, here or before a restart, which
            answers requests that name none; None if there was none yet.
    """

    worker_pids: list[int] = []
    served_versions: dict[str, ServedVersions] = {}
    rollouts: dict[str, Rollout] = {}
    refusals: dict[str, dict[str, Refusal]] = {}
    load_attempts: dict[int, LoadAttempt] = {}
    crash_counts: dict[str, dict[str, int]] = {}
    implicit_default: str | None = None

    def get_refusal_reason(self, name: str, edition: VersionSnapshot) -> str | None:
        """Why an edition is refused; None if it is not."""
        refusal = self.refusals.get(f"{name}/{edition.version}", {}).get(edition.fingerprint)
        return None if refusal is None else refusal.reason

    def list_refusal_reasons(self, *, is_held: bool = False) -> dict[str, str]:
        """Why versions are refused, or held, as they lie there now, by `name/version`."""
        last = {key: list(found.values())[-1] for key, found in self.refusals.items()}
        return {
            key: r.reason for key, r in last.items() if (r.live_fingerprint is not None) == is_held
        }
