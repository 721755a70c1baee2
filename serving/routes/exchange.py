"""The exchange: what a route makes of a request's environ, and of a reply."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from flask import Response, request

from serving.call import call_of
from serving.errors import InvalidHeaderError, InvalidQueryError, ModelNotFoundError
from serving.guard import read_body
from serving.predict import Predictor, Protocol
from serving.repository import Repository, ServedModel
from serving.settings import Settings
from serving.wire import JSON_BYTES, STATUS_LINES, Message, Reply


def answer(
    environ: dict[str, Any],
    protocol: Protocol,
    model: ServedModel,
    predict: Predictor,
    settings: Settings,
) -> Reply:
    """The reply to a request for predictions, of whichever protocol.

    Args:
        environ: WSGI's.
        protocol: that the request is of.
        model: who answers.
        predict: the prediction path.
        settings: of the server.

    Raises:
        ServingError: it is refused, or cannot be answered.
    """
    call = call_of(environ, settings.timeout)
    predict.batcher.require_room()  # before the body costs anything
    return predict(protocol, model, _message(environ, settings), call)


def _message(environ: dict[str, Any], settings: Settings) -> Message:
    media = _media(environ.get("CONTENT_TYPE", ""))
    accept = _media(environ.get("HTTP_ACCEPT", ""))
    json_bytes = _json_bytes(environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"))
    body = read_body(environ, settings.max_body)
    return Message(body, media, "" if accept == "*/*" else accept, json_bytes)


def respond(reply: Reply) -> Response:
    """Flask's form of a reply."""
    return Response(
        reply.content, STATUS_LINES[reply.status], list(reply.headers), content_type=reply.media
    )


def named_model() -> str | None:
    """The value of `?model=`; anything else in the query is refused, lest a typo go unnoticed.

    Raises:
        InvalidQueryError: there is anything else.
    """
    for key in request.args:
        if key != "model" or len(request.args.getlist(key)) > 1:
            came = request.query_string[:64].decode(errors="replace")
            raise InvalidQueryError(f"expected no query but ?model=NAME, once; got {came!r}")
    return request.args.get("model")


def find(repository: Repository, name: str, version: str | None) -> ServedModel:
    """The model that a URL names, of that version or, if it names none, the one that answers.

    Raises:
        ServingError: it is not served; see `Repository.find`.
    """
    if version is None:
        return repository.find(name)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", version, re.ASCII):
        repository.find(name)  # an unknown model is the first thing to say
        raise ModelNotFoundError(f"expected a version, 1 or 2 or 3 …; got {version[:64]!r}")
    return repository.find(name, int(version))


@lru_cache(64)
def _media(header: str) -> str:
    """The first media type of a header, without parameters."""
    return header.partition(",")[0].partition(";")[0].strip().lower()


def _json_bytes(header: str | None) -> int | None:
    if header is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", header, re.ASCII):
        raise InvalidHeaderError(
            f"expected {JSON_BYTES}, the bytes of JSON that lead the body, a whole number; "
            f"got {header[:32]!r}"
        )
    return int(header)
