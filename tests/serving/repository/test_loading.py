"""Which versions and variants a repository serves at the start, and what it logs about others."""

import shutil
from functools import partial

import pytest
import requests

from serving import bundle, create_app
from serving.bundle import Bundle
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.repository import Repository
from serving.repository.shared_state import SharedState
from tests.bundle_versions import add_version, damage
from tests.repositories import load_repository
from tests.variants import (
    expect_other_answers,
    flip_bit,
    keep_unchanged,
    refuse_row_count,
    slow_down,
    write_variants,
)


def test_start_several_versions_serves_highest(only_digits):
    for number in (2, 10):
        add_version(only_digits, number)
    assert load_repository(only_digits).find_model("digits").manifest.version == 10


def test_start_damaged_version_serves_lower_one(only_digits, caplog):
    damage(add_version(only_digits, 2))
    (only_digits / "digits" / "3").mkdir()
    repository = load_repository(only_digits)
    assert repository.find_model("digits").manifest.version == 1
    assert "model.onnx was altered" in repository.refusal_reasons["digits/2"]
    assert "expected a readable bundle.json" in repository.refusal_reasons["digits/3"]
    assert all(str(only_digits) not in reason for reason in repository.refusal_reasons.values())
    assert repository.refusal_reasons["digits/3"].startswith("digits/3: ")
    assert "refused digits/2" in caplog.text


@pytest.mark.parametrize("rows", [2, 4, 16, 32, 128])
def test_start_version_fails_at_one_batch_size_serves_lower_one(rows, only_digits):
    write_variants(add_version(only_digits, 2), fp32=partial(refuse_row_count, rows=rows))
    repository = load_repository(only_digits)
    assert repository.find_model("digits").manifest.version == 1
    assert repository.refusal_reasons["digits/2"].startswith("digits/2: ONNX Runtime cannot run")


def test_start_all_versions_damaged_serves_nothing(only_digits):
    damage(only_digits / "digits" / "1")
    repository = load_repository(only_digits)
    assert repository.live_models == {}
    with pytest.raises(NotReadyError, match="says why"):
        repository.find_model(None)


@pytest.mark.parametrize("fault", [flip_bit, expect_other_answers])
def test_start_one_variant_fails_is_reported_and_version_served(fault, only_digits, caplog):
    folder = write_variants(only_digits / "digits" / "1", fp32=slow_down, int8=keep_unchanged)
    fault(folder, "int8")
    with caplog.at_level("INFO"):
        repository = load_repository(only_digits)
    model = repository.find_model("digits")
    assert model.variant == "fp32"
    (reason,) = repository.refusal_reasons.values()
    assert repository.refusal_reasons == {"digits/1/int8": reason}
    assert reason.startswith("digits/1: ")
    assert model.variant_checks["int8"].failure == reason
    assert str(only_digits) not in reason
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == [f"refused digits/1/int8: {reason}"]
    assert "serving digits/1: fp32 is the only variant that passed its self-test" in caplog.text


def test_start_all_variants_fail_serves_lower_version(only_digits):
    folder = write_variants(add_version(only_digits, 2), fp32=keep_unchanged, int8=keep_unchanged)
    for variant in ("fp32", "int8"):
        flip_bit(folder, variant)
    repository = load_repository(only_digits)
    assert repository.find_model("digits").manifest.version == 1
    assert set(repository.refusal_reasons) == {"digits/2"}
    for file in ("model.fp32.onnx", "model.int8.onnx"):
        assert f"{file} was altered" in repository.refusal_reasons["digits/2"]


