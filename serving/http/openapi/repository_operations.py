"""Operations on the model repository: its index, and loading, unloading and rolling back a model.

The first three are those of Triton's model repository extension.
"""

from __future__ import annotations

from typing import Any

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi import descriptions
from serving.http.openapi.error_responses import ADMINISTRATION_STATUSES
from serving.http.openapi.operation import (
    ARRAY_SCHEMA,
    BOOLEAN_SCHEMA,
    NAME_PARAMETER,
    STRING_SCHEMA,
    Operation,
    build_array_schema,
    build_object_schema,
)

INDEX_OPTIONS_SCHEMA = {
    "type": "object",
    "properties": {"ready": BOOLEAN_SCHEMA},
    "additionalProperties": False,
}
VERSION_OPTION_SCHEMA = {
    "type": ["integer", "string"],
    "minimum": 1,
    "pattern": "^[1-9][0-9]{0,8}$",
    "description": "Number of the version to pin. Default: the version below the live one.",
}
NULLABLE_INTEGER_SCHEMA = {"type": ["integer", "null"]}
RELOAD_ANSWER_SCHEMA = build_object_schema(
    name=STRING_SCHEMA,
    version=NULLABLE_INTEGER_SCHEMA,
    before=NULLABLE_INTEGER_SCHEMA,
    versions=ARRAY_SCHEMA,
)
REPOSITORY_INDEX_SCHEMA = build_array_schema(
    build_object_schema(
        name=STRING_SCHEMA, version=STRING_SCHEMA, state=STRING_SCHEMA, reason=STRING_SCHEMA
    )
)


def _build_options_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body whose only member is `parameters`, an object or null."""
    return {
        "type": "object",
        "properties": {"parameters": {"type": ["object", "null"], **parameters}},
        "additionalProperties": False,
    }


LOAD_OPTIONS_SCHEMA = _build_options_schema({"maxProperties": 0})
UNLOAD_OPTIONS_SCHEMA = _build_options_schema(
    {"properties": {"unload_dependents": BOOLEAN_SCHEMA}, "additionalProperties": False}
)
ROLLBACK_OPTIONS_SCHEMA = _build_options_schema(
    {"additionalProperties": False, "properties": {"version": VERSION_OPTION_SCHEMA}}
)


def list_repository_operations() -> list[Operation]:
    """Return the operations of the model repository extension, and the rollback."""
    model = "/v2/repository/models/{name}"
    return [
        Operation(
            "POST",
            "/v2/repository/index",
            "administration",
            "List every version and its state",
            descriptions.INDEX,
            request_content={JSON_MEDIA_TYPE: INDEX_OPTIONS_SCHEMA},
            success_content={JSON_MEDIA_TYPE: REPOSITORY_INDEX_SCHEMA},
            error_statuses=ADMINISTRATION_STATUSES,
            is_body_required=False,
        ),
        Operation(
            "POST",
            f"{model}/load",
            "administration",
            "Serve the newest version, and end a rollback",
            descriptions.LOAD,
            "admin",
            parameters=(NAME_PARAMETER,),
            request_content={JSON_MEDIA_TYPE: LOAD_OPTIONS_SCHEMA},
            success_content={JSON_MEDIA_TYPE: RELOAD_ANSWER_SCHEMA},
            error_statuses=ADMINISTRATION_STATUSES,
            is_body_required=False,
        ),
        Operation(
            "POST",
            f"{model}/unload",
            "administration",
            "Stop serving a model",
            descriptions.UNLOAD,
            "admin",
            parameters=(NAME_PARAMETER,),
            request_content={JSON_MEDIA_TYPE: UNLOAD_OPTIONS_SCHEMA},
            success_content={JSON_MEDIA_TYPE: RELOAD_ANSWER_SCHEMA},
            error_statuses=ADMINISTRATION_STATUSES,
            is_body_required=False,
        ),
        Operation(
            "POST",
            f"{model}/rollback",
            "administration",
            "Serve the previous version, or a given one",
            descriptions.ROLLBACK,
            "admin",
            parameters=(NAME_PARAMETER,),
            request_content={JSON_MEDIA_TYPE: ROLLBACK_OPTIONS_SCHEMA},
            success_content={JSON_MEDIA_TYPE: RELOAD_ANSWER_SCHEMA},
            error_statuses=ADMINISTRATION_STATUSES,
            is_body_required=False,
        ),
    ]
