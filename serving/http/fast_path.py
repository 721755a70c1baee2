"""The fast path: a WSGI callable before Flask that answers the well-formed prediction.

It calls what the Flask views call, and gives byte for byte what they give; everything that is in
any way out of the ordinary it hands on. Without it only speed changes.
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

MAX_CACHED_PATHS = 256  # paths that need not be looked at twice


class RouteMatch(NamedTuple):
    """Where a path leads.

    Attributes:
        rule: of the route that it is, as Flask has it.
        protocol: that is spoken there.
        name: of the model; None for the only one.
        version: of it; None for the one that answers.
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
    """Answers some requests, and hands the others on.

    Args:
        fallback: answers those.
        repository: of the models.
        predictor: the prediction path.
        settings: of the server.
        api_keys: that it knows.
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
        """WSGI."""
        path = environ["PATH_INFO"]
        way = self._matches.get(path) or self._match_path(path)
        if way is None or not _is_plain_post(environ):
            return self._fallback(environ, start_response)
        environ[ROUTE_ENVIRON_KEY] = way.rule
        call = get_context(environ)
        call.protocol = way.protocol  # whatever becomes of it
        try:
            self._api_keys.authorize(environ, "predict")
            if way.name is None:
                model = self._repository.find_model(None)
            else:
                model = find_model(self._repository, way.name, way.version)
            reply = answer_prediction(environ, way.protocol, model, self._predictor, self._settings)
        except ServingError as error:
            call.error_code = error.code
            reply = render_error(error.to_dict(), error.status, error.headers, path)
        except Exception as error:  # noqa: BLE001 - as Flask does, whatever it is
            fault = InternalError(error, call.request_id)
            call.error_code = fault.code
            reply = render_error(fault.to_dict(), fault.status, fault.headers, path)
        headers = [
            ("Content-Type", reply.media_type),
            *reply.headers,
            ("Content-Length", str(len(reply.content))),
        ]
        start_response(STATUS_LINES[reply.status], headers)
        return (reply.content,)

    def _match_path(self, path: str) -> RouteMatch | None:
        if not path.isascii():
            return None  # WSGI has it as Latin-1: Flask decodes it
        for pattern, rule, protocol in _ROUTE_PATTERNS:
            if found := pattern.fullmatch(path):
                way = RouteMatch(rule, protocol, **found.groupdict())
                if len(self._matches) < MAX_CACHED_PATHS:
                    self._matches[path] = way
                return way
        return None


def _is_plain_post(environ: dict[str, Any]) -> bool:
    return (
        environ["REQUEST_METHOD"] == "POST"
        and "CONTENT_LENGTH" in environ
        and not environ.get("QUERY_STRING")
        and "HTTP_CONTENT_ENCODING" not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
    )
