"""The OpenAPI object of an operation, made from its route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi.error_responses import build_error_responses, list_error_statuses
from serving.http.openapi.model_schemas import build_schema_reference
from serving.http.routes import PLACEHOLDER_PATTERN, MediaTypes, Route

# Example bodies by name of the model, then by name of the schema.
ModelExamples = Mapping[str, Mapping[str, Any]]
SCHEMA_REFERENCE = "#/components/schemas/{model}"
API_KEY_SCHEMES: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
# Routes with the scope "predict" need no key if the server has no keys; those with the scope
# "admin" always need one.
SECURITY_BY_SCOPE: dict[str | None, list[dict[str, list[str]]]] = {
    None: [],
    "predict": [{}, *API_KEY_SCHEMES],
    "admin": API_KEY_SCHEMES,
}
# Placeholders that `components/parameters` describes; every other one is described as a text.
DESCRIBED_PLACEHOLDERS = ("name", "version", "file")
REDIRECT_RESPONSE = {
    "description": "Redirect of browsers to `/docs`.",
    "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
}


def build_operation(
    route: Route, path: str, models: Sequence[str], examples: ModelExamples
) -> dict[str, Any]:
    """Return the OpenAPI object of an operation.

    Args:
        route: The operation's route.
        path: One of the paths of the route.
        models: Names of the served models.
        examples: Example bodies by name of the model, then by name of the model's schema.
    """
    success: dict[str, Any] = {"description": "Success."}
    if route.answer is not None:
        success["content"] = _build_content(route.answer, models, {})
    statuses = list_error_statuses(route, path)
    responses = {"200": success, **build_error_responses(statuses, route.error_format)}
    if route.has_redirect:
        responses["303"] = REDIRECT_RESPONSE
    if route.has_unready_answer:
        responses["503"] = {**success, "description": "Not ready."}
    operation: dict[str, Any] = {
        "operationId": _make_operation_id(route.method, path),
        "tags": [route.tag],
        "summary": route.description.summary,
        "description": route.description.details,
        "security": SECURITY_BY_SCOPE[route.scope],
        "responses": dict(sorted(responses.items())),
    }
    placeholders = map(_build_path_parameter, PLACEHOLDER_PATTERN.findall(path))
    if parameters := [*placeholders, *map(_refer_to_parameter, route.parameters)]:
        operation["parameters"] = parameters
    if route.request is not None:
        operation["requestBody"] = {
            "required": route.is_prediction,
            "content": _build_content(route.request, models, examples),
        }
    return operation


def to_openapi_path(path: str) -> str:
    """Return a route's path in OpenAPI's notation, such as `/models/{name}`."""
    return PLACEHOLDER_PATTERN.sub(r"{\1}", path)


def iter_type_schemas(route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the schema of each named type that the bodies of a route refer to."""
    for body in (route.answer, route.request):
        for part in body.values() if isinstance(body, MediaTypes) else (body,):
            if part is not None and not isinstance(part, str | dict):
                yield from _build_type_schema(part).get("$defs", {}).items()


def _build_path_parameter(name: str) -> dict[str, Any]:
    if name in DESCRIBED_PLACEHOLDERS:
        return _refer_to_parameter(name)
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _refer_to_parameter(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/parameters/{name}"}


def _make_operation_id(method: str, path: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in to_openapi_path(path)).split()
    return "_".join([method.lower(), *words])


def _build_content(body: Any, models: Sequence[str], examples: ModelExamples) -> dict[str, Any]:
    """Return the schemas of a body by media type; see `Route.answer` for what it can be."""
    media_types = body if isinstance(body, MediaTypes) else {JSON_MEDIA_TYPE: body}
    described: dict[str, Any] = {}
    for media_type, part in media_types.items():
        schema = _build_schema(part, models)
        described[media_type] = {"schema": schema} if schema else {}
        if media_type == JSON_MEDIA_TYPE and isinstance(part, str):
            described[media_type] |= _build_examples(part, examples)
    return described


def _build_examples(part: str, examples: ModelExamples) -> dict[str, Any]:
    """Return the example of a single model, or one example for each of several."""
    bodies = {model: parts[part] for model, parts in examples.items() if part in parts}
    if len(bodies) == 1:
        return {"example": next(iter(bodies.values()))}
    named = {
        model: {"summary": f"for the model {model}", "value": body}
        for model, body in bodies.items()
    }
    return {"examples": named} if named else {}


def _build_schema(part: Any, models: Sequence[str]) -> dict[str, Any]:
    if isinstance(part, dict):
        return part
    if isinstance(part, str):
        return _build_any_model_schema(part, models)
    schema = _build_type_schema(part)
    schema.pop("$defs", None)  # `iter_type_schemas` yields them for the components
    return schema


def _build_type_schema(kind: Any) -> dict[str, Any]:
    """Return pydantic's JSON Schema of a type, with the first line of each class's docstring."""
    schema = TypeAdapter(kind).json_schema(ref_template=SCHEMA_REFERENCE, mode="serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        if "description" in part:
            part["description"] = part["description"].partition("\n\n")[0]
    return schema


def _build_any_model_schema(part: str, models: Sequence[str]) -> dict[str, Any]:
    """Return a schema that accepts this part of every served model."""
    refs = [build_schema_reference(model, part) for model in models]
    return refs[0] if len(refs) == 1 else {"anyOf": refs} if refs else {"type": "object"}
