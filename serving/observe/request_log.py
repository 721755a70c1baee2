"""The log of requests: a share of those that went well, and all that did not.

But for floods: of each status that is refused the first twenty of a second are logged, and then how
many more there were. No value of a feature is ever logged.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from random import random
from threading import Lock, Timer
from time import monotonic
from typing import Any

from serving.call import Call

log = logging.getLogger(__name__)

ROUTE = "forwardpass.route"  # where an environ keeps the rule that took the request
OVERLOAD = (503, 499)  # what it is answered with, and no fault of ours
FIRST = 20  # requests of a status that are logged each
PERIOD = 1.0  # in so many seconds; more of them are only counted until these are over


@dataclass
class Period:
    """Seconds in which requests of one status were refused.

    Attributes:
        begun: at the first of them, seconds of the monotonic clock.
        count: of the requests.
    """

    begun: float
    count: int = 0


class RequestLog:
    """Logs the requests of one process.

    Args:
        share: of the requests that went well, from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._periods: dict[int, Period] = {}  # by status
        self._counting = Lock()  # under a server that has threads

    def add(self, call: Call, status: int, environ: dict[str, Any]) -> None:
        """A request is about to be answered.

        Args:
            call: the request.
            status: of the answer.
            environ: WSGI's.
        """
        if status < 400:
            if random() < self._share:
                log.info("request", extra={"fields": _fields(call, status, environ)})
            return
        if self._too_many(status):
            return
        fields = _fields(call, status, environ)
        fields |= {"code": call.code or None, "path": environ.get("PATH_INFO", "")}
        log.log(_level(status), "request", extra={"fields": fields})

    def _too_many(self, status: int) -> bool:
        """Count a request that was refused; whether it is only counted."""
        with self._counting:
            now = monotonic()
            period = self._periods.get(status)
            # One in which some are not logged ends when their number is.
            if period is None or (period.count <= FIRST and now >= period.begun + PERIOD):
                period = self._periods[status] = Period(now)
            period.count += 1
            count = period.count
        if count == FIRST + 1:
            timer = Timer(period.begun + PERIOD - now, self._over, (status,))
            timer.daemon = True
            timer.start()
        return count > FIRST

    def _over(self, status: int) -> None:
        """The seconds of a flood have passed."""
        with self._counting:
            period = self._periods.pop(status)
        fields = {"status": status, "count": period.count - FIRST, "seconds": PERIOD}
        log.log(_level(status), "requests not logged", extra={"fields": fields})


def _level(status: int) -> int:
    return logging.ERROR if status >= 500 and status not in OVERLOAD else logging.WARNING


def _fields(call: Call, status: int, environ: dict[str, Any]) -> dict[str, Any]:
    name, version, variant = call.model
    return {
        "request_id": call.request_id,
        "method": environ.get("REQUEST_METHOD", ""),
        "route": environ.get(ROUTE),
        "protocol": call.protocol or None,
        "model": name or None,
        "version": version or None,
        "variant": variant or None,
        "rows": call.rows,
        "status": status,
        "microseconds": call.microseconds(),
    }
