"""Operations: the table of all routes, each with what it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.codec.rows import BODY_DECODERS
from serving.http.error_rendering import select_error_format
from serving.http.openapi import descriptions
from serving.http.openapi import error_responses as faults
from serving.settings.cloud_platforms import VertexSettings

OCTET_STREAM = "application/octet-stream"
ANY_SCHEMA: dict[str, Any] = {}
NAME_PARAMETER = {"$ref": "#/components/parameters/name"}
VERSION_PARAMETER = {"$ref": "#/components/parameters/version"}
MODEL_QUERY_PARAMETER = {"$ref": "#/components/parameters/model"}
VERSION_QUERY_PARAMETER = {"$ref": "#/components/parameters/queried_version"}
MODEL_QUERY_PARAMETERS = (MODEL_QUERY_PARAMETER, VERSION_QUERY_PARAMETER)
TIMEOUT_PARAMETER = {"$ref": "#/components/parameters/timeout"}
JSON_LENGTH_PARAMETER = {"$ref": "#/components/parameters/json_bytes"}
LOAD_OPTIONS_SCHEMA = {
    "type": "object",
    "properties": {"parameters": {"type": ["object", "null"], "maxProperties": 0}},
    "additionalProperties": False,
}
ROLLBACK_OPTIONS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "parameters": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "version": {
                    "type": ["integer", "string"],
                    "minimum": 1,
                    "pattern": "^[1-9][0-9]{0,8}$",
                    "description": "Number of the version to pin; left out, the one before the one "
                    "that answers.",
                }
            },
        }
    },
}
UNLOAD_OPTIONS_SCHEMA = {
    "type": "object",
    "properties": {
        "parameters": {
            "type": ["object", "null"],
            "properties": {"unload_dependents": {"type": "boolean"}},
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
INDEX_OPTIONS_SCHEMA = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}},
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        method: GET or POST.
        path: as OpenAPI writes it.
        tag: of the protocol.
        summary: what it does.
        description: what else a user has to know of it, in Markdown.
        access: who may.
        parameters: of the path, the query and the headers.
        request_content: it takes, the part of a model or a schema, by media type.
        gives: of success, likewise; nothing for an empty body.
        error_statuses: of errors.
        required: it needs a body.
        redirects: Whether it sends a browser to another page.
        unready: it answers with 503 and its own body, or none, where nothing is ready.
    """

    method: Literal["GET", "POST"]
    path: str
    tag: str
    summary: str
    description: str
    access: Literal["open", "predict", "admin"] = "predict"
    parameters: tuple[dict[str, Any], ...] = ()
    request_content: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    success_content: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    error_statuses: frozenset[int] = frozenset(faults.COMMON_STATUSES)
    is_body_required: bool = True
    has_redirect: bool = False
    has_unready_answer: bool = False

    def to_openapi(self, models: Sequence[str], example: dict[str, Any]) -> dict[str, Any]:
        """As OpenAPI says it, for these models."""
        form = select_error_format(self.path)
        statuses = self.error_statuses - ({401, 403} if self.access == "open" else set())
        success: dict[str, Any] = {"description": "It is done."}
        if self.success_content:
            success["content"] = _build_content(self.success_content, models, {})
        answers = {"200": success, **faults.build_error_responses(statuses, form)}
        if self.has_redirect:
            answers["303"] = REDIRECT_RESPONSE
        if self.has_unready_answer:
            answers["503"] = {**success, "description": "Nothing is ready."}
        described: dict[str, Any] = {
            "operationId": _operation_id(self.method, self.path),
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "security": SECURITY_BY_ACCESS[self.access],
            "responses": dict(sorted(answers.items())),
        }
        if self.parameters:
            described["parameters"] = list(self.parameters)
        if self.request_content:
            described["requestBody"] = {
                "required": self.is_body_required,
                "content": _build_content(self.request_content, models, example),
            }
        return described


REDIRECT_RESPONSE = {
    "description": "A browser is sent to the page for people.",
    "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
}
# Open where the server has no keys; administration needs one everywhere.
API_KEY_SCHEMES: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
SECURITY_BY_ACCESS: dict[str, list[dict[str, list[str]]]] = {
    "open": [],
    "predict": [{}, *API_KEY_SCHEMES],
    "admin": API_KEY_SCHEMES,
}


def _operation_id(method: str, path: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in path).split()
    return "_".join([method.lower(), *words])


def _build_content(
    parts: dict[str, str | dict[str, Any]], models: Sequence[str], example: dict[str, Any]
) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media, part in parts.items():
        schema = _any_model_schema(part, models) if isinstance(part, str) else part
        content[media] = {"schema": schema} if schema else {}
        if media == JSON_MEDIA_TYPE and isinstance(part, str) and part in example:
            content[media]["example"] = example[part]
    return content


def _any_model_schema(part: str, models: Sequence[str]) -> dict[str, Any]:
    """The schema of this part of whichever model is asked."""
    refs = [{"$ref": f"#/components/schemas/{model}.{part}"} for model in models]
    return refs[0] if len(refs) == 1 else {"anyOf": refs} if refs else {"type": "object"}


