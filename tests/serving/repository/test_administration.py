"""Load, unload and rollback by an administrator, and the state file that they change."""

import os
import tracemalloc
from types import SimpleNamespace

import pytest

from serving.errors import (
    ModelNotFoundError,
    NoEarlierVersionError,
    NotReadyError,
    StateNotKeptError,
    VersionRefusedError,
)
from serving.repository import requested_rollout
from serving.repository.overrides import SavedState, StateFile
from serving.repository.shared_state import SharedState
from tests import repositories
from tests.bundle_versions import add_version, damage

EVERY_STEP = 1e-9  # seconds between scans of the folder: it is scanned in every step
# State that the server records without any request: the live version.
UNTOUCHED = {"schema_version": 1, "pinned": {}, "unloaded": [], "live": {"digits": 3}}


@pytest.fixture
def models(only_digits):
    for number in (2, 3):
        add_version(only_digits, number)
    return only_digits


def load_repository(models, **options):
    return repositories.load_repository(models, **{"poll": EVERY_STEP} | options)


def get_live_version(repository):
    return repository.find_model("digits").manifest.version


def read_state(models):
    found = StateFile(models / ".serving.json").read()
    return found.model_dump(mode="json", exclude_none=True)


def list_reasons(repository):
    return {entry["version"]: entry["reason"] for entry in repository.build_index()}


def test_roll_back_pins_earlier_version_and_survives_restart(models):
    repository = load_repository(models)
    done = repository.roll_back("digits")
    assert done == {"name": "digits", "version": 2, "before": 3, "versions": [2]}
    assert get_live_version(repository) == 2
    assert read_state(models) == {
        "schema_version": 1,
        "pinned": {"digits": 2},
        "unloaded": [],
        "live": {"digits": 2},
    }
    assert get_live_version(load_repository(models)) == 2
    assert "version 2 is pinned" in list_reasons(repository)["3"]


def test_roll_back_new_version_is_not_served_until_load(models):
    repository = load_repository(models)
    repository.roll_back("digits")
    add_version(models, 4)
    for _ in range(3):
        repository.reconcile_once()
    assert get_live_version(repository) == 2
    assert repository.load_model("digits")["version"] == 4
    assert read_state(models)["pinned"] == {}
    assert get_live_version(load_repository(models)) == get_live_version(repository) == 4


def test_roll_back_repeated_reaches_lowest_version(models):
    repository = load_repository(models)
    assert [repository.roll_back("digits")["version"] for _ in range(2)] == [2, 1]
    with pytest.raises(NoEarlierVersionError, match=r"before 1, which is live; got 1, 2, 3; put"):
        repository.roll_back("digits")
    assert (get_live_version(repository), read_state(models)["pinned"]) == (1, {"digits": 1})


def test_roll_back_other_worker_serves_a_newer_version_is_relative_to_it(models):
    """The client has seen version 4, by one worker; another that lags behind is asked next."""
    shared_state = SharedState()
    repository = load_repository(models, shared_state=shared_state)
    lagging = load_repository(models, shared_state=shared_state)
    add_version(models, 4)
    repository.reconcile_once()
    assert (get_live_version(repository), get_live_version(lagging)) == (4, 3)
    done = lagging.roll_back("digits")
    assert done == {"name": "digits", "version": 3, "before": 4, "versions": [3]}


def test_unload_other_worker_serves_a_newer_version_reports_it_as_before(models):
    shared_state = SharedState()
    repository = load_repository(models, shared_state=shared_state)
    lagging = load_repository(models, shared_state=shared_state)
    add_version(models, 4)
    repository.reconcile_once()
    assert lagging.unload_model("digits")["before"] == 4


def test_roll_back_damaged_version_is_skipped(models):
    add_version(models, 4)
    repository = load_repository(models)
    damage(models / "digits" / "3")
    done = repository.roll_back("digits")
    assert done == {"name": "digits", "version": 2, "before": 4, "versions": [2]}
    assert (get_live_version(repository), read_state(models)["pinned"]) == (2, {"digits": 2})
    assert "was altered" in list_reasons(repository)["3"]
    assert repository.roll_back("digits")["version"] == 1


def test_roll_back_all_earlier_versions_damaged_changes_nothing(models):
    repository = load_repository(models)
    before = repository.find_model("digits")
    for version in (1, 2):
        damage(models / "digits" / str(version))
    for _ in range(2):  # Each request loads the versions again.
        with pytest.raises(
            VersionRefusedError,
            match=r"version 2 of digits to pass its self-test; .*was altered.*; "
            r"nothing was changed; "
            r"expected version 1 of digits to pass its self-test; .*was altered.*; "
            r"nothing was changed$",
        ) as refused:
            repository.roll_back("digits")
        assert refused.value.details == {"model": "digits", "version": 2}
    repository.reconcile_once()
    assert repository.find_model("digits") is before
    assert read_state(models) == UNTOUCHED
    damage(models / "digits" / "1")  # The same bit again restores the content.
    assert repository.roll_back("digits")["version"] == 1


def test_restart_pinned_version_damaged_serves_lower_version(models):
    repository = load_repository(models)
    repository.roll_back("digits")
    damage(models / "digits" / "2")
    repository = load_repository(models)
    assert get_live_version(repository) == 1
    assert "was altered" in list_reasons(repository)["2"]


def test_roll_back_other_kept_versions_are_found_by_number(models):
    repository = load_repository(models, keep=2)
    assert repository.roll_back("digits")["versions"] == [2, 3]
    assert get_live_version(repository) == 2
    assert repository.find_model("digits", 3).manifest.version == 3


