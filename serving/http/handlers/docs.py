"""Handlers of the API's documentation: `/`, `/docs`, `/openapi.json` and `/favicon.ico`."""

from __future__ import annotations

from typing import Any

from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import NotFound
from werkzeug.http import parse_accept_header

from serving.codec.messages import EncodedAnswer
from serving.http.components import ServerComponents
from serving.http.openapi.swagger_ui import (
    FAVICON,
    INDEX_PAGE,
    PAGE_CONTENT_POLICY,
    PAGE_FILES,
    PageFile,
)
from serving.http.requests import encode_json

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
VARY_BY_ACCEPT = ("Vary", "Accept")


def index(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Redirect browsers to `/docs`, and answer other clients with links."""
    # Browsers name text/html in their Accept header; the */* of other clients matches JSON first.
    accepted = parse_accept_header(environ.get("HTTP_ACCEPT"), MIMEAccept)
    media_type = accepted.best_match(("application/json", "text/html"))
    prefix = server.proxies.find_prefix(environ)
    if media_type == "text/html":
        # A relative redirect also works if a proxy removes a prefix and sends no header.
        target = f"{prefix}/docs" if prefix else "docs"
        headers = (("Location", target), VARY_BY_ACCEPT)
        return EncodedAnswer(b"", media_type="", headers=headers, status=303)
    links = {name: prefix + path for name, path in INDEX_LINKS.items()}
    return encode_json(links)._replace(headers=(VARY_BY_ACCEPT,))


def favicon(_server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the icon of the pages."""
    # A day, in seconds: the icon changes only with the version of Swagger UI.
    headers = (("Cache-Control", "max-age=86400"),)
    return EncodedAnswer(FAVICON.file.read_bytes(), FAVICON.media, headers)


def openapi_document(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the description of the API for the models that are served now."""
    return EncodedAnswer(server.openapi.render(server.proxies.find_prefix(environ)))


def docs_page(_server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the page that shows the description."""
    return _send_page_file(INDEX_PAGE)


def docs_file(_server: ServerComponents, _environ: dict[str, Any], file: str) -> EncodedAnswer:
    """Answer with a file of that page."""
    if file not in PAGE_FILES:
        raise NotFound
    return _send_page_file(PAGE_FILES[file])


def _send_page_file(page_file: PageFile) -> EncodedAnswer:
    headers = (("Content-Security-Policy", PAGE_CONTENT_POLICY),)
    return EncodedAnswer(page_file.file.read_bytes(), page_file.media, headers)
