"""The components of a server: those that its processes share, and those of one process."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from serving.http.api_keys import ApiKeys
from serving.http.body_limits import BodyMemory
from serving.http.openapi import OpenApiDocument
from serving.http.routes import RouteTable
from serving.http.trusted_proxies import TrustedProxies
from serving.inference.predictor import Predictor
from serving.repository import Repository
from serving.repository.shared_state import SharedState
from serving.runtime.proof_server import ProofServer
from serving.settings.options import Settings
from serving.telemetry.shared_counters import SharedCounters


@dataclass(frozen=True)
class SharedResources:
    """What all processes of one server share. It is created before the first one is forked.

    Attributes:
        counters: Shared memory with the counters of all workers.
        state: State of rollouts, by which workers agree on versions; None for a single process.
        proof_server: Server that tests versions in separate processes before they are loaded; None
            to load them without that test.
    """

    counters: SharedCounters
    state: SharedState | None = None
    proof_server: ProofServer | None = None


# gunicorn knows the application by a text, which it evaluates in each worker, so that nothing can
# be passed to `create_app` there. The arbiter sets this variable before it forks the workers.
inherited_resources: ContextVar[SharedResources | None] = ContextVar(
    "inherited_resources", default=None
)


@dataclass(frozen=True)
class ServerComponents:
    """What a handler needs besides the request itself; `create_app` builds it in each process.

    Attributes:
        settings: Options of the server.
        routes: All routes of the server.
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        api_keys: API keys that the server accepts.
        proxies: Proxies whose `X-Forwarded-Prefix` is trusted.
        counters: Shared memory with the counters of all workers.
        body_memory: Bytes of the large bodies that this process is reading.
        openapi: Description of the API for the models that are served now.
    """

    settings: Settings
    routes: RouteTable
    repository: Repository
    predictor: Predictor
    api_keys: ApiKeys
    proxies: TrustedProxies
    counters: SharedCounters
    body_memory: BodyMemory
    openapi: OpenApiDocument
