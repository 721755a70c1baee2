"""When a refused version is loaded again, by a clock that the test sets."""

import pytest

from serving.bundle import TransientBundleError
from serving.repository import loading
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import compute_fingerprint
from serving.repository.overrides import StateFile
from serving.repository.rollout import VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from tests.bundle_versions import add_version, damage
from tests.repositories import load_repository
from tests.serving.repository.test_rollout_store import start_worker

EVERY_STEP = 1e-9  # seconds between scans of the folder: it is scanned in every step


class Clock:
    """A clock that moves only when the test changes `now`."""

    def __init__(self):
        self.now, self.calls = 1000.0, 0

    def __call__(self):
        self.calls += 1
        assert self.calls < 300, "the version is loaded in an endless loop"
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def attempts(monkeypatch):
    """Return the versions that were loaded, in order; all but the first fail."""
    found, real = [], loading.load_version

    def load_or_fail(models, name, snapshot, *options):
        found.append(snapshot.version)
        if snapshot.version > 1:
            raise TransientBundleError("the machine was too busy")
        return real(models, name, snapshot, *options)

    monkeypatch.setattr(loading, "load_version", load_or_fail)
    return found


def denied(path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def get_live_version(repository):
    return repository.find_model("digits").manifest.version


def test_reconciler_transient_error_is_retried_after_30_seconds(only_digits, clock, attempts):
    repository = load_repository(only_digits, poll=EVERY_STEP, clock=clock)
    add_version(only_digits, 2)
    repository.reconcile_once()
    assert attempts == [1, 2]
    clock.now += 29.9
    repository.reconcile_once()
    assert attempts == [1, 2]
    clock.now += 0.2
    repository.reconcile_once()
    assert attempts == [1, 2, 2]
    clock.now += 29.9  # The pause begins at the last attempt.
    repository.reconcile_once()
    assert attempts == [1, 2, 2]
    assert repository.refusal_reasons == {"digits/2": "the machine was too busy"}


def test_reconciler_transient_error_is_retried_at_once_on_load(
    only_digits, clock, monkeypatch, attempts
):
    repository = load_repository(only_digits, poll=EVERY_STEP, clock=clock)
    add_version(only_digits, 2)
    repository.reconcile_once()
    assert get_live_version(repository) == 1
    monkeypatch.undo()
    assert repository.load_model("digits")["version"] == 2
    assert attempts == [1, 2]


def test_reconciler_damaged_version_is_not_retried(only_digits, clock, caplog):
    repository = load_repository(only_digits, poll=EVERY_STEP, clock=clock)
    damage(add_version(only_digits, 2))
    for _ in range(3):
        repository.reconcile_once()
        clock.now += 10**6
    assert caplog.text.count("refused digits/2") == 1


def test_reconciler_unreadable_file_is_loaded_once_readable(only_digits, clock, monkeypatch):
    repository = load_repository(only_digits, poll=EVERY_STEP, clock=clock)
    add_version(only_digits, 2)
    with monkeypatch.context() as patch:
        patch.setattr("serving.bundle.files.os.open", denied)  # Root may read everything.
        repository.reconcile_once()
        assert "Permission denied" in repository.refusal_reasons["digits/2"]
        assert get_live_version(repository) == 1
    repository.reconcile_once()
    repository.reconcile_once()
    assert (get_live_version(repository), repository.refusal_reasons) == (2, {})


def test_reconciler_local_failure_is_retried_after_one_second(
    only_digits, clock, monkeypatch, caplog
):
    shared_state = SharedState()
    first = load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP, clock=clock)

    def attempts():
        return caplog.text.count("refused digits/1")

    with monkeypatch.context() as patch:
        patch.setattr("serving.bundle.files.os.open", denied)
        second = load_repository(
            only_digits, shared_state=shared_state, poll=EVERY_STEP, clock=clock
        )
        assert (second.live_models, attempts()) == ({}, 1)
        clock.now += 0.9
        second.reconcile_once()
        assert attempts() == 1
        clock.now += 0.2
        second.reconcile_once()
        assert attempts() == 2
    clock.now += 0.9
    second.reconcile_once()
    assert second.live_models == {}
    clock.now += 0.2
    second.reconcile_once()
    assert get_live_version(second) == get_live_version(first) == 1
    assert first.refusal_reasons == second.refusal_reasons == {}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("is_served", "expected"), [(True, [False, True]), (False, [False] * 2)])
def test_refuse_crashing_versions_served_version_is_retried_after_600_seconds(
    is_served, expected, only_digits, clock
):
    store = RolloutStore(SharedState(), clock)
    store.register_worker()
    snapshot = VersionSnapshot(
        version=1, fingerprint=compute_fingerprint(only_digits / "digits" / "1")
    )
    if is_served:
        store.claim_rollout("digits")
        store.propose_versions("digits", [snapshot])
        store.commit_rollout("digits")
    for _ in range(2):
        attempt = store.record_load_attempt("digits", snapshot)
        start_worker(store, attempt.__enter__)()
        store.refuse_crashing_versions()
    assert "got 2 workers" in store.read_plan().get_exclusion_reason("digits", snapshot)
    desired_versions = DesiredVersions(only_digits, StateFile(only_digits / ".serving.json"), 1)
    desired_versions.scan_folder()
    due = [
        bool(desired_versions.find_outdated_exclusions(store.read_plan(), clock.now + wait))
        for wait in (599.9, 600.1)
    ]
    assert due == expected
