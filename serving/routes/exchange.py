"""The exchange: what a route makes of a request's environ, and of a reply."""

from __future__ import annotations

from typing import Any

from flask import Response

from serving.call import Call, call_of
from serving.guard import read_body
from serving.settings import Settings
from serving.wire import STATUS_LINES, Message, Reply


def message_of(environ: dict[str, Any], settings: Settings) -> tuple[Message, Call]:
    """What a client sent, and the call it is.

    Raises:
        ServingError: it cannot be read, or is not to be; see `read_body` and `call_of`.
    """
    call = call_of(environ, settings.timeout)
    media = _media(environ.get("CONTENT_TYPE", ""))
    accept = _media(environ.get("HTTP_ACCEPT", ""))
    body = read_body(environ, settings.max_body)
    return Message(body, media, "" if accept == "*/*" else accept), call


def respond(reply: Reply) -> Response:
    """Flask's form of a reply."""
    return Response(
        reply.content, STATUS_LINES[reply.status], list(reply.headers), content_type=reply.media
    )


def _media(header: str) -> str:
    """The first media type of a header, without parameters."""
    return header.partition(",")[0].partition(";")[0].strip().lower()
