"""What administrators ask for: load, unload, roll back; and what is kept of it."""

import os
import tracemalloc

import pytest

from serving.errors import (
    ModelNotFoundError,
    NoEarlierVersionError,
    NotReadyError,
    StateNotKeptError,
    VersionRefusedError,
)
from serving.repository import Repository
from serving.repository.overrides import SavedState, StateFile
from tests.bundle_versions import add_version, damage

ALWAYS = 1e-9  # seconds between looks at the folder: at every turn
# What the server writes by itself: which version is live.
UNTOUCHED = {"schema_version": 1, "pinned": {}, "unloaded": [], "live": {"digits": 3}}


@pytest.fixture
def models(only_digits):
    for number in (2, 3):
        add_version(only_digits, number)
    return only_digits


def load(models, **knobs):
    return Repository(models, **{"poll": ALWAYS} | knobs)


def answers(repository):
    return repository.find_model("digits").manifest.version


def state(models):
    found = StateFile(models / ".serving.json").read()
    return found.model_dump(mode="json", exclude_none=True)


def reasons(repository):
    return {entry["version"]: entry["reason"] for entry in repository.build_index()}


def test_a_rollback_pins_the_version_before_and_survives_a_restart(models):
    repository = load(models)
    done = repository.roll_back("digits")
    assert done == {"name": "digits", "version": 2, "before": 3, "versions": [2]}
    assert answers(repository) == 2
    assert state(models) == {
        "schema_version": 1,
        "pinned": {"digits": 2},
        "unloaded": [],
        "live": {"digits": 2},
    }
    assert answers(load(models)) == 2
    assert "version 2 is pinned" in reasons(repository)["3"]


def test_a_rolled_back_model_takes_up_nothing_new_until_it_is_loaded(models):
    repository = load(models)
    repository.roll_back("digits")
    add_version(models, 4)
    for _ in range(3):
        repository.reconcile_once()
    assert answers(repository) == 2
    assert repository.load_model("digits")["version"] == 4
    assert state(models)["pinned"] == {}
    assert answers(load(models)) == answers(repository) == 4


def test_one_can_go_back_as_far_as_there_are_versions(models):
    repository = load(models)
    assert [repository.roll_back("digits")["version"] for _ in range(2)] == [2, 1]
    with pytest.raises(NoEarlierVersionError, match=r"before 1, which answers; got 1, 2, 3; put"):
        repository.roll_back("digits")
    assert (answers(repository), state(models)["pinned"]) == (1, {"digits": 1})


def test_a_rollback_goes_past_versions_that_do_not_prove_themselves(models):
    add_version(models, 4)
    repository = load(models)
    damage(models / "digits" / "3")
    done = repository.roll_back("digits")
    assert done == {"name": "digits", "version": 2, "before": 4, "versions": [2]}
    assert (answers(repository), state(models)["pinned"]) == (2, {"digits": 2})
    assert "was altered" in reasons(repository)["3"]
    assert repository.roll_back("digits")["version"] == 1


def test_a_rollback_changes_nothing_where_no_version_before_proves_itself(models):
    repository = load(models)
    before = repository.find_model("digits")
    for version in (1, 2):
        damage(models / "digits" / str(version))
    for _ in range(2):  # and again: they are put to the proof each time
        with pytest.raises(
            VersionRefusedError,
            match=r"version 2 of digits to prove itself; .*was altered.*; nothing was changed; "
            r"expected version 1 of digits to prove itself; .*was altered.*; nothing was changed$",
        ) as refused:
            repository.roll_back("digits")
        assert refused.value.details == {"model": "digits", "version": 2}
    repository.reconcile_once()
    assert repository.find_model("digits") is before
    assert state(models) == UNTOUCHED
    damage(models / "digits" / "1")  # the same bit again: it is whole
    assert repository.roll_back("digits")["version"] == 1


def test_a_version_pinned_that_goes_bad_gives_way_to_one_before_it_and_never_after(models):
    repository = load(models)
    repository.roll_back("digits")
    damage(models / "digits" / "2")
    repository = load(models)
    assert answers(repository) == 1
    assert "was altered" in reasons(repository)["2"]


def test_the_versions_beside_a_pinned_one_are_still_found_by_number(models):
    repository = load(models, keep=2)
    assert repository.roll_back("digits")["versions"] == [2, 3]
    assert answers(repository) == 2
    assert repository.find_model("digits", 3).manifest.version == 3


