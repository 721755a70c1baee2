"""One line of JSON a record, whatever is in it."""

import json
import logging
import sys
from datetime import datetime

import gevent
import pytest

from serving.observe.logs import LONGEST, JsonFormatter, Stdout, log_failure, plain

NASTY = [
    "line\nof\r\nlines", "\x1b[31mred\x1b[0m", '"},{"level":"error', "\x9b31m", "\u2028\u2029",
    "\u202eright to left", "\x00\x7f\x85", "\ud800 alone", "\\", "é漢🙂", "\ufeff", "x" * 10_000,
    "\ud800" * 10_000, '"' * 10_000, "漢" * 10_000,
]  # fmt: skip


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
    assert len(line.encode()) < LONGEST
    found = json.loads(line)
    assert set(found) == {"time", "level", "event", "process", "path"}
    assert found["level"] == "info"


def test_ordinary_text_is_left_as_it_is():
    assert (
        plain("Ünïcode 漢字 🙂, 'quoted' \\ and so on") == "Ünïcode 漢字 🙂, 'quoted' \\ and so on"
    )
    assert plain("\x1b[31m") == "\\u001b[31m"


@pytest.mark.parametrize("size", [0, 100, 1000, 100_000])
@pytest.mark.parametrize("sign", ["x", '"', "\x00", "漢"])
def test_a_traceback_is_in_its_line_and_its_end_is_kept(sign, size):
    try:
        raise KeyError(sign * size + 'the\nlast "word"')
    except KeyError:
        line = line_of("failed", exc_info=sys.exc_info())
    assert len(line.encode()) < LONGEST
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("""the\\nlast "word"'""")


def test_lines_go_to_stdout_whole(capfd):
    handler = Stdout()
    handler.setFormatter(JsonFormatter())
    for text in NASTY:
        handler.handle(logging.LogRecord("name", logging.INFO, "file.py", 1, "%s", (text,), None))
    out, err = capfd.readouterr()
    assert err == ""
    assert len([json.loads(line) for line in out.splitlines()]) == len(NASTY)


def test_what_fails_in_a_greenlet_is_a_record_too(monkeypatch, caplog, capfd):
    def fall():
        raise KeyError("in a greenlet")

    monkeypatch.setattr(gevent.get_hub(), "print_exception", log_failure)
    gevent.spawn(fall).join()
    (record,) = caplog.records
    found = json.loads(JsonFormatter().format(record))
    assert found["event"].endswith("failed")
    assert found["exception"].endswith("KeyError: 'in a greenlet'")
    assert capfd.readouterr() == ("", "")
