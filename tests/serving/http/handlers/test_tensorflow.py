"""TensorFlow Serving's protocol: hand-written bodies, answers compared with the graph's."""

import json

import numpy as np
import pytest

from serving import create_app
from tests.bundle_versions import add_version


@pytest.fixture
def table(adults):
    return create_app(models=adults).test_client()


def ask(client, body, model="digits", version_path=""):
    # curl's default media type, since the protocol's clients do not declare JSON.
    return client.post(
        f"/v1/models/{model}{version_path}:predict",
        data=json.dumps(body),
        content_type="application/x-www-form-urlencoded",
    )


@pytest.mark.parametrize("version_path", ["", "/versions/1"])
def test_predict_instances_are_answered_row_by_row(
    version_path, client, shipped, digits, graph_answers
):
    rows = digits[0][:3]
    answer = ask(client, {"instances": rows.tolist()}, version_path=version_path)
    assert answer.status_code == 200, answer.text
    expected = graph_answers(shipped, "digits", {"features": rows})
    content = answer.get_json()
    assert list(content) == ["predictions"]
    assert [one["label"] for one in content["predictions"]] == expected["label"].tolist()
    got = [one["probabilities"] for one in content["predictions"]]
    np.testing.assert_allclose(got, expected["probabilities"], rtol=1e-6)


def test_predict_inputs_are_answered_by_output(client, shipped, digits, graph_answers):
    rows = digits[0][:3]
    content = ask(client, {"inputs": {"features": rows.tolist()}}).get_json()
    assert list(content) == ["outputs"]
    expected = graph_answers(shipped, "digits", {"features": rows})
    assert content["outputs"]["label"] == expected["label"].tolist()
    np.testing.assert_allclose(
        content["outputs"]["probabilities"], expected["probabilities"], rtol=1e-6
    )


def test_predict_mixed_records_are_answered(table, mixed, rng):
    records = mixed.records(20, rng)
    content = ask(table, {"instances": records}, "adults").get_json()["predictions"]
    assert [one["label"] for one in content] == mixed.answers(records)[1].tolist()


@pytest.mark.parametrize("version_path", ["", "/versions/1"])
def test_status_loaded_model_is_available(version_path, client):
    assert client.get(f"/v1/models/digits{version_path}").get_json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


@pytest.mark.parametrize("version_path", ["", "/versions/1"])
def test_metadata_has_the_tensors_of_the_graph(version_path, client):
    answer = client.get(f"/v1/models/digits{version_path}/metadata").get_json()
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


def test_metadata_mixed_table_has_one_tensor_per_column(table, mixed):
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
def test_tensorflow_unknown_model_version_or_method_error_has_the_protocols_format(
    method, path, status, client
):
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
def test_predict_invalid_body_is_answered_with_400(body, client):
    answer = client.post("/v1/models/digits:predict", data=body)
    assert answer.status_code == 400
    assert set(answer.get_json()) == {"error"}


def test_predict_model_failed_its_self_test_answers_503(only_digits):
    (only_digits / "digits" / "1" / "model.onnx").write_bytes(b"no graph")
    client = create_app(models=only_digits).test_client()
    assert ask(client, {"instances": []}).status_code == 503
    assert client.get("/v1/models/digits").status_code == 503


def test_status_lists_all_served_versions_or_the_named_one(only_digits):
    for number in (2, 3):
        add_version(only_digits, number)
    client = create_app(models=only_digits, keep=2).test_client()

    def versions(path):
        return [s["version"] for s in client.get(path).get_json()["model_version_status"]]

    assert versions("/v1/models/digits") == ["2", "3"]
    assert versions("/v1/models/digits/versions/2") == ["2"]
    assert versions("/v1/models/digits/versions/3") == ["3"]
