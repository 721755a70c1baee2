"""Logs: one line of JSON a record, on stdout, whoever wrote it.

What a client sends is in them only as text within JSON, and without anything that a terminal or a
reader of lines could take for more than text.

No line ever holds up the process: one that stdout does not take at once, since its reader has
stalled, is dropped, and the next that goes through comes after a line with their number.
"""

from __future__ import annotations

import logging
import os
import re
import select
import stat
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
from gevent.monkey import get_original
from gunicorn.glogging import Logger

from serving.telemetry.log_rate_limit import RateLimitFilter

# The system's own: gevent's gives way to other greenlets, which its hub, that logs too, cannot.
_system_poll = get_original("select", "poll")

STDOUT_DESCRIPTOR = 1
# Bytes of a line: what the system writes to a pipe at once, lest those of two workers mix.
MAX_LINE_BYTES = 4096
MAX_EVENT_CHARACTERS, MAX_FIELD_CHARACTERS = 800, 256  # characters
# All that is neither to be seen nor a plain space, but the two that JSON itself escapes: control
# characters and those that turn or end lines.
INVISIBLE_CHARACTERS = re.compile(
    r"[^\S \n\t]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufeff\ud800-\udfff]"
)


class JsonFormatter(logging.Formatter):
    """Makes a line of a record; what is in `record.fields` goes beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "event": sanitize_text(record.getMessage(), MAX_EVENT_CHARACTERS),
            "process": record.process,
        }
        for name, value in getattr(record, "fields", {}).items():
            line[name] = sanitize_text(value) if isinstance(value, str) else value
        trace = (
            sanitize_text(self.formatException(record.exc_info), -MAX_LINE_BYTES)
            if record.exc_info
            else ""
        )
        while trace:
            written = orjson.dumps(line | {"exception": trace})
            if len(written) < MAX_LINE_BYTES:
                return written.decode()
            trace = trace[len(trace) // 4 + 1 :]  # its end says most
        return orjson.dumps(line).decode()


class StdoutHandler(logging.Handler):
    """Writes each line by one call of the system, or drops it if that would have to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._file = _open_non_blocking(STDOUT_DESCRIPTOR)
        self._poller = _system_poll()
        self._poller.register(self._file, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except (TypeError, ValueError):  # a field that is not JSON's
            self.handleError(record)
            return
        if self._dropped and self._try_write(self._format_dropped_lines()):
            self._dropped = 0
        if self._dropped or not self._try_write(line):
            self._dropped += 1

    def _format_dropped_lines(self) -> str:
        record = {"levelname": "WARNING", "msg": "lines dropped, which stdout did not take"}
        return self.format(logging.makeLogRecord(record | {"fields": {"count": self._dropped}}))

    def _try_write(self, line: str) -> bool:
        """Whether it was taken; a full pipe, a full disk and a reader that has gone do not."""
        try:
            if self._poller.poll(0):
                os.write(self._file, f"{line}\n".encode())
                return True
        except OSError:
            pass
        return False


def _open_non_blocking(file: int) -> int:
    """A pipe opened anew, so that writing to it never waits; anything else as it is.

    To change the descriptor itself would change it for all who share it, as a shell does. Where a
    pipe cannot be opened, having been made by another user, that it polls as writable has to do:
    it then takes a line whole, unless another process fills it in between.
    """
    try:
        if stat.S_ISFIFO(os.fstat(file).st_mode):
            return os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        pass
    return file


# How gunicorn begins what it logs of a request that it cannot parse, before address and reason.
MALFORMED_REQUEST_PREFIX = "Invalid request from ip="


class GunicornLogger(Logger):  # type: ignore[misc]
    """Hands gunicorn's own events to the same handler, and logs no requests: that is ours to do."""

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a warning; of a malformed request nothing that it holds, which may be a key."""
        if not msg.startswith(MALFORMED_REQUEST_PREFIX):
            super().warning(msg, *args, **kwargs)
            return
        fields = {
            "client": msg.removeprefix(MALFORMED_REQUEST_PREFIX).partition(": ")[0],
            "fault": getattr(sys.exc_info()[0], "__name__", None),
        }
        self.error_log.warning("malformed request", extra={"fields": fields})

    def setup(self, cfg: Any) -> None:
        """As its parent, without handlers of its own."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def configure_logging(level: str) -> None:
    """From now on all that this process logs is JSON on stdout.

    Args:
        level: the least severity that is logged, as `logging` names it.
    """
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    # Not those of versions that are refused, of which there may be many at the start.
    handler.addFilter(RateLimitFilter("gunicorn", "serving.errors", __name__))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def log_uncaught_error(context: object, *error: Any) -> None:
    """In place of `Hub.print_exception`, by which gevent tells what no one has caught.

    Args:
        context: what failed.
        error: its type, value and traceback.
    """
    exc_info = error if error[1] is not None else None
    logging.getLogger(__name__).error("%s failed", context, exc_info=exc_info)


def sanitize_text(text: str, max_characters: int = MAX_FIELD_CHARACTERS) -> str:
    """The first `max_characters` characters of a text, the last if negative; what is unseen by its number."""
    short = text[max_characters:] if max_characters < 0 else text[:max_characters]
    seen = INVISIBLE_CHARACTERS.sub(lambda found: f"\\u{ord(found[0]):04x}", short)
    return seen[max_characters:] if max_characters < 0 else seen[:max_characters]
