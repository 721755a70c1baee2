"""Versions that are added and removed while a repository reconciles, in one process."""

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

from benchmarks.robustness.digits_versions import DigitsVersion
from serving import create_app
from serving.call_context import CallContext
from serving.codec.messages import EncodedRequest
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.inference.batching import Batcher
from serving.inference.predictor import Predictor
from serving.repository import Repository, loading
from serving.repository.shared_state import SharedState
from tests import repositories
from tests.bundle_versions import add_version, damage
from tests.processes import wait_until
from tests.variants import keep_unchanged, slow_down, write_variants

GOOD = json.dumps({"instances": [[0.0] * 64]}).encode()
EVERY_STEP = 1e-9  # seconds between scans of the folder: it is scanned in every step


@pytest.fixture
def load_repository(only_digits):
    def repository(**options):
        return repositories.load_repository(only_digits, **{"poll": EVERY_STEP} | options)

    return repository


def predict(model, body):
    return Predictor(Batcher())("rows", model, EncodedRequest(body), CallContext()).content


def get_live_version(repository):
    return repository.find_model("digits").manifest.version


def reconcile(repository):
    """Run two steps, since a rollout needs more than one."""
    repository.reconcile_once()
    repository.reconcile_once()


def list_states(repository, name="digits"):
    entries = [entry for entry in repository.build_index() if entry["name"] == name]
    return {entry["version"]: entry["state"] for entry in entries}


def get_reason(repository, version, name="digits"):
    (entry,) = [e for e in repository.build_index() if (e["name"], e["version"]) == (name, version)]
    return entry["reason"]


def test_new_version_request_in_progress_is_answered_by_old_one(load_repository, only_digits):
    repository = load_repository()
    old = repository.find_model("digits")
    add_version(only_digits, 2)
    reconcile(repository)
    assert get_live_version(repository) == 2
    assert json.loads(predict(old, GOOD))["version"] == 1
    assert list_states(repository) == {"1": "UNLOADING", "2": "READY"}


def test_new_version_old_session_is_freed_with_its_last_request(load_repository, only_digits):
    repository = load_repository()
    old = repository.find_model("digits")
    predict(old, GOOD)
    session = weakref.ref(old.session)
    add_version(only_digits, 2)
    reconcile(repository)
    gc.disable()  # It must be freed by its reference count.
    try:
        assert session() is not None
        del old
        assert session() is None
    finally:
        gc.enable()
    assert list_states(repository) == {"1": "UNAVAILABLE", "2": "READY"}


def test_new_version_damaged_old_one_stays_live(load_repository, only_digits, caplog):
    repository = load_repository()
    old = repository.find_model("digits")
    damage(add_version(only_digits, 2))
    reconcile(repository)
    assert repository.find_model("digits") is old
    assert "digits/2: model.onnx was altered" in repository.refusal_reasons["digits/2"]
    assert str(only_digits) not in repository.refusal_reasons["digits/2"]
    assert list_states(repository) == {"1": "READY", "2": "UNAVAILABLE"}
    assert get_reason(repository, "2") == repository.refusal_reasons["digits/2"]
    for _ in range(3):
        reconcile(repository)
    assert (
        caplog.text.count("refused digits/2") == 1
    )  # It is not loaded again with the same content.


