"""`POST /predict`: records or rows in, predictions out."""

from __future__ import annotations

from flask import Blueprint, Response, request

from serving.http.requests import answer_prediction, find_queried_model, to_flask_response
from serving.inference.predictor import Predictor
from serving.repository import Repository
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
