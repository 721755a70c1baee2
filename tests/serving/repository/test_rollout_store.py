"""The plan, in several processes."""

import os
import signal

import pytest

from serving.repository import rollout as plan
from serving.repository.rollout import Refusal, VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime.variant_selection import VariantDecision
from tests.serving.repository.test_shared_state import answer, forked

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("processes"),  # other members are forked
]

DECISION = VariantDecision(variant="fp32", reason="it is the fastest")
ONE = VersionSnapshot(version=1, fingerprint="a", variant_decision=DECISION)
TWO = VersionSnapshot(version=2, fingerprint="b", variant_decision=DECISION)


@pytest.fixture
def agenda():
    found = RolloutStore(SharedState())
    found.join()
    return found


def other(agenda, action):
    """What another member does, which then goes on living; and the end of it."""
    done, do = os.pipe()

    def live():
        agenda.join()
        action()
        os.write(do, b"!")
        signal.pause()
        return ""

    pid, read = forked(live)
    assert os.read(done, 1) == b"!"
    for end in (done, do, read):
        os.close(end)

    def kill():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    return kill


def test_what_all_have_proved_is_committed(agenda):
    assert agenda.claim_rollout("digits")
    agenda.propose("digits", [ONE])
    assert agenda.is_ready_everywhere("digits")
    agenda.commit("digits")
    assert (agenda.read().lines, agenda.read().rollouts) == ({"digits": [ONE]}, {})


def test_another_member_is_waited_for_until_it_is_ready(agenda):
    assert agenda.claim_rollout("digits")
    agenda.propose("digits", [ONE])
    end = other(agenda, lambda: None)
    assert not agenda.is_ready_everywhere("digits")
    end()
    end = other(agenda, lambda: agenda.report_ready("digits", [ONE]))
    assert agenda.is_ready_everywhere("digits")
    end()


def test_one_that_died_is_not_waited_for(agenda):
    end = other(agenda, lambda: None)
    assert agenda.claim_rollout("digits")
    agenda.propose("digits", [ONE])
    assert not agenda.is_ready_everywhere("digits")
    end()
    assert agenda.is_ready_everywhere("digits")
    assert agenda.read().members == [os.getpid()]


def test_one_that_was_not_there_when_it_began_is_waited_for_too(agenda):
    agenda.claim_rollout("digits")
    agenda.propose("digits", [ONE])
    assert agenda.is_ready_everywhere("digits")
    end = other(agenda, lambda: None)
    assert not agenda.is_ready_everywhere("digits")
    end()


def test_what_another_refuses_no_one_serves(agenda):
    agenda.claim_rollout("digits")
    agenda.propose("digits", [TWO, ONE])
    end = other(agenda, lambda: agenda.refuse("digits", ONE, Refusal(reason="it is not right")))
    assert not agenda.is_proposal_pending("digits", [TWO, ONE])
    agenda.commit("digits")
    assert agenda.read().lines == {}
    assert agenda.read().reason("digits", ONE) == "it is not right"
    assert agenda.read().reason("digits", TWO) is None
    end()
    agenda.forgive([("digits/1", "a"), ("digits/9", "a")])
    assert agenda.read().refused == {}


def test_a_model_is_claimed_once(agenda):
    end = other(agenda, lambda: agenda.claim_rollout("digits"))
    assert not agenda.claim_rollout("digits")
    assert agenda.claim_rollout("letters")
    agenda.withdraw_rollout("digits")  # which is not its own
    agenda.propose("digits", [ONE])
    agenda.commit("digits")
    assert agenda.read().rollouts["digits"].versions is None
    assert agenda.clear() == []
    end()
    assert agenda.clear() == ["digits"]  # with the process that claimed it
    assert agenda.claim_rollout("digits")


def test_a_rollout_that_takes_too_long_ends(agenda, monkeypatch):
    agenda.claim_rollout("digits")
    assert agenda.clear() == []
    monkeypatch.setattr(plan, "ROLLOUT_TIMEOUT_SECONDS", 0)
    assert agenda.clear() == ["digits"]
    assert agenda.read().rollouts == {}


def test_who_is_ready_for_something_else_does_not_count(agenda):
    agenda.claim_rollout("digits")
    agenda.propose("digits", [TWO])
    end = other(agenda, lambda: agenda.report_ready("digits", [ONE]))
    assert not agenda.is_ready_everywhere("digits")
    end()


def test_serving_none_is_a_line_too(agenda):
    for line in ([ONE], []):
        agenda.claim_rollout("digits")
        agenda.propose("digits", line)
        agenda.commit("digits")
    assert agenda.read().lines == {}


def test_the_plan_does_not_grow_over_many_rollouts(agenda):
    sizes = []
    for number in range(1, 301):
        edition = VersionSnapshot(version=number, fingerprint=f"{number:016}", variant_decision=DECISION)
        agenda.claim_rollout("digits")
        agenda.propose("digits", [edition])
        agenda.commit("digits")
        sizes.append(len(agenda.ledger.read()[1]))
    assert max(sizes) - min(sizes) < 10
    assert answer(
        forked(lambda: str(RolloutStore(agenda.ledger).read().lines["digits"][0].version))
    ) == ("300")


def die_loading(agenda, edition):
    """Another member begins to load an edition, and is killed meanwhile."""
    attempt = agenda.record_load_attempt("digits", edition)
    other(agenda, attempt.__enter__)()


def test_count_deaths_one_worker_died_loading_is_forgiven(agenda):
    die_loading(agenda, TWO)
    assert agenda.refuse_crashing_versions() == ["digits"]
    assert agenda.read().refused == {}
    assert agenda.refuse_crashing_versions() == []


def test_count_deaths_two_workers_died_loading_refuses_that_content(agenda):
    for _ in range(2):
        die_loading(agenda, TWO)
        agenda.refuse_crashing_versions()
    assert "got 2 workers that ended while they loaded it" in agenda.read().reason("digits", TWO)
    assert agenda.read().reason("digits", TWO.model_copy(update={"fingerprint": "new"})) is None


def test_count_deaths_a_worker_that_loaded_it_clears_the_count(agenda):
    die_loading(agenda, TWO)
    agenda.refuse_crashing_versions()
    with agenda.record_load_attempt("digits", TWO):
        assert agenda.refuse_crashing_versions() == []  # this process lives
    die_loading(agenda, TWO)
    agenda.refuse_crashing_versions()
    assert agenda.read().refused == {}


def test_claim_of_this_process_without_a_proposal_goes_on(agenda):
    assert agenda.claim_rollout("digits")
    assert agenda.claim_rollout("digits")
    agenda.propose("digits", [ONE])
    assert not agenda.claim_rollout("digits")
