"""Operations on the routes that SageMaker and Vertex AI call."""

from __future__ import annotations

from serving.codec.messages import JSON_MEDIA_TYPE
from serving.http.openapi import descriptions
from serving.http.openapi.error_responses import PREDICTION_STATUSES
from serving.http.openapi.operation import (
    MODEL_QUERY_PARAMETERS,
    ROWS_ANSWER,
    ROWS_REQUEST,
    TIMEOUT_PARAMETER,
    Operation,
)
from serving.settings.cloud_platforms import VertexSettings


def list_cloud_operations(vertex: VertexSettings) -> list[Operation]:
    """Return the operations of SageMaker, and those of Vertex AI if it started the server.

    Args:
        vertex: Routes that Vertex AI has chosen.
    """
    operations = [
        Operation(
            "GET",
            "/ping",
            "clouds",
            "Check that a model is ready, for SageMaker",
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
        operations.append(
            Operation(
                "GET",
                vertex.health_route,
                "clouds",
                "Check that a model is ready, for Vertex AI",
                descriptions.READY,
                "open",
                has_unready_answer=True,
            )
        )
    if vertex.predict_route is not None:
        operations.append(
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
    return operations
