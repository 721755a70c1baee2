"""The log of requests: a sample of the successful ones, and all that failed.

Failed requests are limited: for each status, the first 20 of a second are logged, and the number of
the others at its end. Values of features are never logged.
"""

from __future__ import annotations

import logging
from random import random
from typing import Any

from serving.call_context import CallContext
from serving.telemetry.log_rate_limit import PERIOD_SECONDS, LogRateLimiter

log = logging.getLogger(__name__)

# 503 means too many requests, 499 that the client disconnected. Neither is an error of this server.
OVERLOAD_STATUSES = (503, 499)


class RequestLog:
    """Logs the requests of one process.

    Args:
        sample_rate: Share of the successful requests that are logged, from 0 to 1.
    """

    def __init__(self, sample_rate: float) -> None:
        self._sample_rate = sample_rate
        # One limit for each status.
        self._rate_limiter: LogRateLimiter[int] = LogRateLimiter(_log_suppressed_requests)

    def log_request(self, context: CallContext, status: int, environ: dict[str, Any]) -> None:
        """Log a request just before its response is sent, if it is sampled or has failed.

        Args:
            context: Context of the request.
            status: HTTP status of the response.
            environ: WSGI environ of the request.
        """
        if status < 400:
            if random() < self._sample_rate:
                log.info("request", extra={"fields": _log_fields(context, status, environ)})
            return
        if not self._rate_limiter.should_log(status):
            return
        fields = _log_fields(context, status, environ)
        fields |= {"code": context.error_code or None, "path": environ.get("PATH_INFO", "")}
        log.log(_log_level(status), "request", extra={"fields": fields})


def _log_suppressed_requests(status: int, count: int) -> None:
    fields = {"status": status, "count": count, "seconds": PERIOD_SECONDS}
    log.log(_log_level(status), "requests not logged", extra={"fields": fields})


def _log_level(status: int) -> int:
    return logging.ERROR if status >= 500 and status not in OVERLOAD_STATUSES else logging.WARNING


def _log_fields(context: CallContext, status: int, environ: dict[str, Any]) -> dict[str, Any]:
    name, version, variant = context.model_label
    fields = {
        "request_id": context.request_id,
        "method": environ.get("REQUEST_METHOD", ""),
        "route": context.route,
        "protocol": context.protocol or None,
        "model": name or None,
        "version": version or None,
        "variant": variant or None,
        "rows": context.rows,
        "status": status,
        "microseconds": context.measure_stages(),
    }
    if context.key_name:
        fields["key_name"] = context.key_name
    return fields
