"""Routes for predictions: `POST /predict`, and the paths of SageMaker and Vertex AI.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from serving.http.requests import answer_prediction, find_queried_model, to_flask_response
from serving.inference.predictor import Predictor
from serving.repository import Repository
from serving.settings.cloud_platforms import VertexSettings
from serving.settings.options import Settings


def create_predictions_blueprint(
    repository: Repository, predictor: Predictor, settings: Settings
) -> Blueprint:
    """Return the blueprint of `POST /predict`.

    Args:
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        settings: Options of the server.
    """
    routes = Blueprint("rows", __name__)

    @routes.post("/predict")
    def predict_rows() -> Response:
        model = find_queried_model(repository)
        return to_flask_response(
            answer_prediction(request.environ, "rows", model, predictor, settings)
        )

    return routes


# Endpoints whose paths Vertex AI may choose, since they answer as it requires.
VERTEX_HEALTH_ENDPOINTS = ("clouds.ping", "status.readyz", "inference_v2.ready")
VERTEX_PREDICT_ENDPOINTS = ("rows.predict_rows", "clouds.invocations", "tensorflow.predictions")


def create_clouds_blueprint(
    repository: Repository, predictor: Predictor, settings: Settings, vertex: VertexSettings
) -> Blueprint:
    """Return the blueprint of the routes for Amazon SageMaker and Google Vertex AI.

    It must be registered last. Registering it raises a ValueError if Vertex AI chose the path of a
    route with another purpose.

    Args:
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        settings: Options of the server.
        vertex: Paths that Vertex AI chose.
    """
    routes = Blueprint("clouds", __name__)

    @routes.get("/ping")
    def ping() -> Response:
        return Response(status=200 if repository.live_models else 503)

    @routes.post("/invocations")
    def invocations() -> Response:
        model = find_queried_model(repository)
        return to_flask_response(
            answer_prediction(request.environ, "rows", model, predictor, settings)
        )

    def vertex_predict() -> Response:
        model = find_queried_model(repository)
        return to_flask_response(
            answer_prediction(request.environ, "tensorflow", model, predictor, settings)
        )

    @routes.record
    def _add_vertex_routes(state: BlueprintSetupState) -> None:
        health, predict = vertex.health_route, vertex.predict_route
        if health is not None and not _has_endpoint(
            state.app.url_map, health, "GET", VERTEX_HEALTH_ENDPOINTS
        ):
            state.add_url_rule(health, "vertex_health", ping, methods=["GET"])
        if predict is not None and not _has_endpoint(
            state.app.url_map, predict, "POST", VERTEX_PREDICT_ENDPOINTS
        ):
            state.add_url_rule(predict, "vertex_predict", vertex_predict, methods=["POST"])

    return routes


def _has_endpoint(rules: Map, path: str, method: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a path already has a route to one of the allowed endpoints.

    Raises:
        ValueError: If its route leads to another endpoint.
    """
    try:
        endpoint, _ = rules.bind("").match(path, method)
    except NotFound:
        return False
    except MethodNotAllowed:
        endpoint = "for another method"
    if endpoint in allowed:
        return True
    raise ValueError(
        f"expected a path for Vertex AI that is free, or has a route of the same purpose; "
        f"got {path!r}, whose route is {endpoint}; choose /ping and /predict, or free paths"
    )
