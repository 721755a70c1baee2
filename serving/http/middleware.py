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

from serving.call_context import Call, begin
from serving.codec.messages import STATUS_LINES, WSGI
from serving.errors import InternalError
from serving.http.error_rendering import told
from serving.telemetry.request_log import RequestLog
from serving.telemetry.request_metrics import Counts
from serving.telemetry.shared_counters import IN_FLIGHT, Slot

Headers = list[tuple[str, str]]

WORKER = "forwardpass.worker"  # in an environ: the server calls what is under `FINISH`
FINISH = "forwardpass.finish"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
POLICY = "Content-Security-Policy"
GUARDS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
]
NOTHING = (POLICY, "default-src 'none'; frame-ancestors 'none'")  # unless a route says more
ALWAYS_TLS = ("Strict-Transport-Security", "max-age=31536000")  # seconds: a year


class Front:
    """Wraps what answers.

    Args:
        rest: answers.
        slot: where its requests are counted.
        log_share: of the requests that went well, for the log.
    """

    def __init__(self, rest: WSGI, slot: Slot, log_share: float) -> None:
        self._rest, self._numbers = rest, slot.numbers
        self._counts, self._log = Counts(slot), RequestLog(log_share)
        self._process, self._requests = secrets.token_hex(6), count(1)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """WSGI."""
        call = begin(environ)
        call.request_id = self._name(environ.get("HTTP_X_REQUEST_ID"))
        status = 500

        def start(line: str, headers: Headers, fault: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, _guarded(headers, call, environ), fault)

        self._numbers[IN_FLIGHT] += 1.0
        try:
            answer = self._rest(environ, start)
        except Exception as error:  # noqa: BLE001 - what should have been answered within
            fault = InternalError(error, call.request_id)
            reply = told(fault.body(), fault.status, fault.headers, environ.get("PATH_INFO", ""))
            length = ("Content-Length", str(len(reply.content)))
            start(STATUS_LINES[reply.status], [("Content-Type", reply.media), length])
            answer = (reply.content,)
        finally:
            self._numbers[IN_FLIGHT] -= 1.0
        if WORKER in environ:
            environ[FINISH] = partial(self._finish, call, status, environ)
        else:
            self._finish(call, status, environ)
        return answer

    def _finish(self, call: Call, status: int, environ: dict[str, Any]) -> None:
        self._log.add(call, status, environ)
        self._counts.add(call, status)

    def _name(self, asked: str | None) -> str:
        """What the client calls its request, if that can go into a header and a log."""
        if asked is not None and REQUEST_ID.fullmatch(asked):
            return asked
        return f"{self._process}-{next(self._requests):x}"


def _guarded(headers: Headers, call: Call, environ: dict[str, Any]) -> Headers:
    guarded = [("X-Request-Id", call.request_id), *headers, *GUARDS]
    for name, _ in headers:  # which are few; anything cleverer takes longer
        if name == POLICY:
            break
    else:
        guarded.append(NOTHING)
    if environ["wsgi.url_scheme"] == "https":
        guarded.append(ALWAYS_TLS)
    return guarded
