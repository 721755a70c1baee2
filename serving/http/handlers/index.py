"""`GET /`: redirects browsers to `/docs` and gives other clients links; and `/favicon.ico`."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from serving.http.openapi.swagger_ui import FAVICON
from serving.http.trusted_proxies import TrustedProxies
from serving.settings.cloud_platforms import VertexSettings

INDEX_LINKS = {
    "docs": "/docs",
    "openapi": "/openapi.json",
    "predict": "/predict",
    "models": "/models",
    "inference_v2": "/v2",
    "live": "/healthz",
    "ready": "/readyz",
    "metrics": "/metrics",
}


def create_index_blueprint(vertex: VertexSettings, proxies: TrustedProxies) -> Blueprint:
    """Return the routes, which need no key and name no model.

    Args:
        vertex: Routes that Vertex AI chose; if one of them is `/`, it replaces this one.
        proxies: Proxies that may name the prefix below which clients see the server.
    """
    routes = Blueprint("index", __name__)

    def index() -> Response:
        # Browsers accept text/html by name; the */* of other clients matches JSON first.
        media = request.accept_mimetypes.best_match(("application/json", "text/html"))
        prefix = proxies.find_prefix(request.environ)
        if media == "text/html":
            # Relative where no prefix is known, for a proxy that removes one and does not say so.
            target = f"{prefix}/docs" if prefix else "docs"
            answer = Response(status=303, headers={"Location": target})
        else:
            answer = jsonify({name: prefix + path for name, path in INDEX_LINKS.items()})
        answer.vary.add("Accept")
        return answer

    if "/" not in (vertex.health_route, vertex.predict_route):
        routes.add_url_rule("/", view_func=index)

    @routes.get("/favicon.ico")
    def icon() -> Response:
        headers = {"Cache-Control": "max-age=86400"}  # seconds; it changes with Swagger UI alone
        return Response(FAVICON.file.read_bytes(), headers=headers, content_type=FAVICON.media)

    return routes
