"""Versions that come and go, in one process, turn by turn."""

import gc
import json
import os
import shutil
import threading
import weakref
from functools import partial

import numpy as np
import onnx
import pytest

from benchmarks import swaps
from serving import create_app
from serving.call_context import CallContext
from serving.codec.messages import EncodedRequest
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.inference.batching import Batcher
from serving.inference.predictor import Predictor
from serving.repository import Repository
from serving.repository import loading as loader
from serving.repository.repository import Repository as Whole
from serving.repository.shared_state import SharedState
from tests.editions import add_version, damage
from tests.processes import wait_until
from tests.variants import keep_unchanged, slow_down, write_variants

GOOD = json.dumps({"instances": [[0.0] * 64]}).encode()
ALWAYS = 1e-9  # seconds between looks at the folder: at every turn


@pytest.fixture
def load(only_digits):
    def repository(**knobs):
        return Repository(only_digits, **{"poll": ALWAYS} | knobs)

    return repository


def predict(model, body):
    return Predictor(Batcher())("rows", model, EncodedRequest(body), CallContext()).content


def answers(repository):
    return repository.find_model("digits").manifest.version


def turn(repository):
    repository.reconcile_once()
    repository.reconcile_once()


def states(repository, name="digits"):
    entries = [entry for entry in repository.build_index() if entry["name"] == name]
    return {entry["version"]: entry["state"] for entry in entries}


def reason(repository, version, name="digits"):
    (entry,) = [e for e in repository.build_index() if (e["name"], e["version"]) == (name, version)]
    return entry["reason"]


def test_a_new_version_is_taken_up_while_who_holds_the_old_one_is_answered_by_it(load, only_digits):
    repository = load()
    old = repository.find_model("digits")
    add_version(only_digits, 2)
    turn(repository)
    assert answers(repository) == 2
    assert json.loads(predict(old, GOOD))["version"] == 1
    assert states(repository) == {"1": "UNLOADING", "2": "READY"}


def test_the_session_of_an_old_version_is_freed_with_the_last_request_that_holds_it(
    load, only_digits
):
    repository = load()
    old = repository.find_model("digits")
    predict(old, GOOD)
    session = weakref.ref(old.session)
    add_version(only_digits, 2)
    turn(repository)
    gc.disable()  # at once, and not when there is time
    try:
        assert session() is not None
        del old
        assert session() is None
    finally:
        gc.enable()
    assert states(repository) == {"1": "UNAVAILABLE", "2": "READY"}


def test_a_version_that_fails_stays_out_and_the_old_one_serves_on(load, only_digits, caplog):
    repository = load()
    old = repository.find_model("digits")
    damage(add_version(only_digits, 2))
    turn(repository)
    assert repository.find_model("digits") is old
    assert "digits/2: model.onnx was altered" in repository.refusal_reasons["digits/2"]
    assert str(only_digits) not in repository.refusal_reasons["digits/2"]
    assert states(repository) == {"1": "READY", "2": "UNAVAILABLE"}
    assert reason(repository, "2") == repository.refusal_reasons["digits/2"]
    for _ in range(3):
        turn(repository)
    assert caplog.text.count("refused digits/2") == 1  # it is not tried again as it is


