"""Handlers of predictions, in all protocols and on the paths of SageMaker and Vertex AI.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from typing import Any

from serving.codec.messages import EncodedAnswer
from serving.http.components import ServerComponents
from serving.http.requests import answer_prediction, find_model, find_queried_model


def predict_rows(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the predictions for records or rows."""
    model = find_queried_model(server.repository, environ)
    return answer_prediction(server, environ, "rows", model)


def predict_vertex_instances(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the predictions for the instances of TensorFlow Serving's protocol."""
    model = find_queried_model(server.repository, environ)
    return answer_prediction(server, environ, "tensorflow", model)


def predict_instances(
    server: ServerComponents, environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer with a model's predictions for instances or columns, as TensorFlow Serving does."""
    model = find_model(server.repository, name, version)
    return answer_prediction(server, environ, "tensorflow", model)


def infer(
    server: ServerComponents, environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer with a model's output tensors, as the Open Inference Protocol defines it."""
    model = find_model(server.repository, name, version)
    return answer_prediction(server, environ, "inference_v2", model)
