"""The outermost middleware: headers of every answer, request IDs, and when requests are counted."""

import re

import pytest

from serving import create_app
from serving.call_context import CONTEXT_KEY, CallContext
from serving.http.middleware import RequestMiddleware
from serving.runtime import GraphSession
from serving.telemetry.shared_counters import IN_FLIGHT_REQUESTS, SharedCounters

BODY = {"instances": [[0] * 64]}
REQUESTS = [
    lambda client, **o: client.post("/predict", json=BODY, **o),
    lambda client, **o: client.post("/predict?model=digits", json=BODY, **o),
    lambda client, **o: client.post("/predict", json={"instances": 1}, **o),
    lambda client, **o: client.get("/healthz", **o),
    lambda client, **o: client.get("/no/such", **o),
    lambda client, **o: client.open("/predict", method="OPTIONS", **o),
    lambda client, **o: client.head("/models", **o),
]
each_request = pytest.mark.parametrize("ask", REQUESTS)


@each_request
def test_middleware_any_answer_has_security_headers(ask, client):
    headers = ask(client).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Strict-Transport-Security" not in headers
    assert len({name for name, _ in headers}) == len(list(headers))


@each_request
def test_middleware_over_tls_sends_strict_transport_security(ask, client):
    secure = ask(client, base_url="https://localhost")
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_middleware_route_with_its_own_content_policy_keeps_it(shipped):
    app = create_app(models=shipped)

    @app.get("/page")
    def page():
        return "", 200, {"Content-Security-Policy": "default-src 'self'"}

    policies = app.test_client().get("/page").headers.getlist("Content-Security-Policy")
    assert policies == ["default-src 'self'"]


@each_request
def test_middleware_without_request_id_generates_a_unique_one(ask, client):
    names = {ask(client).headers["X-Request-Id"] for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", name) for name in names)


@pytest.mark.parametrize("name", ["a", "0123-abc_DEF.9", "x" * 64])
@each_request
def test_middleware_valid_request_id_is_kept(ask, name, client):
    assert ask(client, headers={"X-Request-Id": name}).headers["X-Request-Id"] == name


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a b", "a\tb", "a,b", "é", '"', "\x1b[31m", "a;b", "{}", "a%0d%0ab"]
)
def test_middleware_unsafe_request_id_is_replaced(name, client):
    environ = {"HTTP_X_REQUEST_ID": name}
    found = client.get("/healthz", environ_overrides=environ).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", found)


def test_middleware_request_id_with_line_end_is_replaced(client):
    environ = {"HTTP_X_REQUEST_ID": "abc\n"}
    found = client.get("/healthz", environ_overrides=environ).headers["X-Request-Id"]
    assert not found.startswith("abc")


@pytest.mark.parametrize("path", ["/predict", "/predict?model=digits"])
def test_middleware_internal_error_has_the_request_id(path, client, monkeypatch):
    def explode(self, inputs):
        raise KeyError("secret")

    monkeypatch.setattr(GraphSession, "run", explode)
    answer = client.post(path, json=BODY, headers={"X-Request-Id": "mine"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] == "mine"
    assert answer.get_json()["details"] == {"request_id": "mine"}


def test_middleware_uncaught_exception_is_answered_with_500():
    def app(environ, start_response):
        raise KeyError("secret")

    status, body = ask_wsgi(RequestMiddleware(app, SharedCounters().own_slot, 0))
    assert status == "500 Internal Server Error"
    assert b"secret" not in body


def ask_wsgi(middleware, **environ):
    lines = []
    all_environ = {"wsgi.url_scheme": "http", "REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}
    body = b"".join(
        middleware(all_environ, lambda line, headers, exc_info=None: lines.append(line))
    )
    return lines[-1], body


def count_requests(slot):
    return sum(
        values[0] for name, _, values in slot.iter_series() if name == "forwardpass_requests"
    )


def test_middleware_request_is_counted_when_the_server_calls_record():
    slot = SharedCounters().own_slot
    in_flight = []

    def app(environ, start_response):
        in_flight.append(slot.values[IN_FLIGHT_REQUESTS])
        start_response("200 OK", [])
        return (b"",)

    middleware = RequestMiddleware(app, slot, 0)
    context = CallContext(is_recorded_by_server=True)
    environ = {"wsgi.url_scheme": "http", CONTEXT_KEY: context}
    middleware(environ, lambda *_: None)
    assert (count_requests(slot), in_flight, slot.values[IN_FLIGHT_REQUESTS]) == (0, [1], 0)
    context.record()
    assert count_requests(slot) == 1
    ask_wsgi(middleware)  # other WSGI servers do not call it, so the request is counted at once
    assert count_requests(slot) == 2


def test_middleware_base_exception_ends_in_flight_without_counting():
    class Stop(BaseException):
        pass

    def app(environ, start_response):
        raise Stop

    slot = SharedCounters().own_slot
    with pytest.raises(Stop):
        ask_wsgi(RequestMiddleware(app, slot, 0))
    assert (count_requests(slot), slot.values[IN_FLIGHT_REQUESTS]) == (0, 0)
