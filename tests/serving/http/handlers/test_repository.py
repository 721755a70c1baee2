"""The routes of the repository extension: index, load, unload, rollback."""

import pytest

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from serving import create_app
from serving.repository.overrides import StateFile
from tests.bundle_versions import add_version, damage


@pytest.fixture
def client(only_digits, tmp_path):
    add_version(only_digits, 2)
    return create_app(models=only_digits, poll=0, keys=write_keys_file(tmp_path)).test_client()


def post(client, what, **body):
    return client.post(f"/v2/repository/{what}", headers=ADMIN_HEADERS, **body)


def test_index_lists_every_version(client, only_digits):
    damage(add_version(only_digits, 3))
    assert post(client, "models/digits/load").status_code == 409
    first, second, third = post(client, "index").get_json()
    assert first == {
        "name": "digits",
        "version": "1",
        "state": "UNAVAILABLE",
        "reason": "it is not among the versions to be served; see --keep and --poll, "
        "or roll back to it",
    }
    assert second == {"name": "digits", "version": "2", "state": "READY", "reason": ""}
    assert (third["version"], third["state"]) == ("3", "UNAVAILABLE")
    assert third["reason"].startswith("digits/3: model.onnx was altered after export")
    assert post(client, "index", json={"ready": True}).get_json() == [second]
    assert len(post(client, "index", json={"ready": False}).get_json()) == 3


def test_load_unload_and_rollback_answer_what_changed(client, only_digits):
    done = [
        post(client, f"models/digits/{what}").get_json()
        for what in ("rollback", "load", "unload", "load")
    ]
    assert done == [
        {"name": "digits", "version": 1, "before": 2, "versions": [1]},
        {"name": "digits", "version": 2, "before": 1, "versions": [2]},
        {"name": "digits", "version": None, "before": 2, "versions": []},
        {"name": "digits", "version": 2, "before": None, "versions": [2]},
    ]


def test_rollback_to_a_version_pins_it(client, only_digits):
    for number in (3, 4):
        add_version(only_digits, number)
    assert post(client, "models/digits/load").get_json()["version"] == 4
    for version, before, expected in ((2, 4, 2), ("3", 2, 3), (3, 3, 3), (1, 3, 1)):
        answer = post(client, "models/digits/rollback", json={"parameters": {"version": version}})
        assert answer.get_json() == {
            "name": "digits",
            "version": expected,
            "before": before,
            "versions": [expected],
        }
        assert StateFile(only_digits / ".serving.json").read().pinned == {"digits": expected}
    restarted = create_app(models=only_digits).test_client()
    assert restarted.get("/readyz").get_json()["models"] == {"digits": 1}
    damage(only_digits / "digits" / "2")
    refused = post(client, "models/digits/rollback", json={"parameters": {"version": 2}})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "version_refused")
    assert "was altered" in refused.get_json()["error"]
    for version in (5, 999_999_999):
        absent = post(client, "models/digits/rollback", json={"parameters": {"version": version}})
        assert (absent.status_code, absent.get_json()["code"]) == (404, "model_not_found")
        assert absent.get_json()["details"] == {"versions": [1, 2, 3, 4]}
    assert client.get("/readyz", headers=ADMIN_HEADERS).get_json()["models"] == {"digits": 1}


@pytest.mark.parametrize("version", [0, -1, 1.0, True, None, "", "1x", "01", [1], 10**9])
def test_rollback_to_an_invalid_version_is_refused(version, client):
    answer = post(client, "models/digits/rollback", json={"parameters": {"version": version}})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_options")
    assert "expected no parameters except a version number" in answer.get_json()["error"]


def test_rollback_unloaded_model_is_served_again(client):
    assert post(client, "models/digits/unload").status_code == 200
    answer = post(client, "models/digits/rollback", json={"parameters": {"version": 1}})
    assert (answer.status_code, answer.get_json()["before"]) == (200, None)
    assert client.get("/readyz", headers=ADMIN_HEADERS).get_json()["models"] == {"digits": 1}


def test_repository_impossible_change_has_a_status_and_a_code(client, only_digits):
    for what, status, code in (
        ("models/letters/load", 404, "model_not_found"),
        ("models/letters/rollback", 404, "model_not_found"),
        ("models/digits/rollback", 200, None),
        ("models/digits/rollback", 409, "no_earlier_version"),
    ):
        answer = post(client, what)
        assert (answer.status_code, answer.get_json().get("code")) == (status, code)
    (only_digits / ".serving.json").write_text("{")
    answer = post(client, "models/digits/load")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "state_not_kept")


@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b'{"force": true}', b"\xff", b"[" * 100_000])
def test_repository_unknown_or_malformed_body_is_refused(body, client):
    for what in ("index", "models/digits/load", "models/digits/unload", "models/digits/rollback"):
        answer = post(client, what, data=body)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_options")
        assert answer.get_json()["error"].startswith("expected an empty body, or a JSON object of")
        assert len(answer.get_json()["error"]) < 200


def test_load_parameters_that_would_change_the_model_are_refused(client):
    for parameters, message in (
        ({"config": "{}"}, "the parameter 'config', which would override a part of it"),
        ({"file:1/model.onnx": "AA=="}, "'file:1/model.onnx', which would override a part of it"),
        ({"unload_dependents": True}, "expected no parameters; got 'unload_dependents'"),
        ({"other": 1}, "expected no parameters; got 'other'; leave it out"),
        ([], "expected parameters as an object; got []"),
        (7, "expected parameters as an object; got 7"),
    ):
        answer = post(client, "models/digits/load", json={"parameters": parameters})
        assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_options")
        assert message in answer.get_json()["error"]
    for parameters in ({}, None):
        assert (
            post(client, "models/digits/load", json={"parameters": parameters}).status_code == 200
        )


def test_unload_parameter_unload_dependents_is_ignored(client):
    for value in (False, True):
        body = {"parameters": {"unload_dependents": value}}
        answer = post(client, "models/digits/unload", json=body)
        assert (answer.status_code, answer.get_json()["version"]) == (200, None)
    for body, message in (
        ({"unload_dependents": "yes"}, "unload_dependents to be true or false; got 'yes'"),
        ({"force": True}, "expected no parameters except unload_dependents; got 'force'"),
    ):
        answer = post(client, "models/digits/unload", json={"parameters": body})
        assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_options")
        assert message in answer.get_json()["error"]


def test_repository_server_without_keys_refuses_changes_and_answers_the_index(only_digits):
    client = create_app(models=only_digits, poll=0).test_client()
    refused = client.post("/v2/repository/models/digits/unload")
    assert refused.status_code == 403
    assert "since administration needs one" in refused.get_json()["error"]
    assert client.post("/v2/repository/index").get_json()[0]["state"] == "READY"
