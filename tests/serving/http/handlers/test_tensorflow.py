"""TensorFlow Serving's protocol: bodies by hand, answers held to the graph's own."""

import json

import numpy as np
import pytest

from serving import create_app
from tests.bundle_versions import add_version


@pytest.fixture
def table(adults):
    return create_app(models=adults).test_client()


def ask(client, body, model="digits", at=""):
    # As curl sends it: the protocol's clients do not say that it is JSON.
    return client.post(
        f"/v1/models/{model}{at}:predict",
        data=json.dumps(body),
        content_type="application/x-www-form-urlencoded",
    )


@pytest.mark.parametrize("at", ["", "/versions/1"])
def test_instances_are_answered_one_by_one(at, client, shipped, digits, graph_answers):
    rows = digits[0][:3]
    answer = ask(client, {"instances": rows.tolist()}, at=at)
    assert answer.status_code == 200, answer.text
    expected = graph_answers(shipped, "digits", {"features": rows})
    said = answer.get_json()
    assert list(said) == ["predictions"]
    assert [one["label"] for one in said["predictions"]] == expected["label"].tolist()
    got = [one["probabilities"] for one in said["predictions"]]
    np.testing.assert_allclose(got, expected["probabilities"], rtol=1e-6)


def test_columns_are_answered_by_output(client, shipped, digits, graph_answers):
    rows = digits[0][:3]
    said = ask(client, {"inputs": {"features": rows.tolist()}}).get_json()
    assert list(said) == ["outputs"]
    expected = graph_answers(shipped, "digits", {"features": rows})
    assert said["outputs"]["label"] == expected["label"].tolist()
    np.testing.assert_allclose(
        said["outputs"]["probabilities"], expected["probabilities"], rtol=1e-6
    )


def test_a_mixed_tables_records(table, mixed, rng):
    records = mixed.records(20, rng)
    said = ask(table, {"instances": records}, "adults").get_json()["predictions"]
    assert [one["label"] for one in said] == mixed.answers(records)[1].tolist()


@pytest.mark.parametrize("at", ["", "/versions/1"])
def test_the_status_of_a_model(at, client):
    assert client.get(f"/v1/models/digits{at}").get_json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


@pytest.mark.parametrize("at", ["", "/versions/1"])
def test_the_signature_of_a_model(at, client):
    answer = client.get(f"/v1/models/digits{at}/metadata").get_json()
    assert answer["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["features"] == {
        "dtype": "DT_FLOAT",
        "name": "features",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "64", "name": ""}],
            "unknown_rank": False,
        },
    }
    assert {name: tensor["dtype"] for name, tensor in signature["outputs"].items()} == {
        "label": "DT_INT64",
        "probabilities": "DT_FLOAT",
    }


def test_the_signature_of_a_mixed_table(table, mixed):
    answer = table.get("/v1/models/adults/metadata").get_json()
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    kinds = {"category": "DT_STRING", "date": "DT_DOUBLE"}
    assert {name: tensor["dtype"] for name, tensor in signature["inputs"].items()} == {
        column["name"]: kinds.get(column["type"], "DT_FLOAT") for column in mixed.columns
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/letters", 404),
        ("GET", "/v1/models/digits/versions/2", 404),
        ("GET", "/v1/models/digits/versions/latest", 404),
        ("POST", "/v1/models/letters:predict", 404),
        ("POST", "/v1/models/digits/versions/2:predict", 404),
        ("POST", "/v1/models/digits:classify", 404),
        ("GET", "/v1/models/digits:predict", 405),
        ("POST", "/v1/models/digits", 405),
    ],
)
def test_what_is_not_there_is_said_in_the_protocols_form(method, path, status, client):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"instances":[[1]]}',
        b'{"instances":[],"inputs":{}}',
        b'{"instances":[],"signature_name":"other"}',
        b'{"instances":[["a"]]}',
    ],
)
def test_an_invalid_argument_is_400(body, client):
    answer = client.post("/v1/models/digits:predict", data=body)
    assert answer.status_code == 400
    assert set(answer.get_json()) == {"error"}


def test_a_model_that_did_not_prove_itself_is_unavailable(only_digits):
    (only_digits / "digits" / "1" / "model.onnx").write_bytes(b"no graph")
    client = create_app(models=only_digits).test_client()
    assert ask(client, {"instances": []}).status_code == 503
    assert client.get("/v1/models/digits").status_code == 503


def test_status_is_of_all_versions_that_are_served_or_of_the_one_that_is_named(only_digits):
    for number in (2, 3):
        add_version(only_digits, number)
    client = create_app(models=only_digits, keep=2).test_client()

    def versions(path):
        return [s["version"] for s in client.get(path).get_json()["model_version_status"]]

    assert versions("/v1/models/digits") == ["2", "3"]
    assert versions("/v1/models/digits/versions/2") == ["2"]
    assert versions("/v1/models/digits/versions/3") == ["3"]
