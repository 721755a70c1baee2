"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

from flask import Blueprint, Response

from serving.observe.metrics import CONTENT_TYPE, Metrics
from serving.repository import Repository


def metrics_routes(repository: Repository) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("metrics", __name__)
    of_repository = Metrics(repository)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(of_repository.text(), content_type=CONTENT_TYPE)

    return routes
