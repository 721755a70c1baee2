"""The application: only puts the parts together."""

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
from serving.telemetry import request_metrics as reloads
from serving.telemetry.request_log import ROUTE_ENVIRON_KEY
from serving.telemetry.shared_counters import SharedCounters


def create_app(**options: Any) -> Flask:
    """A WSGI application that answers for every model of the repository.

    It loads and proves the models before it returns: call it in the process that will answer.

    Args:
        options: of `Settings`, say `models="models"`; those left out come from the environment.

    Raises:
        pydantic.ValidationError: there is no such knob, or its value is out of range.
        NotADirectoryError: If there is no folder of models that can be read, or it is that of one
            model.
    """
    settings = Settings(**options)
    if (
        SharedState.inherited is None
    ):  # else `serving run` looked, and other workers may serve already
        require_models_folder(settings.models)
    keys, table = ApiKeys(settings.keys), SharedCounters.get_current()
    keys.start_watching()
    repository = Repository(
        settings.models,
        settings.variant,
        SharedState.inherited,
        keep=settings.keep,
        poll=settings.poll,
        take_up=settings.take_up,
        state=settings.state,
        default_model=settings.default_model,
        on_outcome=reloads.count_reload,
        limits=_build_proof_limits(settings),
        proof_server=ProofServer.shared,
    )
    repository.watch()
    app = Flask("serving", static_folder=None)
    app.url_map.merge_slashes = False  # two slashes are no URL here, rather than a page of HTML
    if isinstance(app.json, DefaultJSONProvider):  # as it is by default
        app.json.sort_keys, app.json.compact = False, True
    ignores_extra = settings.extra == "ignore"
    predict = Predictor(
        InstrumentedBatcher(
            table.own_slot,
            max_batch_rows=settings.max_batch_rows,
            max_delay=settings.max_delay,
            queue_rows=settings.queue_rows,
            queue_seconds=settings.queue_seconds,
        ),
        ignores_extra=ignores_extra,
    )
    app.register_blueprint(create_predictions_blueprint(repository, predict, settings))
    app.register_blueprint(create_open_inference_blueprint(repository, predict, settings))
    app.register_blueprint(create_triton_blueprint(repository, table, settings))
    app.register_blueprint(create_tensorflow_blueprint(repository, predict, settings))
    app.register_blueprint(create_models_blueprint(repository))
    app.register_blueprint(create_status_blueprint(repository, keys))
    app.register_blueprint(create_metrics_blueprint(repository, table))
    app.register_blueprint(create_repository_blueprint(repository, settings))
    vertex = VertexSettings()
    proxies = TrustedProxies(settings.forwarded_allow_ips)
    app.register_blueprint(create_index_blueprint(vertex, proxies))
    app.register_blueprint(
        create_openapi_blueprint(repository, vertex, proxies, ignores_extra=ignores_extra)
    )
    app.register_blueprint(create_clouds_blueprint(repository, predict, settings, vertex))
    app.register_error_handler(ServingError, _render_serving_error)
    app.register_error_handler(HTTPException, partial(_render_http_error, keys))
    app.register_error_handler(Exception, _render_unexpected_error)
    app.before_request(partial(_prepare_request, keys))
    fast = FastPath(app.wsgi_app, repository, predict, settings, keys)
    app.wsgi_app = RequestMiddleware(fast, table.own_slot, settings.log_sample)  # type: ignore[method-assign]
    return app


def _build_proof_limits(settings: Settings) -> ProofLimits:
    """Return the limits within which versions are loaded and proved."""
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


def _prepare_request(keys: ApiKeys) -> Response | None:
    """Before every view, and every error about the URL: who is asked, and may this client ask."""
    # Werkzeug takes several leading slashes for one: `//predict` would be a second URL of a route.
    is_url = not request.environ["PATH_INFO"].startswith("//")
    rule = request.url_rule.rule if request.url_rule and is_url else None
    request.environ[ROUTE_ENVIRON_KEY] = rule
    get_context(request.environ).protocol = (request.blueprint or "") if is_url else ""
    if request.method == "OPTIONS" and rule is not None:
        return _answer_options_request()
    scope = get_required_scope(rule, request.endpoint if is_url else None)
    if scope is not None and request.method != "OPTIONS":  # what there is not, is not found
        keys.authorize(request.environ, scope)
    if not is_url:
        raise NotFound
    return None


def _answer_options_request() -> Response:
    """Return the methods of a route, which need no key: browsers ask for them without one.

    There is no `Access-Control-…` header, so browsers let no page of another site read an answer.
    """
    answer: Response = current_app.make_default_options_response()
    answer.status_code = 204
    del answer.headers["Content-Type"]
    return answer


def _render_serving_error(error: ServingError) -> Response:
    return _render(error.to_dict(), error.status, error.headers)


def _render_http_error(keys: ApiKeys, error: HTTPException) -> Response:
    """A fault found by Flask: unknown URL, wrong method, a body that breaks off."""
    status, name = error.code or 500, error.name or "Error"
    path = request.environ["PATH_INFO"].encode("latin-1").decode(errors="replace")[:64]
    if status == 404:
        there_is = f"one of {', '.join(_list_routes())}"
        if not keys.may_see_details(request.environ):
            there_is = "a path of this server's API, which docs/serving.md lists"
        message = f"expected {there_is}; got {path!r}"
    elif status == 405:
        allowed = _join_methods(getattr(error, "valid_methods", None) or [])
        message = f"expected {allowed} for {path!r}; got {request.method}"
    else:
        message = f"expected a request for {path!r} that can be read; {error.description}"
    # Such as Allow, which 405 owes its client. The headers of the body are ours.
    headers = {k: v for k, v in error.get_headers() if not k.startswith("Content-")}
    code = name.lower().replace(" ", "_")
    return _render({"error": message, "code": code, "details": {}}, status, headers)


def _list_routes() -> list[str]:
    """Return the routes of the protocol that was asked: those of all protocols are too many.

    Triton's extensions are left out, since most of them only say that a feature is off.
    """
    asked = select_error_format(request.path)
    return [
        f"{_join_methods(rule.methods or [])} {rule.rule}"
        for rule in current_app.url_map.iter_rules()
        if select_error_format(rule.rule) is asked and not rule.endpoint.startswith("triton.")
    ]


def _join_methods(methods: Iterable[str]) -> str:
    """The methods a person would use, of all that are answered."""
    return " or ".join(sorted(set(methods) - {"HEAD", "OPTIONS"}))


def _render_unexpected_error(error: Exception) -> Response:
    """A fault of ours: the client gets a number to quote, the log the traceback beside it."""
    fault = InternalError(error, get_context(request.environ).request_id)
    return _render(fault.to_dict(), fault.status, fault.headers)


def _render(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """An error's answer, in the form of the protocol whose URL was asked."""
    get_context(request.environ).error_code = body["code"]
    return to_flask_response(render_error(body, status, headers, request.path))
