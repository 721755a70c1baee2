"""The table of operations: every route with its bodies, errors and required scope.

The modules `repository_operations`, `triton_operations` and `cloud_operations` add their routes.
"""

from __future__ import annotations

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi import descriptions
from serving.http.openapi.cloud_operations import list_cloud_operations
from serving.http.openapi.error_responses import MODEL_LOOKUP_STATUSES, PREDICTION_STATUSES
from serving.http.openapi.operation import (
    ANY_SCHEMA,
    ARRAY_SCHEMA,
    BOOLEAN_SCHEMA,
    JSON_LENGTH_PARAMETER,
    MODEL_PATHS,
    MODEL_QUERY_PARAMETERS,
    NAME_PARAMETER,
    OBJECT_SCHEMA,
    OCTET_STREAM,
    ROWS_ANSWER,
    ROWS_REQUEST,
    STRING_SCHEMA,
    TIMEOUT_PARAMETER,
    VERSION_QUERY_PARAMETER,
    Operation,
    build_array_schema,
    build_object_schema,
)
from serving.http.openapi.repository_operations import list_repository_operations
from serving.http.openapi.triton_operations import list_triton_operations
from serving.settings.cloud_platforms import VertexSettings

READINESS_SCHEMA = build_object_schema(
    ready=BOOLEAN_SCHEMA, models=OBJECT_SCHEMA, refused=OBJECT_SCHEMA, held=OBJECT_SCHEMA
) | {"required": ["ready"]}
LINKS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "string", "format": "uri-reference"},
}
TENSOR_METADATA_SCHEMA = build_object_schema(
    name=STRING_SCHEMA, datatype=STRING_SCHEMA, shape=build_array_schema({"type": "integer"})
)
MODEL_METADATA_SCHEMA = build_object_schema(
    name=STRING_SCHEMA,
    versions=ARRAY_SCHEMA,
    platform=STRING_SCHEMA,
    inputs=build_array_schema(TENSOR_METADATA_SCHEMA),
    outputs=build_array_schema(TENSOR_METADATA_SCHEMA),
)
VERSION_STATUS_SCHEMA = build_object_schema(
    version=STRING_SCHEMA, state=STRING_SCHEMA, status=OBJECT_SCHEMA
)


def list_operations(vertex: VertexSettings) -> list[Operation]:
    """Return all operations.

    Args:
        vertex: Routes that Vertex AI has chosen, if it started the server.
    """
    return [
        *_list_native_operations(),
        *_list_open_inference_operations(),
        *list_repository_operations(),
        *_list_tensorflow_operations(),
        *list_cloud_operations(vertex),
        *list_triton_operations(),
    ]


def _list_native_operations() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/predict",
            "forwardpass",
            "Predict from records or rows",
            descriptions.ROWS,
            parameters=(*MODEL_QUERY_PARAMETERS, TIMEOUT_PARAMETER),
            request_content=ROWS_REQUEST,
            success_content=ROWS_ANSWER,
            error_statuses=PREDICTION_STATUSES,
        ),
        Operation(
            "GET",
            "/models",
            "forwardpass",
            "List the served models",
            descriptions.MODELS,
            success_content={JSON_MEDIA_TYPE: build_object_schema(models=ARRAY_SCHEMA)},
        ),
        Operation(
            "GET",
            "/models/{name}",
            "forwardpass",
            "Describe a model",
            descriptions.MODEL,
            parameters=(NAME_PARAMETER, VERSION_QUERY_PARAMETER),
            success_content={JSON_MEDIA_TYPE: OBJECT_SCHEMA},
            error_statuses=MODEL_LOOKUP_STATUSES,
        ),
        Operation(
            "GET",
            "/healthz",
            "forwardpass",
            "Check that the server is alive",
            descriptions.ALIVE,
            "open",
            success_content={JSON_MEDIA_TYPE: build_object_schema(alive=BOOLEAN_SCHEMA)},
        ),
        Operation(
            "GET",
            "/readyz",
            "forwardpass",
            "Check that a model is ready, and list refused and held versions",
            descriptions.READY_WITH_REASONS,
            "open",
            success_content={JSON_MEDIA_TYPE: READINESS_SCHEMA},
            has_unready_answer=True,
        ),
        Operation(
            "GET",
            "/metrics",
            "forwardpass",
            "Get metrics for Prometheus",
            descriptions.METRICS,
            success_content={"text/plain": STRING_SCHEMA},
        ),
        Operation(
            "GET",
            "/",
            "forwardpass",
            "List the other endpoints",
            descriptions.INDEX_PAGE,
            "open",
            success_content={JSON_MEDIA_TYPE: LINKS_SCHEMA},
            has_redirect=True,
        ),
        Operation(
            "GET",
            "/favicon.ico",
            "forwardpass",
            "Get the icon of the pages",
            descriptions.ICON,
            "open",
            success_content={"image/png": ANY_SCHEMA},
        ),
        Operation(
            "GET",
            "/openapi.json",
            "forwardpass",
            "Get this description",
            descriptions.OPENAPI_DOCUMENT,
            success_content={JSON_MEDIA_TYPE: OBJECT_SCHEMA},
        ),
        Operation(
            "GET",
            "/docs",
            "forwardpass",
            "Read this description and try its operations",
            descriptions.DOCS_PAGE,
            "open",
            success_content={"text/html": STRING_SCHEMA},
        ),
        Operation(
            "GET",
            "/docs/{file}",
            "forwardpass",
            "Get a script or style of /docs",
            descriptions.DOCS_ASSETS,
            "open",
            parameters=({"$ref": "#/components/parameters/file"},),
            success_content={
                "text/css": STRING_SCHEMA,
                "text/javascript": STRING_SCHEMA,
                "image/png": ANY_SCHEMA,
            },
            error_statuses=frozenset({404, 500}),
        ),
    ]


