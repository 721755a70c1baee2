"""Logs: every log record becomes one line of JSON on stdout.

Text that a client has sent appears only inside JSON strings, with control characters escaped, so
that it can neither forge a line nor control a terminal.

Logging never blocks the process. If stdout is read too slowly, lines are dropped. As soon as lines
can be written again, the first one says how many were dropped.
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

# gevent's poll switches to other greenlets, which is not allowed in gevent's hub, and the hub logs.
_unpatched_poll = get_original("select", "poll")

STDOUT_DESCRIPTOR = 1
# Linux writes up to this many bytes to a pipe at once, so the lines of two workers do not mix.
MAX_LINE_BYTES = 4096
MAX_EVENT_CHARACTERS, MAX_FIELD_CHARACTERS = 800, 256
# Control characters, and those that end a line or change the direction of text. Newline and tab are
# left out, because JSON escapes them anyway.
INVISIBLE_CHARACTERS = re.compile(
    r"[^\S \n\t]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufeff\ud800-\udfff]"
)


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object, with the items of `record.fields` after the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without the newline."""
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
            trace = trace[len(trace) // 4 + 1 :]  # the end of a traceback names the error
        return orjson.dumps(line).decode()


class StdoutHandler(logging.Handler):
    """Writes each line with one system call, or drops it if the call would block."""

    def __init__(self) -> None:
        super().__init__()
        self._file = _open_non_blocking(STDOUT_DESCRIPTOR)
        self._poller = _unpatched_poll()
        self._poller.register(self._file, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the number of lines dropped before it."""
        try:
            line = self.format(record)
        except (TypeError, ValueError):  # a field that JSON cannot represent
            self.handleError(record)
            return
        if self._dropped and self._try_write(self._format_dropped_lines()):
            self._dropped = 0
        if self._dropped or not self._try_write(line):
            self._dropped += 1

    def _format_dropped_lines(self) -> str:
        record = {"levelname": "WARNING", "msg": "lines dropped because stdout was not ready"}
        return self.format(logging.makeLogRecord(record | {"fields": {"count": self._dropped}}))

    def _try_write(self, line: str) -> bool:
        """Write a line and return True; return False if stdout is full or closed."""
        try:
            if self._poller.poll(0):
                os.write(self._file, f"{line}\n".encode())
                return True
        except OSError:
            pass
        return False


def _open_non_blocking(file: int) -> int:
    """Open a pipe again, so that writes to it never block; return other descriptors unchanged.

    Setting O_NONBLOCK on the descriptor itself would affect every process that shares it, such as a
    shell. A pipe of another user cannot be opened again. Then polling it before each write has to
    suffice: a writable pipe has space for a whole line, unless another process fills it meanwhile.

    Args:
        file: Descriptor of an open file.
    """
    try:
        if stat.S_ISFIFO(os.fstat(file).st_mode):
            return os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        pass
    return file


# Start of gunicorn's message about a request that it cannot parse; address and reason follow.
MALFORMED_REQUEST_PREFIX = "Invalid request from ip="


class GunicornLogger(Logger):  # type: ignore[misc]
    """Sends gunicorn's events to the root logger's handler. `request_log` logs the requests."""

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a warning.

        Of a malformed request only the client's address and the kind of error are logged, since its
        text may contain a key.

        Args:
            msg: Message, with the placeholders of `args`.
            args: Values of the placeholders.
            kwargs: Keyword arguments of `logging.Logger.warning`.
        """
        if not msg.startswith(MALFORMED_REQUEST_PREFIX):
            super().warning(msg, *args, **kwargs)
            return
        fields = {
            "client": msg.removeprefix(MALFORMED_REQUEST_PREFIX).partition(": ")[0],
            "fault": getattr(sys.exc_info()[0], "__name__", None),
        }
        self.error_log.warning("malformed request", extra={"fields": fields})

    def setup(self, cfg: Any) -> None:
        """Configure the loggers as gunicorn does, but without gunicorn's handlers.

        Args:
            cfg: gunicorn's configuration.
        """
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def configure_logging(level: str) -> None:
    """Write everything that this process logs as JSON on stdout.

    Args:
        level: Lowest level that is logged, in the names of `logging`, in any case.
    """
    handler = StdoutHandler()
    handler.setFormatter(JsonFormatter())
    # Warnings about refused versions are not limited: many can be due when the server starts.
    handler.addFilter(RateLimitFilter("gunicorn", "serving.errors", __name__))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def log_uncaught_error(context: object, *error: Any) -> None:
    """Log an exception that no greenlet has caught. It replaces gevent's `Hub.print_exception`.

    Args:
        context: Greenlet or callback that failed.
        error: Type, value and traceback of the exception.
    """
    exc_info = error if error[1] is not None else None
    logging.getLogger(__name__).error("%s failed", context, exc_info=exc_info)


def sanitize_text(text: str, max_characters: int = MAX_FIELD_CHARACTERS) -> str:
    """Return a shortened text whose invisible characters are written as escape sequences.

    Args:
        text: Any text.
        max_characters: Largest number of characters in the result, taken from the start of the
            text, or from its end if the number is negative.
    """
    short = text[max_characters:] if max_characters < 0 else text[:max_characters]
    visible = INVISIBLE_CHARACTERS.sub(lambda match: f"\\u{ord(match[0]):04x}", short)
    return visible[max_characters:] if max_characters < 0 else visible[:max_characters]
