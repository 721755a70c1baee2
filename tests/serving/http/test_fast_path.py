"""The fast path answers with the same bytes as the Flask view, or passes the request on."""

import io
import json
import logging

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from serving.http.app import create_app
from serving.http.fast_path import FastPath
from serving.runtime import GraphSession

JSON = "application/json"


@pytest.fixture(scope="module")
def app(shipped):
    return create_app(models=shipped, max_body=2**20)


@pytest.fixture(scope="module")
def fast(app):
    """The fast path in front of an application that answers every request with status 299."""
    found = app.wsgi_app
    while not isinstance(found, FastPath):
        found = found._app

    def fallback(environ, start_response):
        start_response("299 Passed on", [])
        return [b""]

    return FastPath(fallback, found._server)


@pytest.fixture(scope="module")
def view(app):
    """Flask's own WSGI callable, without the fast path."""
    return type(app).wsgi_app.__get__(app)


def ask(wsgi, body, **options):
    options = {"path": "/predict", "method": "POST", "content_type": JSON} | options
    environ = EnvironBuilder(data=body, **options).get_environ()
    content, status, headers = run_wsgi_app(wsgi, environ, buffered=True)
    named = {k: v for k, v in headers if k.lower() != "x-request-id"}
    return status, named, b"".join(content)


ROW = [0] * 64
TENSOR = {"name": "features", "shape": [1, 64], "datatype": "FP32"}
BODIES = {
    "a row": {"instances": [ROW]},
    "rows": {"instances": [ROW, [1.5] * 64, [16] * 64]},
    "none": {"instances": []},
    "records": {"instances": [{}]},
    "ragged": {"instances": [ROW, ROW[1:]]},
    "text": {"instances": [["a"] * 64]},
    "overflow": {"instances": [[3e38] * 64]},
    "another key": {"rows": [ROW]},
    "a list": [ROW],
}


@pytest.mark.parametrize("name", BODIES)
def test_fast_path_json_body_same_bytes_as_view(name, fast, view):
    body = json.dumps(BODIES[name]).encode()
    found = ask(fast, body)
    assert found == ask(view, body)
    assert found[0] != "299 Passed on"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 10_000, b" " * (2**20 + 1)])
def test_fast_path_invalid_or_too_large_body_same_refusal_as_view(body, fast, view):
    found = ask(fast, body)
    assert found == ask(view, body)
    assert found[0][0] == "4"


BODIES_BY_PATH = {
    "/predict": [
        ("text/csv", ",".join(["0"] * 64)),
        ("text/csv", "a,b"),
        ("application/json; charset=utf-8", json.dumps({"instances": [ROW]})),
        ("application/octet-stream", bytes(64 * 4)),
        ("application/octet-stream", bytes(3)),
        ("image/png", b"x"),
    ],
    "/invocations": [(JSON, json.dumps({"instances": [ROW]})), ("text/csv", "1"), ("", "1")],
    "/v1/models/digits:predict": [
        (JSON, json.dumps({"instances": [ROW]})),
        ("", json.dumps({"inputs": [ROW]})),
        (JSON, "{}"),
    ],
    "/v1/models/digits/versions/1:predict": [(JSON, json.dumps({"instances": [ROW]}))],
    "/v1/models/digits/versions/7:predict": [(JSON, json.dumps({"instances": [ROW]}))],
    "/v1/models/letters:predict": [(JSON, json.dumps({"instances": [ROW]}))],
    "/v2/models/digits/infer": [
        (JSON, json.dumps({"inputs": [TENSOR | {"data": ROW}]})),
        (JSON, json.dumps({"id": "7", "inputs": [TENSOR | {"data": [ROW]}]})),
        (JSON, "{}"),
    ],
    "/v2/models/digits/versions/1/infer": [
        (JSON, json.dumps({"inputs": [TENSOR | {"data": ROW}]}))
    ],
    "/v2/models/digits/versions/one/infer": [(JSON, "{}")],
}


@pytest.mark.parametrize(
    ("path", "media", "body"),
    [(path, media, body) for path, bodies in BODIES_BY_PATH.items() for media, body in bodies],
)
def test_fast_path_each_protocol_same_bytes_as_view(path, media, body, fast, view):
    for accept in ("*/*", "text/csv"):
        options = {"path": path, "content_type": media, "headers": {"Accept": accept}}
        found = ask(fast, body, **options)
        assert found == ask(view, body, **options)
        assert found[0] != "299 Passed on"


def test_fast_path_length_and_timeout_headers_same_bytes_as_view(fast, view):
    tensor = TENSOR | {"parameters": {"binary_data_size": 256}}
    head = json.dumps({"inputs": [tensor]})
    for json_bytes in (str(len(head)), "0", "x", "99999"):
        for timeout in ("5", "0", "soon"):
            options = {
                "path": "/v2/models/digits/infer",
                "content_type": "application/octet-stream",
                "headers": {
                    "Inference-Header-Content-Length": json_bytes,
                    "X-Request-Timeout": timeout,
                },
            }
            body = head.encode() + bytes(256)
            assert ask(fast, body, **options) == ask(view, body, **options)


@pytest.mark.parametrize("path", ["/predict", "/predict?model=digits"])  # Flask answers the second
def test_request_log_fast_path_and_flask_log_the_error_code(path, client, caplog):
    client.post(path, data=b"{", content_type=JSON)
    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert record.fields["code"] == "not_json"
    assert record.fields["protocol"] == "rows"
    assert record.fields["route"] == "/predict"


def test_fast_path_api_keys_same_answers_as_view(shipped, tmp_path):
    app = create_app(models=shipped, keys=write_keys_file(tmp_path))
    body = json.dumps({"instances": [ROW]})
    for headers in ({}, {"X-API-Key": "another"}, ADMIN_HEADERS):
        found = ask(app.wsgi_app._app, body, headers=headers)
        assert found == ask(type(app).wsgi_app.__get__(app), body, headers=headers)
        assert found[0][:3] == ("200" if headers == ADMIN_HEADERS else "401")


def test_fast_path_internal_error_same_answer_as_view(fast, view, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)

    def explode(self, inputs):
        raise KeyError("secret")

    monkeypatch.setattr(GraphSession, "run", explode)
    body = json.dumps(BODIES["a row"]).encode()
    answers = []
    for wsgi in (fast, view):
        status, headers, content = ask(wsgi, body)
        answer = json.loads(content)
        number = answer["details"]["request_id"]
        answers.append((status, headers, content.replace(number.encode(), b"N")))
    assert answers[0] == answers[1]
    assert answers[0][0].startswith("500")


@pytest.mark.parametrize(
    "options",
    [
        {"method": "GET"},
        {"path": "/healthz"},
        {"query_string": "model=digits"},
        {"query_string": "modle=digits"},
        {"path": "/v2/models/digits"},
        {"path": "/v2/models/digits/ready"},
        {"path": "/v1/models/digits"},
        {"path": "/predict/"},
        {"headers": {"Content-Encoding": "gzip"}},
    ],
)
def test_fast_path_unusual_request_is_passed_on(options, fast):
    assert ask(fast, b"{}", **options)[0] == "299 Passed on"


def test_fast_path_body_of_unknown_length_is_passed_on(fast):
    environ = EnvironBuilder(path="/predict", method="POST", content_type=JSON).get_environ()
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(b"")}
    environ.pop("CONTENT_LENGTH", None)
    assert run_wsgi_app(fast, environ)[1] == "299 Passed on"
