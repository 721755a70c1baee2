"""The document: all operations and schemas, for the models that are served now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.bundle import Manifest
from serving.call_context import MAX_TIMEOUT_SECONDS
from serving.http.openapi.error_responses import ERROR_SCHEMAS
from serving.http.openapi.examples import build_example_record, build_example_tensors
from serving.http.openapi.model_schemas import model_schemas
from serving.http.openapi.operations import list_operations
from serving.http.openapi.swagger_ui import PAGE_FILES
from serving.settings.cloud_platforms import VertexSettings
from serving.settings.options import VERSION

WERKZEUG_PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")  # placeholders of Werkzeug's


def build_document(
    models: Sequence[Manifest],
    methods_by_rule: Mapping[str, set[str]],
    vertex: VertexSettings,
    default_model: str | None = None,
    prefix: str = "",
    *,
    ignores_extra: bool = False,
) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        models: that are served, by the versions that answer.
        methods_by_rule: the methods of each URL there is, by Werkzeug's rule.
        vertex: what Vertex AI asks for.
        default_model: Name of the model that answers requests that name none; None if none does.
        prefix: Path below which clients see the server, without a slash at its end.
        ignores_extra: Whether requests may name columns that a model does not have.

    Returns:
        It, as JSON; of the table of operations those that there are.
    """
    names = [manifest.name for manifest in models]
    methods = {
        WERKZEUG_PLACEHOLDER.sub(r"{\1}", rule): allowed
        for rule, allowed in methods_by_rule.items()
    }
    # A path that names a model has an example where there is no other, one that need not where one
    # answers without.
    answering = next((manifest for manifest in models if manifest.name == default_model), None)
    unnamed = _example_bodies(answering) if answering is not None else {}
    named = _example_bodies(models[0]) if len(models) == 1 else {}
    paths: dict[str, dict[str, Any]] = {}
    for operation in list_operations(vertex):
        if operation.method in methods.get(operation.path, ()):
            example = named if "{name}" in operation.path else unnamed
            described = operation.to_openapi(names, example)
            paths.setdefault(operation.path, {})[operation.method.lower()] = described
    schemas = dict(ERROR_SCHEMAS)
    for manifest in models:
        schemas |= model_schemas(manifest, ignores_extra=ignores_extra)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "forwardpass",
            "version": VERSION,
            "description": "Predictions of the models that are served now, in several protocols.",
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": _shared_parameters(models, default_model),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _shared_parameters(models: Sequence[Manifest], default: str | None) -> dict[str, Any]:
    names: dict[str, Any] = {"type": "string"}
    if models:
        names["enum"] = [manifest.name for manifest in models]
    return {
        "name": {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": names,
            "description": "Of a model.",
        },
        "version": {
            "name": "version",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
            "examples": {"1": {"value": str(models[0].version) if models else "1"}},
        },
        "model": {
            "name": "model",
            "in": "query",
            "required": bool(models) and default is None,
            "schema": names if default is None else {**names, "default": default},
            "description": "Which model answers; needed where there are several and none of them "
            "is the default (`--default-model`, or the one that was served alone).",
        },
        "queried_version": {
            "name": "version",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
            "description": "Which version of the model answers, of those that are served, as many "
            "as `--keep` says; left out, the one that answers by default.",
        },
        "timeout": {
            "name": "X-Request-Timeout",
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_SECONDS},
            "description": "Seconds in which the answer is of use; later it is 504.",
        },
        "json_bytes": {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "schema": {"type": "integer", "minimum": 0},
            "description": "Bytes of JSON that lead a body of binary tensors.",
        },
        "file": {
            "name": "file",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": list(PAGE_FILES)},
        },
    }


def _example_bodies(manifest: Manifest) -> dict[str, Any]:
    """A body of each protocol that the model answers."""
    instances = {"instances": [build_example_record(manifest)]}
    tensors = {"inputs": build_example_tensors(manifest)}
    return {"rows": instances, "tensorflow": instances, "tensors": tensors}
