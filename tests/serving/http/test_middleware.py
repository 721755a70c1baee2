"""The outermost callable: what every answer has, and when it is counted."""

import re

import pytest

from serving import create_app
from serving.http.middleware import FINISH_KEY, WORKER_KEY, RequestMiddleware
from serving.runtime import GraphSession
from serving.telemetry.shared_counters import IN_FLIGHT_REQUESTS, SharedCounters

BODY = {"instances": [[0] * 64]}
WAYS = [
    lambda client, **o: client.post("/predict", json=BODY, **o),
    lambda client, **o: client.post("/predict?model=digits", json=BODY, **o),
    lambda client, **o: client.post("/predict", json={"instances": 1}, **o),
    lambda client, **o: client.get("/healthz", **o),
    lambda client, **o: client.get("/no/such", **o),
    lambda client, **o: client.open("/predict", method="OPTIONS", **o),
    lambda client, **o: client.head("/models", **o),
]
each_way = pytest.mark.parametrize("ask", WAYS)


@each_way
def test_every_answer_is_guarded(ask, client):
    headers = ask(client).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Strict-Transport-Security" not in headers
    assert len({name for name, _ in headers}) == len(list(headers))


@each_way
def test_over_tls_it_is_to_stay_there(ask, client):
    secure = ask(client, base_url="https://localhost")
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_route_may_allow_its_page_more(shipped):
    app = create_app(models=shipped)

    @app.get("/page")
    def page():
        return "", 200, {"Content-Security-Policy": "default-src 'self'"}

    policies = app.test_client().get("/page").headers.getlist("Content-Security-Policy")
    assert policies == ["default-src 'self'"]


@each_way
def test_a_request_has_a_name_of_its_own(ask, client):
    names = {ask(client).headers["X-Request-Id"] for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", name) for name in names)


@pytest.mark.parametrize("name", ["a", "0123-abc_DEF.9", "x" * 64])
@each_way
def test_or_the_one_that_its_client_gives_it(ask, name, client):
    assert ask(client, headers={"X-Request-Id": name}).headers["X-Request-Id"] == name


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a b", "a\tb", "a,b", "é", '"', "\x1b[31m", "a;b", "{}", "a%0d%0ab"]
)
def test_but_none_that_could_be_taken_for_more(name, client):
    environ = {"HTTP_X_REQUEST_ID": name}
    found = client.get("/healthz", environ_overrides=environ).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", found)


def test_names_do_not_end_with_a_line(client):
    environ = {"HTTP_X_REQUEST_ID": "abc\n"}
    found = client.get("/healthz", environ_overrides=environ).headers["X-Request-Id"]
    assert not found.startswith("abc")


@pytest.mark.parametrize("path", ["/predict", "/predict?model=digits"])
def test_a_fault_of_ours_has_the_same_name(path, client, monkeypatch):
    def explode(self, inputs):
        raise KeyError("secret")

    monkeypatch.setattr(GraphSession, "run", explode)
    answer = client.post(path, json=BODY, headers={"X-Request-Id": "mine"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] == "mine"
    assert answer.get_json()["details"] == {"request_id": "mine"}


def test_what_no_one_within_has_caught_is_answered_too():
    def app(environ, start_response):
        raise KeyError("secret")

    status, body = ask_wsgi(RequestMiddleware(app, SharedCounters().own_slot, 0))
    assert status == "500 Internal Server Error"
    assert b"secret" not in body


def ask_wsgi(front, **environ):
    lines = []
    made = {"wsgi.url_scheme": "http", "REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}
    body = b"".join(front(made, lambda line, headers, fault=None: lines.append(line)))
    return lines[-1], body


def counted(slot):
    return sum(
        numbers[0] for name, _, numbers in slot.iter_series() if name == "forwardpass_requests"
    )


def test_it_is_counted_when_the_worker_says_that_it_is_about_to_be_sent():
    slot = SharedCounters().own_slot
    in_flight = []

    def app(environ, start_response):
        in_flight.append(slot.values[IN_FLIGHT_REQUESTS])
        start_response("200 OK", [])
        return (b"",)

    front = RequestMiddleware(app, slot, 0)
    environ = {"wsgi.url_scheme": "http", WORKER_KEY: True}
    front(environ, lambda *_: None)
    assert (counted(slot), in_flight, slot.values[IN_FLIGHT_REQUESTS]) == (0, [1], 0)
    environ[FINISH_KEY]()
    assert counted(slot) == 1
    ask_wsgi(front)  # another server says nothing: it is counted as the answer is given to it
    assert counted(slot) == 2


def test_who_is_thrown_out_is_in_flight_no_more():
    class Stop(BaseException):
        pass

    def app(environ, start_response):
        raise Stop

    slot = SharedCounters().own_slot
    with pytest.raises(Stop):
        ask_wsgi(RequestMiddleware(app, slot, 0))
    assert (counted(slot), slot.values[IN_FLIGHT_REQUESTS]) == (0, 0)
