"""Log records as lines of JSON, also when stdout is full or closed."""

import json
import logging
import os
import select
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import gevent
import pytest

from serving.telemetry import logs
from serving.telemetry.logs import (
    MAX_LINE_BYTES,
    JsonFormatter,
    StdoutHandler,
    log_uncaught_error,
    sanitize_text,
)

NASTY_TEXTS = [
    "line\nof\r\nlines",
    "\x1b[31mred\x1b[0m",
    '"},{"level":"error',
    "\x9b31m",
    "\u2028\u2029",
    "\u202eright to left",
    "\x00\x7f\x85",
    "\ud800 alone",
    "\\",
    "é漢🙂",
    "\ufeff",
    "x" * 10_000,
    "\ud800" * 10_000,
    '"' * 10_000,
    "漢" * 10_000,
]


def format_record(message, *args, level=logging.INFO, fields=None, exc_info=None):
    record = logging.LogRecord("name", level, "file.py", 1, message, args, exc_info)
    if fields is not None:
        record.fields = fields
    return JsonFormatter().format(record)


def test_json_formatter_record_becomes_an_object():
    found = json.loads(format_record("hello %s", "world", fields={"status": 200, "model": None}))
    when = datetime.fromisoformat(found.pop("time"))
    assert abs((datetime.now(tz=when.tzinfo) - when).total_seconds()) < 60
    assert found.pop("process") > 0
    assert found == {"level": "info", "event": "hello world", "status": 200, "model": None}


@pytest.mark.parametrize("text", NASTY_TEXTS, ids=range(len(NASTY_TEXTS)))
def test_json_formatter_nasty_text_stays_inside_its_string(text):
    line = format_record("got %s", text, fields={"path": text})
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert len(line.encode()) < MAX_LINE_BYTES
    found = json.loads(line)
    assert set(found) == {"time", "level", "event", "process", "path"}
    assert found["level"] == "info"


def test_sanitize_text_ordinary_text_is_unchanged():
    assert (
        sanitize_text("Ünïcode 漢字 🙂, 'quoted' \\ and so on")
        == "Ünïcode 漢字 🙂, 'quoted' \\ and so on"
    )
    assert sanitize_text("\x1b[31m") == "\\u001b[31m"


@pytest.mark.parametrize("size", [0, 100, 1000, 100_000])
@pytest.mark.parametrize("character", ["x", '"', "\x00", "漢"])
def test_json_formatter_long_traceback_keeps_its_end(character, size):
    try:
        raise KeyError(character * size + 'the\nlast "word"')
    except KeyError:
        line = format_record("failed", exc_info=sys.exc_info())
    assert len(line.encode()) < MAX_LINE_BYTES
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("""the\\nlast "word"'""")


def test_stdout_handler_writes_whole_lines(capfd):
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    for text in NASTY_TEXTS:
        handler.handle(logging.LogRecord("name", logging.INFO, "file.py", 1, "%s", (text,), None))
    out, err = capfd.readouterr()
    assert err == ""
    assert len([json.loads(line) for line in out.splitlines()]) == len(NASTY_TEXTS)


# It writes "stalled" to stderr once it has logged more than any pipe holds, and logs one more line
# after it has read a line from stdin.
LOGGING_SCRIPT = """
import logging, os, sys
from gevent import monkey
monkey.patch_all()
from serving.telemetry import logs
{before}
logs.configure_logging("info")
for number in range(2000):
    logging.info("line %d", number, extra={{"fields": {{"padding": "x" * 200}}}})
os.write(2, b"stalled")
sys.stdin.readline()
logging.info("the last")
"""
CANNOT_OPEN_AGAIN = """
def refuse(*_): raise PermissionError
logs.os.open = refuse
"""


def read_available(reader):
    """Read everything that is available without blocking."""
    os.set_blocking(reader, False)
    parts = []
    try:
        while part := os.read(reader, 1 << 20):
            parts.append(part)
    except BlockingIOError:
        os.set_blocking(reader, True)
    return b"".join(parts)


def pipe():
    return os.pipe()


def connection():
    return tuple(end.detach() for end in socket.socketpair())


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("ends", "before"),
    [(pipe, ""), (pipe, CANNOT_OPEN_AGAIN), (connection, "")],
    ids=["pipe", "pipe of another user", "socket"],
)
def test_stdout_handler_stalled_reader_drops_and_counts_lines(ends, before):
    reader, writer = ends()
    with subprocess.Popen(
        [sys.executable, "-c", LOGGING_SCRIPT.format(before=before)],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        try:
            assert select.select([process.stderr], [], [], 120)[0], "it blocks in a write"
            assert os.read(process.stderr.fileno(), 100) == b"stalled"
            assert os.get_blocking(writer)  # unchanged for other processes that share it
            taken = read_available(reader)
            assert process.communicate(b"\n", timeout=120) == (None, b"")
            *first, loss, last = map(json.loads, (taken + read_available(reader)).splitlines())
        finally:
            process.kill()
            os.close(reader)
            os.close(writer)
    assert [line["event"] for line in first] == [f"line {number}" for number in range(len(first))]
    assert 0 < len(first) < 2000
    assert (loss["level"], loss["count"]) == ("warning", 2000 - len(first))
    assert "dropped" in loss["event"]
    assert last["event"] == "the last"


def test_stdout_handler_closed_reader_does_not_raise(capfd, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(logs, "STDOUT_DESCRIPTOR", writer)
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    os.close(reader)
    handler.handle(logging.makeLogRecord({"msg": "lost"}))
    assert capfd.readouterr() == ("", "")
    os.close(writer)


def test_log_uncaught_error_failed_greenlet_is_logged(monkeypatch, caplog, capfd):
    def fall():
        raise KeyError("in a greenlet")

    monkeypatch.setattr(gevent.get_hub(), "print_exception", log_uncaught_error)
    gevent.spawn(fall).join()
    (record,) = caplog.records
    found = json.loads(JsonFormatter().format(record))
    assert found["event"].endswith("failed")
    assert found["exception"].endswith("KeyError: 'in a greenlet'")
    assert capfd.readouterr() == ("", "")
