"""The class `Operation`, and the parameters and schemas that several operations share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.codec.rows import BODY_DECODERS
from serving.http.error_rendering import select_error_format
from serving.http.openapi.error_responses import COMMON_STATUSES, build_error_responses
from serving.http.openapi.model_schemas import build_schema_reference

Content = dict[str, str | dict[str, Any]]
"""Schema of a body by media type: the schema, or the name of a schema that each model has."""

OCTET_STREAM = "application/octet-stream"

NAME_PARAMETER = {"$ref": "#/components/parameters/name"}
VERSION_PARAMETER = {"$ref": "#/components/parameters/version"}
MODEL_QUERY_PARAMETER = {"$ref": "#/components/parameters/model"}
VERSION_QUERY_PARAMETER = {"$ref": "#/components/parameters/queried_version"}
MODEL_QUERY_PARAMETERS = (MODEL_QUERY_PARAMETER, VERSION_QUERY_PARAMETER)
TIMEOUT_PARAMETER = {"$ref": "#/components/parameters/timeout"}
JSON_LENGTH_PARAMETER = {"$ref": "#/components/parameters/json_bytes"}
# Path suffix and parameters of a model's operations, without and with a version in the path.
MODEL_PATHS: tuple[tuple[str, tuple[dict[str, Any], ...]], ...] = (
    ("", (NAME_PARAMETER,)),
    ("/versions/{version}", (NAME_PARAMETER, VERSION_PARAMETER)),
)

ANY_SCHEMA: dict[str, Any] = {}
STRING_SCHEMA: dict[str, Any] = {"type": "string"}
BOOLEAN_SCHEMA: dict[str, Any] = {"type": "boolean"}
ARRAY_SCHEMA: dict[str, Any] = {"type": "array"}
OBJECT_SCHEMA: dict[str, Any] = {"type": "object"}

# Bodies other than JSON are bytes, which JSON Schema cannot describe.
ROWS_REQUEST: Content = {JSON_MEDIA_TYPE: "rows", **dict.fromkeys(BODY_DECODERS, ANY_SCHEMA)}
ROWS_ANSWER: Content = {JSON_MEDIA_TYPE: "answers", "text/csv": STRING_SCHEMA}

# Prediction routes need no key if the server has none; administration always needs one.
API_KEY_SCHEMES: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
SECURITY_BY_ACCESS: dict[str, list[dict[str, list[str]]]] = {
    "open": [],
    "predict": [{}, *API_KEY_SCHEMES],
    "admin": API_KEY_SCHEMES,
}
REDIRECT_RESPONSE = {
    "description": "Redirect of browsers to `/docs`.",
    "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        method: HTTP method, GET or POST.
        path: Path in OpenAPI's notation, such as `/models/{name}`.
        tag: Group of operations on the page `/docs`, such as a protocol.
        summary: Short text that says what the operation does.
        description: Details of the operation, in Markdown.
        access: Scope of the API key that the operation needs; "open" if it needs none.
        parameters: Parameters of the path, the query and the headers.
        request_content: Content of the request body; empty if there is none.
        success_content: Content of the answer with status 200; empty if it has no body.
        error_statuses: HTTP statuses of error responses.
        is_body_required: Whether a request must have a body.
        has_redirect: Whether browsers are redirected to another page.
        has_unready_answer: Whether the status is 503 while no model is ready, with the body of a
            success and not that of an error.
    """

    method: Literal["GET", "POST"]
    path: str
    tag: str
    summary: str
    description: str
    access: Literal["open", "predict", "admin"] = "predict"
    parameters: tuple[dict[str, Any], ...] = ()
    request_content: Content = field(default_factory=dict)
    success_content: Content = field(default_factory=dict)
    error_statuses: frozenset[int] = COMMON_STATUSES
    is_body_required: bool = True
    has_redirect: bool = False
    has_unready_answer: bool = False

    def to_openapi(self, models: Sequence[str], example: dict[str, Any]) -> dict[str, Any]:
        """Return the OpenAPI object of this operation.

        Args:
            models: Names of the served models.
            example: Example bodies, by name of the model's schema; empty for none.
        """
        error_format = select_error_format(self.path)
        statuses = self.error_statuses - ({401, 403} if self.access == "open" else set())
        success: dict[str, Any] = {"description": "Success."}
        if self.success_content:
            success["content"] = _build_content(self.success_content, models, {})
        responses = {"200": success, **build_error_responses(statuses, error_format)}
        if self.has_redirect:
            responses["303"] = REDIRECT_RESPONSE
        if self.has_unready_answer:
            responses["503"] = {**success, "description": "Not ready."}
        operation: dict[str, Any] = {
            "operationId": _make_operation_id(self.method, self.path),
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "security": SECURITY_BY_ACCESS[self.access],
            "responses": dict(sorted(responses.items())),
        }
        if self.parameters:
            operation["parameters"] = list(self.parameters)
        if self.request_content:
            operation["requestBody"] = {
                "required": self.is_body_required,
                "content": _build_content(self.request_content, models, example),
            }
        return operation


def build_object_schema(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has all of these properties.

    Args:
        properties: Schema of each property.
    """
    return {"type": "object", "required": list(properties), "properties": properties}


def build_array_schema(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an array.

    Args:
        items: Schema of each item.
    """
    return {"type": "array", "items": items}


def _make_operation_id(method: str, path: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in path).split()
    return "_".join([method.lower(), *words])


def _build_content(
    content: Content, models: Sequence[str], example: dict[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for media_type, part in content.items():
        schema = _build_any_model_schema(part, models) if isinstance(part, str) else part
        described[media_type] = {"schema": schema} if schema else {}
        if media_type == JSON_MEDIA_TYPE and isinstance(part, str) and part in example:
            described[media_type]["example"] = example[part]
    return described


def _build_any_model_schema(part: str, models: Sequence[str]) -> dict[str, Any]:
    """Return a schema that accepts this part of every served model."""
    refs = [build_schema_reference(model, part) for model in models]
    return refs[0] if len(refs) == 1 else {"anyOf": refs} if refs else {"type": "object"}
