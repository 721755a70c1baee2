"""Which model answers requests that name none, while others come and go."""

import json
import os
import shutil
import signal

import pytest
import requests

from serving import create_app
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.repository import Repository
from tests.bundle_versions import damage
from tests.processes import wait_until

ALWAYS = 1e-9  # seconds between looks at the folder: at every turn
ROW = {"instances": [[0] * 64]}


@pytest.fixture
def add(only_digits, adults):
    """Adds a second model, whole at once."""

    def copy():
        building = only_digits.with_name("building")  # where no server looks
        shutil.copytree(adults / "adults", building)
        building.rename(only_digits / "adults")
        return only_digits

    return copy


@pytest.fixture
def load(only_digits):
    def repository(**knobs):
        return Repository(only_digits, **{"poll": ALWAYS} | knobs)

    return repository


def turn(repository):
    for _ in range(3):
        repository.reconcile_once()


def default(repository):
    return repository.find_model(None).manifest.name


def test_model_that_was_alone_goes_on_answering_when_others_come(load, add, only_digits, caplog):
    caplog.set_level("INFO")
    repository = load()
    state = json.loads((only_digits / ".serving.live.json").read_text())
    assert "default_model" not in state  # a restart would find it alone again
    add()
    turn(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    assert default(repository) == repository.default_model == "digits"
    assert caplog.text.count("digits goes on answering requests that name no model") == 1
    state = json.loads((only_digits / ".serving.live.json").read_text())
    assert state["default_model"] == "digits"
    assert default(load()) == "digits"  # after a restart with both
    shutil.rmtree(only_digits / "adults")
    turn(repository)
    assert default(repository) == "digits"


def test_several_models_at_the_start_and_no_default_require_a_name(load, add, only_digits, caplog):
    add()
    repository = load()
    assert repository.default_model is None
    with pytest.raises(ModelRequiredError, match=r"several models .* or start .* --default-model"):
        repository.find_model(None)
    assert "requests that name no model are refused, since several models are served" in caplog.text
    shutil.rmtree(only_digits / "adults")
    turn(repository)
    assert default(repository) == "digits"
    add()
    turn(repository)
    assert default(repository) == "digits"


@pytest.mark.parametrize("how", ["removed", "unloaded"])
def test_no_other_model_answers_in_place_of_the_one_that_was_alone(how, load, add, only_digits):
    repository = load()
    add()
    turn(repository)
    if how == "removed":
        (only_digits / "digits").rename(only_digits.with_name("away"))
        turn(repository)
    else:
        repository.unload_model("digits")
    assert list(repository.live_models) == ["adults"]
    assert repository.default_model is None
    for found in (repository, load()):
        with pytest.raises(
            ModelRequiredError,
            match=r"since digits, which answered requests that name none, is not served; got none; "
            r"choose one of adults, or start the server with --default-model NAME",
        ) as caught:
            found.find_model(None)
        assert caught.value.details == {"models": ["adults"]}
    if how == "removed":
        only_digits.with_name("away").rename(only_digits / "digits")
        turn(repository)
    else:
        repository.load_model("digits")
    assert default(repository) == "digits"


def test_default_whose_versions_are_refused_is_not_ready(load, add, only_digits):
    repository = load()
    add()
    turn(repository)
    damage(only_digits / "digits" / "1")
    with pytest.raises(NotReadyError, match=r"a version of digits that proves itself; .*altered"):
        load().find_model(None)


def test_model_alone_beside_a_refused_one_goes_on_answering(load, add, only_digits):
    add()
    damage(only_digits / "adults" / "1")
    repository = load()
    assert default(repository) == "digits"
    damage(only_digits / "adults" / "1")  # the same bit again: it is whole
    turn(repository)
    assert list(repository.live_models) == ["adults", "digits"]
    assert default(repository) == "digits"


def test_default_model_is_a_setting(load, add, only_digits):
    add()
    repository = load(default_model="adults")
    assert default(repository) == repository.default_model == "adults"
    shutil.rmtree(only_digits / "adults")
    turn(repository)
    assert repository.default_model is None
    with pytest.raises(
        ModelNotFoundError, match=r"since adults, the model of --default-model, is no"
    ):
        repository.find_model(None)
    assert default(load()) == "digits"  # once it is given no more


def test_default_model_that_is_not_there_is_said_at_the_start(load, add, only_digits, caplog):
    repository = load(default_model="letters")
    assert "are refused, since letters, the model of --default-model, is not served" in caplog.text
    with pytest.raises(ModelNotFoundError, match=r"choose one of digits"):
        repository.find_model(None)
    add()
    damage(only_digits / "adults" / "1")
    with pytest.raises(NotReadyError, match=r"version of adults that proves itself"):
        load(default_model="adults").find_model(None)


def test_default_holds_until_the_end_where_the_state_cannot_be_kept(load, add, tmp_path, caplog):
    (tmp_path / "file").touch()
    repository = load(state=tmp_path / "file" / "state.json")
    add()
    turn(repository)
    assert default(repository) == "digits"
    assert caplog.text.count("or with --default-model digits") == 1


def test_routes_tell_which_model_answers_by_default(add, only_digits, mixed):
    add()
    client = create_app(models=only_digits, default_model="digits").test_client()
    listed = client.get("/models").get_json()["models"]
    assert [(m["name"], m["default"]) for m in listed] == [("adults", False), ("digits", True)]
    described = client.get("/openapi.json").get_json()
    model = described["components"]["parameters"]["model"]
    assert (model["required"], model["schema"]["default"]) == (False, "digits")
    for path in ("/predict", "/invocations"):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        answer = client.post(path, json=content["application/json"]["example"])
        assert answer.get_json()["model"] == "digits"
        answer = client.post(f"{path}?model=adults", json={"instances": [mixed.record]})
        assert answer.get_json()["model"] == "adults"
    path = "/v1/models/{name}:predict"  # whose example would be another for each model
    content = described["paths"][path]["post"]["requestBody"]["content"]
    assert "example" not in content["application/json"]


def test_vertex_ai_is_answered_by_the_default_model(add, only_digits, monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1:predict")
    add()
    for knobs, status in (({}, 400), ({"default_model": "digits"}, 200)):
        client = create_app(models=only_digits, **knobs).test_client()
        assert client.post("/v1/endpoints/1:predict", json=ROW).status_code == status


def test_workers_old_and_new_agree_on_the_model_that_was_alone(serve, add, only_digits):
    server = serve(only_digits, "--workers", "2", "--poll", "0.05")
    add()

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
    server.wait_until_ready(3)  # with the worker that came in its place
    assert unnamed() == {"digits"}
    assert server.stop() == 0
    server = serve(only_digits, "--workers", "2")
    assert unnamed() == {"digits"}


def test_model_alone_before_a_restart_answers_when_others_came_meanwhile(load, add, caplog):
    turn(load())
    models = add()
    repository = load()
    assert list(repository.live_models) == ["adults", "digits"]
    assert default(repository) == "digits"
    assert "requests that name no model are refused" not in caplog.text
    assert json.loads((models / ".serving.live.json").read_text())["default_model"] == "digits"
    assert default(load()) == "digits"


def test_model_that_was_alone_and_gone_while_others_came_is_no_default(load, add):
    turn(load())
    models = add()
    shutil.move(models / "digits", models / "gone")  # of another name
    repository = load()
    assert repository.intended_default in (None, "adults")


def test_model_that_was_alone_and_is_loaded_beside_another_is_kept_as_default(load, add):
    repository = load()
    turn(repository)
    repository.unload_model("digits")
    add()
    turn(repository)
    repository.load_model("digits")
    assert default(repository) == default(load()) == "digits"
