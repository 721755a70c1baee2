"""Percent-encoded and unusual paths: the fast path and Flask give them the same answer."""

import json
import re
import socket
from http.client import HTTPResponse
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from serving.http.app import create_app
from serving.http.fast_path import FastPath
from tests.fuzzing import examples
from tests.processes import HANG_SECONDS

ROW = [0] * 64
INSTANCES = json.dumps({"instances": [ROW]}).encode()
TENSORS = json.dumps(
    {"inputs": [{"name": "features", "shape": [1, 64], "datatype": "FP32", "data": ROW}]}
).encode()
# Targets, as a client writes them, and the status of their answer.
TARGETS = {
    "/v2/models/digits/infer": 200,
    "/v2/models/di%67its/infer": 200,
    "/v2/models/%64%69%67%69%74%73/infer": 200,
    "/%76%32/models/digits/%69nfer": 200,
    "/v2/models/digits/versions/%31/infer": 200,
    "/v2%2Fmodels%2Fdigits%2Finfer": 200,
    "/v2/models/digits%2Finfer": 200,
    "/v2/models/digits%2finfer": 200,
    "/v2/models/dig%2Fits/infer": 404,
    "/v2/models/digits%20/infer": 404,
    "/v2/models/digits+/infer": 404,
    "/v2/models/%20digits/infer": 404,
    "/v2/models/digits%00/infer": 404,
    "/v2/models/digits%0A/infer": 404,
    "/v2/models/digits/infer%0A": 404,
    "/v2/models/digits/infer%0D%0A": 404,
    "/v2/models/digits%3Fa/infer": 404,
    "/v2/models/digits%23/infer": 404,
    "/v2/models/digits%25/infer": 404,
    "/v2/models/di%2567its/infer": 404,
    "/v2/models/digits%/infer": 404,
    "/v2/models/digits%6/infer": 404,
    "/v2/models/digits%zz/infer": 404,
    "/v2/models/Digits/infer": 404,
    "/v2/models/m%C3%BCller/infer": 404,
    "/v2/models/%E6%95%B0%E5%AD%97/infer": 404,
    "/v2/models/%FF%FE/infer": 404,
    "/v2/models/%C3/infer": 404,
    "/v2/models/digits:1/infer": 404,
    "/v2/models/digits;a=1/infer": 404,
    "/v2/models/digits/infer;a=1": 404,
    "/v2/models/digits/infer/": 404,
    "/v2/models//digits/infer": 404,
    "/v2/models/digits//infer": 404,
    "/v2/models//infer": 404,
    "/v2/models/./digits/infer": 404,
    "/v2/models/x/../digits/infer": 404,
    "/v2/models/%2E%2E/infer": 404,
    "/v2/models/digits/versions/0/infer": 404,
    "/v2/models/digits/versions/01/infer": 404,
    "/v2/models/digits/versions/%D9%A1/infer": 404,
    "/v2/models/digits/versions//infer": 404,
    "/v2/models/digits/versions/1%20/infer": 404,
    "/v1/models/digits:predict": 200,
    "/v1/models/digits%3Apredict": 200,
    "/v1/models/digits%3apredict": 200,
    "/v1/models/di%67its:predict": 200,
    "/v1/models/digits:%70redict": 200,
    "/v1/models/digits/versions/1%3Apredict": 200,
    "/v1/models/digits::predict": 404,
    "/v1/models/digits%3A%3Apredict": 404,
    "/v1/models/a:digits:predict": 404,
    "/v1/models/digits:predict/": 404,
    "/v1/models/digits:predict%20": 404,
    "/v1/models/digits:Predict": 404,
    "/v1/models/%C3%A4:predict": 404,
    "/v1/models/:predict": 404,
    "/predict": 200,
    "/pr%65dict": 200,
    "/predict/": 404,
    "/predict%2F": 404,
    "/predict%00": 404,
    "/predict;a=1": 404,
    "/Predict": 404,
    "/./predict": 404,
    "/a/../predict": 404,
    "/pr%C3%A9dict": 404,
    "/invocations": 200,
    "/%69nvocations": 200,
    "/invocations/": 404,
}


def body_of(target):
    return TENSORS if unquote_to_bytes(target).startswith(b"/v2") else INSTANCES


@pytest.fixture(scope="module")
def both(shipped):
    """The application with its fast path, and Flask alone."""
    app = create_app(models=shipped)
    found = app.wsgi_app
    while not isinstance(found, FastPath):
        found = found._app
    return found, type(app).wsgi_app.__get__(app)


def ask(wsgi, path, body):
    environ = EnvironBuilder(
        path="/", method="POST", content_type="application/json", data=body
    ).get_environ()
    content, status, headers = run_wsgi_app(wsgi, environ | {"PATH_INFO": path}, buffered=True)
    return int(status[:3]), {k: v for k, v in headers if k != "X-Request-Id"}, b"".join(content)


@pytest.mark.parametrize("target", TARGETS)
def test_the_fast_path_and_flask_give_a_path_the_same_answer(target, both):
    path = unquote_to_bytes(target).decode("latin-1")  # as WSGI has it
    fast, view = (ask(wsgi, path, body_of(target)) for wsgi in both)
    assert fast == view
    assert fast[0] == TARGETS[target]


parts = st.sampled_from(
    [
        "/",
        ":",
        "v1",
        "v2",
        "models",
        "digits",
        "versions",
        "1",
        "infer",
        "predict",
        "invocations",
        ";",
        "..",
        ".",
        " ",
        "\n",
        "\r",
        "\0",
        "\xc3\xa4",
        "\xff",
        "\x85",
        "%",
        "é",
        "x",
    ]
)


@examples(300)
@given(
    st.one_of(
        st.lists(parts, max_size=12).map("".join),
        st.tuples(
            st.sampled_from(["/v2/models/", "/v1/models/"]),
            st.lists(parts, max_size=3),
            st.sampled_from(["/infer", ":predict", "/versions/1/infer", "/versions/1:predict"]),
        ).map(lambda found: found[0] + "".join(found[1]) + found[2]),
    )
)
def test_any_path_is_answered_alike(both, path):
    path = "/" + path.lstrip("/")
    fast, view = (ask(wsgi, path, body_of(path)) for wsgi in both)
    assert fast == view


def send(server, target, *, handed_on):
    """Post to a target as it is; with `Content-Encoding: identity` Flask answers."""
    host, port = server.url.removeprefix("http://").split(":")
    body = body_of(target)
    head = (
        f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
    )
    head += "Content-Encoding: identity\r\n\r\n" if handed_on else "\r\n"
    with socket.create_connection((host, int(port)), timeout=HANG_SECONDS) as client:
        client.sendall(head.encode() + body)
        response = HTTPResponse(client, method="POST")
        response.begin()
        return response.status, response.getheader("Content-Type"), response.read()


def test_on_the_wire_every_target_is_answered_alike_and_in_json(live):
    for target, status in TARGETS.items():
        fast, view = (send(live, target, handed_on=on) for on in (False, True))
        assert fast == view, target
        assert fast[:2] == (status, "application/json"), target
        assert re.search(rb'"error"', fast[2]) is None or status == 404, target
