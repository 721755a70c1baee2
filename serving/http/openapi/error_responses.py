"""Faults: the error answers of each protocol, from the classes that make them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from serving import errors
from serving.errors import ServingError
from serving.http.error_rendering import ErrorFormat

ERROR_SCHEMAS: dict[str, Any] = {
    "Fault": {
        "type": "object",
        "required": ["error", "code", "details"],
        "properties": {
            "error": {"type": "string", "description": "What was expected, what came, what to do."},
            "code": {"type": "string"},
            "details": {"type": "object"},
        },
        "additionalProperties": False,
    },
    "TerseFault": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "What was expected, what came, what to do."}
        },
        "additionalProperties": False,
    },
}


def _group_errors_by_status() -> dict[int, list[type[ServingError]]]:
    found: dict[int, list[type[ServingError]]] = defaultdict(list)
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, ServingError):
            found[thing.status].append(thing)
    return found


ERRORS_BY_STATUS = _group_errors_by_status()
COMMON_STATUSES = {401, 403, 500}
MODEL_LOOKUP_STATUSES = COMMON_STATUSES | {400, 404, 503}  # a model
PREDICTION_STATUSES = frozenset(ERRORS_BY_STATUS) | COMMON_STATUSES | {408}
ADMINISTRATION_STATUSES = MODEL_LOOKUP_STATUSES | {408, 409, 413, 504}


def build_error_responses(statuses: Iterable[int], form: ErrorFormat) -> dict[str, Any]:
    """The error answers of these statuses, as a protocol tells them, by status."""
    told: dict[str, list[str]] = defaultdict(list)
    for status in sorted(statuses):
        for fault in ERRORS_BY_STATUS.get(status, []):
            line = (fault.__doc__ or "").partition("\n")[0]
            told[str(form.map_status(status))].append(
                line if form.has_only_message else f"`{fault.code}`: {line}"
            )
        told[str(form.map_status(status))] += []
    schema = {"$ref": f"#/components/schemas/{'TerseFault' if form.has_only_message else 'Fault'}"}
    return {
        status: {
            "description": "\n".join(lines) or HTTPStatus(int(status)).phrase,
            "content": {"application/json": {"schema": schema}},
            **({"headers": {"Retry-After": RETRY_AFTER_HEADER}} if status == "503" else {}),
        }
        for status, lines in sorted(told.items())
    }


RETRY_AFTER_HEADER = {
    "schema": {"type": "integer"},
    "description": "Seconds; of an overloaded server.",
}
