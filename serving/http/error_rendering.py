"""Error responses in the format of the protocol that the URL belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.codec.messages import EncodedAnswer


class ErrorFormat(NamedTuple):
    """How a protocol reports errors.

    Attributes:
        has_only_message: Whether the body is only `{"error": message}`, without `code` and
            `details`; default False.
        status_overrides: Replacement HTTP statuses, as a mapping from this server's status to the
            protocol's; default empty.
    """

    has_only_message: bool = False
    status_overrides: Mapping[int, int] = {}

    def map_status(self, status: int) -> int:
        """Return the status to send: the protocol's replacement, or `status` itself."""
        return self.status_overrides.get(status, status)

    def format_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the part of an error body that the protocol sends."""
        return {"error": body["error"]} if self.has_only_message else body


NATIVE_FORMAT = ErrorFormat()
OPEN_INFERENCE_FORMAT = ErrorFormat(has_only_message=True)
# TensorFlow Serving answers an invalid argument with 400. It answers a full queue with 503, as this
# server does.
TENSORFLOW_FORMAT = ErrorFormat(has_only_message=True, status_overrides={422: 400})


def select_error_format(path: str) -> ErrorFormat:
    """Return the error format for a path, whether or not the path has a route."""
    if path.startswith("/v2/repository/"):
        # Triton's clients read only `error` and ignore other keys, so the whole body is sent:
        # `code` tells several kinds of 409 apart.
        return NATIVE_FORMAT
    if path == "/v2" or path.startswith("/v2/"):
        return OPEN_INFERENCE_FORMAT
    return TENSORFLOW_FORMAT if path.startswith("/v1/") else NATIVE_FORMAT


def render_error(
    body: dict[str, Any], status: int, headers: Mapping[str, str], path: str
) -> EncodedAnswer:
    """Return the HTTP response for an error.

    Args:
        body: Body of the error, as `ServingError.to_dict` returns it.
        status: HTTP status of the error.
        headers: Headers that belong to the error.
        path: Path of the requested URL, which selects the format.
    """
    error_format = select_error_format(path)
    content = json.dumps(error_format.format_body(body), separators=(",", ":")).encode() + b"\n"
    return EncodedAnswer(
        content, headers=tuple(headers.items()), status=error_format.map_status(status)
    )
