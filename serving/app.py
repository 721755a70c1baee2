"""The application: only puts the parts together."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from typing import Any

from flask import Flask, current_app, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from serving.agreement import Ledger
from serving.errors import ServingError
from serving.repository import Repository
from serving.routes.metrics import metrics_routes
from serving.routes.models import models_routes
from serving.routes.repository import repository_routes
from serving.routes.rows import rows_routes
from serving.routes.status import status_routes
from serving.settings import Settings

log = logging.getLogger(__name__)

Answer = tuple[dict[str, Any], int, dict[str, str]]


def create_app(**knobs: Any) -> Flask:
    """A WSGI application that answers for every model of the repository.

    It loads and proves the models before it returns: call it in the process that will answer.

    Args:
        knobs: of `Settings`, say `models="models"`; those left out come from the environment.

    Raises:
        pydantic.ValidationError: there is no such knob, or its value is out of range.
    """
    settings = Settings(**knobs)
    repository = Repository.load(
        settings.models,
        settings.variant,
        Ledger.shared,
        keep=settings.keep,
        poll=settings.poll,
        state=settings.state,
    )
    repository.watch()
    app = Flask("serving", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    if isinstance(app.json, DefaultJSONProvider):  # as it is by default
        app.json.sort_keys, app.json.compact = False, True
    app.register_blueprint(rows_routes(repository))
    app.register_blueprint(models_routes(repository))
    app.register_blueprint(status_routes(repository))
    app.register_blueprint(metrics_routes(repository))
    app.register_blueprint(repository_routes(repository))
    app.register_error_handler(ServingError, _serving_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _serving_error(error: ServingError) -> Answer:
    return error.body(), error.status, error.headers


def _http_error(error: HTTPException) -> Answer:
    """A fault found by Flask: unknown URL, wrong method, a body that breaks off."""
    status, name = error.code or 500, error.name or "Error"
    path = request.path[:64]
    if status == 404:
        message = f"expected one of {', '.join(_urls())}; got {path!r}"
    elif status == 405:
        allowed = _by_hand(getattr(error, "valid_methods", None) or [])
        message = f"expected {allowed} for {path!r}; got {request.method}"
    else:
        message = f"expected a request for {path!r} that can be read; {error.description}"
    # Such as Allow, which 405 owes its client. The headers of the body are ours.
    headers = {k: v for k, v in error.get_headers() if not k.startswith("Content-")}
    code = name.lower().replace(" ", "_")
    return {"error": message, "code": code, "details": {}}, status, headers


def _urls() -> list[str]:
    return [
        f"{_by_hand(rule.methods or [])} {rule.rule}" for rule in current_app.url_map.iter_rules()
    ]


def _by_hand(methods: Iterable[str]) -> str:
    """The methods a person would use, of all that are answered."""
    return " or ".join(sorted(set(methods) - {"HEAD", "OPTIONS"}))


def _unexpected(error: Exception) -> Answer:
    """A fault of ours: the client gets a number to quote, the log gets the traceback."""
    request_id = uuid.uuid4().hex
    log.error("request %s failed", request_id, exc_info=error)
    details = {"request_id": request_id}
    message = f"expected to answer; an internal error came instead; report request {request_id}"
    return {"error": message, "code": "internal", "details": details}, 500, {}
