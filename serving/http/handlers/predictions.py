"""`POST /predict`, and the paths at which SageMaker and Vertex AI ask for the same."""

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
    repository: Repository, predict: Predictor, settings: Settings
) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("rows", __name__)

    @routes.post("/predict")
    def predict_rows() -> Response:
        model = find_queried_model(repository)
        return to_flask_response(
            answer_prediction(request.environ, "rows", model, predict, settings)
        )

    return routes


# Of what there is anyway, these answer what Vertex AI asks.
VERTEX_HEALTH_ENDPOINTS = ("clouds.ping", "status.readyz", "inference_v2.ready")
VERTEX_PREDICT_ENDPOINTS = ("rows.predict_rows", "clouds.invocations", "tensorflow.predictions")


def create_clouds_blueprint(
    repository: Repository, predict: Predictor, settings: Settings, vertex: VertexSettings
) -> Blueprint:
    """The routes of these protocols; to be registered last.

    Raises:
        ValueError: when registered: a route of Vertex AI's is one that answers something else.
    """
    routes = Blueprint("clouds", __name__)

    @routes.get("/ping")
    def ping() -> Response:
        return Response(status=200 if repository.live_models else 503)

    @routes.post("/invocations")
    def invocations() -> Response:
        model = find_queried_model(repository)
        return to_flask_response(
            answer_prediction(request.environ, "rows", model, predict, settings)
        )

    def vertex_predict() -> Response:
        model = find_queried_model(repository)
        return to_flask_response(
            answer_prediction(request.environ, "tensorflow", model, predict, settings)
        )

    @routes.record
    def _as_told(state: BlueprintSetupState) -> None:
        health, answer = vertex.health_route, vertex.predict_route
        if health is not None and not _has_endpoint(
            state.app.url_map, health, "GET", VERTEX_HEALTH_ENDPOINTS
        ):
            state.add_url_rule(health, "vertex_health", ping, methods=["GET"])
        if answer is not None and not _has_endpoint(
            state.app.url_map, answer, "POST", VERTEX_PREDICT_ENDPOINTS
        ):
            state.add_url_rule(answer, "vertex_predict", vertex_predict, methods=["POST"])

    return routes


def _has_endpoint(rules: Map, path: str, method: str, right: tuple[str, ...]) -> bool:
    """Whether there is a route of this path that answers rightly."""
    try:
        endpoint, _ = rules.bind("").match(path, method)
    except NotFound:
        return False
    except MethodNotAllowed:
        endpoint = "another method"
    if endpoint in right:
        return True
    raise ValueError(
        f"expected a route of Vertex AI's own, or one that can answer for it; got {path!r}, which "
        f"is {endpoint}'s; choose /ping and /predict, or others"
    )
