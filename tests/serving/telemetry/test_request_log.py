"""Which requests are logged, and which of their fields."""

import json
import logging
from itertools import count

import pytest

from serving import create_app
from serving.call_context import CallContext
from serving.http.key_file import generate_key
from serving.telemetry import log_rate_limit, request_log
from serving.telemetry.log_rate_limit import MAX_LINES_PER_PERIOD
from serving.telemetry.logs import JsonFormatter
from serving.telemetry.request_log import RequestLog

SECRET = 12345.678
BODY = {"instances": [[SECRET] * 64] * 3}


@pytest.fixture
def lines(caplog):
    """Return a function that returns the request log's new lines, parsed."""
    caplog.set_level(logging.INFO, logger="serving.telemetry.request_log")

    def found():
        made = [JsonFormatter().format(r) for r in caplog.records if r.name == request_log.__name__]
        assert all(len(line.splitlines()) == 1 for line in made)
        caplog.clear()
        return [json.loads(line) for line in made]

    return found


@pytest.fixture
def client(shipped):
    """Return the client of an application that logs every request."""
    return create_app(models=shipped, log_sample=1).test_client()


def test_request_log_successful_request_has_all_fields(client, lines):
    client.post("/predict", json=BODY, headers={"X-Request-Id": "mine"})
    (line,) = lines()
    times = line.pop("microseconds")
    assert set(times) == {"decode", "queue", "run", "encode", "whole"}
    assert all(isinstance(time, int) and time >= 0 for time in times.values())
    assert sum(times.values()) <= 2 * times["whole"] + 4
    for name in ("time", "process"):
        line.pop(name)
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "mine",
        "method": "POST",
        "route": "/predict",
        "protocol": "rows",
        "model": "digits",
        "version": "1",
        "variant": "fp32",
        "rows": 3,
        "status": 200,
    }


def test_request_log_api_key_appears_by_name_only(shipped, tmp_path, lines):
    made = {
        name: generate_key(name, scope) for name, scope in (("app", "predict"), ("ops", "admin"))
    }
    (tmp_path / "keys").write_text("".join(f"{line}\n" for _, line in made.values()))
    client = create_app(models=shipped, keys=tmp_path / "keys", log_sample=1).test_client()
    unload = "/v2/repository/models/digits/unload"
    digits = {"instances": [[0] * 64]}
    for key, path, body, status, name in (
        ("app", unload, {}, 403, "app"),
        ("app", "/predict", {"instances": 1}, 400, "app"),  # answered by the fast path
        ("app", "/predict?model=roses", digits, 404, "app"),
        ("app", "/no/such", {}, 404, "app"),
        ("app", "/healthz", {}, 405, "app"),
        ("ops", "/v2/repository/models/roses/load", {}, 404, "ops"),
        ("app", "/predict", digits, 200, "app"),
        (None, "/predict", digits, 401, None),
        ("x" * 43, "/predict", digits, 401, None),
    ):
        secret = made[key][0] if key in made else key
        headers = {} if key is None else {"X-API-Key": secret}
        assert client.post(path, json=body, headers=headers).status_code in (status, 422), path
        (line,) = lines()
        assert (line["status"] in (status, 422), line.get("key_name")) == (True, name), path
        for secret, _ in made.values():
            assert secret[:8] not in json.dumps(line)


def test_request_log_path_appears_only_in_failures(client, lines):
    client.get("/models/digits")
    (line,) = lines()
    assert (line["route"], line["status"]) == ("/models/<name>", 200)
    assert "path" not in line
    client.get("/models/roses")
    (line,) = lines()
    assert (line["route"], line["path"], line["level"]) == (
        "/models/<name>",
        "/models/roses",
        "warning",
    )


