"""Which errors the API's description promises of each kind of route, and in which form."""

import pytest

ALWAYS = {200, 401, 403, 500}
FINDING = ALWAYS | {400, 404, 503}
CHANGING = FINDING | {408, 409, 413}
PREDICTING = FINDING | {408, 413, 415, 422, 499, 504}
PROMISED = {
    ("get", "/healthz"): {200, 500},
    ("get", "/readyz"): {200, 500, 503},
    ("get", "/ping"): {200, 500, 503},
    ("get", "/v2/health/live"): {200, 500},
    ("get", "/v2/health/ready"): {200, 500, 503},
    ("get", "/docs"): {200, 500},
    ("get", "/docs/{file}"): {200, 404, 500},
    ("get", "/models"): ALWAYS,
    ("get", "/metrics"): ALWAYS,
    ("get", "/v2"): ALWAYS,
    ("get", "/models/{name}"): FINDING,
    ("get", "/v2/models/{name}"): FINDING,
    ("get", "/v2/models/{name}/ready"): FINDING,
    ("get", "/v1/models/{name}"): FINDING,
    ("get", "/v1/models/{name}/metadata"): FINDING,
    ("post", "/v2/repository/index"): CHANGING,
    ("post", "/v2/repository/models/{name}/load"): CHANGING,
    ("post", "/v2/repository/models/{name}/unload"): CHANGING,
    ("post", "/v2/repository/models/{name}/rollback"): CHANGING,
    ("post", "/predict"): PREDICTING,
    ("post", "/invocations"): PREDICTING,
    ("post", "/v2/models/{name}/infer"): PREDICTING,
    ("post", "/v2/models/{name}/versions/{version}/infer"): PREDICTING,
    ("post", "/v1/models/{name}:predict"): PREDICTING - {422},  # told as 400 there
    ("post", "/v1/models/{name}/versions/{version}:predict"): PREDICTING - {422},
}


@pytest.fixture
def described(client):
    return client.get("/openapi.json").get_json()


@pytest.mark.parametrize(("method", "path"), PROMISED)
def test_openapi_promises_the_statuses_of_a_route(method, path, described):
    responses = described["paths"][path][method]["responses"]
    assert {*map(str, PROMISED[method, path])} <= set(responses)
    if 401 not in PROMISED[method, path]:
        assert {"401", "403"}.isdisjoint(responses)
    if "503" in responses and 401 in PROMISED[method, path] and not path.endswith("/ready"):
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
def test_openapi_schema_of_an_error_is_that_of_its_answer(
    path, name, schema, members, client, described
):
    answer = client.post(path, data=b"{", content_type="application/json")
    assert answer.status_code == 400
    body = answer.get_json()
    promised = described["paths"][name]["post"]["responses"]["400"]
    assert promised["content"] == {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    }
    found = described["components"]["schemas"][schema]
    assert (found["type"], found["additionalProperties"]) == ("object", False)
    assert sorted(body) == sorted(found["required"]) == sorted(found["properties"]) == members
    for member, value in body.items():
        assert isinstance(value, TYPES[found["properties"][member]["type"]])
    assert found["properties"]["error"]["description"].endswith(".")
    assert ("`not_json`: " in promised["description"]) == ("code" in members)
