"""Routes: the declaration of a URL, and the table in which the server looks a URL up.

`route_table` declares the routes. Flask's URL map, the fast path, the check of API keys, the format
of errors and the OpenAPI document are made from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from werkzeug.routing import BaseConverter, Map, Rule

from serving.codec.messages import EncodedAnswer
from serving.http.error_rendering import NATIVE_FORMAT, ErrorFormat
from serving.http.key_file import Scope

Handler = Callable[..., EncodedAnswer]
"""Function that answers a request. It takes the `ServerComponents`, the WSGI environ and, as
keyword arguments of type str, the values of the path's placeholders."""


class MediaTypes(dict[str, Any]):
    """Schemas of a body that is not always JSON, by media type; see `Route.answer`."""


MAX_CACHED_PATHS = 256  # number of paths whose route is cached
# A placeholder in Werkzeug's notation, such as <name> or <model:name>.
PLACEHOLDER_PATTERN = re.compile(r"<(?:\w+:)?(\w+)>")


class Description(NamedTuple):
    """What the OpenAPI document says of an operation.

    Attributes:
        summary: Short text that says what the operation does.
        details: Explanations that the schemas cannot give, in Markdown.
    """

    summary: str
    details: str


@dataclass(frozen=True)
class Route:
    """One method of one or several paths, with all that the server and its description need.

    Attributes:
        method: HTTP method. Flask adds HEAD to GET, and `http.app` answers OPTIONS.
        paths: Paths in Werkzeug's notation, such as `/models/<name>`. Several paths differ in their
            placeholders, for instance with and without a version.
        handler: Function that answers a request.
        description: Text of the OpenAPI document about the operation.
        protocol: Name of the protocol in metrics and logs.
        tag: Group of operations on the page `/docs`.
        error_format: Format of errors.
        scope: Scope that an API key needs; None if the route needs no key.
        is_prediction: Whether the route answers with predictions. The fast path then answers
            well-formed requests, and clients may set a deadline.
        parameters: Names of the parameters in the query and the headers, as `openapi.document`
            declares them.
        answer: Schema of the JSON that is sent with status 200: a JSON Schema, a type from which
            pydantic makes one, or the name of one of the schemas that `openapi.model_schemas`
            builds for each model, such as "rows". A `MediaTypes` of such schemas if the body can
            have another media type; None if there is no body.
        request: Schema of the request's body, of the same types as `answer`; None if there is no
            body. The body of a prediction is required, any other is optional.
        error_statuses: Statuses of error responses besides those that
            `openapi.error_responses.list_error_statuses` finds from the other attributes.
        has_redirect: Whether browsers are redirected to `/docs`.
        has_unready_answer: Whether a request is answered with 503 while no model, or not the named
            one, is ready, with the body of a success instead of an error's.
    """

    method: Literal["GET", "POST"]
    paths: tuple[str, ...]
    handler: Handler
    description: Description
    protocol: str
    tag: str
    error_format: ErrorFormat = NATIVE_FORMAT
    scope: Scope | None = "predict"
    is_prediction: bool = False
    parameters: tuple[str, ...] = ()
    answer: Any = None
    request: Any = None
    error_statuses: frozenset[int] = frozenset()
    has_redirect: bool = False
    has_unready_answer: bool = False

    @property
    def endpoint(self) -> str:
        """Name of the route for Flask, and in error messages: method and first path."""
        return f"{self.method} {self.paths[0]}"


def build_model_paths(prefix: str, suffix: str = "", converter: str = "") -> tuple[str, str]:
    """Return the paths of a model's route, without and with a version.

    Args:
        prefix: Path before the model's name.
        suffix: Path after the name or the version.
        converter: Werkzeug's converter of both, with its colon; empty for any text up to a slash.
    """
    model = f"{prefix}<{converter}name>"
    return f"{model}{suffix}", f"{model}/versions/<{converter}version>{suffix}"


class _ModelConverter(BaseConverter):
    """Matches a model's name or version, up to a slash or to the colon of `:predict`."""

    regex = "[^/:]+"


CONVERTERS = {**Map.default_converters, "model": _ModelConverter}


def create_url_map(routes: Iterable[Route]) -> Map:
    """Return a URL map whose endpoints are those of the routes.

    Args:
        routes: The routes.
    """
    rules = [
        Rule(path, endpoint=route.endpoint, methods=[route.method])
        for route in routes
        for path in route.paths
    ]
    # If slashes were merged, `//` would be answered with a redirect whose body is HTML.
    return Map(rules, converters=CONVERTERS, merge_slashes=False)


class RouteMatch(NamedTuple):
    """The route of a path, with the values of its placeholders.

    Attributes:
        route: The route.
        path: The route's path, with placeholders.
        values: Value of each placeholder, by name.
    """

    route: Route
    path: str
    values: dict[str, str]


class RouteTable:
    """All routes of a server.

    Args:
        routes: The routes. No two have a method and a path in common.

    Attributes:
        prediction_protocols: Protocols of the routes that answer with predictions.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)
        self._by_endpoint = {route.endpoint: route for route in self._routes}
        self._prediction_patterns = [
            (_compile_path(path), path, route)
            for route in self._routes
            if route.is_prediction
            for path in route.paths
        ]
        self.prediction_protocols = tuple(
            dict.fromkeys(route.protocol for route in self._routes if route.is_prediction)
        )
        self._prediction_matches: dict[str, RouteMatch] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def get_route(self, endpoint: str | None) -> Route | None:
        """Return the route with this `Route.endpoint`; None if there is none."""
        return self._by_endpoint.get(endpoint or "")

    def match_prediction(self, path: str) -> RouteMatch | None:
        """Return the prediction route of a path; None if Flask has to look for a route.

        Args:
            path: Path of the request, decoded as WSGI does it.
        """
        return self._prediction_matches.get(path) or self._search_prediction(path)

    def find_error_format(self, path: str) -> ErrorFormat:
        """Return the error format for a path that has no route.

        It is that of the routes that have the most leading segments in common with the path; among
        these, of the one with the shortest path.

        Args:
            path: Path of the request.
        """
        segments = path.split("/")[1:]
        shared, _, error_format = max(
            (
                (
                    _count_shared_segments(segments, own_segments),
                    -len(own_segments),
                    route.error_format,
                )
                for route in self._routes
                for own_segments in (path.split("/")[1:] for path in route.paths)
            ),
            key=lambda candidate: candidate[:2],
        )
        return error_format if shared else NATIVE_FORMAT

    def _search_prediction(self, path: str) -> RouteMatch | None:
        if not path.isascii():
            return None  # WSGI paths are decoded as Latin-1; Flask decodes this one as UTF-8
        for pattern, route_path, route in self._prediction_patterns:
            if found := pattern.fullmatch(path):
                match = RouteMatch(route, route_path, found.groupdict())
                if len(self._prediction_matches) < MAX_CACHED_PATHS:
                    self._prediction_matches[path] = match
                return match
        return None


def _compile_path(path: str) -> re.Pattern[str]:
    """Return a pattern that matches a route's path, with a named group for each placeholder."""
    parts = PLACEHOLDER_PATTERN.split(path)  # literal texts and names of placeholders in turn
    return re.compile(
        "".join(
            f"(?P<{part}>[^/:]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )


def _count_shared_segments(segments: list[str], route_segments: list[str]) -> int:
    """Return the number of leading segments that a path has in common with a route's path.

    A placeholder matches any segment.
    """
    pairs = zip(segments, route_segments, strict=False)
    are_shared = (segment == own or own.startswith("<") for segment, own in pairs)
    return sum(takewhile(bool, are_shared))
