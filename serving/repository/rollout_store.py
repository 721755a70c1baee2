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
        ledger: holds the plan.
        clock: Seconds of a clock that all workers have in common.
    """

    def __init__(self, ledger: SharedState, clock: Callable[[], float] = time.monotonic) -> None:
        self.ledger, self.clock, self._turn, self._plan = ledger, clock, -1, RolloutPlan()

    def read(self) -> RolloutPlan:
        """The plan as it is now; not to be changed."""
        if self.ledger.turn != self._turn:
            self._turn, text = self.ledger.read()
            self._plan = RolloutPlan.model_validate_json(text or "{}")
        return self._plan

    def join(self) -> None:
        """Have rollouts wait for this process too."""
        with self.ledger.lock_text():
            self.ledger.join()
            with self._changed() as plan:
                plan.members = [*self.ledger.filter_alive(plan.members), os.getpid()]

    def is_oldest_worker(self) -> bool:
        """Return whether this process is the oldest that serves, which logs what concerns all."""
        with self.ledger.lock_text():
            return self.ledger.filter_alive(self.read().members)[:1] == [os.getpid()]

    def record_implicit_default(self) -> None:
        """Remember the model that is served alone, if it is the first and no other is to come."""
        plan = self.read()
        if plan.alone is None and len(plan.lines) == 1 and not plan.rollouts:
            with self.ledger.lock_text(), self._changed() as plan:
                if plan.alone is None and len(plan.lines) == 1 and not plan.rollouts:
                    (plan.alone,) = plan.lines

    def restore_implicit_default(self, name: str) -> None:
        """Remember the model that was served alone before a restart, if none is served yet."""
        with self.ledger.lock_text(), self._changed() as plan:
            if plan.alone is None and not plan.lines:
                plan.alone = name

    def claim_rollout(self, name: str) -> bool:
        """Begin a rollout of a model; False if there is one already.

        One that this process has begun, and proposed nothing for yet, goes on.
        """
        if self.has_claim(name):
            return True
        with self.ledger.lock_text(), self._changed() as plan:
            if name in plan.rollouts:
                return False
            plan.rollouts[name] = Rollout(by=os.getpid(), since=self.clock())
            return True

    def renew_claim(self, name: str) -> None:
        """Have the others wait on for a rollout that this process has begun."""
        if self.has_claim(name):
            if self.clock() - self.read().rollouts[name].since < ROLLOUT_TIMEOUT_SECONDS / 4:
                return
            with self._own(name) as rollout:
                rollout.since = self.clock()

    def has_claim(self, name: str) -> bool:
        """Return whether this process has begun a rollout, and proposed nothing yet."""
        rollout = self.read().rollouts.get(name)
        return rollout is not None and rollout.by == os.getpid() and rollout.versions is None

    def propose(self, name: str, line: ServedVersions) -> None:
        """Tell the others of a line that is proved here."""
        with self._own(name) as rollout:
            rollout.versions, rollout.since = line, self.clock()
            rollout.ready = [os.getpid()]

    def report_ready(self, name: str, line: ServedVersions) -> None:
        """Tell who proposed this line that it is proved here too."""
        with self.ledger.lock_text(), self._changed() as plan:
            rollout = plan.rollouts.get(name)
            if (
                rollout is not None
                and rollout.versions == line
                and os.getpid() not in rollout.ready
            ):
                rollout.ready.append(os.getpid())

    def is_ready_everywhere(self, name: str) -> bool:
        """Whether every living member has proved what this process proposed."""
        rollout = self.read().rollouts[name]
        if set(rollout.ready) >= set(self.read().members):
            return True
        with self.ledger.lock_text(), self._changed() as plan:
            plan.members = self.ledger.filter_alive(plan.members)
            return set(rollout.ready) >= set(plan.members)

    def commit(self, name: str) -> None:
        """Have all serve what this process proposed."""
        with self.ledger.lock_text(), self._changed() as plan:
            rollout = plan.rollouts.get(name)
            if rollout is None or rollout.by != os.getpid() or rollout.versions is None:
                return
            del plan.rollouts[name]
            if rollout.versions:
                plan.lines[name] = rollout.versions
                _drop_holds(plan, name, rollout.versions[0].stamp)
            else:
                plan.lines.pop(name, None)

    def withdraw_rollout(self, name: str) -> None:
        """End a rollout of this process, if there is one; nothing changes."""
        if name not in self.read().rollouts:
            return
        with self.ledger.lock_text(), self._changed() as plan:
            if name in plan.rollouts and plan.rollouts[name].by == os.getpid():
                del plan.rollouts[name]

    def refuse(self, name: str, edition: VersionSnapshot, refusal: Refusal) -> None:
        """Have no one serve an edition, and end the rollout that it is in."""
        with self.ledger.lock_text(), self._changed() as plan:
            plan.refused.setdefault(f"{name}/{edition.version}", {})[edition.stamp] = refusal
            rollout = plan.rollouts.get(name)
            if rollout is not None and any(edition.same(e) for e in rollout.versions or []):
                del plan.rollouts[name]

    def release(self, name: str) -> None:
        """Have the versions of a model that are held considered again."""
        if any(key.rpartition("/")[0] == name for key in self.read().reasons(is_held=True)):
            with self.ledger.lock_text(), self._changed() as plan:
                _drop_holds(plan, name)

    @contextmanager
    def record_load_attempt(self, name: str, edition: VersionSnapshot) -> Iterator[None]:
        """Say that this process loads an edition, for the case that it does not survive that."""
        found = LoadAttempt(key=f"{name}/{edition.version}", stamp=edition.stamp)
        with self.ledger.lock_text(), self._changed() as plan:
            plan.attempts[os.getpid()] = found
        try:
            yield
        finally:
            with self.ledger.lock_text(), self._changed() as plan:
                plan.attempts.pop(os.getpid(), None)
                plan.crash_counts.get(found.key, {}).pop(found.stamp, None)

    def clear_load_attempt(self) -> None:
        """Say that this process, which ends for another reason, does not die of what it loads."""
        if os.getpid() in self.read().attempts:
            with self.ledger.lock_text(), self._changed() as plan:
                plan.attempts.pop(os.getpid(), None)

    def refuse_crashing_versions(self) -> list[str]:
        """Refuse editions that too many processes did not survive; the names of their models."""
        if not self.read().attempts:
            return []
        with self.ledger.lock_text(), self._changed() as plan:
            living = self.ledger.filter_alive(plan.attempts)
            dead = [plan.attempts.pop(pid) for pid in [*plan.attempts] if pid not in living]
            for attempt in dead:
                counts = plan.crash_counts.setdefault(attempt.key, {})
                counts[attempt.stamp] = counts.get(attempt.stamp, 0) + 1
                if counts[attempt.stamp] >= MAX_CRASHES:
                    reason = (
                        f"expected a version that can be loaded; got {counts[attempt.stamp]} "
                        f"workers that ended while they loaded it; replace its files, or load it "
                        f"again if they were killed for another reason"
                    )
                    name, _, version = attempt.key.partition("/")
                    edition = VersionSnapshot(version=int(version), stamp=attempt.stamp)
                    is_served = any(edition.same(other) for other in plan.lines.get(name, []))
                    until = self.clock() + SERVED_RETRY_SECONDS if is_served else None
                    found = Refusal(reason=reason, retry_at=until)
                    plan.refused.setdefault(attempt.key, {})[attempt.stamp] = found
        return [attempt.key.partition("/")[0] for attempt in dead]

    def is_proposal_pending(self, name: str, line: ServedVersions) -> bool:
        """Whether this process's proposal still stands."""
        rollout = self.read().rollouts.get(name)
        return rollout is not None and rollout.by == os.getpid() and rollout.versions == line

    def forgive(self, gone: Collection[tuple[str, str]]) -> None:
        """Forget that editions, by `name/version` and stamp, were refused."""
        if not gone:
            return
        with self.ledger.lock_text(), self._changed() as plan:
            for key, stamp in gone:
                plan.refused.get(key, {}).pop(stamp, None)
                plan.crash_counts.pop(key, None)
            plan.refused = {key: reasons for key, reasons in plan.refused.items() if reasons}

    def clear(self) -> list[str]:
        """End rollouts whose process died, and those that take too long; the models' names."""
        plan, now = self.read(), self.clock()
        if not plan.rollouts:
            return []
        with self.ledger.lock_text():
            living = self.ledger.filter_alive({rollout.by for rollout in plan.rollouts.values()})
            stale = [
                name
                for name, rollout in plan.rollouts.items()
                if rollout.by not in living or now - rollout.since > ROLLOUT_TIMEOUT_SECONDS
            ]
            if stale:
                with self._changed() as current:
                    current.rollouts = {
                        name: rollout
                        for name, rollout in current.rollouts.items()
                        if name not in stale or rollout != plan.rollouts[name]
                    }
            return stale

    @contextmanager
    def _own(self, name: str) -> Iterator[Rollout]:
        with self.ledger.lock_text(), self._changed() as plan:
            rollout = plan.rollouts.get(name)
            if rollout is not None and rollout.by == os.getpid():
                yield rollout
            else:
                yield Rollout(by=os.getpid(), since=0)  # taken away meanwhile: nothing changes

    @contextmanager
    def _changed(self) -> Iterator[RolloutPlan]:
        """The plan to be changed; only within `writing`."""
        _, text = self.ledger.read()
        plan = RolloutPlan.model_validate_json(text or "{}")
        yield plan
        changed = plan.model_dump_json()
        if changed != text:
            self.ledger.write(changed)


def _drop_holds(plan: RolloutPlan, name: str, but_against: str | None = None) -> None:
    """Forget which versions of a model are held, except against the content of that stamp."""
    for key, found in plan.refused.items():
        if key.rpartition("/")[0] == name:
            kept = {s: r for s, r in found.items() if r.live_fingerprint in (None, but_against)}
            plan.refused[key] = kept
    plan.refused = {key: found for key, found in plan.refused.items() if found}
