"""What a key must open for each route."""

import re

import pytest

from serving import create_app
from serving.guard import new_key, scope_of

OPEN = {
    "/healthz",
    "/readyz",
    "/ping",
    "/v2/health/live",
    "/v2/health/ready",
    "/docs",
    "/docs/<file>",
}


@pytest.mark.parametrize("rule", sorted(OPEN))
def test_health_needs_no_key(rule):
    assert scope_of(rule) is None
    assert scope_of("/as/a/platform/likes", "clouds.vertex_health") is None


@pytest.mark.parametrize("rule", ["/predict", "/metrics", "/models/<name>", "/v2", None])
def test_the_rest_is_for_prediction(rule):
    assert scope_of(rule) == "predict"


@pytest.mark.parametrize("action", ["load", "unload", "rollback"])
def test_what_changes_versions_is_for_administration(action):
    assert scope_of(f"/v2/repository/models/<name>/{action}") == "admin"
    assert scope_of("/v2/repository/index") == "predict"


@pytest.fixture
def guarded(shipped, tmp_path):
    """A client of a server with keys, and the headers of one."""
    key, line = new_key("app", "predict")
    (tmp_path / "keys").write_text(line)
    app = create_app(models=shipped, keys=tmp_path / "keys")
    return app, {"X-API-Key": key}


def test_every_route_but_health_asks_for_a_key(guarded):
    app, headers = guarded
    client = app.test_client()
    rules = {rule.rule: rule.methods for rule in app.url_map.iter_rules()}
    for rule, methods in rules.items():
        for method in methods:
            path = rule.replace("<name>", "digits")
            bare = client.open(path, method=method)
            assert (bare.status_code == 401) == (rule not in OPEN), (rule, method)
            assert client.open(path, method=method, headers=headers).status_code != 401
    assert client.get("/no/such").status_code == 401  # not even which paths there are
    assert client.get("/no/such", headers=headers).status_code == 404


@pytest.mark.parametrize("query", ["", "?model=digits"])  # by the fast path, and by Flask
def test_both_ways_to_an_answer_ask_for_it(query, guarded):
    app, headers = guarded
    client = app.test_client()
    body = {"instances": [[0] * 64]}
    refused = client.post(f"/predict{query}", json=body)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="forwardpass"'
    assert refused.get_json()["code"] == "unauthorized"
    assert client.post(f"/predict{query}", json=body, headers=headers).status_code == 200
