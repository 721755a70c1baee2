"""`POST /predict`: records or rows in, predictions out."""

from __future__ import annotations

from flask import Blueprint, Response, request

from serving.errors import InvalidQueryError
from serving.predict import Predictor
from serving.repository import Repository
from serving.routes.exchange import message_of, respond
from serving.settings import Settings


def rows_routes(repository: Repository, predict: Predictor, settings: Settings) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("rows", __name__)

    @routes.post("/predict")
    def predict_rows() -> Response:
        model = repository.find(_model_name())
        message, call = message_of(request.environ, settings)
        return respond(predict("rows", model, message, call))

    return routes


def _model_name() -> str | None:
    """The value of `?model=`; anything else in the query is refused, lest a typo go unnoticed."""
    for key in request.args:
        if key != "model" or len(request.args.getlist(key)) > 1:
            came = request.query_string[:64].decode(errors="replace")
            raise InvalidQueryError(f"expected no query but ?model=NAME, once; got {came!r}")
    return request.args.get("model")
