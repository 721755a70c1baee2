"""The log of requests: a share of those that went well, and all that did not.

But for floods: of each status that is refused the first twenty of a second are logged, and then how
many more there were. No value of a feature is ever logged.
"""

from __future__ import annotations

import logging
from random import random
from typing import Any

from serving.call_context import CallContext
from serving.telemetry.log_rate_limit import PERIOD_SECONDS, LogRateLimiter

log = logging.getLogger(__name__)

ROUTE_ENVIRON_KEY = "forwardpass.route"  # where an environ keeps the rule that took the request
OVERLOAD_STATUSES = (503, 499)  # what it is answered with, and no fault of ours


class RequestLog:
    """Logs the requests of one process.

    Args:
        sample_rate: of the requests that went well, from 0 to 1.
    """

    def __init__(self, sample_rate: float) -> None:
        self._sample_rate = sample_rate
        self._rate_limiter: LogRateLimiter[int] = LogRateLimiter(
            _log_suppressed_requests
        )  # of each status

    def log_request(self, call: CallContext, status: int, environ: dict[str, Any]) -> None:
        """A request is about to be answered.

        Args:
            call: the request.
            status: of the answer.
            environ: WSGI's.
        """
        if status < 400:
            if random() < self._sample_rate:
                log.info("request", extra={"fields": _log_fields(call, status, environ)})
            return
        if not self._rate_limiter.should_log(status):
            return
        fields = _log_fields(call, status, environ)
        fields |= {"code": call.error_code or None, "path": environ.get("PATH_INFO", "")}
        log.log(_log_level(status), "request", extra={"fields": fields})


def _log_suppressed_requests(status: int, count: int) -> None:
    fields = {"status": status, "count": count, "seconds": PERIOD_SECONDS}
    log.log(_log_level(status), "requests not logged", extra={"fields": fields})


def _log_level(status: int) -> int:
    return logging.ERROR if status >= 500 and status not in OVERLOAD_STATUSES else logging.WARNING


def _log_fields(call: CallContext, status: int, environ: dict[str, Any]) -> dict[str, Any]:
    name, version, variant = call.model_label
    fields = {
        "request_id": call.request_id,
        "method": environ.get("REQUEST_METHOD", ""),
        "route": environ.get(ROUTE_ENVIRON_KEY),
        "protocol": call.protocol or None,
        "model": name or None,
        "version": version or None,
        "variant": variant or None,
        "rows": call.rows,
        "status": status,
        "microseconds": call.measure_stages(),
    }
    if call.key_name:
        fields["key_name"] = call.key_name
    return fields
