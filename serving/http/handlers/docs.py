"""Routes of the API's documentation: `/`, `/docs`, `/openapi.json` and `/favicon.ico`."""

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
    """Return the blueprint of `/` and `/favicon.ico`, which need no key.

    `/` redirects browsers to `/docs` and answers other clients with links.

    Args:
        vertex: Paths that Vertex AI chose. If one of them is `/`, Vertex AI's route replaces the
            route of `/` here.
        proxies: Proxies whose `X-Forwarded-Prefix` is trusted.
    """
    routes = Blueprint("index", __name__)

    def index() -> Response:
        # Browsers name text/html in their Accept header; the */* of other clients matches JSON
        # first.
        media_type = request.accept_mimetypes.best_match(("application/json", "text/html"))
        prefix = proxies.find_prefix(request.environ)
        if media_type == "text/html":
            # A relative redirect also works if a proxy removes a prefix and sends no header.
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
        # A day, in seconds: the icon changes only with the version of Swagger UI.
        headers = {"Cache-Control": "max-age=86400"}
        return Response(FAVICON.file.read_bytes(), headers=headers, content_type=FAVICON.media)

    return routes


def create_openapi_blueprint(
    repository: Repository,
    vertex: VertexSettings,
    proxies: TrustedProxies,
    *,
    ignores_extra: bool = False,
) -> Blueprint:
    """Return the blueprint of `/openapi.json` and of `/docs`, which shows it with Swagger UI.

    Args:
        repository: Loaded models, by name and version.
        vertex: Paths that Vertex AI chose.
        proxies: Proxies whose `X-Forwarded-Prefix` is trusted.
        ignores_extra: Whether requests may hold columns that a model does not have.
    """
    routes = Blueprint("openapi", __name__)
    # The last document is cached, since building one takes long for a table of many columns. Stored
    # with it are the models, the default model and the prefix that it was built for.
    cached: tuple[list[ref[ServedModel]], str | None, str, bytes] = ([], None, "", b"")

    @routes.get("/openapi.json")
    def openapi_document() -> Response:
        nonlocal cached
        models, default = list(repository.live_models.values()), repository.default_model
        prefix = proxies.find_prefix(request.environ)
        cached_models, cached_default, cached_prefix, content = cached
        is_current = (cached_default, cached_prefix) == (default, prefix)
        if not content or not is_current or [model() for model in cached_models] != models:
            manifests = [model.manifest for model in models]
            document = build_document(
                manifests, _collect_methods(), vertex, default, prefix, ignores_extra=ignores_extra
            )
            content = json.dumps(document).encode()
            cached = [ref(model) for model in models], default, prefix, content
        return Response(content, content_type=JSON_MEDIA_TYPE)

    @routes.get("/docs")
    def page() -> Response:
        return _send_page_file(INDEX_PAGE)

    @routes.get("/docs/<file>")
    def page_file(file: str) -> Response:
        if file not in PAGE_FILES:
            raise NotFound
        return _send_page_file(PAGE_FILES[file])

    return routes


def _collect_methods() -> dict[str, set[str]]:
    """Return the methods of each URL rule of the application."""
    rules: dict[str, set[str]] = {}
    for rule in current_app.url_map.iter_rules():
        rules.setdefault(rule.rule, set()).update(rule.methods or ())
    return rules


def _send_page_file(page_file: PageFile) -> Response:
    headers = {"Content-Security-Policy": PAGE_CONTENT_POLICY}
    return Response(page_file.file.read_bytes(), headers=headers, content_type=page_file.media)
