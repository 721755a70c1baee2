"""The outermost WSGI callable, which handles every request first and every answer last.

It chooses the ID of a request, adds security headers to the answer, and has the request counted and
logged: by this server's own connections just before they send the answer, under another WSGI server
when the application returns. See `CallContext.is_recorded_by_server`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

from serving.call_context import CallContext, get_context
from serving.errors import InternalError
from serving.http.error_rendering import NATIVE_FORMAT, render_error
from serving.http.requests import STATUS_LINES, WSGIApplication
from serving.telemetry.request_log import RequestLog
from serving.telemetry.request_metrics import RequestMetrics
from serving.telemetry.shared_counters import IN_FLIGHT_REQUESTS, WorkerSlot

HeaderList = list[tuple[str, str]]

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
CONTENT_POLICY_HEADER = "Content-Security-Policy"
SECURITY_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
]
# Default for the answers of routes that set no policy themselves.
DEFAULT_CONTENT_POLICY = (CONTENT_POLICY_HEADER, "default-src 'none'; frame-ancestors 'none'")
TRANSPORT_SECURITY = ("Strict-Transport-Security", "max-age=31536000")  # a year, in seconds


class RequestMiddleware:
    """Wraps the WSGI application.

    Args:
        app: WSGI application that answers.
        slot: Slot of the shared counters in which this process counts its requests.
        sample_rate: Share of the successful requests that are logged, 0 to 1.
    """

    def __init__(self, app: WSGIApplication, slot: WorkerSlot, sample_rate: float) -> None:
        self._app, self._counters = app, slot.values
        self._metrics, self._log = RequestMetrics(slot), RequestLog(sample_rate)
        self._process_id, self._request_numbers = secrets.token_hex(6), count(1)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request as WSGI (PEP 3333) defines it."""
        context = get_context(environ)
        context.request_id = self._choose_request_id(environ.get("HTTP_X_REQUEST_ID"))
        status = 500

        def start(line: str, headers: HeaderList, exc_info: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, _add_security_headers(headers, context, environ), exc_info)

        self._counters[IN_FLIGHT_REQUESTS] += 1.0
        try:
            body = self._app(environ, start)
        except Exception as error:  # noqa: BLE001 - any exception that the application let through
            internal = InternalError(error, context.request_id)
            answer = render_error(internal, NATIVE_FORMAT)
            length = ("Content-Length", str(len(answer.content)))
            start(STATUS_LINES[answer.status], [("Content-Type", answer.media_type), length])
            body = (answer.content,)
        finally:
            self._counters[IN_FLIGHT_REQUESTS] -= 1.0
        if context.is_recorded_by_server:
            context.record = partial(self._record_request, context, status, environ)
        else:
            self._record_request(context, status, environ)
        return body

    def _record_request(self, context: CallContext, status: int, environ: dict[str, Any]) -> None:
        self._log.log_request(context, status, environ)
        self._metrics.count_request(context, status)

    def _choose_request_id(self, client_id: str | None) -> str:
        """Return the client's `X-Request-Id` if it is safe in headers and logs, else a new ID."""
        if client_id is not None and REQUEST_ID_PATTERN.fullmatch(client_id):
            return client_id
        return f"{self._process_id}-{next(self._request_numbers):x}"


def _add_security_headers(
    headers: HeaderList, context: CallContext, environ: dict[str, Any]
) -> HeaderList:
    """Return the headers of an answer with its request ID and the security headers added."""
    all_headers = [("X-Request-Id", context.request_id), *headers, *SECURITY_HEADERS]
    for name, _ in headers:  # a plain loop is fastest, since there are few headers
        if name == CONTENT_POLICY_HEADER:
            break
    else:
        all_headers.append(DEFAULT_CONTENT_POLICY)
    if environ["wsgi.url_scheme"] == "https":
        all_headers.append(TRANSPORT_SECURITY)
    return all_headers
