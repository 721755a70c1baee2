"""The route table: one entry gives a URL its handler, key, error format and description."""

import json
import re

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from serving.codec.messages import EncodedAnswer
from serving.http import app as app_module
from serving.http.error_rendering import NATIVE_FORMAT, OPEN_INFERENCE_FORMAT, TENSORFLOW_FORMAT
from serving.http.fast_path import FastPath
from serving.http.handlers.predictions import predict_instances
from serving.http.key_file import generate_key
from serving.http.route_table import build_route_table
from serving.http.routes import MAX_CACHED_PATHS, Description, Route, RouteTable
from serving.settings.cloud_platforms import VertexSettings

ROW = [0] * 64


def describe_colour(_server, _environ, shade, name):
    return EncodedAnswer(f"{name} is {shade} blue".encode(), media_type="text/plain")


COLOUR_ROUTE = Route(
    "GET",
    ("/colours/<shade>/of/<name>",),
    describe_colour,
    Description("Get the colour of a model", "A colour that this test makes up."),
    protocol="colours",
    tag="colours",
    error_format=OPEN_INFERENCE_FORMAT,
    scope="admin",
    answer={"type": "string"},
)
PREDICTION_ROUTE = Route(
    "POST",
    ("/colours/<name>/predict",),
    predict_instances,
    Description("Predict", "Predictions at a path that this test makes up."),
    protocol="colours",
    tag="colours",
    error_format=TENSORFLOW_FORMAT,
    is_prediction=True,
    parameters=("timeout",),
    request="tensorflow",
    answer="predictions",
)


@pytest.fixture
def create_extended_app(shipped, monkeypatch):
    """Return a function that creates an application with the two routes of this module."""
    routes = RouteTable([*build_route_table(VertexSettings()), COLOUR_ROUTE, PREDICTION_ROUTE])
    monkeypatch.setattr(app_module, "build_route_table", lambda vertex: routes)
    return lambda **options: app_module.create_app(models=shipped, **options)


@pytest.fixture
def keys(tmp_path):
    """Return a key file, and the headers of a key of each scope."""
    made = {scope: generate_key(scope, scope) for scope in ("predict", "admin")}
    (tmp_path / "keys").write_text("".join(f"{line}\n" for _, line in made.values()))
    return tmp_path / "keys", {scope: {"X-API-Key": key} for scope, (key, _) in made.items()}


def test_added_route_is_answered_only_with_a_key_of_its_scope(create_extended_app, keys):
    path, headers = keys
    client = create_extended_app(keys=path).test_client()
    statuses = [
        client.get("/colours/light/of/digits", headers=given).status_code
        for given in ({}, headers["predict"], headers["admin"])
    ]
    assert statuses == [401, 403, 200]
    answer = client.get("/colours/light/of/digits", headers=headers["admin"])
    assert (answer.text, answer.mimetype) == ("digits is light blue", "text/plain")


def test_added_route_errors_have_its_format(create_extended_app, keys):
    path, headers = keys
    client = create_extended_app(keys=path).test_client()
    assert set(client.get("/colours/light/of/digits").get_json()) == {"error"}  # 401
    wrong_method = client.post("/colours/light/of/digits", headers=headers["admin"])
    assert (wrong_method.status_code, set(wrong_method.get_json())) == (405, {"error"})
    unknown = client.get("/colours/light/of/digits/and/more", headers=headers["admin"])
    assert (unknown.status_code, set(unknown.get_json())) == (404, {"error"})
    assert "GET /colours/<shade>/of/<name>" in unknown.get_json()["error"]


def test_added_prediction_is_answered_by_the_fast_path_as_by_flask(create_extended_app):
    app = create_extended_app()
    found = app.wsgi_app
    while not isinstance(found, FastPath):
        found = found._app

    def fallback(environ, start_response):
        raise AssertionError("expected the fast path to answer")

    def ask(wsgi, content):
        environ = EnvironBuilder(
            path="/colours/digits/predict", method="POST", json=content
        ).get_environ()
        body, status, _ = run_wsgi_app(wsgi, environ, buffered=True)
        return status, b"".join(body)

    fast = FastPath(fallback, found._server)
    flask = type(app).wsgi_app.__get__(app)  # Flask's own method, which create_app has wrapped
    for content, status in (({"instances": [ROW]}, "200 OK"), ({"instances": [[1]]}, "400 ")):
        assert ask(fast, content) == ask(flask, content)
        assert ask(fast, content)[0].startswith(status)  # TensorFlow's format has no 422


