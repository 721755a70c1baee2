"""`/openapi.json` describes the API, and `/docs` shows that description to a person."""

from __future__ import annotations

import json
from weakref import ref

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import NotFound

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi import build_document
from serving.http.openapi.swagger_ui import INDEX_PAGE, PAGE_CONTENT_POLICY, PAGE_FILES, PageFile
from serving.http.trusted_proxies import TrustedProxies
from serving.repository import Repository, ServedModel
from serving.settings.cloud_platforms import VertexSettings


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
        models, default = list(repository.served.values()), repository.default_model
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
