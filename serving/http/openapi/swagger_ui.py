"""The files of the page `/docs`: Swagger UI from its package, plus files of this project.

The page loads nothing from other hosts. Its content security policy allows scripts and styles from
this server only.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

import flask_swagger_ui

SWAGGER_UI_FOLDER = files(flask_swagger_ui) / "dist"
PAGE_FOLDER = files("serving.http.openapi") / "ui"
# Swagger UI needs inline styles, because it sets style attributes, and icons from data URLs.
PAGE_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class PageFile(NamedTuple):
    """A file of the page.

    Attributes:
        file: The file, in an installed package.
        media: Media type of the file.
    """

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
