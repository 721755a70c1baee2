"""The paths that SageMaker and Vertex AI require of a container."""

import json

import numpy as np
import pytest

from serving import create_app

ROW = [0.0] * 64


@pytest.fixture
def on_vertex(shipped, monkeypatch):
    """Return a function that starts the application with Vertex AI's environment variables."""

    def start(models=shipped, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"AIP_{name}", value)
        return create_app(models=models).test_client()

    return start


def test_ping_loaded_model_answers_200_with_empty_body(client):
    answer = client.get("/ping")
    assert (answer.status_code, answer.data) == (200, b"")


def test_ping_no_model_answers_503(tmp_path):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    answer = create_app(models=tmp_path).test_client().get("/ping")
    assert (answer.status_code, answer.data) == (503, b"")


def test_invocations_json_same_answer_as_predict(client, digits):
    body = {"instances": digits[0][:3].tolist()}
    expected = client.post("/predict", json=body)
    answer = client.post("/invocations", json=body)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.data == expected.data


def test_invocations_csv_is_answered_in_csv(client, digits):
    lines = "".join(",".join(map(str, row)) + "\n" for row in digits[0][:5].tolist())
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = client.post("/invocations", data=lines, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/csv")
    lines_answered = [line.split(",") for line in answer.text.splitlines()]
    assert [int(line[0]) for line in lines_answered] == digits[1][:5].tolist()
    expected = client.post("/predict", json={"instances": digits[0][:5].tolist()}).get_json()
    got = [list(map(float, line[1:])) for line in lines_answered]
    np.testing.assert_allclose(got, expected["probabilities"], rtol=1e-6)


def test_invocations_model_query_selects_the_model(zoo):
    client = create_app(models=zoo).test_client()
    body = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
    answer = client.post("/invocations?model=flowers", json=body).get_json()
    assert answer["predictions"] == ["setosa"]
    assert client.post("/invocations", json=body).get_json()["code"] == "model_required"


def test_vertex_own_paths_are_answered(on_vertex, digits):
    client = on_vertex(
        HEALTH_ROUTE="/v1/endpoints/1/deployedModels/2",
        PREDICT_ROUTE="/v1/endpoints/1/deployedModels/2:predict",
    )
    assert client.get("/v1/endpoints/1/deployedModels/2").status_code == 200
    body = json.dumps({"instances": digits[0][:3].tolist(), "parameters": {"outputs": ["label"]}})
    answer = client.post("/v1/endpoints/1/deployedModels/2:predict", data=body)
    assert answer.get_json() == {"predictions": digits[1][:3].tolist()}
    assert client.get("/v1/endpoints/1/deployedModels/2:predict").status_code == 405


@pytest.mark.parametrize(
    ("health", "predict"),
    [
        ("/ping", "/predict"),
        ("/readyz", "/invocations"),
        ("/v2/health/ready", "/v1/models/digits:predict"),
    ],
)
def test_vertex_existing_suitable_paths_are_accepted(health, predict, on_vertex):
    client = on_vertex(HEALTH_ROUTE=health, PREDICT_ROUTE=predict)
    assert client.get(health).status_code == 200
    assert "predictions" in client.post(predict, json={"instances": [ROW]}).get_json()


@pytest.mark.parametrize(
    "variables",
    [
        {"PREDICT_ROUTE": "/v2/models/digits/infer"},
        {"HEALTH_ROUTE": "/models"},
        {"PREDICT_ROUTE": "/models"},
        {"HEALTH_ROUTE": "/predict"},
    ],
)
def test_vertex_path_of_another_route_is_refused(variables, on_vertex):
    with pytest.raises(ValueError, match=r"expected a path for Vertex AI that is free"):
        on_vertex(**variables)


def test_vertex_health_no_model_answers_503(tmp_path, on_vertex):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    client = on_vertex(tmp_path, HEALTH_ROUTE="/health")
    assert client.get("/health").status_code == 503
