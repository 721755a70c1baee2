"""The error responses of each protocol, built from the classes of `serving.errors`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from serving import errors
from serving.errors import ServingError
from serving.http.error_rendering import ErrorFormat
from serving.http.routes import PLACEHOLDER_PATTERN, Route

ERROR_SCHEMAS: dict[str, Any] = {
    "Fault": {
        "type": "object",
        "required": ["error", "code", "details"],
        "properties": {
            "error": {
                "type": "string",
                "description": "What was expected and received, and what to do.",
            },
            "code": {"type": "string"},
            "details": {"type": "object"},
        },
        "additionalProperties": False,
    },
    "TerseFault": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "string",
                "description": "What was expected and received, and what to do.",
            }
        },
        "additionalProperties": False,
    },
}


def _group_errors_by_status() -> dict[int, list[type[ServingError]]]:
    by_status: dict[int, list[type[ServingError]]] = defaultdict(list)
    for value in vars(errors).values():
        # The base class is no error of its own.
        if isinstance(value, type) and issubclass(value, ServingError) and value != ServingError:
            by_status[value.status].append(value)
    return by_status


ERRORS_BY_STATUS = _group_errors_by_status()
# Statuses of error responses of every route, of routes that name a model, and of the two kinds of
# POST requests. A route without scope answers no request with 401 or 403.
COMMON_STATUSES = frozenset({401, 403, 500})
MODEL_LOOKUP_STATUSES = COMMON_STATUSES | {400, 404, 503}
PREDICTION_STATUSES = frozenset(ERRORS_BY_STATUS) | COMMON_STATUSES | {408}
ADMINISTRATION_STATUSES = MODEL_LOOKUP_STATUSES | {408, 409, 413, 415, 504}
RETRY_AFTER_HEADER = {
    "schema": {"type": "integer"},
    "description": "Seconds after which to try again, if the server is overloaded.",
}


def list_error_statuses(route: Route, path: str) -> frozenset[int]:
    """Return the statuses of a route's error responses, as `serving.errors` declares them.

    Args:
        route: The route.
        path: One of the paths of the route.
    """
    if route.is_prediction:
        statuses = PREDICTION_STATUSES
    elif route.protocol == "repository":
        statuses = ADMINISTRATION_STATUSES
    elif "name" in PLACEHOLDER_PATTERN.findall(path):
        statuses = MODEL_LOOKUP_STATUSES
    else:
        statuses = COMMON_STATUSES
    return (statuses - ({401, 403} if route.scope is None else set())) | route.error_statuses


def build_error_responses(statuses: Iterable[int], error_format: ErrorFormat) -> dict[str, Any]:
    """Return the OpenAPI responses for errors, by status.

    The description of a response lists the errors of its status, each with the first line of its
    class's docstring.

    Args:
        statuses: Statuses of errors, as the classes of `serving.errors` declare them.
        error_format: Error format of the operation's protocol, which may replace a status.
    """
    lines_by_status: dict[str, list[str]] = defaultdict(list)
    for status in sorted(statuses):
        lines = lines_by_status[str(error_format.map_status(status))]
        for error in ERRORS_BY_STATUS.get(status, []):
            summary = (error.__doc__ or "").partition("\n")[0]
            has_code = not error_format.has_only_message
            lines.append(f"- `{error.code}`: {summary}" if has_code else f"- {summary}")
    schema_name = "TerseFault" if error_format.has_only_message else "Fault"
    schema = {"$ref": f"#/components/schemas/{schema_name}"}
    return {
        status: {
            "description": "\n".join(lines) or HTTPStatus(int(status)).phrase,
            "content": {"application/json": {"schema": schema}},
            **({"headers": {"Retry-After": RETRY_AFTER_HEADER}} if status == "503" else {}),
        }
        for status, lines in sorted(lines_by_status.items())
    }
