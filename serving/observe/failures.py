"""Failures of clients that may come in floods, logged by cause: the first at once, then counts."""

from __future__ import annotations

import logging
from time import perf_counter

log = logging.getLogger(__name__)

LOG_INTERVAL = 60.0  # seconds between two log lines about the same cause


class FailureLog:
    """Logs each cause once, and then once an interval how often it came again.

    Args:
        what: Name of what fails, the beginning of each line.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._repeated: dict[str, int] = {}  # failures that are not logged yet, by cause
        self._logged: dict[str, float] = {}  # when each cause was last logged

    def add(self, cause: str) -> None:
        """Log a failure, or count it if its cause was logged a short time ago.

        Args:
            cause: One of a few texts, with what to do about it.
        """
        if cause in self._logged:
            self._repeated[cause] = self._repeated.get(cause, 0) + 1
            return
        self._logged[cause] = perf_counter()
        log.warning("%s: %s", self._what, cause)

    def flush(self, now: float) -> None:
        """Log what was counted, of each cause whose interval is over.

        Args:
            now: Time, in seconds of `perf_counter`.
        """
        for cause, logged in list(self._logged.items()):
            if now - logged < LOG_INTERVAL:
                continue
            if count := self._repeated.pop(cause, 0):
                self._logged[cause] = now
                log.warning("%s: %s; %d times more in %.0f s", self._what, cause, count,
                            now - logged)  # fmt: skip
            else:
                del self._logged[cause]  # the next one is news again
