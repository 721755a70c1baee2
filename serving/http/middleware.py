"""The front: the outermost WSGI callable, around whatever answers.

It begins the call, gives it a name, guards the answer with headers, and sees to it that it is
counted and logged: just before it is sent, so that what a worker has counted when it is killed is
what its clients have got. Our own worker says when that is; under another server it is when the
application returns.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

from serving.call_context import CallContext, create_context
from serving.errors import InternalError
from serving.http.error_rendering import render_error
from serving.http.requests import STATUS_LINES, WSGIApplication
from serving.telemetry.request_log import RequestLog
from serving.telemetry.request_metrics import RequestMetrics
from serving.telemetry.shared_counters import IN_FLIGHT_REQUESTS, WorkerSlot

HeaderList = list[tuple[str, str]]

WORKER_KEY = "forwardpass.worker"  # in an environ: the server calls what is under `FINISH_KEY`
FINISH_KEY = "forwardpass.finish"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
CONTENT_POLICY = "Content-Security-Policy"
SECURITY_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
]
DEFAULT_CONTENT_POLICY = (
    CONTENT_POLICY,
    "default-src 'none'; frame-ancestors 'none'",
)  # unless a route says more
TRANSPORT_SECURITY = ("Strict-Transport-Security", "max-age=31536000")  # seconds: a year


class RequestMiddleware:
    """Wraps what answers.

    Args:
        app: answers.
        slot: where its requests are counted.
        log_share: of the requests that went well, for the log.
    """

    def __init__(self, app: WSGIApplication, slot: WorkerSlot, log_share: float) -> None:
        self._app, self._numbers = app, slot.values
        self._counts, self._log = RequestMetrics(slot), RequestLog(log_share)
        self._process_id, self._request_numbers = secrets.token_hex(6), count(1)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """WSGI."""
        call = create_context(environ)
        call.request_id = self._choose_request_id(environ.get("HTTP_X_REQUEST_ID"))
        status = 500

        def start(line: str, headers: HeaderList, fault: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, _add_security_headers(headers, call, environ), fault)

        self._numbers[IN_FLIGHT_REQUESTS] += 1.0
        try:
            answer = self._app(environ, start)
        except Exception as error:  # noqa: BLE001 - what should have been answered within
            fault = InternalError(error, call.request_id)
            reply = render_error(
                fault.to_dict(), fault.status, fault.headers, environ.get("PATH_INFO", "")
            )
            length = ("Content-Length", str(len(reply.content)))
            start(STATUS_LINES[reply.status], [("Content-Type", reply.media_type), length])
            answer = (reply.content,)
        finally:
            self._numbers[IN_FLIGHT_REQUESTS] -= 1.0
        if WORKER_KEY in environ:
            environ[FINISH_KEY] = partial(self._record_request, call, status, environ)
        else:
            self._record_request(call, status, environ)
        return answer

    def _record_request(self, call: CallContext, status: int, environ: dict[str, Any]) -> None:
        self._log.log_request(call, status, environ)
        self._counts.count_request(call, status)

    def _choose_request_id(self, asked: str | None) -> str:
        """What the client calls its request, if that can go into a header and a log."""
        if asked is not None and REQUEST_ID_PATTERN.fullmatch(asked):
            return asked
        return f"{self._process_id}-{next(self._request_numbers):x}"


def _add_security_headers(
    headers: HeaderList, call: CallContext, environ: dict[str, Any]
) -> HeaderList:
    guarded = [("X-Request-Id", call.request_id), *headers, *SECURITY_HEADERS]
    for name, _ in headers:  # which are few; anything cleverer takes longer
        if name == CONTENT_POLICY:
            break
    else:
        guarded.append(DEFAULT_CONTENT_POLICY)
    if environ["wsgi.url_scheme"] == "https":
        guarded.append(TRANSPORT_SECURITY)
    return guarded
