"""One line of JSON a record, whatever is in it."""

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

NASTY = [
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


def line_of(message, *args, level=logging.INFO, fields=None, exc_info=None):
    record = logging.LogRecord("name", level, "file.py", 1, message, args, exc_info)
    if fields is not None:
        record.fields = fields
    return JsonFormatter().format(record)


def test_a_record_is_an_object():
    found = json.loads(line_of("hello %s", "world", fields={"status": 200, "model": None}))
    when = datetime.fromisoformat(found.pop("time"))
    assert abs((datetime.now(tz=when.tzinfo) - when).total_seconds()) < 60
    assert found.pop("process") > 0
    assert found == {"level": "info", "event": "hello world", "status": 200, "model": None}


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nothing_in_a_record_can_be_taken_for_more_than_text(text):
    line = line_of("got %s", text, fields={"path": text})
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert len(line.encode()) < MAX_LINE_BYTES
    found = json.loads(line)
    assert set(found) == {"time", "level", "event", "process", "path"}
    assert found["level"] == "info"


def test_ordinary_text_is_left_as_it_is():
    assert (
        sanitize_text("Ünïcode 漢字 🙂, 'quoted' \\ and so on")
        == "Ünïcode 漢字 🙂, 'quoted' \\ and so on"
    )
    assert sanitize_text("\x1b[31m") == "\\u001b[31m"


@pytest.mark.parametrize("size", [0, 100, 1000, 100_000])
@pytest.mark.parametrize("sign", ["x", '"', "\x00", "漢"])
def test_a_traceback_is_in_its_line_and_its_end_is_kept(sign, size):
    try:
        raise KeyError(sign * size + 'the\nlast "word"')
    except KeyError:
        line = line_of("failed", exc_info=sys.exc_info())
    assert len(line.encode()) < MAX_LINE_BYTES
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("""the\\nlast "word"'""")


def test_lines_go_to_stdout_whole(capfd):
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    for text in NASTY:
        handler.handle(logging.LogRecord("name", logging.INFO, "file.py", 1, "%s", (text,), None))
    out, err = capfd.readouterr()
    assert err == ""
    assert len([json.loads(line) for line in out.splitlines()]) == len(NASTY)


# Says "stalled" on stderr once it has logged more than any pipe holds; a line on stdin, and it logs
# one more.
TALKER = """
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
NO_OTHER_WAY_IN = """
def refuse(*_): raise PermissionError
logs.os.open = refuse
"""


def all_there_is(reader):
    """What can be read without waiting."""
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
    [(pipe, ""), (pipe, NO_OTHER_WAY_IN), (connection, "")],
    ids=["pipe", "pipe of another user", "socket"],
)
def test_a_reader_that_stalls_holds_up_no_one_and_what_it_missed_is_counted(ends, before):
    reader, writer = ends()
    with subprocess.Popen(
        [sys.executable, "-c", TALKER.format(before=before)],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as talker:
        try:
            assert select.select([talker.stderr], [], [], 120)[0], "it hangs in a write"
            assert os.read(talker.stderr.fileno(), 100) == b"stalled"
            assert os.get_blocking(writer)  # whoever shares it finds it as it was
            taken = all_there_is(reader)
            assert talker.communicate(b"\n", timeout=120) == (None, b"")
            *first, loss, last = map(json.loads, (taken + all_there_is(reader)).splitlines())
        finally:
            talker.kill()
            os.close(reader)
            os.close(writer)
    assert [line["event"] for line in first] == [f"line {number}" for number in range(len(first))]
    assert 0 < len(first) < 2000
    assert (loss["level"], loss["count"]) == ("warning", 2000 - len(first))
    assert "dropped" in loss["event"]
    assert last["event"] == "the last"


def test_a_reader_that_has_gone_holds_up_no_one(capfd, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(logs, "STDOUT_DESCRIPTOR", writer)
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    os.close(reader)
    handler.handle(logging.makeLogRecord({"msg": "lost"}))
    assert capfd.readouterr() == ("", "")
    os.close(writer)


def test_what_fails_in_a_greenlet_is_a_record_too(monkeypatch, caplog, capfd):
    def fall():
        raise KeyError("in a greenlet")

    monkeypatch.setattr(gevent.get_hub(), "print_exception", log_uncaught_error)
    gevent.spawn(fall).join()
    (record,) = caplog.records
    found = json.loads(JsonFormatter().format(record))
    assert found["event"].endswith("failed")
    assert found["exception"].endswith("KeyError: 'in a greenlet'")
    assert capfd.readouterr() == ("", "")
