"""Which routes need an API key, of which scope, and what they show without one."""

import re

import pytest

from serving import create_app
from serving.http.key_file import generate_key
from serving.http.route_table import build_route_table
from serving.settings.cloud_platforms import VertexSettings

OPEN_ROUTES = {
    "/healthz",
    "/readyz",
    "/ping",
    "/v2/health/live",
    "/v2/health/ready",
    "/docs",
    "/docs/<file>",
}
INDEX_ROUTES = {"/", "/favicon.ico"}


@pytest.fixture
def scopes():
    """Scope of each path, on a server whose paths Vertex AI has chosen."""
    vertex = VertexSettings(health_route="/as/it/likes", predict_route="/")
    return {path: route.scope for route in build_route_table(vertex) for path in route.paths}


@pytest.mark.parametrize("path", [*sorted(OPEN_ROUTES), "/as/it/likes", "/favicon.ico"])
def test_route_table_open_routes_need_no_key(path, scopes):
    assert scopes[path] is None


@pytest.mark.parametrize(
    "path", ["/predict", "/metrics", "/models/<name>", "/v2", "/v2/repository/index", "/"]
)
def test_route_table_other_routes_need_scope_predict(path, scopes):
    assert scopes[path] == "predict"


@pytest.mark.parametrize("action", ["load", "unload", "rollback"])
def test_route_table_changing_versions_needs_scope_admin(action, scopes):
    assert scopes[f"/v2/repository/models/<name>/{action}"] == "admin"


@pytest.fixture
def app_with_keys(shipped, tmp_path):
    """Return an application with keys, and the header of a valid key."""
    key, line = generate_key("app", "predict")
    (tmp_path / "keys").write_text(line)
    app = create_app(models=shipped, keys=tmp_path / "keys")
    return app, {"X-API-Key": key}


def test_routes_without_a_key_only_open_routes_succeed(app_with_keys):
    app, headers = app_with_keys
    client = app.test_client()
    rules = {rule.rule: rule.methods for rule in app.url_map.iter_rules()}
    for rule, methods in rules.items():
        for method in methods - {"OPTIONS"}:
            path = rule.replace("<name>", "digits")
            bare = client.open(path, method=method)
            assert (bare.status_code == 401) == (rule not in OPEN_ROUTES | INDEX_ROUTES), (
                rule,
                method,
            )
            assert client.open(path, method=method, headers=headers).status_code != 401
    assert client.get("/no/such").status_code == 401  # an unknown path is not distinguished either
    assert client.get("/no/such", headers=headers).status_code == 404


@pytest.mark.parametrize("query", ["", "?model=digits"])  # answered by the fast path, and by Flask
def test_predict_without_a_key_fast_path_and_flask_refuse(query, app_with_keys):
    app, headers = app_with_keys
    client = app.test_client()
    body = {"instances": [[0] * 64]}
    refused = client.post(f"/predict{query}", json=body)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="forwardpass"'
    assert refused.get_json()["code"] == "unauthorized"
    assert client.post(f"/predict{query}", json=body, headers=headers).status_code == 200


PREFLIGHT = {
    "Origin": "https://elsewhere.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "x-api-key, content-type",
}


@pytest.mark.parametrize("headers", [{}, PREFLIGHT, PREFLIGHT | {"X-API-Key": "unknown"}])
def test_options_any_route_needs_no_key_and_allows_no_cross_origin_access(headers, app_with_keys):
    app, _ = app_with_keys
    client = app.test_client()
    rules = {}
    for rule in app.url_map.iter_rules():
        rules.setdefault(rule.rule, set()).update(rule.methods)
    for rule, methods in rules.items():
        path = re.sub("<[^>]+>", "1", rule)
        answer = client.open(path, method="OPTIONS", headers=headers)
        assert (answer.status_code, answer.data) == (204, b""), rule
        assert set(answer.headers["Allow"].split(", ")) == methods
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert "Content-Type" not in answer.headers


@pytest.mark.parametrize("path", ["/no/such", "/predict/", "*"])
def test_options_unknown_path_is_404_and_lists_routes_only_with_a_key(path, app_with_keys):
    app, headers = app_with_keys
    client = app.test_client()
    bare = client.open(path, method="OPTIONS", headers=PREFLIGHT)
    assert bare.status_code == 404
    assert "/predict," not in bare.text
    assert "POST /predict, " in client.open(path, method="OPTIONS", headers=headers).text
    assert "/predict," not in client.get("/docs/nothing").text


HEALTH_ROUTES = sorted(OPEN_ROUTES - {"/docs", "/docs/<file>"})


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("path", HEALTH_ROUTES)
def test_health_routes_without_a_key_name_no_model_and_no_reason(
    path, damaged, only_digits, tmp_path
):
    key, line = generate_key("app", "predict")
    (tmp_path / "keys").write_text(line)
    if damaged:
        (only_digits / "digits" / "1" / "model.onnx").write_bytes(b"secret reason")
    client = create_app(models=only_digits, keys=tmp_path / "keys").test_client()
    status = 503 if damaged and path not in ("/healthz", "/v2/health/live") else 200
    for headers in ({}, {"X-API-Key": "unknown"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == status
        assert not {"digits", "model", "refused", "onnx"} & set(re.findall(r"\w+", answer.text))
    with_key = client.get(path, headers={"X-API-Key": key})
    assert with_key.status_code == status
    if path == "/readyz":
        assert client.get(path).get_json() == {"ready": not damaged}
        body = with_key.get_json()
        assert body["models"] == ({} if damaged else {"digits": 1})
        assert bool(body["refused"]) == damaged


def test_readyz_server_without_keys_names_models(client):
    assert client.get("/readyz").get_json() == {
        "ready": True,
        "models": {"digits": 1},
        "refused": {},
        "held": {},
    }
