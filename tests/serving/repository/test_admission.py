"""A new version that clients of the live one could not use is held until it is asked for."""

import gc
import shutil
import weakref
from time import monotonic

import pytest

from benchmarks.keys import HEADERS, keys_file
from serving import create_app
from serving.errors import ModelNotFoundError, NotReadyError, StateNotKeptError, VersionRefusedError
from serving.repository import Repository
from serving.repository import loading as loader
from serving.repository.overrides import SavedState, StateFile
from serving.repository.rollout_store import ROLLOUT_TIMEOUT_SECONDS, RolloutStore
from serving.repository.shared_state import SharedState
from tests.bundle_versions import add_version, damage, rename_column
from tests.processes import wait_until

ALWAYS = 1e-9  # seconds between looks at the folder: at every turn
REASON = (
    "held: it does not accept all requests that version 1, which is live, accepts: "
    "it has no column 'pixel_0_0'; it has the new column 'a_pixel_0_0'; "
    "POST /v2/repository/models/digits/load serves it, and --take-up all holds none"
)


@pytest.fixture
def told():
    """Outcomes in the order in which a repository told them."""
    return []


@pytest.fixture
def load(only_digits, told):
    def repository(**knobs):
        def tell(_, outcome):
            told.append(outcome)

        return Repository(only_digits, **{"poll": ALWAYS, "on_outcome": tell} | knobs)

    return repository


def turn(repository):
    for _ in range(3):
        repository.reconcile_once()


def answers(repository):
    return repository.find_model("digits").manifest.version


def held(repository):
    return sorted(repository.hold_reasons)


def reasons(repository):
    entries = repository.build_index()
    return {entry["version"]: (entry["state"], entry["reason"]) for entry in entries}


def state(models):
    found = StateFile(models / ".serving.json").read()
    return found.model_dump(mode="json", exclude_none=True)


def test_an_incompatible_version_is_proved_and_held_and_the_log_says_why_once(
    load, only_digits, caplog, told
):
    repository = load()
    before = repository.find_model("digits")
    add_version(only_digits, 2, "a_")
    for _ in range(3):
        turn(repository)
    assert repository.find_model("digits") is before
    assert repository.hold_reasons == {"digits/2": REASON}
    assert repository.refusal_reasons == {}
    assert reasons(repository) == {"1": ("READY", ""), "2": ("UNAVAILABLE", REASON)}
    assert [r.message for r in caplog.records if "held" in r.message] == [f"digits/2 is {REASON}"]
    assert told == ["served", "held"]


def test_an_incompatible_version_that_does_not_prove_itself_is_refused(load, only_digits, told):
    repository = load()
    damage(add_version(only_digits, 2, "a_"))
    turn(repository)
    assert list(repository.refusal_reasons) == ["digits/2"]
    assert repository.hold_reasons == {}
    assert told == ["served", "refused"]


def test_a_version_that_is_held_takes_no_memory(load, only_digits, monkeypatch):
    sessions, real = [], loader.load_version

    def prove(*arguments):
        model, verdict = real(*arguments)
        sessions.append(weakref.ref(model.session))
        return model, verdict

    monkeypatch.setattr(loader, "load_version", prove)
    add_version(only_digits, 2, "a_")
    StateFile(only_digits / ".serving.json").write(SavedState(live={"digits": 1}))
    repository = load()
    turn(repository)
    gc.collect()
    assert held(repository) == ["digits/2"]
    assert [session() is not None for session in sessions] == [False, True]


def test_load_serves_a_version_that_is_held_and_later_ones_are_compared_with_it(load, only_digits):
    repository = load()
    add_version(only_digits, 2, "a_")
    turn(repository)
    assert repository.load_model("digits")["version"] == 2
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (2, {})
    add_version(only_digits, 3, "a_")
    turn(repository)
    assert answers(repository) == 3
    add_version(only_digits, 4)
    turn(repository)
    assert (answers(repository), held(repository)) == (3, ["digits/4"])
    assert answers(load()) == 3  # and a restart does not go back


