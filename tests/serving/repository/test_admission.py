"""A new version that is incompatible with the live one is held until it is requested."""

import gc
import shutil
import weakref
from time import monotonic

import pytest

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from serving import create_app
from serving.errors import ModelNotFoundError, NotReadyError, StateNotKeptError, VersionRefusedError
from serving.repository import loading
from serving.repository.overrides import SavedState, StateFile
from serving.repository.rollout_store import ROLLOUT_TIMEOUT_SECONDS, RolloutStore
from serving.repository.shared_state import SharedState
from tests import repositories
from tests.bundle_versions import add_version, damage, rename_column
from tests.processes import wait_until

EVERY_STEP = 1e-9  # seconds between scans of the folder: it is scanned in every step
REASON = (
    "held: it does not accept all requests that version 1, which is live, accepts: "
    "it has no column 'pixel_0_0'; it has the new column 'a_pixel_0_0'; "
    "POST /v2/repository/models/digits/load serves it, and --take-up all holds no version"
)


@pytest.fixture
def outcomes():
    """Return the list of outcomes that the repository reports, in order."""
    return []


@pytest.fixture
def load_repository(only_digits, outcomes):
    def repository(**options):
        def record_outcome(_, outcome):
            outcomes.append(outcome)

        return repositories.load_repository(
            only_digits, **{"poll": EVERY_STEP, "on_outcome": record_outcome} | options
        )

    return repository


def reconcile(repository):
    """Run several steps, since a rollout needs more than one."""
    for _ in range(3):
        repository.reconcile_once()


def get_live_version(repository):
    return repository.find_model("digits").manifest.version


def list_held(repository):
    return sorted(repository.hold_reasons)


def list_reasons(repository):
    entries = repository.build_index()
    return {entry["version"]: (entry["state"], entry["reason"]) for entry in entries}


def read_state(models):
    found = StateFile(models / ".serving.json").read()
    return found.model_dump(mode="json", exclude_none=True)


def test_admission_incompatible_version_is_held_and_logged_once(
    load_repository, only_digits, caplog, outcomes
):
    repository = load_repository()
    before = repository.find_model("digits")
    add_version(only_digits, 2, "a_")
    for _ in range(3):
        reconcile(repository)
    assert repository.find_model("digits") is before
    assert repository.hold_reasons == {"digits/2": REASON}
    assert repository.refusal_reasons == {}
    assert list_reasons(repository) == {"1": ("READY", ""), "2": ("UNAVAILABLE", REASON)}
    assert [r.message for r in caplog.records if "held" in r.message] == [f"digits/2 is {REASON}"]
    assert outcomes == ["served", "held"]


def test_admission_incompatible_damaged_version_is_refused(load_repository, only_digits, outcomes):
    repository = load_repository()
    damage(add_version(only_digits, 2, "a_"))
    reconcile(repository)
    assert list(repository.refusal_reasons) == ["digits/2"]
    assert repository.hold_reasons == {}
    assert outcomes == ["served", "refused"]


def test_admission_held_version_is_freed(load_repository, only_digits, monkeypatch):
    sessions, real = [], loading.load_version

    def load_and_record(*arguments):
        model, decision = real(*arguments)
        sessions.append(weakref.ref(model.session))
        return model, decision

    monkeypatch.setattr(loading, "load_version", load_and_record)
    add_version(only_digits, 2, "a_")
    StateFile(only_digits / ".serving.json").write(SavedState(live={"digits": 1}))
    repository = load_repository()
    reconcile(repository)
    gc.collect()
    assert list_held(repository) == ["digits/2"]
    assert [session() is not None for session in sessions] == [False, True]


def test_load_held_version_is_served_and_becomes_reference(load_repository, only_digits):
    repository = load_repository()
    add_version(only_digits, 2, "a_")
    reconcile(repository)
    assert repository.load_model("digits")["version"] == 2
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (2, {})
    add_version(only_digits, 3, "a_")
    reconcile(repository)
    assert get_live_version(repository) == 3
    add_version(only_digits, 4)
    reconcile(repository)
    assert (get_live_version(repository), list_held(repository)) == (3, ["digits/4"])
    assert get_live_version(load_repository()) == 3  # A restart keeps it.


