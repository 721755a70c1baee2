"""The page that shows the description: Swagger UI from its package, and a few lines of ours.

No other host is asked for anything, and the page has a content policy of its own: scripts and
styles from here alone.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

import flask_swagger_ui

PACKAGE, OURS = files(flask_swagger_ui) / "dist", files("serving.http.openapi") / "ui"
# Swagger UI sets styles by attributes, and its icons are data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Part(NamedTuple):
    """A file of the page, and its media type."""

    file: Traversable
    media: str


ICON = Part(PACKAGE / "favicon-32x32.png", "image/png")
INDEX = Part(OURS / "index.html", "text/html; charset=utf-8")
PARTS = {
    "start.js": Part(OURS / "start.js", "text/javascript"),
    "start.css": Part(OURS / "start.css", "text/css"),
    "swagger-ui-bundle.js": Part(PACKAGE / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": Part(PACKAGE / "swagger-ui.css", "text/css"),
    "favicon-32x32.png": ICON,
}
