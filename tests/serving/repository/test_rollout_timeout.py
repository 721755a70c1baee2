"""What an administrator asks for while another worker neither proves a version nor refuses it."""

import os
import signal
import socket

import pytest

from benchmarks.keys import HEADERS, keys_file
from serving import create_app
from serving.errors import NoAgreementError
from serving.repository import Repository
from serving.repository.overrides import StateFile
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime.proof_server import PendingProof
from tests.bundle_versions import add_version
from tests.serving.repository.test_rollout_store import other

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("processes"),  # the other worker is forked
]


class Clock:
    """Seconds that pass by themselves once a test says so: some at every look."""

    def __init__(self):
        self.now, self.step = 1000.0, 0.0

    def __call__(self):
        self.now += self.step
        assert self.now < 10_000, "still waiting"
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def two_versions(only_digits):
    add_version(only_digits, 2)
    return only_digits


@pytest.fixture
def ledger():
    return SharedState()


@pytest.fixture
def silent_worker(ledger):
    """Start another worker that lives, and proves nothing; it ends with the test."""
    ends = []

    def start():
        ends.append(other(RolloutStore(ledger), lambda: None))

    yield start
    for end in ends:
        end()


ASKED = {
    "load": lambda repository: repository.load_model("digits"),
    "unload": lambda repository: repository.unload_model("digits"),
    "rollback": lambda repository: repository.roll_back("digits"),
}


@pytest.mark.parametrize("what", ASKED)
def test_ask_other_worker_silent_changes_nothing(what, two_versions, ledger, clock, silent_worker):
    repository = Repository(two_versions, shared_state=ledger, poll=0, clock=clock)
    add_version(two_versions, 3)  # for `load`
    before = repository.find_model("digits"), state(two_versions), RolloutStore(ledger).read().lines
    silent_worker()
    clock.step = 1.0
    with pytest.raises(
        NoAgreementError,
        match=r"expected every worker to prove digits in time; "
        r"one neither did nor refused it; nothing was changed; try again",
    ):
        ASKED[what](repository)
    repository.reconcile_once()
    after = repository.find_model("digits"), state(two_versions), RolloutStore(ledger).read().lines
    assert after == before
    assert RolloutStore(ledger).read().rollouts == {}
    assert repository.refusal_reasons == repository.hold_reasons == {}


def test_ask_other_worker_gone_is_done(two_versions, ledger, clock, silent_worker):
    repository = Repository(two_versions, shared_state=ledger, poll=0, clock=clock)
    silent_worker()
    clock.step = 1.0
    with pytest.raises(NoAgreementError):
        repository.roll_back("digits")
    (silent,) = set(RolloutStore(ledger).read().members) - {os.getpid()}
    os.kill(silent, signal.SIGKILL)
    assert repository.roll_back("digits")["version"] == 1


class EndlessProofs:
    """A server of proofs whose proofs go on."""

    def __init__(self):
        self.ends = []

    def submit(self, *_):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.ends += [ours, theirs]
        return PendingProof(ours, 10**6)


def test_ask_proof_goes_on_changes_nothing(two_versions, ledger, clock):
    served = Repository(two_versions, shared_state=ledger, poll=0)
    proofs = EndlessProofs()
    repository = Repository(
        two_versions, shared_state=ledger, poll=0, clock=clock, proof_server=proofs
    )
    add_version(two_versions, 3)
    before = repository.find_model("digits"), state(two_versions)
    clock.step = 1.0
    with pytest.raises(
        NoAgreementError,
        match=r"expected digits to be proved within 60 seconds; "
        r"the proof goes on; nothing was changed; try again",
    ):
        repository.load_model("digits")
    assert (repository.find_model("digits"), state(two_versions)) == before
    assert RolloutStore(ledger).read().rollouts == {}
    assert served.find("digits").manifest.version == 2
    for end in proofs.ends:
        end.close()


def test_rollback_other_worker_silent_is_503_with_a_time_to_try_again(
    two_versions, ledger, monkeypatch, silent_worker, tmp_path
):
    monkeypatch.setattr(SharedState, "shared", ledger)
    client = create_app(models=two_versions, keys=keys_file(tmp_path), poll=0).test_client()
    silent_worker()
    monkeypatch.setattr("serving.repository.rollout_store.ROLLOUT_TIMEOUT_SECONDS", 0)
    answer = client.post("/v2/repository/models/digits/rollback", headers=HEADERS)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "no_agreement")
    assert answer.headers["Retry-After"] == "10"
    assert client.get("/readyz", headers=HEADERS).get_json()["models"] == {"digits": 2}
    assert state(two_versions)["pinned"] == {}


def state(models):
    found = StateFile(models / ".serving.json").read()
    return found.model_dump(mode="json", exclude_none=True)
