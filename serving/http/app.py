"""The application: only puts the parts together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException, NotFound

from serving.bundle import BundleLimits
from serving.call_context import call_in
from serving.errors import InternalError, ServingError
from serving.http.api_keys import Keys
from serving.http.error_rendering import form_of, told
from serving.http.fast_path import FastPath
from serving.http.handlers.clouds import clouds_routes
from serving.http.handlers.docs import openapi_routes
from serving.http.handlers.index import index_routes
from serving.http.handlers.metrics import metrics_routes
from serving.http.handlers.models import models_routes
from serving.http.handlers.open_inference import inference_v2_routes
from serving.http.handlers.predictions import rows_routes
from serving.http.handlers.repository import repository_routes
from serving.http.handlers.status import status_routes
from serving.http.handlers.tensorflow import tensorflow_routes
from serving.http.handlers.triton import triton_routes
from serving.http.middleware import Front
from serving.http.requests import respond
from serving.http.scopes import scope_of
from serving.http.trusted_proxies import TrustedProxies
from serving.inference.predictor import Predictor
from serving.inference.waiting import WatchedBatcher
from serving.repository import Repository
from serving.repository.folder_scan import require_models
from serving.repository.shared_state import Ledger
from serving.runtime import ProofLimits
from serving.runtime.proof_server import ProofServer
from serving.settings.cloud_platforms import Vertex
from serving.settings.options import Settings
from serving.telemetry import reloads
from serving.telemetry.request_log import ROUTE
from serving.telemetry.shared_counters import Table


def create_app(**knobs: Any) -> Flask:
    """A WSGI application that answers for every model of the repository.

    It loads and proves the models before it returns: call it in the process that will answer.

    Args:
        knobs: of `Settings`, say `models="models"`; those left out come from the environment.

    Raises:
        pydantic.ValidationError: there is no such knob, or its value is out of range.
        NotADirectoryError: If there is no folder of models that can be read, or it is that of one
            model.
    """
    settings = Settings(**knobs)
    if Ledger.shared is None:  # else `serving run` looked, and other workers may serve already
        require_models(settings.models)
    keys, table = Keys(settings.keys), Table.here()
    keys.watch()
    repository = Repository(
        settings.models,
        settings.variant,
        Ledger.shared,
        keep=settings.keep,
        poll=settings.poll,
        take_up=settings.take_up,
        state=settings.state,
        default_model=settings.default_model,
        tell=reloads.count,
        limits=_proof_limits(settings),
        proof_server=ProofServer.shared,
    )
    repository.watch()
    app = Flask("serving", static_folder=None)
    app.url_map.merge_slashes = False  # two slashes are no URL here, rather than a page of HTML
    if isinstance(app.json, DefaultJSONProvider):  # as it is by default
        app.json.sort_keys, app.json.compact = False, True
    ignores_extra = settings.extra == "ignore"
    predict = Predictor(
        WatchedBatcher(
            table.own,
            max_batch_rows=settings.max_batch_rows,
            max_delay=settings.max_delay,
            queue_rows=settings.queue_rows,
            queue_seconds=settings.queue_seconds,
        ),
        ignores_extra=ignores_extra,
    )
    app.register_blueprint(rows_routes(repository, predict, settings))
    app.register_blueprint(inference_v2_routes(repository, predict, settings))
    app.register_blueprint(triton_routes(repository, table, settings))
    app.register_blueprint(tensorflow_routes(repository, predict, settings))
    app.register_blueprint(models_routes(repository))
    app.register_blueprint(status_routes(repository, keys))
    app.register_blueprint(metrics_routes(repository, table))
    app.register_blueprint(repository_routes(repository, settings))
    vertex = Vertex()
    proxies = TrustedProxies(settings.forwarded_allow_ips)
    app.register_blueprint(index_routes(vertex, proxies))
    app.register_blueprint(openapi_routes(repository, vertex, proxies, ignores_extra=ignores_extra))
    app.register_blueprint(clouds_routes(repository, predict, settings, vertex))
    app.register_error_handler(ServingError, _serving_error)
    app.register_error_handler(HTTPException, partial(_http_error, keys))
    app.register_error_handler(Exception, _unexpected)
    app.before_request(partial(_enter, keys))
    fast = FastPath(app.wsgi_app, repository, predict, settings, keys)
    app.wsgi_app = Front(fast, table.own, settings.log_sample)  # type: ignore[method-assign]
    return app


def _proof_limits(settings: Settings) -> ProofLimits:
    """Return the limits within which versions are loaded and proved."""
    return ProofLimits(
        BundleLimits(
            settings.max_manifest_bytes,
            settings.max_selftest_bytes,
            settings.max_graph_bytes,
            settings.allow_loops,
        ),
        largest_batch=max(settings.max_batch_rows, ProofLimits.largest_batch),
        run_seconds=settings.run_seconds,
        proof_seconds=settings.proof_seconds,
        memory_bytes=settings.max_proof_memory,
    )


def _enter(keys: Keys) -> Response | None:
    """Before every view, and every error about the URL: who is asked, and may this client ask."""
    # Werkzeug takes several leading slashes for one: `//predict` would be a second URL of a route.
    is_url = not request.environ["PATH_INFO"].startswith("//")
    rule = request.url_rule.rule if request.url_rule and is_url else None
    request.environ[ROUTE] = rule
    call_in(request.environ).protocol = (request.blueprint or "") if is_url else ""
    if request.method == "OPTIONS" and rule is not None:
        return _allow()
    scope = scope_of(rule, request.endpoint if is_url else None)
    if scope is not None and request.method != "OPTIONS":  # what there is not, is not found
        keys.check(request.environ, scope)
    if not is_url:
        raise NotFound
    return None


def _allow() -> Response:
    """Return the methods of a route, which need no key: browsers ask for them without one.

    There is no `Access-Control-…` header, so browsers let no page of another site read an answer.
    """
    answer: Response = current_app.make_default_options_response()
    answer.status_code = 204
    del answer.headers["Content-Type"]
    return answer


def _serving_error(error: ServingError) -> Response:
    return _tell(error.body(), error.status, error.headers)


def _http_error(keys: Keys, error: HTTPException) -> Response:
    """A fault found by Flask: unknown URL, wrong method, a body that breaks off."""
    status, name = error.code or 500, error.name or "Error"
    path = request.environ["PATH_INFO"].encode("latin-1").decode(errors="replace")[:64]
    if status == 404:
        there_is = f"one of {', '.join(_urls())}"
        if not keys.may_see_details(request.environ):
            there_is = "a path of this server's API, which docs/serving.md lists"
        message = f"expected {there_is}; got {path!r}"
    elif status == 405:
        allowed = _by_hand(getattr(error, "valid_methods", None) or [])
        message = f"expected {allowed} for {path!r}; got {request.method}"
    else:
        message = f"expected a request for {path!r} that can be read; {error.description}"
    # Such as Allow, which 405 owes its client. The headers of the body are ours.
    headers = {k: v for k, v in error.get_headers() if not k.startswith("Content-")}
    code = name.lower().replace(" ", "_")
    return _tell({"error": message, "code": code, "details": {}}, status, headers)


def _urls() -> list[str]:
    """Return the routes of the protocol that was asked: those of all protocols are too many.

    Triton's extensions are left out, since most of them only say that a feature is off.
    """
    asked = form_of(request.path)
    return [
        f"{_by_hand(rule.methods or [])} {rule.rule}"
        for rule in current_app.url_map.iter_rules()
        if form_of(rule.rule) is asked and not rule.endpoint.startswith("triton.")
    ]


def _by_hand(methods: Iterable[str]) -> str:
    """The methods a person would use, of all that are answered."""
    return " or ".join(sorted(set(methods) - {"HEAD", "OPTIONS"}))


def _unexpected(error: Exception) -> Response:
    """A fault of ours: the client gets a number to quote, the log the traceback beside it."""
    fault = InternalError(error, call_in(request.environ).request_id)
    return _tell(fault.body(), fault.status, fault.headers)


def _tell(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """An error's answer, in the form of the protocol whose URL was asked."""
    call_in(request.environ).code = body["code"]
    return respond(told(body, status, headers, request.path))
