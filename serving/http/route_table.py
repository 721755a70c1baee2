"""The route table: every URL of the server.

To add a URL, add an entry here and its handler in `http.handlers`. Everything else is derived from
the entry; see `http.routes`. Longer descriptions are in `http.openapi.descriptions`. The entries of
Triton's extensions are in `triton_routes`, those of Vertex AI in `vertex_routes`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.codec.rows import BODY_DECODERS
from serving.http.error_rendering import OPEN_INFERENCE_FORMAT, TENSORFLOW_FORMAT
from serving.http.handlers import (
    docs,
    metrics,
    models,
    open_inference,
    predictions,
    status,
    tensorflow,
)
from serving.http.openapi import descriptions
from serving.http.routes import MediaTypes, Route, RouteTable, build_model_paths
from serving.http.triton_routes import list_repository_routes, list_triton_routes
from serving.http.vertex_routes import list_vertex_routes
from serving.settings.cloud_platforms import VertexSettings

OCTET_STREAM = "application/octet-stream"
ANY_SCHEMA: dict[str, Any] = {}  # for bytes, which JSON Schema cannot describe
TEXT_SCHEMA = {"type": "string"}
OBJECT_SCHEMA = {"type": "object"}
LINKS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "string", "format": "uri-reference"},
}
ROWS_REQUEST = MediaTypes({JSON_MEDIA_TYPE: "rows", **dict.fromkeys(BODY_DECODERS, ANY_SCHEMA)})
ROWS_ANSWER = MediaTypes({JSON_MEDIA_TYPE: "answers", "text/csv": TEXT_SCHEMA})
TENSORS_REQUEST = MediaTypes({JSON_MEDIA_TYPE: "tensors", OCTET_STREAM: ANY_SCHEMA})
TENSORS_ANSWER = MediaTypes({JSON_MEDIA_TYPE: "outputs", OCTET_STREAM: ANY_SCHEMA})
DOCS_FILE_ANSWER = MediaTypes(
    {"text/css": TEXT_SCHEMA, "text/javascript": TEXT_SCHEMA, "image/png": ANY_SCHEMA}
)


def build_route_table(vertex: VertexSettings) -> RouteTable:
    """Return all routes of a server.

    Args:
        vertex: Paths that Vertex AI chose, if it started the server.

    Raises:
        ValueError: If Vertex AI chose the path of a route with another purpose.
    """
    routes = [
        *_list_native_routes(),
        *_list_open_inference_routes(),
        *list_repository_routes(),
        *_list_tensorflow_routes(),
        *_list_sagemaker_routes(),
        *list_triton_routes(),
    ]
    # Vertex AI may choose "/" for itself; then there is no index page.
    if "/" in (vertex.health_route, vertex.predict_route):
        routes = [route for route in routes if route.handler is not docs.index]
    return RouteTable([*routes, *list_vertex_routes(routes, vertex)])


def _list_native_routes() -> list[Route]:
    route = partial(Route, tag="forwardpass")
    return [
        route(
            "POST",
            ("/predict",),
            predictions.predict_rows,
            descriptions.PREDICT_ROWS,
            protocol="rows",
            is_prediction=True,
            parameters=("model", "queried_version", "timeout"),
            answer=ROWS_ANSWER,
            request=ROWS_REQUEST,
        ),
        route(
            "GET",
            ("/models",),
            models.list_models,
            descriptions.MODELS,
            protocol="models",
            answer=models.ModelList,
        ),
        route(
            "GET",
            ("/models/<name>",),
            models.describe_model,
            descriptions.MODEL,
            protocol="models",
            parameters=("queried_version",),
            answer=OBJECT_SCHEMA,
        ),
        route(
            "GET",
            ("/healthz",),
            status.healthz,
            descriptions.ALIVE,
            protocol="status",
            scope=None,
            answer=status.Liveness,
        ),
        route(
            "GET",
            ("/readyz",),
            status.readyz,
            descriptions.READY_WITH_REASONS,
            protocol="status",
            scope=None,
            answer=status.Readiness,
            has_unready_answer=True,
        ),
        route(
            "GET",
            ("/metrics",),
            metrics.metrics,
            descriptions.METRICS,
            protocol="metrics",
            answer=MediaTypes({"text/plain": TEXT_SCHEMA}),
        ),
        route(
            "GET",
            ("/",),
            docs.index,
            descriptions.INDEX_PAGE,
            protocol="index",
            scope=None,
            answer=LINKS_SCHEMA,
            has_redirect=True,
        ),
        route(
            "GET",
            ("/favicon.ico",),
            docs.favicon,
            descriptions.ICON,
            protocol="index",
            scope=None,
            answer=MediaTypes({"image/png": ANY_SCHEMA}),
        ),
        route(
            "GET",
            ("/openapi.json",),
            docs.openapi_document,
            descriptions.OPENAPI_DOCUMENT,
            protocol="openapi",
            answer=OBJECT_SCHEMA,
        ),
        route(
            "GET",
            ("/docs",),
            docs.docs_page,
            descriptions.DOCS_PAGE,
            protocol="openapi",
            scope=None,  # the page asks for a key before it shows anything
            answer=MediaTypes({"text/html": TEXT_SCHEMA}),
        ),
        route(
            "GET",
            ("/docs/<file>",),
            docs.docs_file,
            descriptions.DOCS_FILE,
            protocol="openapi",
            scope=None,
            answer=DOCS_FILE_ANSWER,
            error_statuses=frozenset({404}),
        ),
    ]


def _list_open_inference_routes() -> list[Route]:
    route = partial(
        Route, protocol="inference_v2", tag="inference v2", error_format=OPEN_INFERENCE_FORMAT
    )
    return [
        route(
            "GET",
            ("/v2",),
            open_inference.server_metadata,
            descriptions.SERVER,
            answer=open_inference.ServerMetadata,
        ),
        route(
            "GET",
            ("/v2/health/live",),
            open_inference.server_live,
            descriptions.ALIVE,
            scope=None,
            answer=open_inference.ServerLive,
        ),
        route(
            "GET",
            ("/v2/health/ready",),
            open_inference.server_ready,
            descriptions.READY,
            scope=None,
            answer=open_inference.ServerReady,
            has_unready_answer=True,
        ),
        route(
            "GET",
            build_model_paths("/v2/models/"),
            open_inference.model_metadata,
            descriptions.MODEL_METADATA,
            answer=open_inference.ModelMetadata,
        ),
        route(
            "GET",
            build_model_paths("/v2/models/", "/ready"),
            open_inference.model_ready,
            descriptions.MODEL_READY,
            answer=open_inference.ModelReady,
            has_unready_answer=True,
        ),
        route(
            "POST",
            build_model_paths("/v2/models/", "/infer"),
            predictions.infer,
            descriptions.PREDICT_TENSORS,
            is_prediction=True,
            parameters=("timeout", "json_bytes"),
            answer=TENSORS_ANSWER,
            request=TENSORS_REQUEST,
        ),
    ]


def _list_tensorflow_routes() -> list[Route]:
    route = partial(Route, protocol="tensorflow", tag="tensorflow", error_format=TENSORFLOW_FORMAT)
    paths = partial(build_model_paths, "/v1/models/", converter="model:")
    return [
        route(
            "GET",
            paths(),
            tensorflow.model_status,
            descriptions.VERSIONS,
            answer=tensorflow.ModelStatus,
        ),
        route(
            "GET",
            paths("/metadata"),
            tensorflow.signature_metadata,
            descriptions.SIGNATURE,
            answer=tensorflow.SignatureMetadata,
        ),
        route(
            "POST",
            paths(":predict"),
            predictions.predict_instances,
            descriptions.PREDICT_INSTANCES,
            is_prediction=True,
            parameters=("timeout",),
            answer="predictions",
            request="tensorflow",
        ),
    ]


def _list_sagemaker_routes() -> list[Route]:
    route = partial(Route, tag="clouds")
    return [
        route(
            "GET",
            ("/ping",),
            status.ping,
            descriptions.READY_SAGEMAKER,
            protocol="clouds",
            scope=None,
            has_unready_answer=True,
        ),
        route(
            "POST",
            ("/invocations",),
            predictions.predict_rows,
            descriptions.PREDICT_SAGEMAKER,
            protocol="rows",
            is_prediction=True,
            parameters=("model", "queried_version", "timeout"),
            answer=ROWS_ANSWER,
            request=ROWS_REQUEST,
        ),
    ]
