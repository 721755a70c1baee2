"""The state file: what it holds, and errors when it cannot be read or written."""

import json

import pytest

from serving.errors import StateNotKeptError
from serving.repository.overrides import MAX_ABSENT_MODELS, SavedState, StateFile


def test_state_file_unreadable_is_an_error(tmp_path):
    (tmp_path / "state.json").mkdir()
    file = StateFile(tmp_path / "state.json")
    with pytest.raises(StateNotKeptError, match=r"a readable state\.json; got Is a directory"):
        file.read()
    with pytest.raises(StateNotKeptError, match=r"a readable state\.json; got Is a directory"):
        file.write(SavedState().unload_model("digits"))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (SavedState().unload_model("digits"), "state.json"),
        (SavedState().record_default_model("digits"), "state.live.json"),
    ],
)
def test_state_file_not_writable_error_names_file(state, name, tmp_path):
    file = StateFile(tmp_path / "absent" / "state.json")
    with pytest.raises(StateNotKeptError, match=f"expected to write {name}.*--state FILE"):
        file.write(state)


def test_state_file_overrides_hold_no_key_that_older_servers_refuse(tmp_path):
    file = StateFile(tmp_path / "state.json")
    file.write(SavedState().pin_version("digits", 1).unload_model("letters"))
    before = file.stat_files()
    changed = (
        file.read().record_default_model("digits").record_live_versions({"digits": 1}, ["digits"])
    )
    file.write(changed)
    assert file.read() == changed
    assert json.loads(file.path.read_text()) == {
        "schema_version": 1,
        "pinned": {"digits": 1},
        "unloaded": ["letters"],
    }
    assert file.stat_files() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.live.json"]


def test_state_file_missing_is_empty(tmp_path):
    assert StateFile(tmp_path / "state.json").read() == SavedState()
    (tmp_path / "file").touch()
    assert StateFile(tmp_path / "file" / "state.json").read() == SavedState()


def test_record_live_versions_absent_models_are_kept_up_to_a_limit():
    state = SavedState().record_live_versions(
        {f"m{number}": 1 for number in range(MAX_ABSENT_MODELS + 1)}, {"m0"}
    )
    state = state.record_live_versions({"new": 2}, {"m0", "new"})
    assert len(state.live) == MAX_ABSENT_MODELS + 2
    state = state.record_live_versions({}, {"m0"})
    assert len(state.live) == MAX_ABSENT_MODELS + 1
    assert {"m0", "new"} <= state.live.keys()