# What a body of rows can be, beside JSON; its schema is of bytes, which OpenAPI does not know.
ROWS_REQUEST: dict[str, str | dict[str, Any]] = {
    JSON_MEDIA_TYPE: "rows",
    **dict.fromkeys(BODY_DECODERS, ANY_SCHEMA),
}
ROWS_ANSWER: dict[str, str | dict[str, Any]] = {
    JSON_MEDIA_TYPE: "answers",
    "text/csv": {"type": "string"},
}
PREDICTION_STATUSES = frozenset(faults.PREDICTION_STATUSES)
MODEL_LOOKUP_STATUSES = frozenset(faults.MODEL_LOOKUP_STATUSES)
ADMINISTRATION_STATUSES = frozenset(faults.ADMINISTRATION_STATUSES)


def object_schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


STRING_SCHEMA, BOOLEAN_SCHEMA, ARRAY_SCHEMA = (
    {"type": "string"},
    {"type": "boolean"},
    {"type": "array"},
)
OBJECT_SCHEMA = {"type": "object"}
READINESS_SCHEMA = object_schema(
    ready=BOOLEAN_SCHEMA, models=OBJECT_SCHEMA, refused=OBJECT_SCHEMA, held=OBJECT_SCHEMA
) | {"required": ["ready"]}
LINKS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "string", "format": "uri-reference"},
}
NULLABLE_INTEGER_SCHEMA = {"type": ["integer", "null"]}
RELOAD_ANSWER_SCHEMA = object_schema(
    name=STRING_SCHEMA,
    version=NULLABLE_INTEGER_SCHEMA,
    before=NULLABLE_INTEGER_SCHEMA,
    versions=ARRAY_SCHEMA,
)
TENSOR_METADATA_SCHEMA = object_schema(
    name=STRING_SCHEMA,
    datatype=STRING_SCHEMA,
    shape={"type": "array", "items": {"type": "integer"}},
)
VERSION_STATUS_SCHEMA = object_schema(
    version=STRING_SCHEMA, state=STRING_SCHEMA, status=OBJECT_SCHEMA
)
MODEL_METADATA_SCHEMA = object_schema(
    name=STRING_SCHEMA,
    versions=ARRAY_SCHEMA,
    platform=STRING_SCHEMA,
    inputs={"type": "array", "items": TENSOR_METADATA_SCHEMA},
    outputs={"type": "array", "items": TENSOR_METADATA_SCHEMA},
)
REPOSITORY_INDEX_SCHEMA = {
    "type": "array",
    "items": object_schema(
        name=STRING_SCHEMA, version=STRING_SCHEMA, state=STRING_SCHEMA, reason=STRING_SCHEMA
    ),
}


def list_operations(vertex: VertexSettings) -> list[Operation]:
    """All there are; those of Vertex AI where it asks for them."""
    return [
        *_own_operations(),
        *_open_inference_operations(),
        *_administration_operations(),
        *_tensorflow_operations(),
        *_cloud_operations(vertex),
    ]


