"""When a version that was refused is put to the proof again, by a clock that the test sets."""

import pytest

from serving.bundle import TransientBundleError
from serving.repository import Repository
from serving.repository import loading as loader
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import compute_fingerprint
from serving.repository.overrides import StateFile
from serving.repository.rollout import VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from tests.bundle_versions import add_version, damage
from tests.serving.repository.test_rollout_store import other

ALWAYS = 1e-9  # seconds between looks at the folder: at every turn


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now, self.looks = 1000.0, 0

    def __call__(self):
        self.looks += 1
        assert self.looks < 300, "it is tried again and again"
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def attempts(monkeypatch):
    """Versions in the order in which they were put to the proof; all but the first fail."""
    found, real = [], loader.load_version

    def prove(models, name, edition, *options):
        found.append(edition.version)
        if edition.version > 1:
            raise TransientBundleError("the machine was too busy")
        return real(models, name, edition, *options)

    monkeypatch.setattr(loader, "load_version", prove)
    return found


def denied(path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def answers(repository):
    return repository.find_model("digits").manifest.version


def test_keeper_fault_that_may_pass_is_tried_again_after_30_seconds(only_digits, clock, attempts):
    repository = Repository(only_digits, poll=ALWAYS, clock=clock)
    add_version(only_digits, 2)
    repository.reconcile_once()
    assert attempts == [1, 2]
    clock.now += 29.9
    repository.reconcile_once()
    assert attempts == [1, 2]
    clock.now += 0.2
    repository.reconcile_once()
    assert attempts == [1, 2, 2]
    clock.now += 29.9  # which are counted from the last attempt on
    repository.reconcile_once()
    assert attempts == [1, 2, 2]
    assert repository.refusal_reasons == {"digits/2": "the machine was too busy"}


def test_keeper_fault_that_may_pass_is_tried_at_once_if_asked_to(
    only_digits, clock, monkeypatch, attempts
):
    repository = Repository(only_digits, poll=ALWAYS, clock=clock)
    add_version(only_digits, 2)
    repository.reconcile_once()
    assert answers(repository) == 1
    monkeypatch.undo()
    assert repository.load_model("digits")["version"] == 2
    assert attempts == [1, 2]


def test_keeper_fault_of_the_content_is_never_tried_again_as_it_is(only_digits, clock, caplog):
    repository = Repository(only_digits, poll=ALWAYS, clock=clock)
    damage(add_version(only_digits, 2))
    for _ in range(3):
        repository.reconcile_once()
        clock.now += 10**6
    assert caplog.text.count("refused digits/2") == 1


def test_keeper_file_that_cannot_be_read_is_taken_up_once_it_can_be(
    only_digits, clock, monkeypatch
):
    repository = Repository(only_digits, poll=ALWAYS, clock=clock)
    add_version(only_digits, 2)
    with monkeypatch.context() as patch:
        patch.setattr("serving.bundle.files.os.open", denied)  # root may read everything
        repository.reconcile_once()
        assert "Permission denied" in repository.refusal_reasons["digits/2"]
        assert answers(repository) == 1
    repository.reconcile_once()
    repository.reconcile_once()
    assert (answers(repository), repository.refusal_reasons) == (2, {})


def test_keeper_version_that_the_others_serve_is_tried_again_here_after_a_second(
    only_digits, clock, monkeypatch, caplog
):
    ledger = SharedState()
    first = Repository(only_digits, shared_state=ledger, poll=ALWAYS, clock=clock)

    def attempts():
        return caplog.text.count("refused digits/1")

    with monkeypatch.context() as patch:
        patch.setattr("serving.bundle.files.os.open", denied)
        second = Repository(only_digits, shared_state=ledger, poll=ALWAYS, clock=clock)
        assert (second.served, attempts()) == ({}, 1)
        clock.now += 0.9
        second.turn()
        assert attempts() == 1
        clock.now += 0.2
        second.turn()
        assert attempts() == 2
    clock.now += 0.9
    second.turn()
    assert second.served == {}
    clock.now += 0.2
    second.turn()
    assert answers(second) == answers(first) == 1
    assert first.refused == second.refused == {}  # it was no fault of the version's


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("is_served", "expected"), [(True, [False, True]), (False, [False] * 2)])
def test_count_deaths_edition_that_had_been_served_is_tried_again_after_600_seconds(
    is_served, expected, only_digits, clock
):
    agenda = RolloutStore(SharedState(), clock)
    agenda.join()
    edition = VersionSnapshot(version=1, fingerprint=compute_fingerprint(only_digits / "digits" / "1"))
    if is_served:
        agenda.claim_rollout("digits")
        agenda.propose("digits", [edition])
        agenda.commit("digits")
    for _ in range(2):
        attempt = agenda.record_load_attempt("digits", edition)
        other(agenda, attempt.__enter__)()
        agenda.refuse_crashing_versions()
    assert "got 2 workers" in agenda.read().reason("digits", edition)
    outlook = DesiredVersions(only_digits, StateFile(only_digits / ".serving.json"), 1)
    outlook.scan_folder()
    due = [
        bool(outlook.find_outdated_refusals(agenda.read(), clock.now + wait))
        for wait in (599.9, 600.1)
    ]
    assert due == expected
