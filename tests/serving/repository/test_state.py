"""The file of pinned and unloaded models, where it cannot be read or written."""

import pytest

from serving.errors import StateNotKeptError
from serving.repository.state import MOST_GONE, State, StateFile


def test_state_file_that_cannot_be_read_is_refused_and_not_taken_for_none(tmp_path):
    (tmp_path / "state.json").mkdir()
    file = StateFile(tmp_path / "state.json")
    with pytest.raises(StateNotKeptError, match=r"a readable state\.json; got Is a directory"):
        file.read()
    with pytest.raises(StateNotKeptError, match=r"expected to write state\.json.*--state FILE"):
        file.write(State())
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_state_file_that_is_not_there_says_nothing(tmp_path):
    assert StateFile(tmp_path / "state.json").read() == State()
    (tmp_path / "file").touch()
    assert StateFile(tmp_path / "file" / "state.json").read() == State()


def test_live_versions_of_models_that_are_not_there_are_kept_up_to_a_number():
    state = State().record({f"m{number}": 1 for number in range(MOST_GONE + 1)}, {"m0"})
    state = state.record({"new": 2}, {"m0", "new"})
    assert len(state.live) == MOST_GONE + 2
    state = state.record({}, {"m0"})
    assert len(state.live) == MOST_GONE + 1
    assert {"m0", "new"} <= state.live.keys()
