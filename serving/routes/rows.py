"""`POST /predict`: records or rows in, predictions out."""

from __future__ import annotations

from flask import Blueprint, Response, request

from serving.errors import InvalidQueryError, UnsupportedMediaTypeError
from serving.guard import read_body
from serving.predict import predict
from serving.repository import Repository


def rows_routes(repository: Repository) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("rows", __name__)

    @routes.post("/predict")
    def predict_rows() -> Response:
        if request.mimetype != "application/json":
            raise UnsupportedMediaTypeError(
                f"expected Content-Type: application/json; got {request.mimetype[:64] or 'none'}; "
                f"with curl, add -H 'Content-Type: application/json'"
            )
        if request.content_encoding:
            raise UnsupportedMediaTypeError(
                f"expected a body without Content-Encoding; got {request.content_encoding[:64]}; "
                f"send it uncompressed"
            )
        model = repository.find(_model_name())
        return Response(predict(model, read_body(request)), mimetype="application/json")

    return routes


def _model_name() -> str | None:
    """The value of `?model=`; anything else in the query is refused, lest a typo go unnoticed."""
    for key in request.args:
        if key != "model" or len(request.args.getlist(key)) > 1:
            came = request.query_string[:64].decode(errors="replace")
            raise InvalidQueryError(f"expected no query but ?model=NAME, once; got {came!r}")
    return request.args.get("model")
