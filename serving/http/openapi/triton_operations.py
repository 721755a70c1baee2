"""Operations of Triton's extensions of the Open Inference Protocol.

Features that this server does not have, for example shared memory, still have their routes, so that
Triton's clients get a clear answer.
"""

from __future__ import annotations

from typing import Any

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi import descriptions
from serving.http.openapi.error_responses import COMMON_STATUSES, MODEL_LOOKUP_STATUSES
from serving.http.openapi.operation import (
    ARRAY_SCHEMA,
    BOOLEAN_SCHEMA,
    MODEL_PATHS,
    NAME_PARAMETER,
    OBJECT_SCHEMA,
    STRING_SCHEMA,
    Operation,
    build_array_schema,
    build_object_schema,
)

REGION_PARAMETER = {"name": "name", "in": "path", "required": True, "schema": STRING_SCHEMA}
UNSUPPORTED_STATUSES = COMMON_STATUSES | {400}
SETTING_STATUSES = MODEL_LOOKUP_STATUSES | {408, 413}
TENSOR_CONFIG_SCHEMA = build_object_schema(
    name=STRING_SCHEMA, data_type=STRING_SCHEMA, dims=ARRAY_SCHEMA
)
MODEL_CONFIG_SCHEMA = build_object_schema(
    name=STRING_SCHEMA,
    platform=STRING_SCHEMA,
    backend=STRING_SCHEMA,
    max_batch_size={"type": "integer", "minimum": 1},
    input=build_array_schema(TENSOR_CONFIG_SCHEMA),
    output=build_array_schema(TENSOR_CONFIG_SCHEMA),
    dynamic_batching=OBJECT_SCHEMA,
)
STATISTICS_SCHEMA = build_object_schema(
    model_stats=build_array_schema(
        build_object_schema(
            name=STRING_SCHEMA,
            version=STRING_SCHEMA,
            inference_count={"type": "integer"},
            inference_stats=OBJECT_SCHEMA,
        )
    )
)
TRACE_SETTINGS_SCHEMA = build_object_schema(trace_level=ARRAY_SCHEMA)
# A setting's current value is also accepted. The schema leaves it out, as it differs by server.
ONLY_NULLS_SCHEMA = {"type": "object", "additionalProperties": {"type": "null"}}
LOG_SETTINGS_SCHEMA = build_object_schema(
    log_file=STRING_SCHEMA,
    log_info=BOOLEAN_SCHEMA,
    log_warning=BOOLEAN_SCHEMA,
    log_error=BOOLEAN_SCHEMA,
    log_verbose_level={"type": "integer"},
)


def list_triton_operations() -> list[Operation]:
    """Return Triton's operations, including those that only report a feature as off or empty."""
    operations = [
        Operation(
            "GET",
            "/v2/models/stats",
            "triton",
            "Get statistics of all models",
            descriptions.STATISTICS,
            success_content={JSON_MEDIA_TYPE: STATISTICS_SCHEMA},
        ),
    ]
    for suffix, parameters in MODEL_PATHS:
        model = f"/v2/models/{{name}}{suffix}"
        operations += [
            Operation(
                "GET",
                f"{model}/stats",
                "triton",
                "Get statistics of a model",
                descriptions.STATISTICS,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: STATISTICS_SCHEMA},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
            Operation(
                "GET",
                f"{model}/config",
                "triton",
                "Get the configuration of a model",
                descriptions.CONFIG,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: MODEL_CONFIG_SCHEMA},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
        ]
    settings: list[tuple[str, tuple[dict[str, Any], ...], dict[str, Any], str]] = [
        ("/v2/trace/setting", (), TRACE_SETTINGS_SCHEMA, descriptions.TRACES),
        (
            "/v2/models/{name}/trace/setting",
            (NAME_PARAMETER,),
            TRACE_SETTINGS_SCHEMA,
            descriptions.TRACES,
        ),
        ("/v2/logging", (), LOG_SETTINGS_SCHEMA, descriptions.LOGGING),
    ]
    for path, parameters, schema, description in settings:
        operations += [
            Operation(
                "GET",
                path,
                "triton",
                "Get settings",
                description,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: schema},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
            Operation(
                "POST",
                path,
                "triton",
                "Refuse to change settings",
                description,
                parameters=parameters,
                request_content={JSON_MEDIA_TYPE: ONLY_NULLS_SCHEMA},
                success_content={JSON_MEDIA_TYPE: schema},
                error_statuses=SETTING_STATUSES,
                is_body_required=False,
            ),
        ]
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        region, description = f"/v2/{kind}/region/{{name}}", descriptions.SHARED_MEMORY
        operations += [
            Operation(
                "GET",
                f"/v2/{kind}/status",
                "triton",
                "List registered regions, of which there are none",
                description,
                success_content={JSON_MEDIA_TYPE: {"type": "array", "maxItems": 0}},
            ),
            Operation(
                "GET",
                f"{region}/status",
                "triton",
                "Refuse to find a region",
                description,
                parameters=(REGION_PARAMETER,),
                error_statuses=UNSUPPORTED_STATUSES,
            ),
            Operation(
                "POST",
                f"{region}/register",
                "triton",
                "Refuse to register a region",
                description,
                parameters=(REGION_PARAMETER,),
                error_statuses=UNSUPPORTED_STATUSES,
            ),
            Operation(
                "POST",
                f"{region}/unregister",
                "triton",
                "Unregister a region",
                description,
                parameters=(REGION_PARAMETER,),
                success_content={JSON_MEDIA_TYPE: OBJECT_SCHEMA},
            ),
            Operation(
                "POST",
                f"/v2/{kind}/unregister",
                "triton",
                "Unregister all regions",
                description,
                success_content={JSON_MEDIA_TYPE: OBJECT_SCHEMA},
            ),
        ]
    return operations
