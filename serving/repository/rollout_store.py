"""The rollout plan in memory that all workers share, as one of them reads and changes it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from serving.repository.rollout import (
    LoadAttempt,
    Refusal,
    Rollout,
    RolloutPlan,
    ServedVersions,
    VersionSnapshot,
)
from serving.repository.shared_state import SharedState

# Seconds in which a worker is to have proved a version: more than the 30 after which gunicorn takes
# one that hangs for dead, so that no rollout waits for it in vain.
ROLLOUT_TIMEOUT_SECONDS = 60.0
# One may be killed for another reason, as by an operator; a version that kills two is refused.
MAX_CRASHES = 2
SERVED_RETRY_SECONDS = 600.0  # seconds until one that had been served before is tried again


class RolloutStore:
    """The plan as one of the workers sees and changes it.

    Attributes:
        shared_state: holds the plan.
        clock: Seconds of a clock that all workers have in common.
    """

    def __init__(self, ledger: SharedState, clock: Callable[[], float] = time.monotonic) -> None:
        self.shared_state, self.clock, self._turn, self._plan = ledger, clock, -1, RolloutPlan()

    def read_plan(self) -> RolloutPlan:
        """The plan as it is now; not to be changed."""
        if self.shared_state.revision != self._turn:
            self._turn, text = self.shared_state.read_text()
            self._plan = RolloutPlan.model_validate_json(text or "{}")
        return self._plan

    def register_worker(self) -> None:
        """Have rollouts wait for this process too."""
        with self.shared_state.lock_text():
            self.shared_state.register_process()
            with self._edit_plan() as plan:
                plan.worker_pids = [*self.shared_state.filter_alive(plan.worker_pids), os.getpid()]

    def is_oldest_worker(self) -> bool:
        """Return whether this process is the oldest that serves, which logs what concerns all."""
        with self.shared_state.lock_text():
            return self.shared_state.filter_alive(self.read_plan().worker_pids)[:1] == [os.getpid()]

    def record_implicit_default(self) -> None:
        """Remember the model that is served alone, if it is the first and no other is to come."""
        plan = self.read_plan()
        if plan.implicit_default is None and len(plan.served_versions) == 1 and not plan.rollouts:
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                if (
                    plan.implicit_default is None
                    and len(plan.served_versions) == 1
                    and not plan.rollouts
                ):
                    (plan.implicit_default,) = plan.served_versions

    def restore_implicit_default(self, name: str) -> None:
        """Remember the model that was served alone before a restart, if none is served yet."""
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            if plan.implicit_default is None and not plan.served_versions:
                plan.implicit_default = name

    def claim_rollout(self, name: str) -> bool:
        """Begin a rollout of a model; False if there is one already.

        One that this process has begun, and proposed nothing for yet, goes on.
        """
        if self.has_claim(name):
            return True
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            if name in plan.rollouts:
                return False
            plan.rollouts[name] = Rollout(leader_pid=os.getpid(), renewed_at=self.clock())
            return True

    def renew_claim(self, name: str) -> None:
        """Have the others wait on for a rollout that this process has begun."""
        if self.has_claim(name):
            if (
                self.clock() - self.read_plan().rollouts[name].renewed_at
                < ROLLOUT_TIMEOUT_SECONDS / 4
            ):
                return
            with self._edit_own_rollout(name) as rollout:
                rollout.renewed_at = self.clock()

    def has_claim(self, name: str) -> bool:
        """Return whether this process has begun a rollout, and proposed nothing yet."""
        rollout = self.read_plan().rollouts.get(name)
        return (
            rollout is not None and rollout.leader_pid == os.getpid() and rollout.versions is None
        )

    def propose_versions(self, name: str, line: ServedVersions) -> None:
        """Tell the others of a line that is proved here."""
        with self._edit_own_rollout(name) as rollout:
            rollout.versions, rollout.renewed_at = line, self.clock()
            rollout.ready_pids = [os.getpid()]

    def report_ready(self, name: str, line: ServedVersions) -> None:
        """Tell who proposed this line that it is proved here too."""
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            rollout = plan.rollouts.get(name)
            if (
                rollout is not None
                and rollout.versions == line
                and os.getpid() not in rollout.ready_pids
            ):
                rollout.ready_pids.append(os.getpid())

    def is_ready_everywhere(self, name: str) -> bool:
        """Whether every living member has proved what this process proposed."""
        rollout = self.read_plan().rollouts[name]
        if set(rollout.ready_pids) >= set(self.read_plan().worker_pids):
            return True
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            plan.worker_pids = self.shared_state.filter_alive(plan.worker_pids)
            return set(rollout.ready_pids) >= set(plan.worker_pids)

    def commit_rollout(self, name: str) -> None:
        """Have all serve what this process proposed."""
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
        """End a rollout of this process, if there is one; nothing changes."""
        if name not in self.read_plan().rollouts:
            return
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            if name in plan.rollouts and plan.rollouts[name].leader_pid == os.getpid():
                del plan.rollouts[name]

    def refuse_version(self, name: str, edition: VersionSnapshot, refusal: Refusal) -> None:
        """Have no one serve an edition, and end the rollout that it is in."""
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            plan.refusals.setdefault(f"{name}/{edition.version}", {})[edition.fingerprint] = refusal
            rollout = plan.rollouts.get(name)
            if rollout is not None and any(
                edition.has_same_content(e) for e in rollout.versions or []
            ):
                del plan.rollouts[name]

    def release_held_versions(self, name: str) -> None:
        """Have the versions of a model that are held considered again."""
        if any(
            key.rpartition("/")[0] == name
            for key in self.read_plan().list_refusal_reasons(is_held=True)
        ):
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                _drop_holds(plan, name)

    @contextmanager
    def record_load_attempt(self, name: str, edition: VersionSnapshot) -> Iterator[None]:
        """Say that this process loads an edition, for the case that it does not survive that."""
        found = LoadAttempt(key=f"{name}/{edition.version}", fingerprint=edition.fingerprint)
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            plan.load_attempts[os.getpid()] = found
        try:
            yield
        finally:
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                plan.load_attempts.pop(os.getpid(), None)
                plan.crash_counts.get(found.key, {}).pop(found.fingerprint, None)

    def clear_load_attempt(self) -> None:
        """Say that this process, which ends for another reason, does not die of what it loads."""
        if os.getpid() in self.read_plan().load_attempts:
            with self.shared_state.lock_text(), self._edit_plan() as plan:
                plan.load_attempts.pop(os.getpid(), None)

    def refuse_crashing_versions(self) -> list[str]:
        """Refuse editions that too many processes did not survive; the names of their models."""
        if not self.read_plan().load_attempts:
            return []
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            living = self.shared_state.filter_alive(plan.load_attempts)
            dead = [
                plan.load_attempts.pop(pid) for pid in [*plan.load_attempts] if pid not in living
            ]
            for attempt in dead:
                counts = plan.crash_counts.setdefault(attempt.key, {})
                counts[attempt.fingerprint] = counts.get(attempt.fingerprint, 0) + 1
                if counts[attempt.fingerprint] >= MAX_CRASHES:
                    reason = (
                        f"expected a version that can be loaded; got {counts[attempt.fingerprint]} "
                        f"workers that ended while they loaded it; replace its files, or load it "
                        f"again if they were killed for another reason"
                    )
                    name, _, version = attempt.key.partition("/")
                    edition = VersionSnapshot(version=int(version), fingerprint=attempt.fingerprint)
                    is_served = any(
                        edition.has_same_content(other)
                        for other in plan.served_versions.get(name, [])
                    )
                    until = self.clock() + SERVED_RETRY_SECONDS if is_served else None
                    found = Refusal(reason=reason, retry_at=until)
                    plan.refusals.setdefault(attempt.key, {})[attempt.fingerprint] = found
        return [attempt.key.partition("/")[0] for attempt in dead]

    def is_proposal_pending(self, name: str, line: ServedVersions) -> bool:
        """Whether this process's proposal still stands."""
        rollout = self.read_plan().rollouts.get(name)
        return (
            rollout is not None and rollout.leader_pid == os.getpid() and rollout.versions == line
        )

    def clear_refusals(self, gone: Collection[tuple[str, str]]) -> None:
        """Forget that editions, by `name/version` and stamp, were refused."""
        if not gone:
            return
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            for key, stamp in gone:
                plan.refusals.get(key, {}).pop(stamp, None)
                plan.crash_counts.pop(key, None)
            plan.refusals = {key: reasons for key, reasons in plan.refusals.items() if reasons}

    def drop_stale_rollouts(self) -> list[str]:
        """End rollouts whose process died, and those that take too long; the models' names."""
        plan, now = self.read_plan(), self.clock()
        if not plan.rollouts:
            return []
        with self.shared_state.lock_text():
            living = self.shared_state.filter_alive(
                {rollout.leader_pid for rollout in plan.rollouts.values()}
            )
            stale = [
                name
                for name, rollout in plan.rollouts.items()
                if rollout.leader_pid not in living
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

    @contextmanager
    def _edit_own_rollout(self, name: str) -> Iterator[Rollout]:
        with self.shared_state.lock_text(), self._edit_plan() as plan:
            rollout = plan.rollouts.get(name)
            if rollout is not None and rollout.leader_pid == os.getpid():
                yield rollout
            else:
                yield Rollout(
                    leader_pid=os.getpid(), renewed_at=0
                )  # taken away meanwhile: nothing changes

    @contextmanager
    def _edit_plan(self) -> Iterator[RolloutPlan]:
        """The plan to be changed; only within `writing`."""
        _, text = self.shared_state.read_text()
        plan = RolloutPlan.model_validate_json(text or "{}")
        yield plan
        changed = plan.model_dump_json()
        if changed != text:
            self.shared_state.write_text(changed)


def _drop_holds(plan: RolloutPlan, name: str, but_against: str | None = None) -> None:
    """Forget which versions of a model are held, except against the content of that stamp."""
    for key, found in plan.refusals.items():
        if key.rpartition("/")[0] == name:
            kept = {s: r for s, r in found.items() if r.live_fingerprint in (None, but_against)}
            plan.refusals[key] = kept
    plan.refusals = {key: found for key, found in plan.refusals.items() if found}
