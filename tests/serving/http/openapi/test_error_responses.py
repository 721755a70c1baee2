"""Statuses and schemas of errors in the OpenAPI document, for each kind of route."""

import pytest

COMMON = {200, 401, 403, 500}
MODEL_LOOKUP = COMMON | {400, 404, 503}
ADMINISTRATION = MODEL_LOOKUP | {408, 409, 413, 415}
PREDICTION = MODEL_LOOKUP | {408, 413, 415, 422, 499, 504}
STATUSES_BY_ROUTE = {
    ("get", "/healthz"): {200, 500},
    ("get", "/readyz"): {200, 500, 503},
    ("get", "/ping"): {200, 500, 503},
    ("get", "/v2/health/live"): {200, 500},
    ("get", "/v2/health/ready"): {200, 500, 503},
    ("get", "/docs"): {200, 500},
    ("get", "/docs/{file}"): {200, 404, 500},
    ("get", "/models"): COMMON,
    ("get", "/metrics"): COMMON,
    ("get", "/v2"): COMMON,
    ("get", "/models/{name}"): MODEL_LOOKUP,
    ("get", "/v2/models/{name}"): MODEL_LOOKUP,
    ("get", "/v2/models/{name}/ready"): MODEL_LOOKUP,
    ("get", "/v1/models/{name}"): MODEL_LOOKUP,
    ("get", "/v1/models/{name}/metadata"): MODEL_LOOKUP,
    ("post", "/v2/repository/index"): ADMINISTRATION,
    ("post", "/v2/repository/models/{name}/load"): ADMINISTRATION,
    ("post", "/v2/repository/models/{name}/unload"): ADMINISTRATION,
    ("post", "/v2/repository/models/{name}/rollback"): ADMINISTRATION,
    ("post", "/predict"): PREDICTION,
    ("post", "/invocations"): PREDICTION,
    ("post", "/v2/models/{name}/infer"): PREDICTION,
    ("post", "/v2/models/{name}/versions/{version}/infer"): PREDICTION,
    ("post", "/v1/models/{name}:predict"): PREDICTION
    - {422},  # 400 in TensorFlow Serving's protocol
    ("post", "/v1/models/{name}/versions/{version}:predict"): PREDICTION - {422},
}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").get_json()


@pytest.mark.parametrize(("method", "path"), STATUSES_BY_ROUTE)
def test_error_responses_route_lists_its_statuses(method, path, document):
    responses = document["paths"][path][method]["responses"]
    assert {*map(str, STATUSES_BY_ROUTE[method, path])} <= set(responses)
    if 401 not in STATUSES_BY_ROUTE[method, path]:
        assert {"401", "403"}.isdisjoint(responses)
    if (
        "503" in responses
        and 401 in STATUSES_BY_ROUTE[method, path]
        and not path.endswith("/ready")
    ):
        header = responses["503"]["headers"]["Retry-After"]
        assert header["schema"] == {"type": "integer"}
        assert header["description"].startswith("Seconds")


TYPES = {"string": str, "object": dict}


@pytest.mark.parametrize(
    ("path", "name", "schema", "members"),
    [
        ("/predict", "/predict", "Fault", ["code", "details", "error"]),
        ("/v2/models/digits/infer", "/v2/models/{name}/infer", "TerseFault", ["error"]),
        ("/v1/models/digits:predict", "/v1/models/{name}:predict", "TerseFault", ["error"]),
    ],
)
def test_error_responses_schema_matches_the_response(path, name, schema, members, client, document):
    answer = client.post(path, data=b"{", content_type="application/json")
    assert answer.status_code == 400
    body = answer.get_json()
    response = document["paths"][name]["post"]["responses"]["400"]
    assert response["content"] == {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    }
    found = document["components"]["schemas"][schema]
    assert (found["type"], found["additionalProperties"]) == ("object", False)
    assert sorted(body) == sorted(found["required"]) == sorted(found["properties"]) == members
    for member, value in body.items():
        assert isinstance(value, TYPES[found["properties"][member]["type"]])
    assert found["properties"]["error"]["description"].endswith(".")
    assert ("`not_json`: " in response["description"]) == ("code" in members)