def test_an_unloaded_model_stays_so_until_it_is_loaded(models):
    repository = load(models)
    done = repository.unload_model("digits")
    assert done == {"name": "digits", "version": None, "before": 3, "versions": []}
    assert repository.unload_model("digits")["before"] is None  # as often as you like
    add_version(models, 4)
    repository.reconcile_once()
    with pytest.raises(NotReadyError):
        repository.find_model("digits")
    assert load(models).live_models == {}
    assert "was unloaded" in reasons(repository)["4"]
    assert repository.load_model("digits") == {
        "name": "digits",
        "version": 4,
        "before": None,
        "versions": [4],
    }
    assert state(models)["unloaded"] == []


def test_loading_a_version_that_does_not_prove_itself_fails_and_changes_nothing(models):
    repository = load(models, poll=0)
    before = repository.find_model("digits")
    damage(add_version(models, 4))
    with pytest.raises(VersionRefusedError, match="version 4 of digits to prove itself"):
        repository.load_model("digits")
    assert repository.find_model("digits") is before
    assert "was altered" in repository.refusal_reasons["digits/4"]


def test_what_is_not_there_cannot_be_asked_for(models):
    repository = load(models)
    for ask in (repository.load_model, repository.unload_model, repository.roll_back):
        with pytest.raises(ModelNotFoundError, match=r"out of digits; got '../letters'"):
            ask("../letters")
    assert state(models) == UNTOUCHED


def test_where_the_state_cannot_be_kept_nothing_is_changed_and_the_remedy_is_named(
    models, tmp_path
):
    (tmp_path / "file").touch()
    repository = load(models, state=tmp_path / "file" / "state.json")
    before = repository.find_model("digits")
    for ask in (repository.unload_model, repository.roll_back):
        with pytest.raises(StateNotKeptError, match=r"nothing was changed; start .* --state FILE"):
            ask("digits")
        repository.reconcile_once()
        assert repository.find_model("digits") is before
    assert repository.load_model("digits")["version"] == 3  # there is nothing to keep


def test_the_state_may_lie_elsewhere(models, tmp_path):
    (tmp_path / "writable").mkdir()
    place = tmp_path / "writable" / "state.json"
    load(models, state=place).roll_back("digits")
    assert not (models / ".serving.json").exists()
    assert answers(load(models, state=place)) == 2
    assert answers(load(models)) == 3


INVALID = ["", "{", "[]", '{"pinned": {"digits": 0}}', '{"pin": {}}', '{"schema_version": 2}']


@pytest.mark.parametrize("content", INVALID)
def test_a_state_that_is_not_understood_is_said_and_nothing_is_served_in_spite_of_it(
    content, models, caplog
):
    (models / ".serving.json").write_text(content)
    repository = load(models)
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
    assert (answers(repository), repository.refusal_reasons) == (3, {})


def test_a_state_that_goes_bad_leaves_all_as_it_is(models):
    repository = load(models)
    repository.roll_back("digits")
    (models / ".serving.json").write_text("{")
    for _ in range(3):
        repository.reconcile_once()
    assert answers(repository) == 2
    assert ".serving.json" in repository.refusal_reasons
    with pytest.raises(StateNotKeptError):
        repository.unload_model("digits")
    assert (models / ".serving.json").read_text() == "{"


@pytest.mark.parametrize("poll", [0, ALWAYS])
def test_a_pin_that_someone_else_writes_is_followed(poll, models):
    repository = load(models, poll=poll)
    StateFile(models / ".serving.json").write(SavedState().pin_version("digits", 1))
    for _ in range(3):
        repository.reconcile_once()
    assert answers(repository) == 1


def test_the_state_is_written_whole_or_not_at_all(models, monkeypatch):
    file = StateFile(models / ".serving.json")
    file.write(SavedState().pin_version("digits", 1))

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateNotKeptError, match="No space left on device"):
        file.write(SavedState().unload_model("digits"))
    assert file.read() == SavedState().pin_version("digits", 1)
    assert sorted(path.name for path in models.iterdir()) == [".serving.json", "digits"]


def test_who_reads_the_state_while_it_is_written_reads_the_one_before_whole(models):
    file = StateFile(models / ".serving.json")
    file.write(SavedState().pin_version("digits", 1))
    with file.path.open() as reading:
        file.write(SavedState().pin_version("digits", 2))
        assert SavedState.model_validate_json(reading.read()) == SavedState().pin_version(
            "digits", 1
        )
    assert file.read() == SavedState().pin_version("digits", 2)


def test_state_file_larger_than_any_is_not_read(tmp_path):
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