def test_admission_several_versions_are_each_compared_with_live_version(
    load_repository, only_digits
):
    repository = load_repository()
    add_version(only_digits, 2, "a_")
    add_version(only_digits, 3, "a_")  # It is compatible with version 2.
    reconcile(repository)
    assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2", "digits/3"])
    add_version(only_digits, 4)
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (4, {})


def test_admission_take_up_all_holds_nothing(load_repository, only_digits):
    repository = load_repository(take_up="all")
    add_version(only_digits, 2, "a_")
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (2, {})


def test_admission_first_version_of_model_is_served(load_repository, only_digits, adults):
    repository = load_repository()
    shutil.copytree(adults / "adults", only_digits / "adults")
    reconcile(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    assert repository.hold_reasons == {}


def test_admission_first_start_serves_highest_version(load_repository, only_digits):
    add_version(only_digits, 2, "a_")
    repository = load_repository()
    assert (get_live_version(repository), repository.hold_reasons) == (2, {})


def test_restart_held_version_stays_held(load_repository, only_digits, caplog):
    repository = load_repository()
    add_version(only_digits, 2, "a_")
    reconcile(repository)
    assert read_state(only_digits)["live"] == {"digits": 1}
    caplog.clear()
    repository = load_repository()
    assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2"])
    reconcile(repository)
    assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2"])
    assert caplog.text.count("digits/2 is held") == 1
    repository.load_model("digits")
    assert (get_live_version(load_repository()), read_state(only_digits)["live"]) == (
        2,
        {"digits": 2},
    )


def test_restart_incompatible_version_added_meanwhile_is_held(load_repository, only_digits):
    load_repository()
    add_version(only_digits, 2)
    assert get_live_version(load_repository()) == 2
    add_version(only_digits, 3, "a_")
    repository = load_repository()
    assert (get_live_version(repository), list_held(repository)) == (2, ["digits/3"])


def test_second_worker_held_version_stays_held(only_digits):
    shared_state = SharedState()
    first = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    add_version(only_digits, 2, "a_")
    reconcile(first)
    second = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    reconcile(second)
    reconcile(first)
    for repository in (first, second):
        assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2"])


def test_live_record_state_file_not_writable_is_logged_once(
    load_repository, only_digits, tmp_path, caplog
):
    (tmp_path / "file").touch()
    where = tmp_path / "file" / "state.json"
    repository = load_repository(state=where)
    add_version(only_digits, 2)
    reconcile(repository)
    assert get_live_version(repository) == 2
    assert caplog.text.count("to save in state.live.json which versions are live; got") == 1
    assert "start the server with --state FILE in a folder it may write to" in caplog.text
    add_version(only_digits, 3, "a_")
    reconcile(repository)
    assert list_held(repository) == ["digits/3"]
    assert repository.load_model("digits")["version"] == 3  # A restart serves it, too.
    assert get_live_version(load_repository(state=where)) == 3


def test_load_held_version_state_not_saved_changes_nothing(
    load_repository, only_digits, monkeypatch
):
    repository = load_repository()
    add_version(only_digits, 2, "a_")
    reconcile(repository)

    def fail(_, state):
        raise StateNotKeptError("expected to write it; got no space left")

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", fail)
        with pytest.raises(StateNotKeptError):
            repository.load_model("digits")
        reconcile(repository)
        assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2"])
    assert read_state(only_digits)["live"] == {"digits": 1}


def test_held_version_damaged_is_refused_and_repaired_is_held_again(load_repository, only_digits):
    repository = load_repository()
    path = add_version(only_digits, 2, "a_")
    reconcile(repository)
    damage(path)
    reconcile(repository)
    assert (list_held(repository), list(repository.refusal_reasons)) == ([], ["digits/2"])
    with pytest.raises(VersionRefusedError):
        repository.load_model("digits")
    damage(path)  # The same bit again restores the content.
    reconcile(repository)
    assert (list_held(repository), repository.refusal_reasons) == (["digits/2"], {})
    shutil.rmtree(path)
    add_version(only_digits, 2)
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (2, {})


def test_held_version_removed_is_forgotten(load_repository, only_digits):
    repository = load_repository()
    shutil.rmtree(add_version(only_digits, 2, "a_"))
    path = add_version(only_digits, 3, "a_")
    reconcile(repository)
    shutil.rmtree(path)
    reconcile(repository)
    assert repository.hold_reasons == {}
    assert list(list_reasons(repository)) == ["1"]


def test_live_version_files_replaced_by_incompatible_ones_keeps_serving(
    load_repository, only_digits
):
    repository = load_repository()
    before = repository.find_model("digits")
    rename_column(only_digits / "digits" / "1", "a_")
    reconcile(repository)
    assert repository.find_model("digits") is before
    assert repository.hold_reasons == {
        "digits/1": REASON.replace("version 1,", "version 1 as it was before,")
    }
    assert list_reasons(repository)["1"] == ("READY", repository.hold_reasons["digits/1"])


def test_live_version_removed_serves_lower_version_not_held_one(load_repository, only_digits):
    add_version(only_digits, 2)
    repository = load_repository()
    add_version(only_digits, 3, "a_")
    reconcile(repository)
    shutil.rmtree(only_digits / "digits" / "2")
    reconcile(repository)
    assert (get_live_version(repository), list_held(repository)) == (1, ["digits/3"])
    shutil.rmtree(only_digits / "digits" / "1")
    reconcile(repository)
    with pytest.raises(NotReadyError, match="POST /v2/repository/index says why"):
        repository.find_model("digits")
    assert list_held(repository) == ["digits/3"]
    assert repository.load_model("digits")["version"] == 3


def test_live_version_removed_incompatible_lower_version_is_served(load_repository, only_digits):
    add_version(only_digits, 2, "a_")
    repository = load_repository()
    shutil.rmtree(only_digits / "digits" / "2")
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (1, {})


def test_restart_live_version_removed_logs_missing_comparison(load_repository, only_digits, caplog):
    load_repository()
    add_version(only_digits, 2, "a_")
    shutil.rmtree(only_digits / "digits" / "1")
    assert get_live_version(load_repository()) == 2
    assert "expected to compare digits/2 with version 1, which was live" in caplog.text


def test_roll_back_to_incompatible_version_is_served(load_repository, only_digits):
    add_version(only_digits, 2, "a_")
    repository = load_repository()
    assert repository.roll_back("digits")["version"] == 1
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (1, {})
    repository = load_repository()
    assert (get_live_version(repository), repository.hold_reasons) == (1, {})
    assert repository.load_model("digits")["version"] == 2


def test_keep_two_versions_held_version_replaces_neither(load_repository, only_digits):
    add_version(only_digits, 2)
    repository = load_repository(keep=2)
    add_version(only_digits, 3, "a_")
    reconcile(repository)
    assert sorted(repository.get_versions("digits")) == [1, 2]
    with pytest.raises(ModelNotFoundError, match="got 3; held: it does not accept all"):
        repository.find_model("digits", 3)


def test_find_model_refused_version_error_gives_reason(load_repository, only_digits):
    repository = load_repository()
    damage(add_version(only_digits, 2))
    reconcile(repository)
    with pytest.raises(ModelNotFoundError, match=r"got 2; .*was altered after export"):
        repository.find_model("digits", 2)


def test_load_held_version_on_one_server_releases_it_on_another(load_repository, only_digits):
    one, another = load_repository(), load_repository()
    add_version(only_digits, 2, "a_")
    reconcile(one)
    reconcile(another)
    assert list_held(one) == list_held(another) == ["digits/2"]
    one.load_model("digits")
    reconcile(another)
    assert (get_live_version(another), another.hold_reasons) == (2, {})


def test_load_after_unload_serves_held_version(load_repository, only_digits):
    repository = load_repository()
    add_version(only_digits, 2, "a_")
    reconcile(repository)
    repository.unload_model("digits")
    reconcile(repository)
    assert repository.live_models == {}
    assert repository.load_model("digits")["version"] == 2


def test_readyz_version_held_lists_reason(only_digits, tmp_path):
    client = create_app(models=only_digits, keys=write_keys_file(tmp_path), poll=0.01).test_client()
    record = {f"pixel_{i}_{j}": 0 for i in range(8) for j in range(8)}
    add_version(only_digits, 2, "a_")

    def ready_while_held():
        ready = client.get("/readyz", headers=ADMIN_HEADERS)
        assert ready.status_code == 200
        return ready if ready.get_json()["held"] else None

    ready = wait_until(ready_while_held)
    assert ready.get_json()["held"] == {"digits/2": REASON}
    assert ready.status_code == 200
    assert (
        client.post("/predict", json={"instances": [record]}, headers=ADMIN_HEADERS).json["version"]
        == 1
    )
    done = client.post("/v2/repository/models/digits/load", headers=ADMIN_HEADERS)
    assert done.get_json()["version"] == 2
    assert client.get("/readyz", headers=ADMIN_HEADERS).get_json()["held"] == {}
    refused = client.post("/predict", json={"instances": [record]}, headers=ADMIN_HEADERS)
    assert refused.status_code == 422


def test_pinned_version_files_replaced_by_incompatible_ones_are_held(load_repository, only_digits):
    add_version(only_digits, 2)
    repository = load_repository()
    repository.roll_back("digits", 2)
    before = repository.find_model("digits")
    rename_column(only_digits / "digits" / "2", "a_")
    reconcile(repository)
    assert repository.find_model("digits") is before
    assert list_held(repository) == ["digits/2"]


def test_pinned_version_removed_incompatible_lower_version_is_held(load_repository, only_digits):
    add_version(only_digits, 3)
    repository = load_repository()
    repository.roll_back("digits", 3)
    shutil.rmtree(only_digits / "digits" / "3")
    reconcile(repository)
    add_version(only_digits, 2, "a_")
    reconcile(repository)
    assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2"])
    add_version(only_digits, 3, "b_")  # It is the pinned version.
    reconcile(repository)
    assert get_live_version(repository) == 3


@pytest.mark.parametrize("poll", [EVERY_STEP, 0])
def test_state_file_pins_held_version_server_serves_it(poll, load_repository, only_digits):
    load_repository()
    add_version(only_digits, 2, "a_")
    repository = load_repository(poll=poll)
    assert list_held(repository) == ["digits/2"]
    file = StateFile(only_digits / ".serving.json")
    file.write(file.read().pin_version("digits", 2))
    reconcile(repository)
    assert (get_live_version(repository), repository.hold_reasons) == (2, {})


def test_second_worker_only_incompatible_files_left_holds_them(only_digits):
    shared_state = SharedState()
    one = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    reconcile(one)
    rename_column(only_digits / "digits" / "1", "a_")
    reconcile(one)
    assert list_held(one) == ["digits/1"]
    # A worker that starts later finds only the replaced files.
    another = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    for _ in range(3):
        reconcile(another)
        reconcile(one)
    assert another.live_models == {}
    assert list_held(another) == ["digits/1"]
    assert another.load_model("digits")["version"] == 1


def test_second_worker_old_folder_scan_does_not_serve_held_version(only_digits):
    shared_state, later = SharedState(), 0.0
    one = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    add_version(only_digits, 2, "a_")
    reconcile(one)
    another = repositories.load_repository(
        only_digits, shared_state=shared_state, poll=3600, clock=lambda: monotonic() + later
    )
    assert list_held(another) == ["digits/2"]
    add_version(only_digits, 3)
    for _ in range(3):
        one.reconcile_once()
        another.reconcile_once()
    assert (get_live_version(one), get_live_version(another)) == (3, 3)
    # After a rollout that timed out, the other worker compares the versions again.
    assert RolloutStore(shared_state).claim_rollout("digits")
    later = 2 * ROLLOUT_TIMEOUT_SECONDS
    for _ in range(3):
        another.reconcile_once()
        one.reconcile_once()
    assert (get_live_version(one), get_live_version(another)) == (3, 3)


def test_model_folder_returns_is_compared_with_recorded_live_version(load_repository, only_digits):
    repository = load_repository()
    reconcile(repository)
    add_version(only_digits, 2, "a_")
    reconcile(repository)
    away = only_digits / ".away"
    (only_digits / "digits").rename(away)
    reconcile(repository)
    assert repository.live_models == {}
    away.rename(only_digits / "digits")
    reconcile(repository)
    assert (get_live_version(repository), list_held(repository)) == (1, ["digits/2"])
