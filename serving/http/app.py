"""The Flask application: `create_app` builds the components of a server and connects them.

Two WSGI callables wrap Flask: the middleware, which every request passes, and inside it the fast
path, which answers plain predictions without Flask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, NotFound

from serving.bundle import BundleLimits
from serving.call_context import get_context
from serving.codec.messages import EncodedAnswer
from serving.errors import InternalError, ServingError
from serving.http.api_keys import ApiKeys
from serving.http.body_limits import BodyMemory
from serving.http.components import ServerComponents, SharedResources, inherited_resources
from serving.http.error_rendering import ErrorFormat, render_error_body
from serving.http.fast_path import FastPath
from serving.http.middleware import RequestMiddleware
from serving.http.openapi import OpenApiDocument
from serving.http.requests import STATUS_LINES
from serving.http.route_table import build_route_table
from serving.http.routes import CONVERTERS, Route
from serving.http.trusted_proxies import TrustedProxies
from serving.inference.batching import InstrumentedBatcher
from serving.inference.predictor import Predictor
from serving.repository import Repository, RepositoryOptions
from serving.repository.folder_scan import require_models_folder
from serving.runtime import ProofLimits
from serving.settings.cloud_platforms import VertexSettings
from serving.settings.options import Settings
from serving.telemetry.event_metrics import EventMetrics
from serving.telemetry.shared_counters import SharedCounters


def create_app(shared: SharedResources | None = None, **options: Any) -> Flask:
    """Return the WSGI application that serves every model of a repository.

    It loads the models and runs their self-tests before it returns. Call it in the process that
    will answer requests, after any fork.

    Args:
        shared: Resources that the processes of a server share; None for those that the worker
            inherits under this server's gunicorn configuration. Under another WSGI server there are
            none, and each process counts and loads versions by itself.
        options: Values of `Settings` by name, for instance `models="models"`. Options that are left
            out are read from environment variables.

    Raises:
        pydantic.ValidationError: If an option is unknown or its value is out of range.
        NotADirectoryError: If the folder of models cannot be read, or is the folder of one model.
        ValueError: If Vertex AI chose the path of a route with another purpose.
    """
    settings = Settings(**options)
    # A worker of `serving run` skips this check. The command has made it, and a worker that starts
    # later must not fail if the folder has changed, since the other workers go on serving.
    shared = shared or inherited_resources.get()
    if shared is None:
        require_models_folder(settings.models)
        shared = SharedResources(SharedCounters())
    server = _build_components(settings, shared)
    app = Flask("serving", static_folder=None)
    _add_routes(app, server)
    app.register_error_handler(ServingError, partial(_render_serving_error, server))
    app.register_error_handler(HTTPException, partial(_render_http_error, server))
    app.register_error_handler(Exception, partial(_render_unexpected_error, server))
    app.before_request(partial(_prepare_request, server))
    fast_path = FastPath(app.wsgi_app, server)
    app.wsgi_app = RequestMiddleware(  # type: ignore[method-assign]
        fast_path, shared.counters.own_slot, settings.log_sample
    )
    return app


def _build_components(settings: Settings, shared: SharedResources) -> ServerComponents:
    routes = build_route_table(VertexSettings())
    api_keys = ApiKeys(settings.keys)
    api_keys.start_watching()
    ignores_extra = settings.extra == "ignore"
    repository = Repository(
        settings.models,
        RepositoryOptions(
            variant=settings.variant,
            keep=settings.keep,
            poll=settings.poll,
            take_up=settings.take_up,
            state=settings.state,
            default_model=settings.default_model,
            limits=_build_proof_limits(settings),
            should_ignore_extra=ignores_extra,
        ),
        shared_state=shared.state,
        on_outcome=EventMetrics(shared.counters.own_slot).count_reload,
        proof_server=shared.proof_server,
    )
    repository.load()
    repository.watch()
    batcher = InstrumentedBatcher(
        shared.counters.own_slot,
        max_batch_rows=settings.max_batch_rows,
        max_delay=settings.max_delay,
        queue_rows=settings.queue_rows,
        queue_seconds=settings.queue_seconds,
    )
    return ServerComponents(
        settings=settings,
        routes=routes,
        repository=repository,
        predictor=Predictor(batcher),
        api_keys=api_keys,
        proxies=TrustedProxies(settings.forwarded_allow_ips),
        counters=shared.counters,
        body_memory=BodyMemory(),
        openapi=OpenApiDocument(routes, repository, ignores_extra=ignores_extra),
    )


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


def _add_routes(app: Flask, server: ServerComponents) -> None:
    # If slashes were merged, Flask would answer `//` with a redirect whose body is HTML.
    app.url_map.merge_slashes = False
    app.url_map.converters.update(CONVERTERS)
    for route in server.routes:
        view = _create_view(server, route)
        for path in route.paths:
            app.add_url_rule(path, route.endpoint, view, methods=[route.method])


def _create_view(server: ServerComponents, route: Route) -> Callable[..., Response]:
    def view(**values: str) -> Response:
        return _to_flask_response(route.handler(server, request.environ, **values))

    return view


def _prepare_request(server: ServerComponents) -> Response | None:
    """Record the route of a request and check its API key.

    Flask calls this before every view, and before it raises an error about the URL.

    Returns:
        The answer to an OPTIONS request; None to let the view answer.
    """
    environ, route = request.environ, _get_route(server)
    if route is not None and request.url_rule is not None:
        context = get_context(environ)
        context.route, context.protocol = request.url_rule.rule, route.protocol
    if request.method != "OPTIONS":
        server.api_keys.authorize(environ, "predict" if route is None else route.scope)
    elif route is not None:  # otherwise Flask answers with 404, as for every URL without a route
        return _answer_options_request()
    if not _has_single_leading_slash():
        raise NotFound
    return None


def _has_single_leading_slash() -> bool:
    """Return whether the path has a single leading slash.

    Werkzeug treats several as one, and `//predict` must not be another URL of `/predict`.
    """
    return not request.environ["PATH_INFO"].startswith("//")


def _get_route(server: ServerComponents) -> Route | None:
    """Return the route of the request; None if its URL or method has none."""
    return server.routes.get_route(request.endpoint) if _has_single_leading_slash() else None


def _get_error_format(server: ServerComponents) -> ErrorFormat:
    route = _get_route(server)
    if route is None:
        return server.routes.find_error_format(request.path)
    return route.error_format


def _answer_options_request() -> Response:
    """Answer an OPTIONS request: no body, and the methods of the route in the header `Allow`.

    No key is needed, because browsers send none with a preflight request. The answer has no
    `Access-Control-…` header, so that browsers let no page of another site read the server's
    answers.
    """
    answer: Response = current_app.make_default_options_response()
    answer.status_code = 204
    del answer.headers["Content-Type"]
    return answer


def _to_flask_response(answer: EncodedAnswer) -> Response:
    response = Response(
        answer.content,
        STATUS_LINES[answer.status],
        list(answer.headers),
        content_type=answer.media_type,
    )
    if not answer.media_type:  # Flask would declare an empty body as HTML
        del response.headers["Content-Type"]
    return response


def _render_serving_error(server: ServerComponents, error: ServingError) -> Response:
    return _render(error.to_dict(), error.status, error.headers, server)


def _render_http_error(server: ServerComponents, error: HTTPException) -> Response:
    """Render an error that Flask raised: an unknown URL, a wrong method."""
    status, name = error.code or 500, error.name or "Error"
    path = request.environ["PATH_INFO"].encode("latin-1").decode(errors="replace")[:64]
    if status == 404:
        expected = f"one of {', '.join(_list_routes(server))}"
        if not server.api_keys.may_see_details(request.environ):  # only OPTIONS needs no key
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
    return _render({"error": message, "code": code, "details": {}}, status, headers, server)


def _list_routes(server: ServerComponents) -> list[str]:
    """Return the routes of the protocol that the URL belongs to, each as its method and its path.

    The routes of all protocols would be too many for an error message. Triton's extensions are left
    out, since most of them only say that a feature is off.
    """
    error_format = _get_error_format(server)
    return [
        f"{route.method} {path}"
        for route in server.routes
        if route.error_format is error_format and route.protocol != "triton"
        for path in route.paths
    ]


def _join_methods(methods: Iterable[str]) -> str:
    """Return the methods that a client would choose from, joined by `or`."""
    return " or ".join(sorted(set(methods) - {"HEAD", "OPTIONS"}))


def _render_unexpected_error(server: ServerComponents, error: Exception) -> Response:
    """Render an exception that nothing caught; `InternalError` logs its traceback."""
    internal_error = InternalError(error, get_context(request.environ).request_id)
    return _render_serving_error(server, internal_error)


def _render(
    body: dict[str, Any], status: int, headers: Mapping[str, str], server: ServerComponents
) -> Response:
    """Return an error response in the format of the protocol that the URL belongs to."""
    get_context(request.environ).error_code = body["code"]
    return _to_flask_response(render_error_body(body, status, headers, _get_error_format(server)))
