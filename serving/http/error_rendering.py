"""Faults: an error's status and body, in the form of the protocol whose URL was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.codec.messages import EncodedAnswer


class ErrorFormat(NamedTuple):
    """How a protocol tells errors.

    Attributes:
        terse: `{"error": message}` and no more; else with `code` and `details`.
        status_overrides: that it says in place of others.
    """

    has_only_message: bool = False
    status_overrides: Mapping[int, int] = {}

    def map_status(self, status: int) -> int:
        """What it says in place of this one."""
        return self.status_overrides.get(status, status)

    def format_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """What it says of an error's body."""
        return {"error": body["error"]} if self.has_only_message else body


NATIVE_FORMAT = ErrorFormat()
OPEN_INFERENCE_FORMAT = ErrorFormat(has_only_message=True)
# An invalid argument is 400 there. What stays: 503 for a full queue, as its own batches have it.
TENSORFLOW_FORMAT = ErrorFormat(has_only_message=True, status_overrides={422: 400})


def select_error_format(path: str) -> ErrorFormat:
    """The form of the protocol that a URL's path belongs to, whether or not it is a known one."""
    if path.startswith("/v2/repository/"):
        return NATIVE_FORMAT  # whose code tells one conflict from another; clients read "error" in it alike
    if path == "/v2" or path.startswith("/v2/"):
        return OPEN_INFERENCE_FORMAT
    return TENSORFLOW_FORMAT if path.startswith("/v1/") else NATIVE_FORMAT


def render_error(
    body: dict[str, Any], status: int, headers: Mapping[str, str], path: str
) -> EncodedAnswer:
    """An error's answer.

    Args:
        body: as `ServingError.body` says.
        status: that goes with it.
        headers: likewise.
        path: of the URL that was asked.
    """
    form = select_error_format(path)
    content = json.dumps(form.format_body(body), separators=(",", ":")).encode() + b"\n"
    return EncodedAnswer(content, headers=tuple(headers.items()), status=form.map_status(status))
