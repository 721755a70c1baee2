"""The log of requests: a share of those that went well, and all that did not.

But for the floods of an overload, of which the first of each second is logged, and then how many
more there were. No value of a feature is ever logged.
"""

from __future__ import annotations

import logging
from random import random
from threading import Timer
from typing import Any

from serving.call import Call

log = logging.getLogger(__name__)

ROUTE = "forwardpass.route"  # where an environ keeps the rule that took the request
FLOODS = (503, 499)  # what an overload is answered with, thousands of times a second
QUIET = 1.0  # seconds for which these are only counted


class RequestLog:
    """Logs the requests of one process.

    Args:
        share: of the requests that went well, from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._floods: dict[int, int] = {}  # how many are not logged, by status

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
        if status in FLOODS:
            if status in self._floods:
                self._floods[status] += 1
                return
            self._floods[status] = 0
            timer = Timer(QUIET, self._over, (status,))
            timer.daemon = True
            timer.start()
        fields = _fields(call, status, environ)
        fields["path"] = environ.get("PATH_INFO", "")
        level = logging.ERROR if status >= 500 and status not in FLOODS else logging.WARNING
        log.log(level, "request", extra={"fields": fields})

    def _over(self, status: int) -> None:
        """A second has passed since the first was logged."""
        if count := self._floods.pop(status):
            fields = {"status": status, "count": count, "seconds": QUIET}
            log.warning("requests not logged", extra={"fields": fields})


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