def test_several_held_versions_are_each_compared_with_the_live_one(load, only_digits):
    repository = load()
    add_version(only_digits, 2, "a_")
    add_version(only_digits, 3, "a_")  # which accepts what version 2 does
    turn(repository)
    assert (answers(repository), held(repository)) == (1, ["digits/2", "digits/3"])
    add_version(only_digits, 4)
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (4, {})


def test_take_up_all_holds_none(load, only_digits):
    repository = load(take_up="all")
    add_version(only_digits, 2, "a_")
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (2, {})


def test_the_first_version_of_a_model_is_compared_with_nothing(load, only_digits, adults):
    repository = load()
    shutil.copytree(adults / "adults", only_digits / "adults")
    turn(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    assert repository.hold_reasons == {}


def test_of_several_versions_the_first_start_serves_the_highest(load, only_digits):
    add_version(only_digits, 2, "a_")
    repository = load()
    assert (answers(repository), repository.hold_reasons) == (2, {})


def test_a_restart_serves_no_version_that_was_held(load, only_digits, caplog):
    repository = load()
    add_version(only_digits, 2, "a_")
    turn(repository)
    assert state(only_digits)["live"] == {"digits": 1}
    caplog.clear()
    repository = load()
    assert (answers(repository), held(repository)) == (1, ["digits/2"])
    turn(repository)
    assert (answers(repository), held(repository)) == (1, ["digits/2"])
    assert caplog.text.count("digits/2 is held") == 1
    repository.load_model("digits")
    assert (answers(load()), state(only_digits)["live"]) == (2, {"digits": 2})


def test_a_version_that_came_while_the_server_was_stopped_is_held(load, only_digits):
    load()
    add_version(only_digits, 2)
    assert answers(load()) == 2
    add_version(only_digits, 3, "a_")
    repository = load()
    assert (answers(repository), held(repository)) == (2, ["digits/3"])


def test_a_worker_that_comes_later_serves_no_version_that_is_held(only_digits):
    ledger = SharedState()
    first = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    add_version(only_digits, 2, "a_")
    turn(first)
    second = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    turn(second)
    turn(first)
    for repository in (first, second):
        assert (answers(repository), held(repository)) == (1, ["digits/2"])


def test_where_the_state_cannot_be_written_the_log_says_once_what_a_restart_does(
    load, only_digits, tmp_path, caplog
):
    (tmp_path / "file").touch()
    where = tmp_path / "file" / "state.json"
    repository = load(state=where)
    add_version(only_digits, 2)
    turn(repository)
    assert answers(repository) == 2
    assert caplog.text.count("to keep in state.live.json which versions are live; got") == 1
    assert "start the server with --state FILE in a folder it may write to" in caplog.text
    add_version(only_digits, 3, "a_")
    turn(repository)
    assert held(repository) == ["digits/3"]
    assert repository.load_model("digits")["version"] == 3  # which a restart serves, too
    assert answers(load(state=where)) == 3


def test_load_changes_nothing_where_a_restart_would_go_back(load, only_digits, monkeypatch):
    repository = load()
    add_version(only_digits, 2, "a_")
    turn(repository)

    def fail(_, state):
        raise StateNotKeptError("expected to write it; got no space left")

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", fail)
        with pytest.raises(StateNotKeptError):
            repository.load_model("digits")
        turn(repository)
        assert (answers(repository), held(repository)) == (1, ["digits/2"])
    assert state(only_digits)["live"] == {"digits": 1}


def test_a_held_version_that_breaks_is_refused_by_load_and_one_that_is_mended_is_served(
    load, only_digits
):
    repository = load()
    path = add_version(only_digits, 2, "a_")
    turn(repository)
    damage(path)
    turn(repository)
    assert (held(repository), list(repository.refusal_reasons)) == ([], ["digits/2"])
    with pytest.raises(VersionRefusedError):
        repository.load_model("digits")
    damage(path)  # the same bit again: it is whole, and still what it was
    turn(repository)
    assert (held(repository), repository.refusal_reasons) == (["digits/2"], {})
    shutil.rmtree(path)
    add_version(only_digits, 2)
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (2, {})


def test_a_held_version_that_is_removed_is_forgotten(load, only_digits):
    repository = load()
    shutil.rmtree(add_version(only_digits, 2, "a_"))
    path = add_version(only_digits, 3, "a_")
    turn(repository)
    shutil.rmtree(path)
    turn(repository)
    assert repository.hold_reasons == {}
    assert list(reasons(repository)) == ["1"]


def test_a_live_version_whose_files_are_replaced_by_incompatible_ones_serves_on(load, only_digits):
    repository = load()
    before = repository.find_model("digits")
    rename_column(only_digits / "digits" / "1", "a_")
    turn(repository)
    assert repository.find_model("digits") is before
    assert repository.hold_reasons == {
        "digits/1": REASON.replace("version 1,", "version 1 as it was before,")
    }
    assert reasons(repository)["1"] == ("READY", repository.hold_reasons["digits/1"])


def test_when_the_live_version_goes_a_lower_one_takes_its_place_and_no_held_one(load, only_digits):
    add_version(only_digits, 2)
    repository = load()
    add_version(only_digits, 3, "a_")
    turn(repository)
    shutil.rmtree(only_digits / "digits" / "2")
    turn(repository)
    assert (answers(repository), held(repository)) == (1, ["digits/3"])
    shutil.rmtree(only_digits / "digits" / "1")
    turn(repository)
    with pytest.raises(NotReadyError, match="POST /v2/repository/index says why"):
        repository.find_model("digits")
    assert held(repository) == ["digits/3"]
    assert repository.load_model("digits")["version"] == 3


def test_a_lower_version_that_takes_the_place_of_a_live_one_is_compared_with_nothing(
    load, only_digits
):
    add_version(only_digits, 2, "a_")
    repository = load()
    shutil.rmtree(only_digits / "digits" / "2")
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (1, {})


def test_a_restart_without_the_live_version_says_that_it_compares_with_nothing(
    load, only_digits, caplog
):
    load()
    add_version(only_digits, 2, "a_")
    shutil.rmtree(only_digits / "digits" / "1")
    assert answers(load()) == 2
    assert "expected to compare digits/2 with version 1, which was live" in caplog.text


def test_a_rollback_is_explicit_and_compared_with_nothing(load, only_digits):
    add_version(only_digits, 2, "a_")
    repository = load()
    assert repository.roll_back("digits")["version"] == 1
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (1, {})
    repository = load()
    assert (answers(repository), repository.hold_reasons) == (1, {})
    assert repository.load_model("digits")["version"] == 2


def test_with_several_versions_kept_the_held_one_takes_no_ones_place(load, only_digits):
    add_version(only_digits, 2)
    repository = load(keep=2)
    add_version(only_digits, 3, "a_")
    turn(repository)
    assert sorted(repository.get_versions("digits")) == [1, 2]
    with pytest.raises(ModelNotFoundError, match="got 3; held: it does not accept all"):
        repository.find_model("digits", 3)


def test_a_version_that_is_refused_is_not_found_with_the_reason(load, only_digits):
    repository = load()
    damage(add_version(only_digits, 2))
    turn(repository)
    with pytest.raises(ModelNotFoundError, match=r"got 2; .*was altered after export"):
        repository.find_model("digits", 2)


def test_what_another_server_with_the_same_state_was_asked_to_load_is_followed(load, only_digits):
    one, another = load(), load()
    add_version(only_digits, 2, "a_")
    turn(one)
    turn(another)
    assert held(one) == held(another) == ["digits/2"]
    one.load_model("digits")
    turn(another)
    assert (answers(another), another.held) == (2, {})


def test_an_unloaded_model_that_is_loaded_serves_the_highest(load, only_digits):
    repository = load()
    add_version(only_digits, 2, "a_")
    turn(repository)
    repository.unload_model("digits")
    turn(repository)
    assert repository.live_models == {}
    assert repository.load_model("digits")["version"] == 2


def test_readyz_metrics_and_the_log_tell_what_is_held(only_digits, tmp_path):
    client = create_app(models=only_digits, keys=keys_file(tmp_path), poll=0.01).test_client()
    record = {f"pixel_{i}_{j}": 0 for i in range(8) for j in range(8)}
    add_version(only_digits, 2, "a_")

    def ready_while_held():
        ready = client.get("/readyz", headers=HEADERS)
        assert ready.status_code == 200
        return ready if ready.get_json()["held"] else None

    ready = wait_until(ready_while_held)
    assert ready.get_json()["held"] == {"digits/2": REASON}
    assert ready.status_code == 200
    assert (
        client.post("/predict", json={"instances": [record]}, headers=HEADERS).json["version"] == 1
    )
    done = client.post("/v2/repository/models/digits/load", headers=HEADERS)
    assert done.get_json()["version"] == 2
    assert client.get("/readyz", headers=HEADERS).get_json()["held"] == {}
    refused = client.post("/predict", json={"instances": [record]}, headers=HEADERS)
    assert refused.status_code == 422


def test_files_put_in_the_place_of_a_pinned_version_are_held(load, only_digits):
    add_version(only_digits, 2)
    repository = load()
    repository.roll_back("digits", 2)
    before = repository.find_model("digits")
    rename_column(only_digits / "digits" / "2", "a_")
    turn(repository)
    assert repository.find_model("digits") is before
    assert held(repository) == ["digits/2"]


def test_a_version_below_a_pinned_one_that_has_gone_is_held(load, only_digits):
    add_version(only_digits, 3)
    repository = load()
    repository.roll_back("digits", 3)
    shutil.rmtree(only_digits / "digits" / "3")
    turn(repository)
    add_version(only_digits, 2, "a_")
    turn(repository)
    assert (answers(repository), held(repository)) == (1, ["digits/2"])
    add_version(only_digits, 3, "b_")  # which was asked for
    turn(repository)
    assert answers(repository) == 3


@pytest.mark.parametrize("poll", [ALWAYS, 0])
def test_a_held_version_that_the_state_file_pins_is_served(poll, load, only_digits):
    load()
    add_version(only_digits, 2, "a_")
    repository = load(poll=poll)
    assert held(repository) == ["digits/2"]
    file = StateFile(only_digits / ".serving.json")
    file.write(file.read().pin_version("digits", 2))
    turn(repository)
    assert (answers(repository), repository.hold_reasons) == (2, {})


def test_replaced_files_stay_held_when_the_ones_before_cannot_be_loaded_any_more(only_digits):
    ledger = SharedState()
    one = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    turn(one)
    rename_column(only_digits / "digits" / "1", "a_")
    turn(one)
    assert held(one) == ["digits/1"]
    # A worker that comes later has nothing to load but these.
    another = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    for _ in range(3):
        turn(another)
        turn(one)
    assert another.live_models == {}
    assert held(another) == ["digits/1"]
    assert another.take_up("digits")["version"] == 1


def test_a_worker_that_has_not_seen_the_live_version_yet_serves_no_held_one_below_it(only_digits):
    ledger, later = SharedState(), 0.0
    one = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    add_version(only_digits, 2, "a_")
    turn(one)
    another = Repository(
        only_digits, shared_state=ledger, poll=3600, clock=lambda: monotonic() + later
    )
    assert held(another) == ["digits/2"]
    add_version(only_digits, 3)
    for _ in range(3):
        one.reconcile_once()
        another.turn()
    assert (answers(one), answers(another)) == (3, 3)
    # A rollout that came to nothing has the other one see what is to be done.
    assert RolloutStore(ledger).claim_rollout("digits")
    later = 2 * ROLLOUT_TIMEOUT_SECONDS
    for _ in range(3):
        another.turn()
        one.turn()
    assert (answers(one), answers(another)) == (3, 3)


def test_a_model_whose_folder_was_away_is_compared_with_what_was_live(load, only_digits):
    repository = load()
    turn(repository)
    add_version(only_digits, 2, "a_")
    turn(repository)
    away = only_digits / ".away"
    (only_digits / "digits").rename(away)
    turn(repository)
    assert repository.live_models == {}
    away.rename(only_digits / "digits")
    turn(repository)
    assert (answers(repository), held(repository)) == (1, ["digits/2"])