def test_request_log_feature_values_never_appear(client, lines, caplog):
    bodies = [
        json.dumps(BODY),
        f"[{SECRET}",
        f"{SECRET}",
        json.dumps({f"{SECRET}": 1}),
        json.dumps({"instances": [[str(SECRET)] * 64]}),
        json.dumps({"instances": [[SECRET]]}),
        json.dumps({"instances": [{"pixel_0_0": f"{SECRET}"}]}),
        json.dumps({"instances": [[SECRET * 1e38] * 64]}),
    ]
    caplog.set_level(logging.DEBUG)
    for body in bodies:
        for path in ("/predict", "/predict?model=digits"):
            client.post(path, data=body, content_type="application/json")
    assert str(SECRET) not in "".join(map(JsonFormatter().format, caplog.records))
    assert len(lines()) == 2 * len(bodies)


@pytest.mark.parametrize(
    "text", ["/a\nb", '/"},{"status":200', "/\x1b[31m", "/\xff\xfe", "/%0a%1b", "/" + "x" * 4000]
)
def test_request_log_text_of_a_client_stays_inside_its_line(text, client, lines):
    environ = {
        "PATH_INFO": text,
        "HTTP_X_REQUEST_ID": text,
        "REQUEST_METHOD": "BREW" + text[1:20],
        "QUERY_STRING": text,
        "HTTP_USER_AGENT": text,
    }
    client.get("/", environ_overrides=environ)
    client.post("/predict", query_string={"model": text}, json=BODY)
    first, second = lines()
    assert first["status"] in (404, 405)
    assert first["path"].startswith(text[:1])
    assert len(first["path"]) <= 256
    assert (second["status"], second["model"]) == (404, None)


def test_request_log_samples_successes_and_logs_all_failures(lines):
    for sample_rate, least, most in ((0, 0, 0), (0.1, 50, 160), (1, 1000, 1000)):
        log = RequestLog(sample_rate)
        for _ in range(1000):
            log.log_request(CallContext(), 200, {})
        assert least <= len(lines()) <= most
        log.log_request(CallContext(), 404, {})
        log.log_request(CallContext(), 500, {})
        assert [line["level"] for line in lines()] == ["warning", "error"]


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (400, "warning"),
        (401, "warning"),
        (429, "warning"),
        (499, "warning"),
        (500, "error"),
        (503, "warning"),
        (504, "error"),
    ],
)
def test_request_log_flood_reports_how_many_were_suppressed(status, level, lines, timers):
    log = RequestLog(1)
    for _ in range(500):
        log.log_request(CallContext(), status, {})
    timers[0].join()
    # The limit of another status, from another test, may report now as well.
    *first, rest = (line for line in lines() if line["status"] == status)
    assert [(line["event"], line["status"]) for line in first] == [
        ("request", status)
    ] * MAX_LINES_PER_PERIOD
    assert (rest["event"], rest["status"]) == ("requests not logged", status)
    assert (rest["count"], rest["level"]) == (500 - MAX_LINES_PER_PERIOD, level)
    log.log_request(CallContext(), status, {})  # a single line, which no report follows
    assert [line["event"] for line in lines() if line["status"] == status] == ["request"]
    assert len(timers) == 1


def test_request_log_each_status_has_its_own_limit(lines, timers):
    log = RequestLog(1)
    for _ in range(MAX_LINES_PER_PERIOD + 5):
        log.log_request(CallContext(), 400, {})
    log.log_request(CallContext(), 404, {})
    for timer in timers:
        timer.join()
    found = lines()
    assert [line["status"] for line in found if line["event"] == "request"] == [
        400
    ] * MAX_LINES_PER_PERIOD + [404]
    assert [(line["status"], line["count"]) for line in found if "count" in line] == [(400, 5)]


def test_request_log_moderate_failures_are_all_logged(lines, timers, monkeypatch):
    log, clock = RequestLog(1), count(0, log_rate_limit.PERIOD_SECONDS / (MAX_LINES_PER_PERIOD - 1))
    monkeypatch.setattr(log_rate_limit, "monotonic", lambda: next(clock))
    for _ in range(10 * MAX_LINES_PER_PERIOD):
        log.log_request(CallContext(), 500, {})
    assert (len(lines()), timers) == (10 * MAX_LINES_PER_PERIOD, [])
