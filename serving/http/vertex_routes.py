"""The routes whose paths Vertex AI chooses when it starts the server."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.exceptions import MethodNotAllowed, NotFound

from serving.http.error_rendering import TENSORFLOW_FORMAT
from serving.http.handlers import open_inference, predictions, status
from serving.http.openapi import descriptions
from serving.http.routes import Handler, Route, create_url_map
from serving.settings.cloud_platforms import VertexSettings

# Handlers whose paths Vertex AI may choose, since they answer as it requires.
HEALTH_HANDLERS: tuple[Handler, ...] = (status.ping, status.readyz, open_inference.server_ready)
PREDICT_HANDLERS: tuple[Handler, ...] = (predictions.predict_rows, predictions.predict_instances)


def list_vertex_routes(routes: Sequence[Route], vertex: VertexSettings) -> list[Route]:
    """Return the routes that Vertex AI needs besides the others.

    Args:
        routes: All other routes of the server.
        vertex: Paths that Vertex AI chose.

    Raises:
        ValueError: If it chose the path of a route with another purpose.
    """
    added = []
    health, predict = vertex.health_route, vertex.predict_route
    if health is not None and not _has_route(routes, "GET", health, HEALTH_HANDLERS):
        added.append(
            Route(
                "GET",
                (health,),
                status.ping,
                descriptions.READY_VERTEX,
                protocol="clouds",
                tag="clouds",
                scope=None,
                has_unready_answer=True,
            )
        )
    if predict is not None and not _has_route(routes, "POST", predict, PREDICT_HANDLERS):
        added.append(
            Route(
                "POST",
                (predict,),
                predictions.predict_vertex_instances,
                descriptions.PREDICT_VERTEX,
                protocol="tensorflow",
                tag="clouds",
                error_format=TENSORFLOW_FORMAT,
                is_prediction=True,
                parameters=("model", "queried_version", "timeout"),
                answer="predictions",
                request="tensorflow",
            )
        )
    return added


def _has_route(
    routes: Sequence[Route], method: str, path: str, allowed: tuple[Handler, ...]
) -> bool:
    """Return whether a path already has a route with one of the allowed handlers.

    Raises:
        ValueError: If it has a route with another handler.
    """
    try:
        endpoint, _ = create_url_map(routes).bind("").match(path, method)
    except NotFound:
        return False
    except MethodNotAllowed:
        endpoint = "for another method"
    route = next((route for route in routes if route.endpoint == endpoint), None)
    if route is not None and route.handler in allowed:
        return True
    raise ValueError(
        f"expected a path for Vertex AI that is free, or has a route of the same purpose; "
        f"got {path!r}, whose route is {endpoint}; choose /ping and /predict, or free paths"
    )