def test_new_version_written_in_parts_is_served_once_complete(load_repository, only_digits):
    whole = add_version(only_digits, 2)
    whole.rename(only_digits / "whole")
    repository = load_repository()
    whole.mkdir()
    for file in ("bundle.json", "selftest.npz", "reference.json", "model.onnx"):
        content = (only_digits / "whole" / file).read_bytes()
        for part in (content[: len(content) // 2], content):
            assert get_live_version(repository) == 1
            (whole / file).write_bytes(part)
            reconcile(repository)
    assert get_live_version(repository) == 2
    assert repository.refusal_reasons == {}


def test_live_version_damaged_and_repaired_is_not_loaded_again(load_repository, only_digits):
    add_version(only_digits, 2)
    repository = load_repository()
    path = only_digits / "digits" / "2"
    before, whole = repository.find_model("digits"), (path / "model.onnx").read_bytes()
    damage(path)
    reconcile(repository)
    assert repository.find_model("digits") is before
    assert "model.onnx was altered" in get_reason(repository, "2")
    (path / "model.onnx").write_bytes(whole)
    reconcile(repository)
    assert repository.find_model("digits") is before
    assert repository.refusal_reasons == {}


def test_live_version_removed_lower_one_is_served(load_repository, only_digits):
    add_version(only_digits, 2)
    repository = load_repository()
    shutil.rmtree(only_digits / "digits" / "2")
    reconcile(repository)
    assert get_live_version(repository) == 1
    shutil.rmtree(only_digits / "digits")
    reconcile(repository)
    assert repository.live_models == {}


def test_model_added_and_model_removed_are_followed(load_repository, only_digits, adults):
    repository = load_repository()
    shutil.copytree(adults / "adults", only_digits / "adults")
    reconcile(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    shutil.rmtree(only_digits / "digits")
    reconcile(repository)
    assert list(repository.live_models) == ["adults"]
    with pytest.raises(ModelRequiredError):  # The default was digits.
        repository.find_model(None)


def test_models_folder_unreadable_changes_nothing(load_repository, only_digits, caplog):
    repository = load_repository()
    only_digits.rename(only_digits.with_name("away"))
    for _ in range(3):
        reconcile(repository)
    assert get_live_version(repository) == 1
    assert repository.refusal_reasons == {
        "models": "expected a folder of models, NAME/VERSION; got one which does not exist"
    }
    assert caplog.text.count("the served versions stay as they are") == 1
    assert get_reason(repository, "", "models") == repository.refusal_reasons["models"]
    only_digits.with_name("away").rename(only_digits)
    add_version(only_digits, 2)
    reconcile(repository)
    assert (get_live_version(repository), repository.refusal_reasons) == (2, {})


def test_models_folder_created_later_is_served(tmp_path, shipped):
    repository = repositories.load_repository(tmp_path / "models", poll=EVERY_STEP)
    with pytest.raises(NotReadyError):
        repository.find_model(None)
    shutil.copytree(shipped, tmp_path / "models")
    reconcile(repository)
    assert get_live_version(repository) == 1


def test_keep_three_versions_are_found_by_number(load_repository, only_digits):
    for number in (2, 3, 10):
        add_version(only_digits, number)
    repository = load_repository(keep=3)
    assert get_live_version(repository) == 10
    assert [repository.find_model("digits", v).manifest.version for v in (2, 3, 10)] == [2, 3, 10]
    assert repository.find_model(None, 3) is repository.find_model("digits", 3)
    with pytest.raises(
        ModelNotFoundError,
        match=r"expected a version of digits out of 2, 3, 10; got 1; to serve more",
    ) as caught:
        repository.find_model("digits", 1)
    assert caught.value.details == {"versions": [2, 3, 10]}
    del caught  # Its traceback refers to the models.
    add_version(only_digits, 11)
    kept = repository.find_model("digits", 3)
    reconcile(repository)
    assert (get_live_version(repository), repository.find_model("digits", 3)) == (11, kept)
    assert list_states(repository) == {
        "1": "UNAVAILABLE",
        "2": "UNAVAILABLE",
        "3": "READY",
        "10": "READY",
        "11": "READY",
    }
    assert "--keep" in get_reason(repository, "2")


def test_keep_two_versions_damaged_one_does_not_count(load_repository, only_digits):
    for number in (2, 3, 4):
        add_version(only_digits, number)
    damage(only_digits / "digits" / "3")
    repository = load_repository(keep=2)
    assert sorted(repository.get_versions("digits")) == [2, 4]


def test_poll_zero_new_version_is_served_only_on_load(load_repository, only_digits):
    repository = load_repository(poll=0)
    add_version(only_digits, 2)
    reconcile(repository)
    assert get_live_version(repository) == 1
    assert repository.load_model("digits") == {
        "name": "digits",
        "version": 2,
        "before": 1,
        "versions": [2],
    }
    assert get_live_version(repository) == 2


def test_poll_interval_not_over_does_not_scan(load_repository, only_digits):
    repository = load_repository(poll=60)
    add_version(only_digits, 2)
    reconcile(repository)
    assert get_live_version(repository) == 1


@pytest.mark.parametrize("kind", ["link out", "no link", "pipe", "opset", "sum", "empty", "denied"])
def test_new_version_invalid_is_refused_with_reason_in_index(
    kind, load_repository, only_digits, tmp_path, monkeypatch
):
    repository = load_repository()
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
            expected = "ONNX Runtime cannot load the graph"
        case "sum":
            damage(path)
            expected = "model.onnx was altered after export"
        case "empty":
            shutil.rmtree(path)
            path.mkdir()
            expected = "expected a readable bundle.json"
        case "denied":
            monkeypatch.setattr("serving.bundle.files.os.open", denied)  # Root may read everything.
            expected = "expected a readable bundle.json; Permission denied"
    reconcile(repository)
    assert list_states(repository) == {"1": "READY", "2": "UNAVAILABLE"}
    assert expected in get_reason(repository, "2")
    assert str(tmp_path) not in get_reason(repository, "2")
    assert get_live_version(repository) == 1


def denied(path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def unknown_opset(path):
    def of_the_future(content):
        found = onnx.load_from_string(content)
        found.opset_import[0].version = 999
        return found.SerializeToString()

    write_variants(path, fp32=of_the_future)


def is_second_version_served(client):
    return client.get("/readyz").get_json()["models"] == {"digits": 2}


@pytest.mark.slow
def test_watch_serves_new_version_and_ends_with_application(only_digits):
    app = create_app(models=only_digits, poll=0.05)
    client = app.test_client()
    add_version(only_digits, 2)
    wait_until(partial(is_second_version_served, client))
    threads = [thread for thread in threading.enumerate() if thread.name == "repository"]
    assert threads
    del app, client
    wait_until(lambda: gc.collect() >= 0 and threads[-1] not in threading.enumerate())


def test_watch_continues_after_unexpected_error(only_digits, monkeypatch, caplog):
    errors = iter([RuntimeError("odd")])

    def fail_once(self, real=Repository.reconcile_once):
        for error in errors:
            raise error
        real(self)

    monkeypatch.setattr(Repository, "reconcile_once", fail_once)
    repository = repositories.load_repository(only_digits, poll=0.05)
    repository.watch()
    add_version(only_digits, 2)
    wait_until(lambda: get_live_version(repository) == 2)
    assert "RuntimeError: odd" in caplog.text


def test_keep_two_versions_each_predicts_with_its_weights(tmp_path):
    rows = np.random.default_rng(0).integers(0, 17, (5, 64)).astype(np.float32)
    models = tmp_path / "models"
    (models / "digits").mkdir(parents=True)
    for number in (1, 2):
        DigitsVersion(number).write(models / "digits")
    repository = repositories.load_repository(models, keep=2)
    for number in (1, 2):
        body = json.dumps({"instances": rows.tolist()}).encode()
        answer = json.loads(predict(repository.find_model("digits", number), body))
        expected = DigitsVersion(number).predict(rows)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_new_version_unexpected_error_refuses_only_that_version(
    load_repository, only_digits, adults, monkeypatch, caplog
):
    repository = load_repository()
    real = loading.load_version

    def fail_for_digits(models, name, snapshot, *options):
        if name == "digits":
            raise KeyError("odd")
        return real(models, name, snapshot, *options)

    monkeypatch.setattr(loading, "load_version", fail_for_digits)
    shutil.copytree(adults / "adults", only_digits / "adults")
    add_version(only_digits, 2)
    reconcile(repository)
    assert get_live_version(repository) == 1
    assert repository.find_model("adults").manifest.version == 1
    assert repository.refusal_reasons == {"digits/2": "unexpected internal error: KeyError('odd')"}
    assert "Traceback" in caplog.text


def test_second_worker_serves_what_the_first_serves(only_digits, monkeypatch):
    write_variants(only_digits / "digits" / "1", fp32=slow_down, int8=keep_unchanged)
    shared_state = SharedState()
    first = repositories.load_repository(only_digits, shared_state=shared_state)
    monkeypatch.setattr(
        "serving.runtime.variant_selection.measure_latencies", None
    )  # It must not be called again.
    add_version(only_digits, 2)  # Without polling it is not found.
    second = repositories.load_repository(only_digits, shared_state=shared_state, poll=0)
    assert get_live_version(first) == get_live_version(second) == 1
    assert first.find_model("digits").variant == second.find_model("digits").variant == "int8"
    assert first.find_model("digits").variant_checks == second.find_model("digits").variant_checks


@pytest.mark.slow
def test_second_worker_folder_unreadable_serves_it_later(only_digits):
    shared_state = SharedState()
    first = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    only_digits.rename(only_digits.with_name("away"))
    second = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    assert second.live_models == {}
    assert "expected a readable bundle.json" in second.refusal_reasons["digits/1"]
    for _ in range(3):
        reconcile(first)
        reconcile(second)
    assert get_live_version(first) == 1
    only_digits.with_name("away").rename(only_digits)
    wait_until(lambda: second.reconcile_once() or second.live_models)
    reconcile(first)
    assert get_live_version(first) == get_live_version(second) == 1
    assert first.refusal_reasons == second.refusal_reasons == {}


def test_second_worker_version_damaged_is_refused_by_all(only_digits):
    add_version(only_digits, 2)
    shared_state = SharedState()
    first = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    damage(only_digits / "digits" / "2")
    reconcile(first)
    assert get_live_version(first) == 2  # It answers from memory.
    second = repositories.load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    reconcile(first)
    assert get_live_version(first) == get_live_version(second) == 1
    assert "was altered" in first.refusal_reasons["digits/2"]
