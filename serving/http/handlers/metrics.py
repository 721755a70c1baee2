"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

from flask import Blueprint, Response

from serving.http.handlers.exposition import CONTENT_TYPE, PrometheusMetrics
from serving.repository import Repository
from serving.telemetry.shared_counters import SharedCounters


def create_metrics_blueprint(repository: Repository, table: SharedCounters) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("metrics", __name__)
    of_all = PrometheusMetrics(repository, table)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(of_all.text(), content_type=CONTENT_TYPE)

    return routes
