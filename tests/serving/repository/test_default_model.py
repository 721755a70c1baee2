"""The model for requests without a model name, while other models are added and removed."""

import json
import os
import shutil
import signal

import pytest
import requests

from serving import create_app
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from tests import repositories
from tests.bundle_versions import damage
from tests.processes import wait_until

EVERY_STEP = 1e-9  # seconds between scans of the folder: it is scanned in every step
ROW = {"instances": [[0] * 64]}


@pytest.fixture
def add_adults(only_digits, adults):
    """Return a function that adds a second model in one step."""

    def copy():
        building = only_digits.with_name("building")  # The server does not scan this folder.
        shutil.copytree(adults / "adults", building)
        building.rename(only_digits / "adults")
        return only_digits

    return copy


@pytest.fixture
def load_repository(only_digits):
    def repository(**options):
        return repositories.load_repository(only_digits, **{"poll": EVERY_STEP} | options)

    return repository


def reconcile(repository):
    """Run several steps, since a rollout needs more than one."""
    for _ in range(3):
        repository.reconcile_once()


def get_default_name(repository):
    return repository.find_model(None).manifest.name


def test_default_model_second_model_added_stays_default(
    load_repository, add_adults, only_digits, caplog
):
    caplog.set_level("INFO")
    repository = load_repository()
    state = json.loads((only_digits / ".serving.live.json").read_text())
    assert "default_model" not in state  # While it is alone, a restart finds it anyway.
    add_adults()
    reconcile(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    assert get_default_name(repository) == repository.default_model == "digits"
    assert caplog.text.count("digits still answers requests that name no model") == 1
    state = json.loads((only_digits / ".serving.live.json").read_text())
    assert state["default_model"] == "digits"
    assert get_default_name(load_repository()) == "digits"  # The same after a restart with both.
    shutil.rmtree(only_digits / "adults")
    reconcile(repository)
    assert get_default_name(repository) == "digits"


def test_default_model_several_models_at_start_requires_name(
    load_repository, add_adults, only_digits, caplog
):
    add_adults()
    repository = load_repository()
    assert repository.default_model is None
    with pytest.raises(ModelRequiredError, match=r"several models .* or start .* --default-model"):
        repository.find_model(None)
    assert "requests that name no model are refused, since several models are served" in caplog.text
    shutil.rmtree(only_digits / "adults")
    reconcile(repository)
    assert get_default_name(repository) == "digits"
    add_adults()
    reconcile(repository)
    assert get_default_name(repository) == "digits"


@pytest.mark.parametrize("how", ["removed", "unloaded"])
def test_default_model_not_served_no_other_model_answers(
    how, load_repository, add_adults, only_digits
):
    repository = load_repository()
    add_adults()
    reconcile(repository)
    if how == "removed":
        (only_digits / "digits").rename(only_digits.with_name("away"))
        reconcile(repository)
    else:
        repository.unload_model("digits")
    assert list(repository.live_models) == ["adults"]
    assert repository.default_model is None
    for found in (repository, load_repository()):
        with pytest.raises(
            ModelRequiredError,
            match=r"since digits, which answered requests that name none, is not served; got none; "
            r"choose one of adults, or start the server with --default-model NAME",
        ) as caught:
            found.find_model(None)
        assert caught.value.details == {"models": ["adults"]}
    if how == "removed":
        only_digits.with_name("away").rename(only_digits / "digits")
        reconcile(repository)
    else:
        repository.load_model("digits")
    assert get_default_name(repository) == "digits"


def test_default_model_all_versions_refused_is_not_ready(load_repository, add_adults, only_digits):
    repository = load_repository()
    add_adults()
    reconcile(repository)
    damage(only_digits / "digits" / "1")
    with pytest.raises(NotReadyError, match=r"a version of digits to be served; .*altered"):
        load_repository().find_model(None)


def test_default_model_other_model_refused_stays_default(load_repository, add_adults, only_digits):
    add_adults()
    damage(only_digits / "adults" / "1")
    repository = load_repository()
    assert get_default_name(repository) == "digits"
    damage(only_digits / "adults" / "1")  # The same bit again restores the content.
    reconcile(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    assert get_default_name(repository) == "digits"


def test_default_model_configured_serves_requests_without_a_name(
    load_repository, add_adults, only_digits
):
    add_adults()
    repository = load_repository(default_model="adults")
    assert get_default_name(repository) == repository.default_model == "adults"
    shutil.rmtree(only_digits / "adults")
    reconcile(repository)
    assert repository.default_model is None
    with pytest.raises(
        ModelNotFoundError, match=r"since adults, the model of --default-model, is no"
    ):
        repository.find_model(None)
    assert (
        get_default_name(load_repository()) == "digits"
    )  # Without the option the implicit default answers again.


def test_default_model_configured_but_missing_is_logged_at_start(
    load_repository, add_adults, only_digits, caplog
):
    repository = load_repository(default_model="letters")
    assert "are refused, since letters, the model of --default-model, is not served" in caplog.text
    with pytest.raises(ModelNotFoundError, match=r"choose one of digits"):
        repository.find_model(None)
    add_adults()
    damage(only_digits / "adults" / "1")
    with pytest.raises(NotReadyError, match=r"version of adults to be served"):
        load_repository(default_model="adults").find_model(None)


def test_default_model_state_file_not_writable_stays_default_until_restart(
    load_repository, add_adults, tmp_path, caplog
):
    (tmp_path / "file").touch()
    repository = load_repository(state=tmp_path / "file" / "state.json")
    add_adults()
    reconcile(repository)
    assert get_default_name(repository) == "digits"
    assert caplog.text.count("or with --default-model digits") == 1


def test_default_model_configured_is_shown_by_routes(add_adults, only_digits, mixed):
    add_adults()
    client = create_app(models=only_digits, default_model="digits").test_client()
    listed = client.get("/models").get_json()["models"]
    assert [(m["name"], m["default"]) for m in listed] == [("adults", False), ("digits", True)]
    described = client.get("/openapi.json").get_json()
    model = described["components"]["parameters"]["model"]
    assert (model["required"], model["schema"]["default"]) == (False, "digits")
    for path in ("/predict", "/invocations"):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        first = next(iter(content["application/json"]["examples"].values()))
        answer = client.post(path, json=first["value"])
        assert answer.get_json()["model"] == "digits"
        answer = client.post(f"{path}?model=adults", json={"instances": [mixed.record]})
        assert answer.get_json()["model"] == "adults"
    path = "/v1/models/{name}:predict"  # Its example depends on the model.
    content = described["paths"][path]["post"]["requestBody"]["content"]
    assert set(content["application/json"]["examples"]) == {"adults", "digits"}


def test_default_model_configured_answers_vertex_ai(add_adults, only_digits, monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1:predict")
    add_adults()
    for options, status in (({}, 400), ({"default_model": "digits"}, 200)):
        client = create_app(models=only_digits, **options).test_client()
        assert client.post("/v1/endpoints/1:predict", json=ROW).status_code == status


def test_default_model_worker_replaced_stays_the_same_in_all_workers(
    serve, add_adults, only_digits
):
    server = serve(only_digits, "--workers", "2", "--poll", "0.05")
    add_adults()

    def served():
        return [
            requests.get(f"{server.url}/readyz", timeout=120).json()["models"] for _ in range(10)
        ]

    def unnamed():
        return {
            requests.post(f"{server.url}/predict", json=ROW, timeout=120).json().get("model")
            for _ in range(20)
        }

    wait_until(lambda: all(set(found) == {"adults", "digits"} for found in served()))
    assert unnamed() == {"digits"}
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_until_ready(3)  # One of the three starts replaced the killed worker.
    assert unnamed() == {"digits"}
    assert server.stop() == 0
    server = serve(only_digits, "--workers", "2")
    assert unnamed() == {"digits"}


def test_default_model_other_model_added_before_restart_stays_default(
    load_repository, add_adults, caplog
):
    reconcile(load_repository())
    models = add_adults()
    repository = load_repository()
    assert list(repository.live_models) == ["adults", "digits"]
    assert get_default_name(repository) == "digits"
    assert "requests that name no model are refused" not in caplog.text
    assert json.loads((models / ".serving.live.json").read_text())["default_model"] == "digits"
    assert get_default_name(load_repository()) == "digits"


def test_default_model_replaced_before_restart_is_not_the_default(load_repository, add_adults):
    reconcile(load_repository())
    models = add_adults()
    shutil.move(models / "digits", models / "gone")  # As if it were renamed.
    repository = load_repository()
    assert repository.intended_default in (None, "adults")


def test_default_model_unloaded_and_loaded_stays_default(load_repository, add_adults):
    repository = load_repository()
    reconcile(repository)
    repository.unload_model("digits")
    add_adults()
    reconcile(repository)
    repository.load_model("digits")
    assert get_default_name(repository) == get_default_name(load_repository()) == "digits"
