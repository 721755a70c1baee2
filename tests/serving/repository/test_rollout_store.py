"""The rollout plan that several processes share."""

import os
import signal

import pytest

from serving.repository import rollout_store
from serving.repository.rollout import Refusal, VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime.variant_selection import VariantDecision
from tests.serving.repository.test_shared_state import forked, read_output

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("processes"),  # Other workers are forked.
]

DECISION = VariantDecision(variant="fp32", reason="it is the fastest")
ONE = VersionSnapshot(version=1, fingerprint="a", variant_decision=DECISION)
TWO = VersionSnapshot(version=2, fingerprint="b", variant_decision=DECISION)


@pytest.fixture
def store():
    store = RolloutStore(SharedState())
    store.register_worker()
    return store


def start_worker(store, action):
    """Fork a worker that calls `action` and then waits. Return a function that kills it."""
    done_reader, done_writer = os.pipe()

    def live():
        store.register_worker()
        action()
        os.write(done_writer, b"!")
        signal.pause()
        return ""

    pid, output_reader = forked(live)
    assert os.read(done_reader, 1) == b"!"
    for descriptor in (done_reader, done_writer, output_reader):
        os.close(descriptor)

    def kill():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    return kill


def test_commit_rollout_all_workers_ready_is_served(store):
    assert store.claim_rollout("digits")
    store.propose_versions("digits", [ONE])
    assert store.is_ready_everywhere("digits")
    store.commit_rollout("digits")
    plan = store.read_plan()
    assert (plan.served_versions, plan.rollouts) == ({"digits": [ONE]}, {})


def test_is_ready_everywhere_waits_for_other_worker(store):
    assert store.claim_rollout("digits")
    store.propose_versions("digits", [ONE])
    kill = start_worker(store, lambda: None)
    assert not store.is_ready_everywhere("digits")
    kill()
    kill = start_worker(store, lambda: store.report_ready("digits", [ONE]))
    assert store.is_ready_everywhere("digits")
    kill()


def test_is_ready_everywhere_ignores_dead_worker(store):
    kill = start_worker(store, lambda: None)
    assert store.claim_rollout("digits")
    store.propose_versions("digits", [ONE])
    assert not store.is_ready_everywhere("digits")
    kill()
    assert store.is_ready_everywhere("digits")
    assert store.read_plan().worker_pids == [os.getpid()]


def test_is_ready_everywhere_waits_for_worker_that_started_later(store):
    store.claim_rollout("digits")
    store.propose_versions("digits", [ONE])
    assert store.is_ready_everywhere("digits")
    kill = start_worker(store, lambda: None)
    assert not store.is_ready_everywhere("digits")
    kill()


def test_exclude_version_proposal_of_another_worker_ends_rollout(store):
    store.claim_rollout("digits")
    store.propose_versions("digits", [TWO, ONE])
    kill = start_worker(
        store, lambda: store.exclude_version("digits", ONE, Refusal(reason="it is damaged"))
    )
    assert not store.is_proposal_pending("digits", [TWO, ONE])
    store.commit_rollout("digits")
    assert store.read_plan().served_versions == {}
    assert store.read_plan().get_exclusion_reason("digits", ONE) == "it is damaged"
    assert store.read_plan().get_exclusion_reason("digits", TWO) is None
    kill()
    store.clear_exclusions([("digits/1", "a"), ("digits/9", "a")])
    assert store.read_plan().exclusions == {}


def test_claim_rollout_of_claimed_model_fails_until_leader_dies(store):
    kill = start_worker(store, lambda: store.claim_rollout("digits"))
    assert not store.claim_rollout("digits")
    assert store.claim_rollout("letters")
    store.withdraw_rollout("digits")  # It leads no rollout of digits, so nothing happens.
    store.propose_versions("digits", [ONE])
    store.commit_rollout("digits")
    assert store.read_plan().rollouts["digits"].versions is None
    assert store.drop_stale_rollouts() == []
    kill()
    assert store.drop_stale_rollouts() == ["digits"]  # The process that claimed it is dead.
    assert store.claim_rollout("digits")


def test_drop_stale_rollouts_after_timeout_ends_rollout(store, monkeypatch):
    store.claim_rollout("digits")
    assert store.drop_stale_rollouts() == []
    monkeypatch.setattr(rollout_store, "ROLLOUT_TIMEOUT_SECONDS", 0)
    assert store.drop_stale_rollouts() == ["digits"]
    assert store.read_plan().rollouts == {}


def test_report_ready_other_versions_does_not_count(store):
    store.claim_rollout("digits")
    store.propose_versions("digits", [TWO])
    kill = start_worker(store, lambda: store.report_ready("digits", [ONE]))
    assert not store.is_ready_everywhere("digits")
    kill()


def test_commit_rollout_without_versions_unloads_model(store):
    for versions in ([ONE], []):
        store.claim_rollout("digits")
        store.propose_versions("digits", versions)
        store.commit_rollout("digits")
    assert store.read_plan().served_versions == {}


def test_plan_size_does_not_grow_over_many_rollouts(store):
    sizes = []
    for number in range(1, 301):
        snapshot = VersionSnapshot(
            version=number, fingerprint=f"{number:016}", variant_decision=DECISION
        )
        store.claim_rollout("digits")
        store.propose_versions("digits", [snapshot])
        store.commit_rollout("digits")
        sizes.append(len(store.shared_state.read_text()[1]))
    assert max(sizes) - min(sizes) < 10

    def read_version():
        plan = RolloutStore(store.shared_state).read_plan()
        return str(plan.served_versions["digits"][0].version)

    assert read_output(forked(read_version)) == "300"


def kill_worker_while_loading(store, snapshot):
    """Let another worker die while it loads a version."""
    attempt = store.record_load_attempt("digits", snapshot)
    start_worker(store, attempt.__enter__)()


def test_refuse_crashing_versions_one_crash_is_tolerated(store):
    kill_worker_while_loading(store, TWO)
    assert store.refuse_crashing_versions() == ["digits"]
    assert store.read_plan().exclusions == {}
    assert store.refuse_crashing_versions() == []


def test_refuse_crashing_versions_two_crashes_refuse_that_content(store):
    for _ in range(2):
        kill_worker_while_loading(store, TWO)
        store.refuse_crashing_versions()
    plan = store.read_plan()
    reason = plan.get_exclusion_reason("digits", TWO)
    assert "got 2 workers that ended while they loaded it" in reason
    other_content = TWO.model_copy(update={"fingerprint": "new"})
    assert plan.get_exclusion_reason("digits", other_content) is None


def test_refuse_crashing_versions_successful_load_clears_count(store):
    kill_worker_while_loading(store, TWO)
    store.refuse_crashing_versions()
    with store.record_load_attempt("digits", TWO):
        assert store.refuse_crashing_versions() == []  # This process is alive.
    kill_worker_while_loading(store, TWO)
    store.refuse_crashing_versions()
    assert store.read_plan().exclusions == {}


def test_claim_rollout_repeated_before_proposal_succeeds(store):
    assert store.claim_rollout("digits")
    assert store.claim_rollout("digits")
    store.propose_versions("digits", [ONE])
    assert not store.claim_rollout("digits")
