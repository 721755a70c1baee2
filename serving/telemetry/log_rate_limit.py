"""Rate limits for log lines: in each period, only the first lines of each kind are written.

At the end of the period, one more line says how many lines were not written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock, Timer
from time import monotonic
from typing import Generic, TypeVar

MAX_LINES_PER_PERIOD = 20  # largest number of lines of one kind
PERIOD_SECONDS = 1.0

Kind = TypeVar("Kind", bound=Hashable)


@dataclass
class LimitPeriod:
    """A period in which lines of one kind are counted.

    Attributes:
        started_at: Time of the first line, in seconds of the monotonic clock.
        count: Number of lines so far.
    """

    started_at: float
    count: int = 0


class LogRateLimiter(Generic[Kind]):
    """Limits the log lines of each kind in one process.

    Args:
        on_suppressed: Function of a kind and a number of lines. It is called at the end of a period
            in which that many lines of the kind were not written.
        max_lines: Largest number of lines of one kind that are written in a period.
        period_seconds: Length of a period, in seconds; `PERIOD_SECONDS` if None.
    """

    def __init__(
        self,
        on_suppressed: Callable[[Kind, int], None],
        max_lines: int = MAX_LINES_PER_PERIOD,
        period_seconds: float | None = None,
    ) -> None:
        self._on_suppressed, self._max_lines = on_suppressed, max_lines
        self._seconds = PERIOD_SECONDS if period_seconds is None else period_seconds
        self._periods: dict[Kind, LimitPeriod] = {}
        self._lock = Lock()  # this also runs under servers with threads

    def should_log(self, kind: Kind) -> bool:
        """Count a line, and return whether it should be written.

        Args:
            kind: Kind of the line.
        """
        with self._lock:
            now = monotonic()
            period = self._periods.get(kind)
            # A period with suppressed lines lasts until its timer has reported them.
            if period is None or (
                period.count <= self._max_lines and now >= period.started_at + self._seconds
            ):
                period = self._periods[kind] = LimitPeriod(now)
            period.count += 1
            count = period.count
        if count == self._max_lines + 1:
            timer = Timer(period.started_at + self._seconds - now, self._end_period, (kind,))
            timer.daemon = True
            timer.start()
        return count <= self._max_lines

    def _end_period(self, kind: Kind) -> None:
        with self._lock:
            period = self._periods.pop(kind)
        self._on_suppressed(kind, period.count - self._max_lines)


class RateLimitFilter(logging.Filter):
    """Limits the warnings and errors of some loggers, separately for each place in the code.

    Meant for loggers whose messages clients can cause: a single client can send 10,000 malformed
    requests a second.

    Args:
        loggers: Names of the limited loggers. Their descendants are limited too.
    """

    def __init__(self, *loggers: str) -> None:
        super().__init__()
        self._loggers = tuple(f"{name}." for name in loggers)
        self._rate_limiter: LogRateLimiter[tuple[str, int, int, str]] = LogRateLimiter(
            self._log_suppressed_lines
        )

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record should be written."""
        if record.levelno < logging.WARNING or not f"{record.name}.".startswith(self._loggers):
            return True
        place = f"{record.module}.{record.funcName}"
        return self._rate_limiter.should_log(
            (record.pathname, record.lineno, record.levelno, place)
        )

    def _log_suppressed_lines(self, kind: tuple[str, int, int, str], count: int) -> None:
        _, line, level, place = kind
        fields = {"place": f"{place}, line {line}", "count": count, "seconds": PERIOD_SECONDS}
        logging.getLogger(__name__).log(level, "lines not logged", extra={"fields": fields})
