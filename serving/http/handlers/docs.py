"""`/`, `/docs` and `/openapi.json`: where people and tools find the API described."""

from __future__ import annotations

import json
from weakref import ref

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import NotFound

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi import build_document
from serving.http.openapi.swagger_ui import (
    FAVICON,
    INDEX_PAGE,
    PAGE_CONTENT_POLICY,
    PAGE_FILES,
    PageFile,
)
from serving.http.trusted_proxies import TrustedProxies
from serving.repository import Repository, ServedModel
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


def create_openapi_blueprint(
    repository: Repository,
    vertex: VertexSettings,
    proxies: TrustedProxies,
    *,
    ignores_extra: bool = False,
) -> Blueprint:
    """Return the routes of this protocol.

    Args:
        repository: The models.
        vertex: What Vertex AI asks for.
        proxies: Proxies that may name the prefix below which clients see the server.
        ignores_extra: Whether requests may name columns that a model does not have.
    """
    routes = Blueprint("openapi", __name__)
    last: tuple[list[ref[ServedModel]], str | None, str, bytes] = ([], None, "", b"")

    @routes.get("/openapi.json")
    def document() -> Response:
        nonlocal last  # for a table of many columns it takes a while
        models, default = list(repository.live_models.values()), repository.default_model
        prefix = proxies.find_prefix(request.environ)
        known, known_default, known_prefix, content = last
        is_known = (known_default, known_prefix) == (default, prefix)
        if not content or not is_known or [model() for model in known] != models:
            manifests = [model.manifest for model in models]
            described = build_document(
                manifests, _collect_methods(), vertex, default, prefix, ignores_extra=ignores_extra
            )
            content = json.dumps(described).encode()
            last = [ref(model) for model in models], default, prefix, content
        return Response(content, content_type=JSON_MEDIA_TYPE)

    @routes.get("/docs")
    def page() -> Response:
        return _send_page_file(INDEX_PAGE)

    @routes.get("/docs/<file>")
    def part(file: str) -> Response:
        if file not in PAGE_FILES:
            raise NotFound
        return _send_page_file(PAGE_FILES[file])

    return routes


def _collect_methods() -> dict[str, set[str]]:
    """The methods of each URL there is, by its rule."""
    rules: dict[str, set[str]] = {}
    for rule in current_app.url_map.iter_rules():
        rules.setdefault(rule.rule, set()).update(rule.methods or ())
    return rules


def _send_page_file(part: PageFile) -> Response:
    headers = {"Content-Security-Policy": PAGE_CONTENT_POLICY}
    return Response(part.file.read_bytes(), headers=headers, content_type=part.media)