def test_start_requested_variant_is_served_where_it_exists(zoo, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(zoo, models)
    write_variants(models / "digits" / "1", fp32=keep_unchanged, int8=slow_down)
    served = load_repository(models, variant="int8").live_models
    assert served["digits"].variant == "int8"
    assert served["flowers"].variant == "fp32"
    assert served["flowers"].variant_reason == (
        "fp32 is the only variant; int8 was requested, but the bundle has no such variant"
    )


def test_start_unknown_variant_is_logged(zoo, caplog):
    assert load_repository(zoo, variant="INT8").live_models
    assert "expected a variant out of fp32; got INT8; ignored" in caplog.text
    caplog.clear()
    load_repository(zoo, variant="fp32")
    assert "expected a variant" not in caplog.text


def test_find_model_without_name_requires_a_single_model(zoo, shipped):
    assert load_repository(shipped).find_model(None).manifest.name == "digits"
    several = load_repository(zoo)
    assert several.find_model("flowers").manifest.name == "flowers"
    with pytest.raises(ModelRequiredError, match=r"choose one of digits, flowers, .*tumours"):
        several.find_model(None)


def test_find_model_unknown_name_lists_served_models(shipped):
    with pytest.raises(ModelNotFoundError, match=r"expected a model out of digits; got 'letters'"):
        load_repository(shipped).find_model("letters")


def test_start_folder_without_models_logs_what_it_is(only_digits, tmp_path, caplog):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for path, fault in (
        (tmp_path / "absent", "which does not exist"),
        (tmp_path / "file", "which is a file"),
        (tmp_path / "empty", f"train one: trainer fit digits --models {tmp_path / 'empty'}"),
        (
            only_digits / "digits",
            f"which is one model; give the folder of all models, {only_digits}",
        ),
    ):
        caplog.clear()
        assert load_repository(path).live_models == {}
        assert fault in caplog.text


def test_empty_folder_is_logged_from_time_to_time_until_a_model_is_added(
    shipped, tmp_path, caplog, monkeypatch
):
    caplog.set_level("INFO")
    repository = load_repository(tmp_path, poll=1e-9)
    text = "waiting for models: expected a folder of models"
    for _ in range(3):
        repository.reconcile_once()
    assert caplog.text.count(text) == 1
    assert "it is scanned every 1e-09 s" in caplog.text
    monkeypatch.setattr(
        "serving.repository.repository.REMINDER_SECONDS", -1.0
    )  # seconds: it is over
    repository._next_reminder = 0.0
    repository.reconcile_once()
    assert caplog.text.count(text) == 2
    shutil.copytree(shipped / "digits", tmp_path / "digits")
    for _ in range(3):
        repository.reconcile_once()
    assert caplog.text.count(text) == 2
    assert "serving digits/1" in caplog.text
    assert repository.find_model(None).manifest.name == "digits"


def test_start_only_staged_versions_logs_promote_command(only_digits, caplog):
    (only_digits / "digits" / "1").rename(only_digits / "digits" / "staged-1")
    assert load_repository(only_digits).live_models == {}
    command = f"serving promote --models {only_digits} digits"
    assert f"which holds staged versions only; promote one: {command}" in caplog.text


def test_create_app_models_folder_missing_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for name, reason in (("absent", "which does not exist"), ("file", "which is a file")):
        with pytest.raises(NotADirectoryError, match=f"got {tmp_path / name}, {reason}"):
            create_app(models=tmp_path / name)


def test_empty_folder_two_workers_log_one_line(tmp_path, serve, shipped):
    models, building = tmp_path / "models", tmp_path / "building"
    models.mkdir()
    server = serve(models, "--workers", "2", "--poll", "0.05")
    assert sum("waiting for models" in line for line in server.log) == 1
    assert requests.get(f"{server.url}/readyz", timeout=120).status_code == 503
    shutil.copytree(shipped / "digits", building)
    building.rename(models / "digits")
    server.wait_for_log("serving digits/1", times=2)


def test_find_model_refused_model_gives_reason(zoo, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(zoo, models)
    damage(models / "flowers" / "1")
    with pytest.raises(NotReadyError, match=r"version of flowers to be served; .*altered"):
        load_repository(models).find_model("flowers")


def test_start_unreadable_model_folder_serves_others(only_digits, monkeypatch):
    (only_digits / "lost+found").mkdir()

    def denied(folder, call=bundle.list_versions):
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return call(folder)

    for module in (bundle, bundle.folder):  # Both modules call it.
        monkeypatch.setattr(module, "list_versions", denied)
    repository = load_repository(only_digits)
    assert repository.find_model(None).manifest.name == "digits"
    assert "Permission denied" in repository.refusal_reasons["lost+found"]


def test_start_unreadable_version_serves_lower_one(only_digits, monkeypatch):
    add_version(only_digits, 2)

    def denied(path, *options, call=Bundle.open):
        if path.name == "2":
            raise PermissionError(13, "Permission denied", str(path))
        return call(path, *options)

    monkeypatch.setattr(
        Bundle, "open", denied
    )  # Root may read everything, so permissions would not do.
    repository = load_repository(only_digits)
    assert repository.find_model(None).manifest.version == 1
    assert "Permission denied" in repository.refusal_reasons["digits/2"]


def test_repository_constructed_does_no_work(only_digits, caplog):
    shared_state = SharedState()
    repository = Repository(only_digits, shared_state=shared_state)
    assert repository.live_models == {}
    assert shared_state.read_text() == SharedState().read_text()
    assert Repository(only_digits / "missing").refusal_reasons == {}
    assert caplog.text == ""
    repository.load()
    assert repository.find_model("digits").manifest.version == 1


@pytest.mark.parametrize("should_ignore_extra", [True, False])
def test_served_model_input_schema_follows_options(should_ignore_extra, only_digits):
    repository = load_repository(only_digits, should_ignore_extra=should_ignore_extra)
    model = repository.find_model("digits")
    assert len(model.input_schema) == len(model.manifest.inputs)
    assert model.input_schema.should_ignore_extra is should_ignore_extra
