"""`/openapi.json` describes the API, and `/docs` shows that description to a person.

The page is Swagger UI from its package, no other host's. It is given a content policy of its own:
scripts and styles from here alone.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any
from weakref import ref

import flask_swagger_ui
from flask import Blueprint, Response, current_app
from werkzeug.exceptions import NotFound

from serving import openapi
from serving.clouds import Vertex
from serving.openapi import describe
from serving.repository import Repository, ServedModel
from serving.wire import JSON

UI, PAGE = files(flask_swagger_ui) / "dist", files(openapi) / "page"
FILES = {
    "swagger-ui-bundle.js": (UI, "text/javascript"),
    "swagger-ui.css": (UI, "text/css"),
    "favicon-32x32.png": (UI, "image/png"),
    "start.js": (PAGE, "text/javascript"),
}
# Swagger UI sets styles by attributes, and its icons are data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def openapi_routes(repository: Repository, vertex: Vertex) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("openapi", __name__)

    last: tuple[list[ref[ServedModel]], bytes] = ([], b"")

    @routes.get("/openapi.json")
    def document() -> Response:
        nonlocal last  # for a table of many columns it takes a while
        models = list(repository.served.values())
        known, content = last
        if not content or [model() for model in known] != models:
            manifests = [model.manifest for model in models]
            content = json.dumps(describe(manifests, _rules(), vertex)).encode()
            last = [ref(model) for model in models], content
        return Response(content, content_type=JSON)

    @routes.get("/docs")
    def page() -> Response:
        return _file("index.html", PAGE, "text/html; charset=utf-8")

    @routes.get("/docs/<file>")
    def part(file: str) -> Response:
        if file not in FILES:
            raise NotFound
        return _file(file, *FILES[file])

    return routes


def _rules() -> dict[str, set[str]]:
    """The methods of each URL there is, by its rule."""
    rules: dict[str, set[str]] = {}
    for rule in current_app.url_map.iter_rules():
        rules.setdefault(rule.rule, set()).update(rule.methods or ())
    return rules


def _file(name: str, folder: Any, media: str) -> Response:
    response = Response((folder / name).read_bytes(), content_type=media)
    response.headers["Content-Security-Policy"] = POLICY
    return response
