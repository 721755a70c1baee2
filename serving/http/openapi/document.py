"""The OpenAPI document: all operations and schemas, for the models that are served now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from weakref import ref

from serving.bundle import VERSION_PATTERN, Manifest
from serving.call_context import MAX_TIMEOUT_SECONDS
from serving.http.openapi.descriptions import TAG_DESCRIPTIONS, describe_server
from serving.http.openapi.error_responses import ERROR_SCHEMAS
from serving.http.openapi.examples import build_example_record, build_example_tensors
from serving.http.openapi.model_schemas import build_model_schemas
from serving.http.openapi.operation import build_operation, iter_type_schemas, to_openapi_path
from serving.http.openapi.swagger_ui import PAGE_FILES
from serving.http.routes import RouteTable
from serving.repository import Repository, ServedModel
from serving.settings.options import VERSION


class OpenApiDocument:
    """The OpenAPI document of a server.

    The last one is kept, since building one takes long for a table of many columns.

    Args:
        routes: All routes of the server.
        repository: Loaded models, by name and version.
        ignores_extra: Whether requests may name columns that a model does not have.
    """

    def __init__(self, routes: RouteTable, repository: Repository, *, ignores_extra: bool) -> None:
        self._routes, self._repository = routes, repository
        self._ignores_extra = ignores_extra
        # The models, default model and prefix that the content was built for.
        self._models: list[ref[ServedModel]] = []
        self._default_model: str | None = None
        self._prefix = ""
        self._content = b""

    def render(self, prefix: str) -> bytes:
        """Return the document as JSON.

        Args:
            prefix: Path prefix under which the client reaches the server, without a slash at its
                end.
        """
        models = list(self._repository.live_models.values())
        default_model = self._repository.default_model
        is_same = (self._default_model, self._prefix) == (default_model, prefix)
        if not self._content or not is_same or [model() for model in self._models] != models:
            document = build_document(
                self._routes,
                [model.manifest for model in models],
                default_model,
                prefix,
                ignores_extra=self._ignores_extra,
            )
            self._content = json.dumps(document).encode()
            self._models = [ref(model) for model in models]
            self._default_model, self._prefix = default_model, prefix
        return self._content


def build_document(
    routes: RouteTable,
    models: Sequence[Manifest],
    default_model: str | None = None,
    prefix: str = "",
    *,
    ignores_extra: bool = False,
) -> dict[str, Any]:
    """Return the OpenAPI document, as values that JSON can represent.

    Args:
        routes: All routes of the server.
        models: Manifests of the served models, each of the model's live version.
        default_model: Name of the model that serves requests without a model name; None if
            there is none.
        prefix: Path prefix under which clients reach the server, without a slash at its end.
        ignores_extra: Whether requests may name columns that a model does not have.
    """
    names = [manifest.name for manifest in models]
    # The example of the default model comes first, since Swagger UI shows it first.
    by_default = sorted(models, key=lambda manifest: manifest.name != default_model)
    examples = {manifest.name: _build_example_bodies(manifest) for manifest in by_default}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in route.paths:
            operation = build_operation(route, path, names, examples)
            paths.setdefault(to_openapi_path(path), {})[route.method.lower()] = operation
    schemas = dict(ERROR_SCHEMAS)
    for route in routes:
        schemas.update(iter_type_schemas(route))
    for manifest in models:
        schemas |= build_model_schemas(manifest, ignores_extra=ignores_extra)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "forwardpass",
            "version": VERSION,
            "description": describe_server(models, default_model),
        },
        "servers": [{"url": prefix or "/"}],
        "tags": [
            {"name": tag, "description": TAG_DESCRIPTIONS[tag]}
            for tag in dict.fromkeys(route.tag for route in routes)
            if tag in TAG_DESCRIPTIONS
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": _build_shared_parameters(models, default_model),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _build_shared_parameters(
    models: Sequence[Manifest], default_model: str | None
) -> dict[str, Any]:
    names: dict[str, Any] = {"type": "string"}
    if models:
        names["enum"] = [manifest.name for manifest in models]
    return {
        "name": {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": names,
            "description": "Name of the model.",
        },
        "version": {
            "name": "version",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{VERSION_PATTERN}$"},
            "description": "Number of the version.",
            "examples": {"1": {"value": str(models[0].version) if models else "1"}},
        },
        "model": {
            "name": "model",
            "in": "query",
            "required": bool(models) and default_model is None,
            "schema": names if default_model is None else {**names, "default": default_model},
            "description": "Name of the model. It may be left out if there is a default model: "
            "the one that `--default-model` names, otherwise the first model that was served while "
            "no other was.",
        },
        "queried_version": {
            "name": "version",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
            "description": "Number of the version. `--keep` sets how many versions of a model are "
            "served. Default: the live version.",
        },
        "timeout": {
            "name": "X-Request-Timeout",
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_SECONDS},
            "description": "Time limit for the answer, in seconds. When it has passed, the status "
            "is 504.",
        },
        "json_bytes": {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "schema": {"type": "integer", "minimum": 0},
            "description": "Length in bytes of the JSON that precedes binary tensors in the body.",
        },
        "file": {
            "name": "file",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": list(PAGE_FILES)},
            "description": "Name of the file.",
        },
    }


def _build_example_bodies(manifest: Manifest) -> dict[str, Any]:
    """Return an example body of each protocol, by name of the schema."""
    instances = {"instances": [build_example_record(manifest)]}
    tensors = {"inputs": build_example_tensors(manifest)}
    return {"rows": instances, "tensorflow": instances, "tensors": tensors}
