"""The routes of Triton's extensions to the Open Inference Protocol, and that of a rollback.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from __future__ import annotations

from functools import partial

from serving.http.error_rendering import OPEN_INFERENCE_FORMAT
from serving.http.handlers import repository, triton
from serving.http.openapi import descriptions
from serving.http.routes import Route, build_model_paths
from serving.repository.index import IndexEntry
from serving.repository.repository import ChangeResult

# A setting's current value is also accepted. The schema leaves it out, as it differs by server.
ONLY_NULLS_SCHEMA = {"type": "object", "additionalProperties": {"type": "null"}}
SETTING_STATUSES = frozenset({400, 408, 413, 415, 503})


def list_repository_routes() -> list[Route]:
    """Return the routes of Triton's model repository extension, and that of a rollback."""
    route = partial(Route, protocol="repository", tag="administration")
    model = "/v2/repository/models/<name>"
    return [
        route(
            "POST",
            ("/v2/repository/index",),
            repository.list_versions,
            descriptions.INDEX,
            answer=list[IndexEntry],
            request=repository.INDEX_OPTIONS_SCHEMA,
        ),
        route(
            "POST",
            (f"{model}/load",),
            repository.load,
            descriptions.LOAD,
            scope="admin",
            answer=ChangeResult,
            request=repository.LOAD_OPTIONS_SCHEMA,
        ),
        route(
            "POST",
            (f"{model}/unload",),
            repository.unload,
            descriptions.UNLOAD,
            scope="admin",
            answer=ChangeResult,
            request=repository.UNLOAD_OPTIONS_SCHEMA,
        ),
        route(
            "POST",
            (f"{model}/rollback",),
            repository.roll_back,
            descriptions.ROLLBACK,
            scope="admin",
            answer=ChangeResult,
            request=repository.ROLLBACK_OPTIONS_SCHEMA,
        ),
    ]


def list_triton_routes() -> list[Route]:
    """Return the routes of Triton's other extensions.

    Features that this server does not have, for example shared memory, still have their routes, so
    that Triton's clients get a clear answer.
    """
    route = partial(Route, protocol="triton", tag="triton", error_format=OPEN_INFERENCE_FORMAT)
    trace_paths = ("/v2/trace/setting", "/v2/models/<name>/trace/setting")
    routes = [
        route(
            "GET",
            ("/v2/models/stats",),
            triton.describe_statistics,
            descriptions.ALL_STATISTICS,
            answer=triton.Statistics,
        ),
        route(
            "GET",
            build_model_paths("/v2/models/", "/stats"),
            triton.describe_statistics,
            descriptions.STATISTICS,
            answer=triton.Statistics,
        ),
        route(
            "GET",
            build_model_paths("/v2/models/", "/config"),
            triton.describe_model_config,
            descriptions.CONFIG,
            answer=triton.ModelConfig,
        ),
        route(
            "GET",
            trace_paths,
            triton.describe_trace_settings,
            descriptions.TRACES,
            answer=triton.TraceSettings,
        ),
        route(
            "POST",
            trace_paths,
            triton.describe_trace_settings,
            descriptions.CHANGE_TRACES,
            answer=triton.TraceSettings,
            request=ONLY_NULLS_SCHEMA,
            error_statuses=SETTING_STATUSES,
        ),
        route(
            "GET",
            ("/v2/logging",),
            triton.describe_log_settings,
            descriptions.LOGGING,
            answer=triton.LogSettings,
        ),
        route(
            "POST",
            ("/v2/logging",),
            triton.describe_log_settings,
            descriptions.CHANGE_LOGGING,
            answer=triton.LogSettings,
            request=ONLY_NULLS_SCHEMA,
            error_statuses=SETTING_STATUSES,
        ),
    ]
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        region = f"/v2/{kind}/region/<region>"
        routes += [
            route(
                "GET",
                (f"/v2/{kind}/status",),
                triton.list_regions,
                descriptions.LIST_REGIONS,
                answer={"type": "array", "maxItems": 0},
            ),
            route(
                "GET",
                (f"{region}/status",),
                triton.refuse_region,
                descriptions.DESCRIBE_REGION,
                error_statuses=frozenset({400}),
            ),
            route(
                "POST",
                (f"{region}/register",),
                triton.refuse_region,
                descriptions.REGISTER_REGION,
                error_statuses=frozenset({400}),
            ),
            route(
                "POST",
                (f"/v2/{kind}/unregister", f"{region}/unregister"),
                triton.unregister_region,
                descriptions.UNREGISTER_REGION,
                answer={"type": "object"},
            ),
        ]
    return routes
