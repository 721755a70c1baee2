"""Requested changes while another worker neither loads a version nor refuses it."""

import os
import signal
import socket

import pytest

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from serving import create_app
from serving.errors import NoAgreementError
from serving.http.components import SharedResources
from serving.repository.overrides import StateFile
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime.proof_server import PendingProof
from serving.telemetry.shared_counters import SharedCounters
from tests.bundle_versions import add_version
from tests.repositories import load_repository
from tests.serving.repository.test_rollout_store import start_worker

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("processes"),  # The other worker is forked.
]


class Clock:
    """A clock that moves by `step` at each call; the test sets `step`."""

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
def shared_state():
    return SharedState()


@pytest.fixture
def silent_worker(shared_state):
    """Return a function that starts a worker that loads nothing; it ends with the test."""
    kill_functions = []

    def start():
        kill_functions.append(start_worker(RolloutStore(shared_state), lambda: None))

    yield start
    for kill in kill_functions:
        kill()


CHANGES = {
    "load": lambda repository: repository.load_model("digits"),
    "unload": lambda repository: repository.unload_model("digits"),
    "rollback": lambda repository: repository.roll_back("digits"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_other_worker_silent_changes_nothing(
    change, two_versions, shared_state, clock, silent_worker
):
    repository = load_repository(two_versions, shared_state=shared_state, poll=0, clock=clock)
    add_version(two_versions, 3)  # The version that `load` requests.
    before = (
        repository.find_model("digits"),
        read_state(two_versions),
        RolloutStore(shared_state).read_plan().served_versions,
    )
    silent_worker()
    clock.step = 1.0
    with pytest.raises(
        NoAgreementError,
        match=r"expected every worker to load digits in time; "
        r"one neither loaded nor refused it; nothing was changed; try again",
    ):
        CHANGES[change](repository)
    repository.reconcile_once()
    after = (
        repository.find_model("digits"),
        read_state(two_versions),
        RolloutStore(shared_state).read_plan().served_versions,
    )
    assert after == before
    assert RolloutStore(shared_state).read_plan().rollouts == {}
    assert repository.refusal_reasons == repository.hold_reasons == {}


def test_change_other_worker_dead_succeeds(two_versions, shared_state, clock, silent_worker):
    repository = load_repository(two_versions, shared_state=shared_state, poll=0, clock=clock)
    silent_worker()
    clock.step = 1.0
    with pytest.raises(NoAgreementError):
        repository.roll_back("digits")
    (silent,) = set(RolloutStore(shared_state).read_plan().worker_pids) - {os.getpid()}
    os.kill(silent, signal.SIGKILL)
    assert repository.roll_back("digits")["version"] == 1


class EndlessProofs:
    """A proof server whose proofs never end."""

    def __init__(self):
        self.sockets = []

    def submit(self, *_):
        client, server = socket.socketpair()
        client.setblocking(False)
        self.sockets += [client, server]
        return PendingProof(client, 10**6)


def test_change_proof_does_not_end_changes_nothing(two_versions, shared_state, clock):
    served = load_repository(two_versions, shared_state=shared_state, poll=0)
    proofs = EndlessProofs()
    repository = load_repository(
        two_versions, shared_state=shared_state, poll=0, clock=clock, proof_server=proofs
    )
    add_version(two_versions, 3)
    before = repository.find_model("digits"), read_state(two_versions)
    clock.step = 1.0
    with pytest.raises(
        NoAgreementError,
        match=r"expected the self-test of digits to end within 60 seconds; "
        r"it is still running; nothing was changed; try again",
    ):
        repository.load_model("digits")
    assert (repository.find_model("digits"), read_state(two_versions)) == before
    assert RolloutStore(shared_state).read_plan().rollouts == {}
    assert served.find_model("digits").manifest.version == 2
    for each in proofs.sockets:
        each.close()


def test_rollback_route_other_worker_silent_answers_503_with_retry_after(
    two_versions, shared_state, monkeypatch, silent_worker, tmp_path
):
    shared = SharedResources(SharedCounters(), shared_state)
    client = create_app(
        shared, models=two_versions, keys=write_keys_file(tmp_path), poll=0
    ).test_client()
    silent_worker()
    monkeypatch.setattr("serving.repository.rollout_store.ROLLOUT_TIMEOUT_SECONDS", 0)
    answer = client.post("/v2/repository/models/digits/rollback", headers=ADMIN_HEADERS)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "no_agreement")
    assert answer.headers["Retry-After"] == "10"
    assert client.get("/readyz", headers=ADMIN_HEADERS).get_json()["models"] == {"digits": 2}
    assert read_state(two_versions)["pinned"] == {}


def read_state(models):
    found = StateFile(models / ".serving.json").read()
    return found.model_dump(mode="json", exclude_none=True)
