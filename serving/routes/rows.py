"""`POST /predict`: rows in, predictions out."""

from __future__ import annotations

from flask import Blueprint, Response, request

from serving.errors import UnsupportedMediaTypeError
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
        model = repository.find(request.args.get("model"))
        return Response(predict(model, read_body(request)), mimetype="application/json")

    return routes
