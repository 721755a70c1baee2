"""How many log lines of one kind are written in a period, and the line about the others."""

import json
import logging
import socket

import pytest

from serving.telemetry.log_rate_limit import MAX_LINES_PER_PERIOD, LogRateLimiter, RateLimitFilter
from serving.telemetry.logs import GunicornLogger, JsonFormatter

SECRET = "Zk3vQ9-key-of-a-client"  # noqa: S105


def test_rate_limiter_too_many_lines_reports_how_many_were_suppressed(timers):
    suppressed = []
    limiter = LogRateLimiter(lambda kind, count: suppressed.append((kind, count)))
    written = {kind: sum(limiter.should_log(kind) for _ in range(50)) for kind in "ab"}
    assert written == {"a": MAX_LINES_PER_PERIOD, "b": MAX_LINES_PER_PERIOD}
    for timer in timers:
        timer.join()
    assert sorted(suppressed) == [
        ("a", 50 - MAX_LINES_PER_PERIOD),
        ("b", 50 - MAX_LINES_PER_PERIOD),
    ]
    assert limiter.should_log("a")


def test_rate_limiter_one_line_per_period_suppresses_the_others(timers):
    suppressed = []
    limiter = LogRateLimiter(
        lambda kind, count: suppressed.append((kind, count)), max_lines=1, period_seconds=0.02
    )
    for _ in range(3):
        assert [limiter.should_log("a") for _ in range(10)] == [True] + [False] * 9
        timers[-1].join()
    assert [timer.interval for timer in timers] == pytest.approx([0.02] * 3)
    assert suppressed == [("a", 9)] * 3


@pytest.fixture
def log_flood(caplog, timers):
    """Return a function that logs 100 lines and returns the records that were written."""

    def flood(write):
        rate_limit_filter = RateLimitFilter("gunicorn")
        caplog.handler.addFilter(rate_limit_filter)
        try:
            for number in range(100):
                write(number)
            for timer in timers:
                timer.join()
        finally:
            caplog.handler.removeFilter(rate_limit_filter)
        return caplog.records

    return flood


def test_rate_limit_filter_limits_each_place_in_the_code(log_flood):
    def write(number):
        logging.getLogger("gunicorn.error").warning("bad %d", number)
        logging.getLogger("gunicorn.error").error("worse %d", number)

    records = log_flood(write)
    suppressed = [record for record in records if record.getMessage() == "lines not logged"]
    assert len(records) == 2 * MAX_LINES_PER_PERIOD + 2
    assert {record.levelname: record.fields["count"] for record in suppressed} == {
        "WARNING": 100 - MAX_LINES_PER_PERIOD,
        "ERROR": 100 - MAX_LINES_PER_PERIOD,
    }
    assert all("test_log_rate_limit.write, line" in record.fields["place"] for record in suppressed)


@pytest.mark.parametrize(
    ("logger", "level"),
    [
        ("gunicorn.error", logging.INFO),
        ("serving.repository", logging.ERROR),
        ("gunicornlike", logging.ERROR),
    ],
)
def test_rate_limit_filter_other_loggers_and_levels_are_not_limited(
    logger, level, log_flood, caplog
):
    caplog.set_level(logging.INFO)
    assert len(log_flood(lambda n: logging.getLogger(logger).log(level, "%d", n))) == 100


MALFORMED = {
    "a header without colon": f"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key {SECRET}\r\n\r\n",
    "a header with a space": f"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key {SECRET} : b\r\n\r\n",
    "a target": f"GET /?key={SECRET} a b c\r\n\r\n",
    "a method": f"{SECRET}! / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a version": f"GET / HTTP/{SECRET}\r\nHost: a\r\n\r\n",
    "a coding": f"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
}


def send(server, text):
    """Send text on a new connection, and return the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as client:
        client.sendall(text.encode())
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_gunicorn_logger_malformed_request_logs_none_of_its_text(text, live):
    before = len(live.log)
    assert send(live, text).startswith(b"HTTP/1.1 ")
    live.wait_for(lambda: any("malformed request" in line for line in live.log[before:]))
    (line,) = (json.loads(x) for x in live.log[before:] if "malformed request" in x)
    assert (line["level"], line["client"]) == ("warning", "127.0.0.1")
    assert line["fault"]
    assert SECRET not in "".join(live.log)


def test_gunicorn_logger_many_malformed_requests_are_limited(serve, shipped):
    server = serve(shipped, "--workers", "1")
    sent = 500
    for _ in range(sent):
        assert send(server, "GET / HTTP/1.1\r\nHost a\r\n\r\n").startswith(b"HTTP/1.1 400")

    def read_limited_lines():
        lines = [x for x in server.records() if x["event"] == "malformed request"]
        suppressed = [x for x in server.records() if x["event"] == "lines not logged"]
        return len(lines), suppressed

    server.wait_for(
        lambda: read_limited_lines()[0] + sum(x["count"] for x in read_limited_lines()[1]) == sent
    )
    lines, suppressed = read_limited_lines()
    assert suppressed
    assert lines <= MAX_LINES_PER_PERIOD * (len(suppressed) + 1)
    # Nothing else was logged about these requests.
    assert len([x for x in server.records() if x["level"] != "info"]) == lines + len(suppressed)


def test_gunicorn_logger_other_warnings_are_unchanged(caplog):
    logger = GunicornLogger.__new__(GunicornLogger)
    logger.error_log = logging.getLogger("gunicorn.error")
    logger.warning("Worker with pid %s was terminated", 7)
    (record,) = caplog.records
    assert json.loads(JsonFormatter().format(record))["event"] == "Worker with pid 7 was terminated"
