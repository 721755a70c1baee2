"""The fast path against the Flask view behind it: the same bytes, or it steps aside."""

import io
import json
import logging

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from serving.app import create_app
from serving.fastpath import FastPath
from serving.runtime import Session

JSON = "application/json"


@pytest.fixture(scope="module")
def app(shipped):
    return create_app(models=shipped, max_body=2**20)


@pytest.fixture(scope="module")
def fast(app):
    """The fast path with nothing behind it but a mark."""
    found = app.wsgi_app
    while not isinstance(found, FastPath):
        found = found._rest

    def rest(environ, start_response):
        start_response("299 Handed on", [])
        return [b""]

    return FastPath(rest, found._repository, found._predict, found._settings, found._keys)


@pytest.fixture(scope="module")
def view(app):
    """Flask without the fast path."""
    return type(app).wsgi_app.__get__(app)


def ask(wsgi, body, **options):
    options = {"path": "/predict", "method": "POST", "content_type": JSON} | options
    environ = EnvironBuilder(data=body, **options).get_environ()
    content, status, headers = run_wsgi_app(wsgi, environ, buffered=True)
    named = {k: v for k, v in headers if k.lower() != "x-request-id"}
    return status, named, b"".join(content)


ROW = [0] * 64
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
def test_what_it_answers_is_what_the_view_answers_byte_for_byte(name, fast, view):
    body = json.dumps(BODIES[name]).encode()
    found = ask(fast, body)
    assert found == ask(view, body)
    assert found[0] != "299 Handed on"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 10_000, b" " * (2**20 + 1)])
def test_bodies_that_are_no_json_or_too_long_are_refused_alike(body, fast, view):
    found = ask(fast, body)
    assert found == ask(view, body)
    assert found[0][0] == "4"


def test_a_fault_of_ours_reads_alike(fast, view, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)

    def explode(self, inputs):
        raise KeyError("secret")

    monkeypatch.setattr(Session, "run", explode)
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
        {"content_type": "text/csv"},
        {"content_type": "application/json; charset=utf-8"},
        {"headers": {"Content-Encoding": "gzip"}},
        {"headers": {"Accept": "text/csv"}},
    ],
)
def test_whatever_is_out_of_the_ordinary_is_handed_on(options, fast):
    assert ask(fast, b"{}", **options)[0] == "299 Handed on"


def test_a_body_of_unknown_length_is_handed_on(fast):
    environ = EnvironBuilder(path="/predict", method="POST", content_type=JSON).get_environ()
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(b"")}
    environ.pop("CONTENT_LENGTH", None)
    assert run_wsgi_app(fast, environ)[1] == "299 Handed on"