def _own_operations() -> list[Operation]:
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
            success_content={JSON_MEDIA_TYPE: object_schema(models=ARRAY_SCHEMA)},
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
            "Whether the server is alive",
            descriptions.ALIVE,
            "open",
            success_content={JSON_MEDIA_TYPE: object_schema(alive=BOOLEAN_SCHEMA)},
        ),
        Operation(
            "GET",
            "/readyz",
            "forwardpass",
            "Whether a model is ready, and why not",
            descriptions.READY_AND_WHY,
            "open",
            success_content={JSON_MEDIA_TYPE: READINESS_SCHEMA},
            has_unready_answer=True,
        ),
        Operation(
            "GET",
            "/metrics",
            "forwardpass",
            "Metrics for Prometheus",
            descriptions.METRICS,
            success_content={"text/plain": STRING_SCHEMA},
        ),
        Operation(
            "GET",
            "/",
            "forwardpass",
            "Links to the other endpoints",
            descriptions.INDEX_PAGE,
            "open",
            success_content={JSON_MEDIA_TYPE: LINKS_SCHEMA},
            has_redirect=True,
        ),
        Operation(
            "GET",
            "/favicon.ico",
            "forwardpass",
            "Icon of the pages",
            descriptions.ICON,
            "open",
            success_content={"image/png": ANY_SCHEMA},
        ),
        Operation(
            "GET",
            "/openapi.json",
            "forwardpass",
            "This description",
            descriptions.DOCUMENT,
            success_content={JSON_MEDIA_TYPE: OBJECT_SCHEMA},
        ),
        Operation(
            "GET",
            "/docs",
            "forwardpass",
            "This description, to read and try",
            descriptions.PAGE,
            "open",
            success_content={"text/html": STRING_SCHEMA},
        ),
        Operation(
            "GET",
            "/docs/{file}",
            "forwardpass",
            "Scripts and styles of /docs",
            descriptions.PAGE_PARTS,
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


def _open_inference_operations() -> list[Operation]:
    found: list[Operation] = [
        Operation(
            "GET",
            "/v2",
            "inference v2",
            "What the server is and can do",
            descriptions.SERVER,
            success_content={
                JSON_MEDIA_TYPE: object_schema(
                    name=STRING_SCHEMA, version=STRING_SCHEMA, extensions=ARRAY_SCHEMA
                )
            },
        ),
        Operation(
            "GET",
            "/v2/health/live",
            "inference v2",
            "Whether the server is alive",
            descriptions.ALIVE,
            "open",
            success_content={JSON_MEDIA_TYPE: object_schema(live=BOOLEAN_SCHEMA)},
        ),
        Operation(
            "GET",
            "/v2/health/ready",
            "inference v2",
            "Whether a model is ready",
            descriptions.READY,
            "open",
            success_content={JSON_MEDIA_TYPE: object_schema(ready=BOOLEAN_SCHEMA)},
            has_unready_answer=True,
        ),
    ]
    for at, parameters in (
        ("", (NAME_PARAMETER,)),
        ("/versions/{version}", (NAME_PARAMETER, VERSION_PARAMETER)),
    ):
        model = f"/v2/models/{{name}}{at}"
        found += [
            Operation(
                "GET",
                model,
                "inference v2",
                "The tensors of a model",
                descriptions.FACE,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: MODEL_METADATA_SCHEMA},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
            Operation(
                "GET",
                f"{model}/ready",
                "inference v2",
                "Whether a model is ready",
                descriptions.MODEL_READY,
                parameters=parameters,
                success_content={
                    JSON_MEDIA_TYPE: object_schema(name=STRING_SCHEMA, ready=BOOLEAN_SCHEMA)
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
    return found


def _administration_operations() -> list[Operation]:
    model = "/v2/repository/models/{name}"
    return [
        Operation(
            "POST",
            "/v2/repository/index",
            "administration",
            "What has become of every version",
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
            "Serve the newest version, and forget a rollback",
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
            "Serve a model no more",
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
            "Serve an earlier version, or the one that is named",
            descriptions.ROLLBACK,
            "admin",
            parameters=(NAME_PARAMETER,),
            request_content={JSON_MEDIA_TYPE: ROLLBACK_OPTIONS_SCHEMA},
            success_content={JSON_MEDIA_TYPE: RELOAD_ANSWER_SCHEMA},
            error_statuses=ADMINISTRATION_STATUSES,
            is_body_required=False,
        ),
    ]


def _tensorflow_operations() -> list[Operation]:
    found: list[Operation] = []
    for at, parameters in (
        ("", (NAME_PARAMETER,)),
        ("/versions/{version}", (NAME_PARAMETER, VERSION_PARAMETER)),
    ):
        model = f"/v1/models/{{name}}{at}"
        statuses = object_schema(
            model_version_status={"type": "array", "items": VERSION_STATUS_SCHEMA}
        )
        found += [
            Operation(
                "GET",
                model,
                "tensorflow",
                "Which versions of a model are served",
                descriptions.VERSIONS,
                parameters=parameters,
                success_content={JSON_MEDIA_TYPE: statuses},
                error_statuses=MODEL_LOOKUP_STATUSES,
            ),
            Operation(
                "GET",
                f"{model}/metadata",
                "tensorflow",
                "The signature of a model",
                descriptions.SIGNATURE,
                parameters=parameters,
                error_statuses=MODEL_LOOKUP_STATUSES,
                success_content={
                    JSON_MEDIA_TYPE: object_schema(model_spec=OBJECT_SCHEMA, metadata=OBJECT_SCHEMA)
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
    return found


def _cloud_operations(vertex: VertexSettings) -> list[Operation]:
    found = [
        Operation(
            "GET",
            "/ping",
            "clouds",
            "Whether a model is ready, for SageMaker",
            descriptions.READY,
            "open",
            has_unready_answer=True,
        ),
        Operation(
            "POST",
            "/invocations",
            "clouds",
            "Predict, for SageMaker",
            descriptions.ROWS,
            parameters=(*MODEL_QUERY_PARAMETERS, TIMEOUT_PARAMETER),
            request_content=ROWS_REQUEST,
            success_content=ROWS_ANSWER,
            error_statuses=PREDICTION_STATUSES,
        ),
    ]
    if vertex.health_route is not None:
        found.append(
            Operation(
                "GET",
                vertex.health_route,
                "clouds",
                "Whether a model is ready, for Vertex AI",
                descriptions.READY,
                "open",
                has_unready_answer=True,
            )
        )
    if vertex.predict_route is not None:
        found.append(
            Operation(
                "POST",
                vertex.predict_route,
                "clouds",
                "Predict, for Vertex AI",
                descriptions.TENSORFLOW,
                parameters=(*MODEL_QUERY_PARAMETERS, TIMEOUT_PARAMETER),
                request_content={JSON_MEDIA_TYPE: "tensorflow"},
                success_content={JSON_MEDIA_TYPE: "predictions"},
                error_statuses=PREDICTION_STATUSES,
            )
        )
    return found