def test_a_version_that_is_still_being_written_is_taken_up_when_it_is_whole(load, only_digits):
    whole = add_version(only_digits, 2)
    whole.rename(only_digits / "whole")
    repository = load()
    whole.mkdir()
    for file in ("bundle.json", "selftest.npz", "reference.json", "model.onnx"):
        content = (only_digits / "whole" / file).read_bytes()
        for part in (content[: len(content) // 2], content):
            assert answers(repository) == 1
            (whole / file).write_bytes(part)
            turn(repository)
    assert answers(repository) == 2
    assert repository.refusal_reasons == {}


def test_a_served_version_that_is_damaged_and_mended_serves_on_without_another_proof(
    load, only_digits
):
    add_version(only_digits, 2)
    repository = load()
    path = only_digits / "digits" / "2"
    before, whole = repository.find_model("digits"), (path / "model.onnx").read_bytes()
    damage(path)
    turn(repository)
    assert repository.find_model("digits") is before
    assert "model.onnx was altered" in reason(repository, "2")
    (path / "model.onnx").write_bytes(whole)
    turn(repository)
    assert repository.find_model("digits") is before
    assert repository.refusal_reasons == {}


def test_a_version_that_is_taken_away_gives_way_to_the_one_before(load, only_digits):
    add_version(only_digits, 2)
    repository = load()
    shutil.rmtree(only_digits / "digits" / "2")
    turn(repository)
    assert answers(repository) == 1
    shutil.rmtree(only_digits / "digits")
    turn(repository)
    assert repository.live_models == {}


def test_models_come_and_go(load, only_digits, adults):
    repository = load()
    shutil.copytree(adults / "adults", only_digits / "adults")
    turn(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    shutil.rmtree(only_digits / "digits")
    turn(repository)
    assert list(repository.live_models) == ["adults"]
    with pytest.raises(ModelRequiredError):  # it was digits that answered without a name
        repository.find_model(None)


def test_a_folder_that_cannot_be_read_leaves_all_as_it_is(load, only_digits, caplog):
    repository = load()
    only_digits.rename(only_digits.with_name("away"))
    for _ in range(3):
        turn(repository)
    assert answers(repository) == 1
    assert repository.refusal_reasons == {
        "models": "expected a folder of models, NAME/VERSION; got one which does not exist"
    }
    assert caplog.text.count("what is served stays as it is") == 1
    assert reason(repository, "", "models") == repository.refusal_reasons["models"]
    only_digits.with_name("away").rename(only_digits)
    add_version(only_digits, 2)
    turn(repository)
    assert (answers(repository), repository.refusal_reasons) == (2, {})


def test_a_folder_that_comes_later_is_taken_up(tmp_path, shipped):
    repository = Repository(tmp_path / "models", poll=ALWAYS)
    with pytest.raises(NotReadyError):
        repository.find_model(None)
    shutil.copytree(shipped, tmp_path / "models")
    turn(repository)
    assert answers(repository) == 1


def test_several_versions_are_served_at_once_and_found_by_number(load, only_digits):
    for number in (2, 3, 10):
        add_version(only_digits, number)
    repository = load(keep=3)
    assert answers(repository) == 10
    assert [repository.find_model("digits", v).manifest.version for v in (2, 3, 10)] == [2, 3, 10]
    assert repository.find_model(None, 3) is repository.find_model("digits", 3)
    with pytest.raises(
        ModelNotFoundError, match=r"expected a version of digits out of 2, 3, 10; got 1; those"
    ) as caught:
        repository.find_model("digits", 1)
    assert caught.value.details == {"versions": [2, 3, 10]}
    del caught  # whose traceback holds them all
    add_version(only_digits, 11)
    kept = repository.find_model("digits", 3)
    turn(repository)
    assert (answers(repository), repository.find_model("digits", 3)) == (11, kept)
    assert states(repository) == {
        "1": "UNAVAILABLE",
        "2": "UNAVAILABLE",
        "3": "READY",
        "10": "READY",
        "11": "READY",
    }
    assert "--keep" in reason(repository, "2")


def test_one_that_fails_takes_no_other_ones_place(load, only_digits):
    for number in (2, 3, 4):
        add_version(only_digits, number)
    damage(only_digits / "digits" / "3")
    repository = load(keep=2)
    assert sorted(repository.get_versions("digits")) == [2, 4]


def test_with_poll_0_nothing_is_taken_up_until_it_is_asked_for(load, only_digits):
    repository = load(poll=0)
    add_version(only_digits, 2)
    turn(repository)
    assert answers(repository) == 1
    assert repository.load_model("digits") == {
        "name": "digits",
        "version": 2,
        "before": 1,
        "versions": [2],
    }
    assert answers(repository) == 2


def test_between_two_looks_the_folder_is_left_alone(load, only_digits):
    repository = load(poll=60)
    add_version(only_digits, 2)
    turn(repository)
    assert answers(repository) == 1


@pytest.mark.parametrize("kind", ["link out", "no link", "pipe", "opset", "sum", "empty", "denied"])
def test_what_cannot_be_served_is_refused_and_the_index_says_why(
    kind, load, only_digits, tmp_path, monkeypatch
):
    repository = load()
    path = add_version(only_digits, 2)
    graph = path / "model.onnx"
    match kind:
        case "link out":
            path.rename(tmp_path / "2")
            path.symlink_to(tmp_path / "2")
            expected = "got a link that leads out of it"
        case "no link":
            shutil.rmtree(path)
            path.symlink_to("nowhere")
            expected = "expected a readable bundle.json; No such file"
        case "pipe":
            graph.unlink()
            os.mkfifo(graph)
            expected = "expected model.onnx as a regular file"
        case "opset":
            unknown_opset(path)
            expected = "ONNX Runtime does not load the graph"
        case "sum":
            damage(path)
            expected = "model.onnx was altered after export"
        case "empty":
            shutil.rmtree(path)
            path.mkdir()
            expected = "expected a readable bundle.json"
        case "denied":
            monkeypatch.setattr("serving.bundle.files.os.open", denied)  # root may read everything
            expected = "expected a readable bundle.json; Permission denied"
    turn(repository)
    assert states(repository) == {"1": "READY", "2": "UNAVAILABLE"}
    assert expected in reason(repository, "2")
    assert str(tmp_path) not in reason(repository, "2")
    assert answers(repository) == 1


def denied(path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def unknown_opset(path):
    def of_the_future(content):
        found = onnx.load_from_string(content)
        found.opset_import[0].version = 999
        return found.SerializeToString()

    write_variants(path, fp32=of_the_future)


def serves_second(client):
    return client.get("/readyz").get_json()["models"] == {"digits": 2}


@pytest.mark.slow
def test_the_watch_takes_up_versions_by_itself_and_ends_with_its_application(only_digits):
    app = create_app(models=only_digits, poll=0.05)
    client = app.test_client()
    add_version(only_digits, 2)
    wait_until(partial(serves_second, client))
    watches = [thread for thread in threading.enumerate() if thread.name == "repository"]
    assert watches
    del app, client
    wait_until(lambda: gc.collect() >= 0 and watches[-1] not in threading.enumerate())


def test_a_fault_in_a_turn_does_not_end_the_watch(only_digits, monkeypatch, caplog):
    faults = iter([RuntimeError("odd")])

    def once(self, real=Whole.reconcile_once):
        for fault in faults:
            raise fault
        real(self)

    monkeypatch.setattr(Whole, "turn", once)
    repository = Repository(only_digits, poll=0.05)
    repository.watch()
    add_version(only_digits, 2)
    wait_until(lambda: answers(repository) == 2)
    assert "RuntimeError: odd" in caplog.text


def test_each_version_answers_as_its_own_weights_do(tmp_path):
    rows = np.random.default_rng(0).integers(0, 17, (5, 64)).astype(np.float32)
    models = tmp_path / "models"
    (models / "digits").mkdir(parents=True)
    for number in (1, 2):
        swaps.Version(number).write(models / "digits")
    repository = Repository(models, keep=2)
    for number in (1, 2):
        body = json.dumps({"instances": rows.tolist()}).encode()
        answer = json.loads(predict(repository.find_model("digits", number), body))
        expected = swaps.Version(number).answers(rows)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_a_fault_of_ours_in_proving_a_version_concerns_that_one_alone(
    load, only_digits, adults, monkeypatch, caplog
):
    repository = load()
    real = loader.load_version

    def odd(models, name, edition, *options):
        if name == "digits":
            raise KeyError("odd")
        return real(models, name, edition, *options)

    monkeypatch.setattr(loader, "load_version", odd)
    shutil.copytree(adults / "adults", only_digits / "adults")
    add_version(only_digits, 2)
    turn(repository)
    assert answers(repository) == 1
    assert repository.find_model("adults").manifest.version == 1
    assert repository.refusal_reasons == {"digits/2": "an internal error came: KeyError('odd')"}
    assert "Traceback" in caplog.text


def test_who_comes_later_serves_what_the_others_do(only_digits, monkeypatch):
    write_variants(only_digits / "digits" / "1", fp32=slow_down, int8=keep_unchanged)
    ledger = SharedState()
    first = Repository(only_digits, shared_state=ledger)
    monkeypatch.setattr(
        "serving.runtime.variant_selection.measure_latencies", None
    )  # which is not asked again
    add_version(only_digits, 2)  # and which is not looked for, without a poll
    second = Repository(only_digits, shared_state=ledger, poll=0)
    assert answers(first) == answers(second) == 1
    assert first.find("digits").variant == second.find("digits").variant == "int8"
    assert first.find("digits").trials == second.find("digits").trials


@pytest.mark.slow
def test_who_comes_later_and_cannot_read_it_does_without_and_catches_up(only_digits):
    ledger = SharedState()
    first = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    only_digits.rename(only_digits.with_name("away"))
    second = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    assert second.served == {}
    assert "expected a readable bundle.json" in second.refused["digits/1"]
    for _ in range(3):
        turn(first)
        turn(second)
    assert answers(first) == 1
    only_digits.with_name("away").rename(only_digits)
    wait_until(lambda: second.turn() or second.served)
    turn(first)
    assert answers(first) == answers(second) == 1
    assert first.refused == second.refused == {}


def test_who_comes_later_to_what_was_damaged_has_all_do_without_it(only_digits):
    add_version(only_digits, 2)
    ledger = SharedState()
    first = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    damage(only_digits / "digits" / "2")
    turn(first)
    assert answers(first) == 2  # from memory
    second = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    turn(first)
    assert answers(first) == answers(second) == 1
    assert "was altered" in first.refusal_reasons["digits/2"]
