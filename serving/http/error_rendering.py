"""Faults: an error's status and body, in the form of the protocol whose URL was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.codec.messages import Reply


class Form(NamedTuple):
    """How a protocol tells errors.

    Attributes:
        terse: `{"error": message}` and no more; else with `code` and `details`.
        statuses: that it says in place of others.
    """

    terse: bool = False
    statuses: Mapping[int, int] = {}

    def status(self, status: int) -> int:
        """What it says in place of this one."""
        return self.statuses.get(status, status)

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        """What it says of an error's body."""
        return {"error": body["error"]} if self.terse else body


OWN = Form()
OPEN_INFERENCE = Form(terse=True)
# An invalid argument is 400 there. What stays: 503 for a full queue, as its own batches have it.
TENSORFLOW = Form(terse=True, statuses={422: 400})


def form_of(path: str) -> Form:
    """The form of the protocol that a URL's path belongs to, whether or not it is a known one."""
    if path.startswith("/v2/repository/"):
        return OWN  # whose code tells one conflict from another; clients read "error" in it alike
    if path == "/v2" or path.startswith("/v2/"):
        return OPEN_INFERENCE
    return TENSORFLOW if path.startswith("/v1/") else OWN


def told(body: dict[str, Any], status: int, headers: Mapping[str, str], path: str) -> Reply:
    """An error's answer.

    Args:
        body: as `ServingError.body` says.
        status: that goes with it.
        headers: likewise.
        path: of the URL that was asked.
    """
    form = form_of(path)
    content = json.dumps(form.body(body), separators=(",", ":")).encode() + b"\n"
    return Reply(content, headers=tuple(headers.items()), status=form.status(status))