def test_added_routes_are_in_the_openapi_document(create_extended_app):
    paths = create_extended_app().test_client().get("/openapi.json").get_json()["paths"]
    operation = paths["/colours/{shade}/of/{name}"]["get"]
    assert operation["summary"] == "Get the colour of a model"
    assert operation["parameters"] == [
        {"name": "shade", "in": "path", "required": True, "schema": {"type": "string"}},
        {"$ref": "#/components/parameters/name"},
    ]
    assert operation["security"] == [{"bearer": []}, {"key": []}]
    answers = operation["responses"]
    assert answers["200"]["content"]["application/json"]["schema"] == {"type": "string"}
    assert {"401", "403", "404"} <= set(answers)
    prediction = paths["/colours/{name}/predict"]["post"]
    assert prediction["requestBody"]["required"]
    assert "422" not in prediction["responses"]
    assert {"$ref": "#/components/parameters/timeout"} in prediction["parameters"]


def test_added_routes_are_counted_and_logged_under_their_protocol(create_extended_app, caplog):
    client = create_extended_app(log_sample=1.0).test_client()
    client.get("/colours/light/of/digits")
    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert (record.fields["route"], record.fields["protocol"]) == (
        "/colours/<shade>/of/<name>",
        "colours",
    )
    assert 'protocol="colours"' in client.get("/metrics").text


def test_added_prediction_has_series_that_start_at_zero(create_extended_app):
    text = create_extended_app().test_client().get("/metrics").text
    assert re.search('forwardpass_requests_total.*code="503",.*protocol="colours".* 0.0', text)


def test_route_table_no_two_routes_share_a_method_and_a_path():
    entries = [
        (route.method, re.sub("<[^>]+>", "<>", path))
        for route in build_route_table(VertexSettings())
        for path in route.paths
    ]
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/predict", NATIVE_FORMAT),
        ("/invocations", NATIVE_FORMAT),
        ("/v2x", NATIVE_FORMAT),
        ("/v2/repository/index", NATIVE_FORMAT),
        ("/v2/repository/models/a/no", NATIVE_FORMAT),
        ("/", NATIVE_FORMAT),
        ("/no/such", NATIVE_FORMAT),
        ("//predict", NATIVE_FORMAT),
        ("/v2", OPEN_INFERENCE_FORMAT),
        ("/v2/", OPEN_INFERENCE_FORMAT),
        ("/v2/models/a/infer", OPEN_INFERENCE_FORMAT),
        ("/v2/no/such", OPEN_INFERENCE_FORMAT),
        ("/v1", TENSORFLOW_FORMAT),
        ("/v1/models/a:predict", TENSORFLOW_FORMAT),
        ("/v1/no", TENSORFLOW_FORMAT),
    ],
)
def test_find_error_format_path_without_route_gives_that_of_its_protocol(path, expected):
    routes = build_route_table(VertexSettings())
    assert routes.find_error_format(path) is expected


def test_match_prediction_placeholders_are_the_values_for_the_handler():
    routes = build_route_table(VertexSettings())
    match = routes.match_prediction("/v2/models/digits/versions/7/infer")
    assert match.values == {"name": "digits", "version": "7"}
    assert match.path == "/v2/models/<name>/versions/<version>/infer"
    assert routes.match_prediction("/v1/models/digits:predict").values == {"name": "digits"}
    assert routes.match_prediction("/predict").values == {}
    for path in ("/models", "/predict/", "/v2/models/a/b/infer", "/v2/models/\xfc/infer"):
        assert routes.match_prediction(path) is None


def test_match_prediction_very_many_paths_caches_a_bounded_number():
    routes = build_route_table(VertexSettings())
    for number in range(1000):
        assert routes.match_prediction(f"/v2/models/{number}/infer")
    assert len(routes._prediction_matches) == MAX_CACHED_PATHS


@pytest.mark.parametrize("path", ["/v1.0/predict", "/a+b", "/a*b", "/pred(x", "/x$y", "/~/p!"])
def test_match_prediction_path_of_vertex_with_special_characters_matches_itself_alone(path):
    routes = build_route_table(VertexSettings(predict_route=path))
    assert routes.match_prediction(path).path == path
    assert routes.match_prediction("/v1X0/predict") is None


def test_vertex_one_path_for_both_has_a_route_for_each_method(shipped, monkeypatch):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/vertex")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/vertex")
    client = app_module.create_app(models=shipped).test_client()
    assert client.get("/vertex").status_code == 200
    assert client.post("/vertex", json={"instances": [ROW]}).status_code == 200


def test_vertex_prediction_path_is_answered_by_the_fast_path(shipped, monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/vertex/predict")
    routes = build_route_table(VertexSettings())
    assert routes.match_prediction("/vertex/predict").route.protocol == "tensorflow"
    client = app_module.create_app(models=shipped).test_client()
    answer = client.post("/vertex/predict", data=json.dumps({"instances": [ROW]}))
    assert set(answer.get_json()) == {"predictions"}
