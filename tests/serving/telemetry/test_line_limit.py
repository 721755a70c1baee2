"""At most some lines of a kind each second, and how many more there were."""

import json
import logging
import socket

import pytest

from serving.telemetry.log_rate_limit import MAX_LINES_PER_PERIOD, LogRateLimiter, RateLimitFilter
from serving.telemetry.logs import GunicornLogger, JsonFormatter

SECRET = "Zk3vQ9-key-of-a-client"  # noqa: S105


def test_line_limit_sums_up_what_it_does_not_admit(timers):
    sums = []
    limit = LogRateLimiter(lambda kind, count: sums.append((kind, count)))
    admitted = {kind: sum(limit.should_log(kind) for _ in range(50)) for kind in "ab"}
    assert admitted == {"a": MAX_LINES_PER_PERIOD, "b": MAX_LINES_PER_PERIOD}
    for timer in timers:
        timer.join()
    assert sorted(sums) == [("a", 50 - MAX_LINES_PER_PERIOD), ("b", 50 - MAX_LINES_PER_PERIOD)]
    assert limit.should_log("a")


def test_line_limit_of_one_line_a_period_sums_up_the_others(timers):
    sums = []
    limit = LogRateLimiter(
        lambda kind, count: sums.append((kind, count)), max_lines=1, period_seconds=0.02
    )
    for _ in range(3):
        assert [limit.should_log("a") for _ in range(10)] == [True] + [False] * 9
        timers[-1].join()
    assert [timer.interval for timer in timers] == pytest.approx([0.02] * 3)
    assert sums == [("a", 9)] * 3


@pytest.fixture
def flooded(caplog, timers):
    """Log 100 lines by a function, and return the lines that were written."""

    def flood(write):
        found = RateLimitFilter("gunicorn")
        caplog.handler.addFilter(found)
        try:
            for number in range(100):
                write(number)
            for timer in timers:
                timer.join()
        finally:
            caplog.handler.removeFilter(found)
        return caplog.records

    return flood


def test_flood_filter_limits_each_place_in_the_code(flooded):
    def write(number):
        logging.getLogger("gunicorn.error").warning("bad %d", number)
        logging.getLogger("gunicorn.error").error("worse %d", number)

    records = flooded(write)
    sums = [record for record in records if record.getMessage() == "lines not logged"]
    assert len(records) == 2 * MAX_LINES_PER_PERIOD + 2
    assert {record.levelname: record.fields["count"] for record in sums} == {
        "WARNING": 100 - MAX_LINES_PER_PERIOD,
        "ERROR": 100 - MAX_LINES_PER_PERIOD,
    }
    assert all("test_line_limit.write, line" in record.fields["place"] for record in sums)


@pytest.mark.parametrize(
    ("logger", "level"),
    [
        ("gunicorn.error", logging.INFO),
        ("serving.repository", logging.ERROR),
        ("gunicornlike", logging.ERROR),
    ],
)
def test_flood_filter_leaves_what_no_client_brings_about(logger, level, flooded, caplog):
    caplog.set_level(logging.INFO)
    assert len(flooded(lambda n: logging.getLogger(logger).log(level, "%d", n))) == 100


MALFORMED = {
    "a header without colon": f"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key {SECRET}\r\n\r\n",
    "a header with a space": f"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key {SECRET} : b\r\n\r\n",
    "a target": f"GET /?key={SECRET} a b c\r\n\r\n",
    "a method": f"{SECRET}! / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a version": f"GET / HTTP/{SECRET}\r\nHost: a\r\n\r\n",
    "a coding": f"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
}


def send(server, text):
    """The answer to what is sent on a connection of its own."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as client:
        client.sendall(text.encode())
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_malformed_request_is_logged_without_what_it_holds(text, live):
    before = len(live.log)
    assert send(live, text).startswith(b"HTTP/1.1 ")
    live.wait_for(lambda: any("malformed request" in line for line in live.log[before:]))
    (line,) = (json.loads(x) for x in live.log[before:] if "malformed request" in x)
    assert (line["level"], line["client"]) == ("warning", "127.0.0.1")
    assert line["fault"]
    assert SECRET not in "".join(live.log)


def test_many_malformed_requests_are_some_lines_and_a_sum(serve, shipped):
    server = serve(shipped, "--workers", "1")
    sent = 500
    for _ in range(sent):
        assert send(server, "GET / HTTP/1.1\r\nHost a\r\n\r\n").startswith(b"HTTP/1.1 400")

    def told():
        lines = [x for x in server.records() if x["event"] == "malformed request"]
        sums = [x for x in server.records() if x["event"] == "lines not logged"]
        return len(lines), sums

    server.wait_for(lambda: told()[0] + sum(x["count"] for x in told()[1]) == sent)
    lines, sums = told()
    assert sums
    assert lines <= MAX_LINES_PER_PERIOD * (len(sums) + 1)
    # No more than that: nothing else was logged of them.
    assert len([x for x in server.records() if x["level"] != "info"]) == lines + len(sums)


def test_gunicorns_other_warnings_stay_as_they_are(caplog):
    logger = GunicornLogger.__new__(GunicornLogger)
    logger.error_log = logging.getLogger("gunicorn.error")
    logger.warning("Worker with pid %s was terminated", 7)
    (record,) = caplog.records
    assert json.loads(JsonFormatter().format(record))["event"] == "Worker with pid 7 was terminated"
