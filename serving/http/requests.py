"""Functions that all handlers share: read a WSGI request, find its model, encode the answer.

Every prediction goes through `answer_prediction`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal

from werkzeug.wrappers import Request

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
from serving.http.components import ServerComponents
from serving.inference.predictor import Protocol
from serving.repository import Repository, ServedModel

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus} | {
    499: "499 Client Closed Request"
}
QUERY_FORMS = {"model": "model=NAME", "version": "version=N"}
# Largest body with options. It is small, since the event loop waits while it is parsed.
MAX_OPTIONS_BYTES = 128 * 2**10


def answer_prediction(
    server: ServerComponents, environ: dict[str, Any], protocol: Protocol, model: ServedModel
) -> EncodedAnswer:
    """Return the answer to a prediction request of any protocol.

    Args:
        server: Components of the server.
        environ: WSGI environ of the request.
        protocol: Protocol of the request.
        model: Model version to run.

    Raises:
        ServingError: If the request is refused or cannot be answered.
    """
    predictor = server.predictor
    context = set_deadline(environ, server.settings.timeout)
    predictor.batcher.check_capacity()  # before the body is read
    context.protocol, context.model_label = protocol, model.metric_labels
    media_type = _parse_media_type(environ.get("CONTENT_TYPE", ""))
    predictor.check_media_type(protocol, media_type)
    return predictor(protocol, model, _read_request(server, environ, media_type), context)


def _read_request(
    server: ServerComponents, environ: dict[str, Any], media_type: str
) -> EncodedRequest:
    accept = _parse_media_type(environ.get("HTTP_ACCEPT", ""))
    json_bytes = _parse_json_length(environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"))
    body = read_body(environ, server.settings.max_body, server.body_memory)
    return EncodedRequest(body, media_type, "" if accept == "*/*" else accept, json_bytes)


def encode_json(value: Any, status: int = 200) -> EncodedAnswer:
    """Return an answer whose body is a JSON value.

    Args:
        value: Value that JSON can represent.
        status: HTTP status.
    """
    content = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    return EncodedAnswer(content, status=status)


def parse_query(
    environ: dict[str, Any], *allowed: Literal["model", "version"]
) -> Mapping[str, str]:
    """Return the parameters of the query string.

    An unknown parameter is refused, so that a typo does not go unnoticed.

    Args:
        environ: WSGI environ of the request.
        allowed: Names of the parameters that the query may hold, each at most once.

    Raises:
        InvalidQueryError: If it holds another parameter, an empty value, or a version that is not
            a number.
    """
    if not environ.get("QUERY_STRING"):
        return {}
    request = Request(environ, populate_request=False)
    query = request.args
    received = request.query_string[:64].decode(errors="replace")
    if any(key not in allowed or len(query.getlist(key)) > 1 or not query[key] for key in query):
        forms = " or ".join(QUERY_FORMS[name] for name in allowed)
        raise InvalidQueryError(
            f"expected no query except {forms}, each at most once and not empty; got {received!r}"
        )
    if "version" in query and not re.fullmatch(VERSION_PATTERN, query["version"], re.ASCII):
        raise InvalidQueryError(f"expected a version number, version=N; got {received!r}")
    return query.to_dict()


def find_queried_model(repository: Repository, environ: dict[str, Any]) -> ServedModel:
    """Return the model that `?model=` and `?version=` name; by default the default model.

    Args:
        repository: Loaded models, by name and version.
        environ: WSGI environ of the request.

    Raises:
        InvalidQueryError: If `parse_query` refuses the query.
        ServingError: If the model is not served; see `Repository.find_model`.
    """
    query = parse_query(environ, "model", "version")
    return find_model(repository, query.get("model"), query.get("version"))


def find_model(repository: Repository, name: str | None, version: str | None) -> ServedModel:
    """Return the model that a URL names.

    Args:
        repository: Loaded models, by name and version.
        name: Name of the model; None for the default model.
        version: Version number, as text; None for the live version.

    Raises:
        ServingError: If the model is not served; see `Repository.find_model`.
    """
    if version is None:
        return repository.find_model(name)
    if not re.fullmatch(VERSION_PATTERN, version, re.ASCII):
        repository.find_model(name)  # raises if the model is unknown, which the client fixes first
        raise ModelNotFoundError(f"expected a version number, 1 or 2 or 3 …; got {version[:64]!r}")
    return repository.find_model(name, int(version))


def read_options(
    server: ServerComponents, environ: dict[str, Any], allowed: Collection[str] | None
) -> dict[str, Any]:
    """Return the options in the body of a request: a JSON object, or {} for an empty body.

    Args:
        server: Components of the server.
        environ: WSGI environ of the request.
        allowed: Keys that the object may have; None for any.

    Raises:
        InvalidOptionsError: If the body is not an object or has other keys.
    """
    limit = min(server.settings.max_body, MAX_OPTIONS_BYTES)
    body = read_body(environ, limit, server.body_memory)
    try:
        options = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or not (allowed is None or set(options) <= set(allowed)):
        keys = ", ".join(f'"{key}": …' for key in allowed or ())
        form = f" of the form {{{keys}}}" if keys else ""
        raise InvalidOptionsError(
            f"expected an empty body, or a JSON object{form}; "
            f"got {quote_option(body.decode(errors='replace'))}"
        )
    return options


def quote_option(value: Any) -> str:
    """Return a value for an error message, in at most 64 characters."""
    text = repr(value)
    return text if len(text) <= 64 else f"{text[:61]}..."


# Cached because nearly all requests of a process have the same few headers; a pure function.
@lru_cache(64)
def _parse_media_type(header: str) -> str:
    """Return the first media type of a header, in lower case and without parameters."""
    return header.partition(",")[0].partition(";")[0].strip().lower()


def _parse_json_length(header: str | None) -> int | None:
    if header is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", header, re.ASCII):
        raise InvalidHeaderError(
            f"expected {JSON_LENGTH_HEADER} to be a whole number, the length in bytes of the JSON "
            f"at the start of the body; got {header[:32]!r}"
        )
    return int(header)
