"""Error responses in the format of the protocol that the URL belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.codec.messages import EncodedAnswer
from serving.errors import ServingError


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


# Triton's clients read only `error` and ignore other keys, so that the routes of its model
# repository have this format as well: `code` tells several kinds of 409 apart.
NATIVE_FORMAT = ErrorFormat()
OPEN_INFERENCE_FORMAT = ErrorFormat(has_only_message=True)
# TensorFlow Serving answers an invalid argument with 400. It answers a full queue with 503, as this
# server does.
TENSORFLOW_FORMAT = ErrorFormat(has_only_message=True, status_overrides={422: 400})


def render_error(error: ServingError, error_format: ErrorFormat) -> EncodedAnswer:
    """Return the HTTP response for an error.

    Args:
        error: The error.
        error_format: Format of the protocol that the requested URL belongs to.
    """
    return render_error_body(error.to_dict(), error.status, error.headers, error_format)


def render_error_body(
    body: dict[str, Any], status: int, headers: Mapping[str, str], error_format: ErrorFormat
) -> EncodedAnswer:
    """Return the HTTP response for an error that has no class of its own.

    Args:
        body: Body of the error, as `ServingError.to_dict` returns it.
        status: HTTP status of the error.
        headers: Headers that belong to the error.
        error_format: Format of the protocol that the requested URL belongs to.
    """
    content = json.dumps(error_format.format_body(body), separators=(",", ":")).encode() + b"\n"
    return EncodedAnswer(
        content, headers=tuple(headers.items()), status=error_format.map_status(status)
    )