def _list_open_inference_operations() -> list[Operation]:
    operations: list[Operation] = [
        Operation(
            "GET",
            "/v2",
            "inference v2",
            "Get the server's name, version and extensions",
            descriptions.SERVER,
            success_content={
                JSON_MEDIA_TYPE: build_object_schema(
                    name=STRING_SCHEMA, version=STRING_SCHEMA, extensions=ARRAY_SCHEMA
                )
            },
        ),
        Operation(
            "GET",
            "/v2/health/live",
            "inference v2",
            "Check that the server is alive",
            descriptions.ALIVE,
            "open",
            success_content={JSON_MEDIA_TYPE: build_object_schema(live=BOOLEAN_SCHEMA)},
        ),
        Operation(
            "GET",
            "/v2/health/ready",
            "inference v2",
            "Check that a model is ready",
            descriptions.READY,
            "open",
            success_content={JSON_MEDIA_TYPE: build_object_schema(ready=BOOLEAN_SCHEMA)},
            has_unready_answer=True,
        ),
    ]
    for suffix, parameters in MODEL_PATHS:
        model = f"/v2/models/{{name}}{suffix}"
        operations += [
            Operation(
                "GET",
                model,
                "inference v2",
                "Describe the tensors of a model",
                descriptions.MODEL_METADATA,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: MODEL_METADATA_SCHEMA},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
            Operation(
                "GET",
                f"{model}/ready",
                "inference v2",
                "Check that a model is ready",
                descriptions.MODEL_READY,
                parameters=parameters,
                success_content={
                    JSON_MEDIA_TYPE: build_object_schema(name=STRING_SCHEMA, ready=BOOLEAN_SCHEMA)
                },
                error_statuses=MODEL_LOOKUP_STATUSES,
                has_unready_answer=True,
            ),
            Operation(
                "POST",
                f"{model}/infer",
                "inference v2",
                "Predict from tensors",
                descriptions.TENSORS,
                parameters=(*parameters, TIMEOUT_PARAMETER, JSON_LENGTH_PARAMETER),
                request_content={JSON_MEDIA_TYPE: "tensors", OCTET_STREAM: ANY_SCHEMA},
                success_content={JSON_MEDIA_TYPE: "outputs", OCTET_STREAM: ANY_SCHEMA},
                error_statuses=PREDICTION_STATUSES,
            ),
        ]
    return operations


def _list_tensorflow_operations() -> list[Operation]:
    operations: list[Operation] = []
    for suffix, parameters in MODEL_PATHS:
        model = f"/v1/models/{{name}}{suffix}"
        statuses = build_object_schema(
            model_version_status=build_array_schema(VERSION_STATUS_SCHEMA)
        )
        operations += [
            Operation(
                "GET",
                model,
                "tensorflow",
                "List the served versions of a model",
                descriptions.VERSIONS,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: statuses},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
            Operation(
                "GET",
                f"{model}/metadata",
                "tensorflow",
                "Get the signature of a model",
                descriptions.SIGNATURE,
                parameters=parameters,
                error_statuses=MODEL_LOOKUP_STATUSES,
                success_content={
                    JSON_MEDIA_TYPE: build_object_schema(
                        model_spec=OBJECT_SCHEMA, metadata=OBJECT_SCHEMA
                    )
                },
            ),
            Operation(
                "POST",
                f"{model}:predict",
                "tensorflow",
                "Predict from instances or columns",
                descriptions.TENSORFLOW,
                parameters=(*parameters, TIMEOUT_PARAMETER),
                request_content={JSON_MEDIA_TYPE: "tensorflow"},
                success_content={JSON_MEDIA_TYPE: "predictions"},
                error_statuses=PREDICTION_STATUSES,
            ),
        ]
    return operations
