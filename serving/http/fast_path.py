"""The fast path: a WSGI callable in front of Flask that answers plain prediction requests.

It calls the same functions as the Flask views and sends the same bytes. Every other request is
passed on to Flask. Without the fast path only the speed would change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from serving.call_context import get_context
from serving.errors import InternalError, ServingError
from serving.http.api_keys import ApiKeys
from serving.http.error_rendering import render_error
from serving.http.requests import STATUS_LINES, WSGIApplication, answer_prediction, find_model
from serving.inference.predictor import Predictor, Protocol
from serving.repository import Repository
from serving.settings.options import Settings
from serving.telemetry.request_log import ROUTE_ENVIRON_KEY

MAX_CACHED_PATHS = 256  # number of paths whose route is cached


class RouteMatch(NamedTuple):
    """The route of a path, with the values of its placeholders.

    Attributes:
        rule: Flask's URL rule of the route.
        protocol: Protocol that the route belongs to.
        name: Name of the model; None for the default model.
        version: Version of the model, as text; None for the live version.
    """

    rule: str
    protocol: Protocol
    name: str | None = None
    version: str | None = None


FAST_ROUTES: tuple[tuple[str, Protocol], ...] = (
    ("/predict", "rows"),
    ("/invocations", "rows"),
    ("/v1/models/<model:name>:predict", "tensorflow"),
    ("/v1/models/<model:name>/versions/<model:version>:predict", "tensorflow"),
    ("/v2/models/<name>/infer", "inference_v2"),
    ("/v2/models/<name>/versions/<version>/infer", "inference_v2"),
)
_ROUTE_PATTERNS = [
    (re.compile(re.sub(r"<(?:model:)?(\w+)>", r"(?P<\1>[^/:]+)", rule)), rule, protocol)
    for rule, protocol in FAST_ROUTES
]


class FastPath:
    """Answers plain prediction requests and passes all others on.

    Args:
        fallback: WSGI application that answers the other requests.
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        settings: Options of the server.
        api_keys: API keys that the server accepts.
    """

    def __init__(
        self,
        fallback: WSGIApplication,
        repository: Repository,
        predictor: Predictor,
        settings: Settings,
        api_keys: ApiKeys,
    ) -> None:
        self._fallback, self._repository, self._predictor = fallback, repository, predictor
        self._settings, self._api_keys = settings, api_keys
        self._matches: dict[str, RouteMatch] = {}

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request as WSGI (PEP 3333) defines it."""
        path = environ["PATH_INFO"]
        match = self._matches.get(path) or self._match_path(path)
        if match is None or not _is_plain_post(environ):
            return self._fallback(environ, start_response)
        environ[ROUTE_ENVIRON_KEY] = match.rule
        context = get_context(environ)
        # The protocol is set first, so that the metrics also count a refused request under it.
        context.protocol = match.protocol
        try:
            self._api_keys.authorize(environ, "predict")
            if match.name is None:
                model = self._repository.find_model(None)
            else:
                model = find_model(self._repository, match.name, match.version)
            answer = answer_prediction(
                environ, match.protocol, model, self._predictor, self._settings
            )
        except ServingError as error:
            context.error_code = error.code
            answer = render_error(error.to_dict(), error.status, error.headers, path)
        except Exception as error:  # noqa: BLE001 - every exception becomes a 500, as in Flask
            internal = InternalError(error, context.request_id)
            context.error_code = internal.code
            answer = render_error(internal.to_dict(), internal.status, internal.headers, path)
        headers = [
            ("Content-Type", answer.media_type),
            *answer.headers,
            ("Content-Length", str(len(answer.content))),
        ]
        start_response(STATUS_LINES[answer.status], headers)
        return (answer.content,)

    def _match_path(self, path: str) -> RouteMatch | None:
        if not path.isascii():
            return None  # WSGI paths are decoded as Latin-1; Flask decodes this one as UTF-8
        for pattern, rule, protocol in _ROUTE_PATTERNS:
            if found := pattern.fullmatch(path):
                match = RouteMatch(rule, protocol, **found.groupdict())
                if len(self._matches) < MAX_CACHED_PATHS:
                    self._matches[path] = match
                return match
        return None


def _is_plain_post(environ: dict[str, Any]) -> bool:
    """Return whether a request is a POST of known length without query or Content-Encoding."""
    return (
        environ["REQUEST_METHOD"] == "POST"
        and "CONTENT_LENGTH" in environ
        and not environ.get("QUERY_STRING")
        and "HTTP_CONTENT_ENCODING" not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
    )
