"""`POST /predict`: records or rows in, predictions out."""

from __future__ import annotations

from flask import Blueprint, Response, request

from serving.http.requests import answer, find_queried, respond
from serving.inference.predictor import Predictor
from serving.repository import Repository
from serving.settings.options import Settings


def rows_routes(repository: Repository, predict: Predictor, settings: Settings) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("rows", __name__)

    @routes.post("/predict")
    def predict_rows() -> Response:
        model = find_queried(repository)
        return respond(answer(request.environ, "rows", model, predict, settings))

    return routes