def test_unload_model_is_not_served_until_load(models):
    repository = load_repository(models)
    done = repository.unload_model("digits")
    assert done == {"name": "digits", "version": None, "before": 3, "versions": []}
    assert repository.unload_model("digits")["before"] is None  # Repeating it is allowed.
    add_version(models, 4)
    repository.reconcile_once()
    with pytest.raises(NotReadyError):
        repository.find_model("digits")
    assert load_repository(models).live_models == {}
    assert "was unloaded" in list_reasons(repository)["4"]
    assert repository.load_model("digits") == {
        "name": "digits",
        "version": 4,
        "before": None,
        "versions": [4],
    }
    assert read_state(models)["unloaded"] == []


def test_load_damaged_version_changes_nothing(models):
    repository = load_repository(models, poll=0)
    before = repository.find_model("digits")
    damage(add_version(models, 4))
    with pytest.raises(VersionRefusedError, match="version 4 of digits to pass its self-test"):
        repository.load_model("digits")
    assert repository.find_model("digits") is before
    assert "was altered" in repository.refusal_reasons["digits/4"]


def test_change_unknown_model_raises_model_not_found(models):
    repository = load_repository(models)
    for change in (repository.load_model, repository.unload_model, repository.roll_back):
        with pytest.raises(ModelNotFoundError, match=r"out of digits; got '../letters'"):
            change("../letters")
    assert read_state(models) == UNTOUCHED


def test_change_state_file_not_writable_changes_nothing_and_names_remedy(models, tmp_path):
    (tmp_path / "file").touch()
    repository = load_repository(models, state=tmp_path / "file" / "state.json")
    before = repository.find_model("digits")
    for change in (repository.unload_model, repository.roll_back):
        with pytest.raises(StateNotKeptError, match=r"nothing was changed; start .* --state FILE"):
            change("digits")
        repository.reconcile_once()
        assert repository.find_model("digits") is before
    assert (
        repository.load_model("digits")["version"] == 3
    )  # The state does not change, so nothing is written.


def test_state_file_in_another_folder_is_used(models, tmp_path):
    (tmp_path / "writable").mkdir()
    path = tmp_path / "writable" / "state.json"
    load_repository(models, state=path).roll_back("digits")
    assert not (models / ".serving.json").exists()
    assert get_live_version(load_repository(models, state=path)) == 2
    assert get_live_version(load_repository(models)) == 3


INVALID = ["", "{", "[]", '{"pinned": {"digits": 0}}', '{"pin": {}}', '{"schema_version": 2}']


@pytest.mark.parametrize("content", INVALID)
def test_start_state_file_malformed_serves_nothing_and_gives_reason(content, models, caplog):
    (models / ".serving.json").write_text(content)
    repository = load_repository(models)
    assert repository.live_models == {}
    assert (
        "expected .serving.json as the server writes it"
        in repository.refusal_reasons[".serving.json"]
    )
    assert caplog.text.count("correct it or remove it") == 1
    with pytest.raises(StateNotKeptError, match="correct it or remove it"):
        repository.load_model("digits")
    (models / ".serving.json").unlink()
    repository.reconcile_once()
    repository.reconcile_once()
    assert (get_live_version(repository), repository.refusal_reasons) == (3, {})


def test_state_file_becomes_malformed_changes_nothing(models):
    repository = load_repository(models)
    repository.roll_back("digits")
    (models / ".serving.json").write_text("{")
    for _ in range(3):
        repository.reconcile_once()
    assert get_live_version(repository) == 2
    assert ".serving.json" in repository.refusal_reasons
    with pytest.raises(StateNotKeptError):
        repository.unload_model("digits")
    assert (models / ".serving.json").read_text() == "{"


@pytest.mark.parametrize("poll", [0, EVERY_STEP])
def test_state_file_written_by_another_process_is_followed(poll, models):
    repository = load_repository(models, poll=poll)
    StateFile(models / ".serving.json").write(SavedState().pin_version("digits", 1))
    for _ in range(3):
        repository.reconcile_once()
    assert get_live_version(repository) == 1


def test_state_file_write_fails_keeps_old_content(models, monkeypatch):
    file = StateFile(models / ".serving.json")
    file.write(SavedState().pin_version("digits", 1))

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateNotKeptError, match="No space left on device"):
        file.write(SavedState().unload_model("digits"))
    assert file.read() == SavedState().pin_version("digits", 1)
    assert sorted(path.name for path in models.iterdir()) == [".serving.json", "digits"]


def test_state_file_open_while_replaced_reads_old_content(models):
    file = StateFile(models / ".serving.json")
    file.write(SavedState().pin_version("digits", 1))
    with file.path.open() as reading:
        file.write(SavedState().pin_version("digits", 2))
        assert SavedState.model_validate_json(reading.read()) == SavedState().pin_version(
            "digits", 1
        )
    assert file.read() == SavedState().pin_version("digits", 2)


def test_state_file_too_large_is_refused_without_reading_it(tmp_path):
    path = tmp_path / ".serving.json"
    with path.open("wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    with pytest.raises(
        StateNotKeptError, match=r"expected \.serving\.json of at most 1048576 bytes"
    ):
        StateFile(path).read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_load_while_own_automatic_rollout_is_proposed_commits_it_and_answers(models, monkeypatch):
    waits = iter(
        range(5)
    )  # without the commit, it would wait until the rollout is dropped as stale
    monkeypatch.setattr(requested_rollout, "time", SimpleNamespace(sleep=lambda _: next(waits)))
    repository = load_repository(models, poll=0)
    store = repository._reconciler.rollout_store
    versions = store.read_plan().served_versions["digits"]
    assert store.claim_rollout("digits")
    store.propose_versions("digits", versions)  # as this worker does when it finds a new version
    assert repository.load_model("digits")["version"] == get_live_version(repository)
    assert store.read_plan().rollouts == {}
