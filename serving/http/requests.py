"""The exchange: what a route makes of a request's environ, and of a reply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal

from flask import Response, request

from serving.bundle import VERSION_PATTERN
from serving.call_context import set_deadline
from serving.codec.messages import JSON_LENGTH_HEADER, EncodedAnswer, EncodedRequest
from serving.errors import (
    InvalidHeaderError,
    InvalidOptionsError,
    InvalidQueryError,
    ModelNotFoundError,
)
from serving.http.body_limits import read_body
from serving.inference.predictor import Predictor, Protocol
from serving.repository import Repository, ServedModel
from serving.settings.options import Settings

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus} | {
    499: "499 Client Closed Request"
}
MAX_OPTIONS_BYTES = 128 * 2**10  # bytes of a body that holds an option or two, parsed in one step


def answer_prediction(
    environ: dict[str, Any],
    protocol: Protocol,
    model: ServedModel,
    predict: Predictor,
    settings: Settings,
) -> EncodedAnswer:
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
    call = set_deadline(environ, settings.timeout)
    predict.batcher.check_capacity()  # before the body costs anything
    call.protocol, call.model_label = protocol, model.metric_labels
    media = _parse_media_type(environ.get("CONTENT_TYPE", ""))
    predict.check_media_type(protocol, media)
    return predict(protocol, model, _read_request(environ, media, settings), call)


def _read_request(environ: dict[str, Any], media: str, settings: Settings) -> EncodedRequest:
    accept = _parse_media_type(environ.get("HTTP_ACCEPT", ""))
    json_bytes = _parse_json_length(environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"))
    body = read_body(environ, settings.max_body)
    return EncodedRequest(body, media, "" if accept == "*/*" else accept, json_bytes)


def to_flask_response(reply: EncodedAnswer) -> Response:
    """Flask's form of a reply."""
    return Response(
        reply.content,
        STATUS_LINES[reply.status],
        list(reply.headers),
        content_type=reply.media_type,
    )


QUERY_FORMS = {"model": "model=NAME", "version": "version=N"}


def parse_query(*known: Literal["model", "version"]) -> dict[str, str]:
    """Return the query; anything unknown in it is refused, lest a typo go unnoticed.

    Args:
        known: Names that it may hold, each once.

    Raises:
        InvalidQueryError: If it holds anything else, an empty value, or a version that is no
            number.
    """
    query = request.args
    came = request.query_string[:64].decode(errors="replace")
    if any(key not in known or len(query.getlist(key)) > 1 or not query[key] for key in query):
        forms = " or ".join(QUERY_FORMS[name] for name in known)
        raise InvalidQueryError(f"expected no query but {forms}, once and not empty; got {came!r}")
    if "version" in query and not re.fullmatch(VERSION_PATTERN, query["version"], re.ASCII):
        raise InvalidQueryError(f"expected the number of a version, version=N; got {came!r}")
    return query.to_dict()


def find_queried_model(repository: Repository) -> ServedModel:
    """Return the model of `?model=` and `?version=`, by default the one that answers without.

    Raises:
        InvalidQueryError: As `parse_query` does.
        ServingError: If it is not served; see `Repository.find`.
    """
    query = parse_query("model", "version")
    return find_model(repository, query.get("model"), query.get("version"))


def find_model(repository: Repository, name: str | None, version: str | None) -> ServedModel:
    """The model that a URL names, of that version or, if it names none, the one that answers.

    Raises:
        ServingError: it is not served; see `Repository.find`.
    """
    if version is None:
        return repository.find_model(name)
    if not re.fullmatch(VERSION_PATTERN, version, re.ASCII):
        repository.find_model(name)  # an unknown model is the first thing to say
        raise ModelNotFoundError(f"expected a version, 1 or 2 or 3 …; got {version[:64]!r}")
    return repository.find_model(name, int(version))


def read_options(known: Collection[str] | None, limit: int) -> dict[str, Any]:
    """Return the body of the request, a JSON object; an empty body is an empty object.

    Args:
        known: Keys that it may have; None for any.
        limit: Bytes of the body.

    Raises:
        InvalidOptionsError: If it is no object, or has other keys.
    """
    body = read_body(request.environ, min(limit, MAX_OPTIONS_BYTES))
    try:
        options = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or not (known is None or set(options) <= set(known)):
        keys = ", ".join(f'"{key}": …' for key in known or ())
        form = f" of the form {{{keys}}}" if keys else ""
        raise InvalidOptionsError(
            f"expected an empty body, or a JSON object{form}; "
            f"got {quote_option(body.decode(errors='replace'))}"
        )
    return options


def quote_option(value: Any) -> str:
    """Return a value as an error message quotes it, shortened."""
    text = repr(value)
    return text if len(text) <= 64 else f"{text[:61]}..."


@lru_cache(64)
def _parse_media_type(header: str) -> str:
    """The first media type of a header, without parameters."""
    return header.partition(",")[0].partition(";")[0].strip().lower()


def _parse_json_length(header: str | None) -> int | None:
    if header is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", header, re.ASCII):
        raise InvalidHeaderError(
            f"expected {JSON_LENGTH_HEADER}, the bytes of JSON that lead the body, a whole number; "
            f"got {header[:32]!r}"
        )
    return int(header)
