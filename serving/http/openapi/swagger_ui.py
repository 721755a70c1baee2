"""The page that shows the description: Swagger UI from its package, and a few lines of ours.

No other host is asked for anything, and the page has a content policy of its own: scripts and
styles from here alone.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

import flask_swagger_ui

SWAGGER_UI_FOLDER, PAGE_FOLDER = (
    files(flask_swagger_ui) / "dist",
    files("serving.http.openapi") / "ui",
)
# Swagger UI sets styles by attributes, and its icons are data.
PAGE_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class PageFile(NamedTuple):
    """A file of the page, and its media type."""

    file: Traversable
    media: str


FAVICON = PageFile(SWAGGER_UI_FOLDER / "favicon-32x32.png", "image/png")
INDEX_PAGE = PageFile(PAGE_FOLDER / "index.html", "text/html; charset=utf-8")
PAGE_FILES = {
    "start.js": PageFile(PAGE_FOLDER / "start.js", "text/javascript"),
    "start.css": PageFile(PAGE_FOLDER / "start.css", "text/css"),
    "swagger-ui-bundle.js": PageFile(SWAGGER_UI_FOLDER / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": PageFile(SWAGGER_UI_FOLDER / "swagger-ui.css", "text/css"),
    "favicon-32x32.png": FAVICON,
}
