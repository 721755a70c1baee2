"""The Flask application: `create_app` builds all parts and connects them.

Two WSGI callables wrap Flask: the middleware, which every request passes, and inside it the fast
path, which answers plain predictions without Flask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException, NotFound

from serving.bundle import BundleLimits
from serving.call_context import get_context
from serving.errors import InternalError, ServingError
from serving.http.api_keys import ApiKeys, get_required_scope
from serving.http.error_rendering import render_error, select_error_format
from serving.http.fast_path import FastPath
from serving.http.handlers.docs import create_index_blueprint, create_openapi_blueprint
from serving.http.handlers.metrics import create_metrics_blueprint
from serving.http.handlers.models import create_models_blueprint
from serving.http.handlers.open_inference import create_open_inference_blueprint
from serving.http.handlers.predictions import create_clouds_blueprint, create_predictions_blueprint
from serving.http.handlers.repository import create_repository_blueprint
from serving.http.handlers.status import create_status_blueprint
from serving.http.handlers.tensorflow import create_tensorflow_blueprint
from serving.http.handlers.triton import create_triton_blueprint
from serving.http.middleware import RequestMiddleware
from serving.http.requests import to_flask_response
from serving.http.trusted_proxies import TrustedProxies
from serving.inference.batching import InstrumentedBatcher
from serving.inference.predictor import Predictor
from serving.repository import Repository
from serving.repository.folder_scan import require_models_folder
from serving.repository.shared_state import SharedState
from serving.runtime import ProofLimits
from serving.runtime.proof_server import ProofServer
from serving.settings.cloud_platforms import VertexSettings
from serving.settings.options import Settings
from serving.telemetry.request_log import ROUTE_ENVIRON_KEY
from serving.telemetry.request_metrics import count_reload
from serving.telemetry.shared_counters import SharedCounters


def create_app(**options: Any) -> Flask:
    """Return the WSGI application that serves every model of a repository.

    It loads the models and runs their self-tests before it returns. Call it in the process that
    will answer requests, after any fork.

    Args:
        options: Values of `Settings` by name, for instance `models="models"`. Options that are left
            out are read from environment variables.

    Raises:
        pydantic.ValidationError: If an option is unknown or its value is out of range.
        NotADirectoryError: If the folder of models cannot be read, or is the folder of one model.
    """
    settings = Settings(**options)
    # A worker of `serving run` skips this check. The command has made it, and a worker that starts
    # later must not fail if the folder has changed, since the other workers go on serving.
    if SharedState.inherited is None:
        require_models_folder(settings.models)
    api_keys, counters = ApiKeys(settings.keys), SharedCounters.get_current()
    api_keys.start_watching()
    repository = Repository(
        settings.models,
        settings.variant,
        SharedState.inherited,
        keep=settings.keep,
        poll=settings.poll,
        take_up=settings.take_up,
        state=settings.state,
        default_model=settings.default_model,
        on_outcome=count_reload,
        limits=_build_proof_limits(settings),
        proof_server=ProofServer.shared,
    )
    repository.watch()
    app = Flask("serving", static_folder=None)
    # If slashes were merged, Flask would answer `//` with a redirect whose body is HTML.
    app.url_map.merge_slashes = False
    if isinstance(app.json, DefaultJSONProvider):  # narrows the type for mypy
        app.json.sort_keys, app.json.compact = False, True
    ignores_extra = settings.extra == "ignore"
    predictor = Predictor(
        InstrumentedBatcher(
            counters.own_slot,
            max_batch_rows=settings.max_batch_rows,
            max_delay=settings.max_delay,
            queue_rows=settings.queue_rows,
            queue_seconds=settings.queue_seconds,
        ),
        ignores_extra=ignores_extra,
    )
    app.register_blueprint(create_predictions_blueprint(repository, predictor, settings))
    app.register_blueprint(create_open_inference_blueprint(repository, predictor, settings))
    app.register_blueprint(create_triton_blueprint(repository, counters, settings))
    app.register_blueprint(create_tensorflow_blueprint(repository, predictor, settings))
    app.register_blueprint(create_models_blueprint(repository))
    app.register_blueprint(create_status_blueprint(repository, api_keys))
    app.register_blueprint(create_metrics_blueprint(repository, counters))
    app.register_blueprint(create_repository_blueprint(repository, settings))
    vertex = VertexSettings()
    proxies = TrustedProxies(settings.forwarded_allow_ips)
    app.register_blueprint(create_index_blueprint(vertex, proxies))
    app.register_blueprint(
        create_openapi_blueprint(repository, vertex, proxies, ignores_extra=ignores_extra)
    )
    app.register_blueprint(create_clouds_blueprint(repository, predictor, settings, vertex))
    app.register_error_handler(ServingError, _render_serving_error)
    app.register_error_handler(HTTPException, partial(_render_http_error, api_keys))
    app.register_error_handler(Exception, _render_unexpected_error)
    app.before_request(partial(_prepare_request, api_keys))
    fast_path = FastPath(app.wsgi_app, repository, predictor, settings, api_keys)
    middleware = RequestMiddleware(fast_path, counters.own_slot, settings.log_sample)
    app.wsgi_app = middleware  # type: ignore[method-assign]
    return app


def _build_proof_limits(settings: Settings) -> ProofLimits:
    """Return the limits for loading a version and running its self-test."""
    return ProofLimits(
        BundleLimits(
            settings.max_manifest_bytes,
            settings.max_selftest_bytes,
            settings.max_graph_bytes,
            settings.allow_loops,
        ),
        max_batch_rows=max(settings.max_batch_rows, ProofLimits.max_batch_rows),
        run_seconds=settings.run_seconds,
        proof_seconds=settings.proof_seconds,
        memory_bytes=settings.max_proof_memory,
    )


def _prepare_request(api_keys: ApiKeys) -> Response | None:
    """Record the route of a request and check its API key.

    Flask calls this before every view, and before it raises an error about the URL.

    Returns:
        The answer to an OPTIONS request; None to let the view answer.
    """
    # Werkzeug treats several leading slashes as one, and `//predict` must not be another URL of
    # `/predict`.
    is_url = not request.environ["PATH_INFO"].startswith("//")
    rule = request.url_rule.rule if request.url_rule and is_url else None
    request.environ[ROUTE_ENVIRON_KEY] = rule
    get_context(request.environ).protocol = (request.blueprint or "") if is_url else ""
    if request.method == "OPTIONS" and rule is not None:
        return _answer_options_request()
    scope = get_required_scope(rule, request.endpoint if is_url else None)
    # An OPTIONS request gets this far only if no route matches; it is answered with 404.
    if scope is not None and request.method != "OPTIONS":
        api_keys.authorize(request.environ, scope)
    if not is_url:
        raise NotFound
    return None


def _answer_options_request() -> Response:
    """Return the methods of a route.

    No key is needed, because browsers send none with a preflight request. The answer has no
    `Access-Control-…` header, so that browsers let no page of another site read the server's
    answers.
    """
    answer: Response = current_app.make_default_options_response()
    answer.status_code = 204
    del answer.headers["Content-Type"]
    return answer


def _render_serving_error(error: ServingError) -> Response:
    return _render(error.to_dict(), error.status, error.headers)


def _render_http_error(api_keys: ApiKeys, error: HTTPException) -> Response:
    """Render an error that Flask raised: an unknown URL, a wrong method."""
    status, name = error.code or 500, error.name or "Error"
    path = request.environ["PATH_INFO"].encode("latin-1").decode(errors="replace")[:64]
    if status == 404:
        expected = f"one of {', '.join(_list_routes())}"
        if not api_keys.may_see_details(request.environ):
            expected = "a path of this server's API, which docs/serving.md lists"
        message = f"expected {expected}; got {path!r}"
    elif status == 405:
        allowed = _join_methods(getattr(error, "valid_methods", None) or [])
        message = f"expected {allowed} for {path!r}; got {request.method}"
    else:
        message = f"expected a request for {path!r} that can be read; {error.description}"
    # Flask's own headers are kept, `Allow` of a 405 for instance, except those about its body.
    headers = {k: v for k, v in error.get_headers() if not k.startswith("Content-")}
    code = name.lower().replace(" ", "_")
    return _render({"error": message, "code": code, "details": {}}, status, headers)


def _list_routes() -> list[str]:
    """Return the routes of the protocol that the URL belongs to, each as its methods and its path.

    The routes of all protocols would be too many for an error message. Triton's extensions are left
    out, since most of them only say that a feature is off.
    """
    requested_format = select_error_format(request.path)
    return [
        f"{_join_methods(rule.methods or [])} {rule.rule}"
        for rule in current_app.url_map.iter_rules()
        if select_error_format(rule.rule) is requested_format
        and not rule.endpoint.startswith("triton.")
    ]


def _join_methods(methods: Iterable[str]) -> str:
    """Return the methods that a client would choose from, joined by `or`."""
    return " or ".join(sorted(set(methods) - {"HEAD", "OPTIONS"}))


def _render_unexpected_error(error: Exception) -> Response:
    """Render an exception that nothing caught; `InternalError` logs its traceback."""
    internal_error = InternalError(error, get_context(request.environ).request_id)
    return _render(internal_error.to_dict(), internal_error.status, internal_error.headers)


def _render(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """Return an error response in the format of the protocol that the URL belongs to."""
    get_context(request.environ).error_code = body["code"]
    return to_flask_response(render_error(body, status, headers, request.path))
