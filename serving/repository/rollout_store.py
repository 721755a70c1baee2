"""Read and change the rollout plan, which is in memory that all workers share.

A version is rolled out in two steps. The worker that finds it becomes the leader: it claims the
model, loads the version and proposes it. Every other worker loads it, too, and reports that it is
ready. Once all live workers are ready, the leader commits, and each worker serves the version as
soon as it sees the commit. If one worker cannot load the version, all workers refuse it and keep
serving the versions that they served before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from serving.repository.rollout import (
    Exclusion,
    LoadAttempt,
    Refusal,
    Rollout,
    RolloutPlan,
    ServedVersions,
    VersionSnapshot,
)
from serving.repository.shared_state import SharedState

# Seconds after which a rollout without progress is dropped. gunicorn kills a worker that hangs
# after 30 seconds, so a rollout that waits for such a worker continues before it is dropped.
ROLLOUT_TIMEOUT_SECONDS = 60.0
# A version is refused once this many workers have ended while they loaded it. A single worker may
# have been killed for another reason, for instance by an operator.
MAX_CRASHES = 2
# Seconds after which a served version that was refused because workers crashed is tried again.
SERVED_RETRY_SECONDS = 600.0


class RolloutStore:
    """Reads and changes the rollout plan for one worker.

    Args:
        shared_state: Memory that all workers share, with the plan as JSON text.
        clock: Function that returns the time in seconds, of a clock that all workers share.

    Attributes:
        shared_state: Memory that all workers share, with the plan as JSON text.
        clock: Function that returns the time in seconds, of a clock that all workers share.
    """

    def __init__(
        self, shared_state: SharedState, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.shared_state, self.clock = shared_state, clock
        self._revision, self._plan = -1, RolloutPlan()

    def read_plan(self) -> RolloutPlan:
        """Return the current plan. The caller must not change it."""
        if self.shared_state.revision != self._revision:
            self._revision, text = self.shared_state.read_text()
            self._plan = RolloutPlan.model_validate_json(text or "{}")
        return self._plan

    def register_worker(self) -> None:
        """Add this process to the workers that have to be ready before a rollout is committed."""
        with self.shared_state.lock_text():
            self.shared_state.register_process()
            with self._edit_plan() as plan:
                plan.worker_pids = [*self.shared_state.filter_alive(plan.worker_pids), os.getpid()]

    def is_oldest_worker(self) -> bool:
        """Return whether this process is the oldest live worker, which logs for all of them."""
        with self.shared_state.lock_text():
            return self.shared_state.filter_alive(self.read_plan().worker_pids)[:1] == [os.getpid()]

    def record_implicit_default(self) -> None:
        """Make the only served model the implicit default, if there is none yet.

        Nothing is recorded while a rollout is in progress, since it may add a second model.
        """
        if _is_sole_model_undecided(self.read_plan()):
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                if _is_sole_model_undecided(plan):
                    (plan.implicit_default,) = plan.served_versions

    def restore_implicit_default(self, name: str) -> None:
        """Make a model the implicit default, if there is none and no model is served yet.

        Args:
            name: Name of the model that was the only one before a restart.
        """
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            if plan.implicit_default is None and not plan.served_versions:
                plan.implicit_default = name

    def claim_rollout(self, name: str) -> bool:
        """Start a rollout of a model. Return whether this process leads it.

        This is also true if it claimed the model earlier and has not proposed versions yet.
        """
        if self.has_claim(name):
            return True
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            if name in plan.rollouts:
                return False
            plan.rollouts[name] = Rollout(leader_pid=os.getpid(), renewed_at=self.clock())
            return True

    def renew_claim(self, name: str) -> None:
        """Keep a rollout that this process has claimed from being dropped as stale."""
        if self.has_claim(name):
            age = self.clock() - self.read_plan().rollouts[name].renewed_at
            if age < ROLLOUT_TIMEOUT_SECONDS / 4:
                return
            with self._edit_own_rollout(name) as rollout:
                rollout.renewed_at = self.clock()

    def has_claim(self, name: str) -> bool:
        """Return whether this process has started a rollout and proposed no versions yet."""
        rollout = self.read_plan().rollouts.get(name)
        return (
            rollout is not None and rollout.leader_pid == os.getpid() and rollout.versions is None
        )

    def propose_versions(self, name: str, versions: ServedVersions) -> None:
        """Ask the other workers to load versions that this process has loaded.

        Args:
            name: Name of a model that this process has claimed.
            versions: Versions to be served; empty to unload the model.
        """
        with self._edit_own_rollout(name) as rollout:
            rollout.versions, rollout.renewed_at = versions, self.clock()
            rollout.ready_pids = [os.getpid()]

    def is_proposal_pending(self, name: str, versions: ServedVersions) -> bool:
        """Return whether this process's proposal was neither committed nor dropped."""
        rollout = self.read_plan().rollouts.get(name)
        return (
            rollout is not None
            and rollout.leader_pid == os.getpid()
            and rollout.versions == versions
        )

    def report_ready(self, name: str, versions: ServedVersions) -> None:
        """Report that this process, too, has loaded the versions that another one proposed."""
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            rollout = plan.rollouts.get(name)
            if rollout is None or rollout.versions != versions:
                return
            if os.getpid() not in rollout.ready_pids:
                rollout.ready_pids.append(os.getpid())

    def is_ready_everywhere(self, name: str) -> bool:
        """Return whether every live worker has loaded what this process proposed."""
        rollout = self.read_plan().rollouts[name]
        if set(rollout.ready_pids) >= set(self.read_plan().worker_pids):
            return True
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            plan.worker_pids = self.shared_state.filter_alive(plan.worker_pids)
            return set(rollout.ready_pids) >= set(plan.worker_pids)

    def commit_rollout(self, name: str) -> None:
        """Make all workers serve what this process proposed."""
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            rollout = plan.rollouts.get(name)
            if rollout is None or rollout.leader_pid != os.getpid() or rollout.versions is None:
                return
            del plan.rollouts[name]
            if rollout.versions:
                plan.served_versions[name] = rollout.versions
                _drop_holds(plan, name, rollout.versions[0].fingerprint)
            else:
                plan.served_versions.pop(name, None)

    def withdraw_rollout(self, name: str) -> None:
        """End this process's rollout of a model, if there is one, without any change."""
        if name not in self.read_plan().rollouts:
            return
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            if name in plan.rollouts and plan.rollouts[name].leader_pid == os.getpid():
                del plan.rollouts[name]

    def drop_stale_rollouts(self) -> list[str]:
        """End rollouts whose leader died or that timed out. Return the names of their models."""
        plan, now = self.read_plan(), self.clock()
        if not plan.rollouts:
            return []
        with self.shared_state.lock_text():
            live_pids = self.shared_state.filter_alive(
                {rollout.leader_pid for rollout in plan.rollouts.values()}
            )
            stale = [
                name
                for name, rollout in plan.rollouts.items()
                if rollout.leader_pid not in live_pids
                or now - rollout.renewed_at > ROLLOUT_TIMEOUT_SECONDS
            ]
            if stale:
                with self._edit_plan() as current:
                    current.rollouts = {
                        name: rollout
                        for name, rollout in current.rollouts.items()
                        if name not in stale or rollout != plan.rollouts[name]
                    }
            return stale

    def exclude_version(self, name: str, snapshot: VersionSnapshot, exclusion: Exclusion) -> None:
        """Keep all workers from serving a version, and end a rollout that includes it.

        Args:
            name: Name of the model.
            snapshot: Version with the content that is refused or held.
            exclusion: Reason, and when the version is tried again.
        """
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            exclusions = plan.exclusions.setdefault(f"{name}/{snapshot.version}", {})
            exclusions[snapshot.fingerprint] = exclusion
            rollout = plan.rollouts.get(name)
            if rollout is not None and any(map(snapshot.has_same_content, rollout.versions or [])):
                del plan.rollouts[name]

    def clear_exclusions(self, excluded: Collection[tuple[str, str]]) -> None:
        """Remove refusals and holds, so that these versions are tried again.

        Args:
            excluded: Pairs of `NAME/VERSION` and fingerprint.
        """
        if not excluded:
            return
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            for key, fingerprint in excluded:
                plan.exclusions.get(key, {}).pop(fingerprint, None)
                plan.crash_counts.pop(key, None)
            _drop_empty_entries(plan)

    def release_held_versions(self, name: str) -> None:
        """Remove the holds of a model's versions, so that these are considered again."""
        held = self.read_plan().list_hold_reasons()
        if any(key.rpartition("/")[0] == name for key in held):
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                _drop_holds(plan, name)

    @contextmanager
    def record_load_attempt(self, name: str, snapshot: VersionSnapshot) -> Iterator[None]:
        """Return a context in which the plan names the version that this process is loading.

        If the process dies meanwhile, the other workers know which version it was loading.

        Args:
            name: Name of the model.
            snapshot: Version that is loaded.
        """
        attempt = LoadAttempt(key=f"{name}/{snapshot.version}", fingerprint=snapshot.fingerprint)
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            plan.load_attempts[os.getpid()] = attempt
        try:
            yield
        finally:
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                plan.load_attempts.pop(os.getpid(), None)
                plan.crash_counts.get(attempt.key, {}).pop(attempt.fingerprint, None)

    def clear_load_attempt(self) -> None:
        """Remove this process's load attempt, so that its normal exit does not count as a crash."""
        if os.getpid() in self.read_plan().load_attempts:
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                plan.load_attempts.pop(os.getpid(), None)

    def refuse_crashing_versions(self) -> list[str]:
        """Count the workers that died while they loaded a version, and refuse it if too many did.

        Returns:
            Names of the models whose versions were being loaded by workers that died.
        """
        if not self.read_plan().load_attempts:
            return []
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            live_pids = self.shared_state.filter_alive(plan.load_attempts)
            crashes = [
                plan.load_attempts.pop(pid) for pid in [*plan.load_attempts] if pid not in live_pids
            ]
            for attempt in crashes:
                counts = plan.crash_counts.setdefault(attempt.key, {})
                counts[attempt.fingerprint] = counts.get(attempt.fingerprint, 0) + 1
                if counts[attempt.fingerprint] >= MAX_CRASHES:
                    self._refuse_after_crashes(plan, attempt, counts[attempt.fingerprint])
        return [attempt.key.partition("/")[0] for attempt in crashes]

    def _refuse_after_crashes(self, plan: RolloutPlan, attempt: LoadAttempt, count: int) -> None:
        name, _, version = attempt.key.partition("/")
        snapshot = VersionSnapshot(version=int(version), fingerprint=attempt.fingerprint)
        is_served = any(map(snapshot.has_same_content, plan.served_versions.get(name, [])))
        plan.exclusions.setdefault(attempt.key, {})[attempt.fingerprint] = Refusal(
            reason=(
                f"expected a version that can be loaded; got {count} workers that ended while "
                f"they loaded it; replace its files, or load it again if they were killed for "
                f"another reason"
            ),
            retry_at=self.clock() + SERVED_RETRY_SECONDS if is_served else None,
        )

    @contextmanager
    def _edit_own_rollout(self, name: str) -> Iterator[Rollout]:
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            rollout = plan.rollouts.get(name)
            if rollout is not None and rollout.leader_pid == os.getpid():
                yield rollout
            else:  # The rollout was dropped meanwhile, so the caller's changes are discarded.
                yield Rollout(leader_pid=os.getpid(), renewed_at=0)

    @contextmanager
    def _edit_plan(self) -> Iterator[RolloutPlan]:
        """Return a context that writes the plan at its end. The caller must hold `lock_text`."""
        _, text = self.shared_state.read_text()
        plan = RolloutPlan.model_validate_json(text or "{}")
        yield plan
        changed = plan.model_dump_json()
        if changed != text:
            self.shared_state.write_text(changed)


def _is_sole_model_undecided(plan: RolloutPlan) -> bool:
    return plan.implicit_default is None and len(plan.served_versions) == 1 and not plan.rollouts


def _drop_holds(plan: RolloutPlan, name: str, live_fingerprint: str | None = None) -> None:
    """Remove the holds of a model's versions.

    Args:
        plan: Plan to change.
        name: Name of the model.
        live_fingerprint: Fingerprint of the live version. Versions held because they are
            incompatible with it stay held.
    """
    for key, exclusions in plan.exclusions.items():
        if key.rpartition("/")[0] == name:
            plan.exclusions[key] = {
                fingerprint: exclusion
                for fingerprint, exclusion in exclusions.items()
                if isinstance(exclusion, Refusal) or exclusion.live_fingerprint == live_fingerprint
            }
    _drop_empty_entries(plan)


def _drop_empty_entries(plan: RolloutPlan) -> None:
    """Remove the versions of the plan that are neither refused nor held any more."""
    plan.exclusions = {key: found for key, found in plan.exclusions.items() if found}
