"""The fast path: a WSGI callable in front of Flask that answers plain prediction requests.

It calls the handlers of the routes, as the Flask views do, and sends the same bytes. Every other
request is passed on to Flask. Without the fast path only the speed would change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from serving.call_context import get_context
from serving.errors import InternalError, ServingError
from serving.http.components import ServerComponents
from serving.http.error_rendering import render_error
from serving.http.requests import STATUS_LINES, WSGIApplication


class FastPath:
    """Answers plain prediction requests and passes all others on.

    Args:
        fallback: WSGI application that answers the other requests.
        server: Components of the server.
    """

    def __init__(self, fallback: WSGIApplication, server: ServerComponents) -> None:
        self._fallback, self._server, self._routes = fallback, server, server.routes

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request as WSGI (PEP 3333) defines it."""
        match = self._routes.match_prediction(environ["PATH_INFO"])
        if match is None or not _is_plain_post(environ):
            return self._fallback(environ, start_response)
        route = match.route
        context = get_context(environ)
        # These are set first, so that a refused request is also counted and logged under them.
        context.route, context.protocol = match.path, route.protocol
        try:
            self._server.api_keys.authorize(environ, route.scope)
            answer = route.handler(self._server, environ, **match.values)
        except ServingError as error:
            context.error_code = error.code
            answer = render_error(error, route.error_format)
        except Exception as error:  # noqa: BLE001 - every exception becomes a 500, as in Flask
            internal = InternalError(error, context.request_id)
            context.error_code = internal.code
            answer = render_error(internal, route.error_format)
        headers = [
            ("Content-Type", answer.media_type),
            *answer.headers,
            ("Content-Length", str(len(answer.content))),
        ]
        start_response(STATUS_LINES[answer.status], headers)
        return (answer.content,)


def _is_plain_post(environ: dict[str, Any]) -> bool:
    """Return whether a request is a POST of known length without query or Content-Encoding."""
    return (
        environ["REQUEST_METHOD"] == "POST"
        and "CONTENT_LENGTH" in environ
        and not environ.get("QUERY_STRING")
        and "HTTP_CONTENT_ENCODING" not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
    )
