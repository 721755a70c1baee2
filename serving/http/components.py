"""The components of one server process, which `create_app` builds and every handler is given."""

from __future__ import annotations

from dataclasses import dataclass

from serving.http.api_keys import ApiKeys
from serving.http.body_limits import BodyMemory
from serving.http.openapi import OpenApiDocument
from serving.http.trusted_proxies import TrustedProxies
from serving.inference.predictor import Predictor
from serving.repository import Repository
from serving.settings.options import Settings
from serving.telemetry.shared_counters import SharedCounters


@dataclass(frozen=True)
class ServerComponents:
    """What a handler needs besides the request itself.

    Attributes:
        settings: Options of the server.
        repository: Loaded models, by name and version.
        predictor: Object that decodes requests, runs models and encodes answers.
        api_keys: API keys that the server accepts.
        proxies: Proxies whose `X-Forwarded-Prefix` is trusted.
        counters: Shared memory with the counters of all workers.
        body_memory: Bytes of the large bodies that this process is reading.
        openapi: Description of the API for the models that are served now.
    """

    settings: Settings
    repository: Repository
    predictor: Predictor
    api_keys: ApiKeys
    proxies: TrustedProxies
    counters: SharedCounters
    body_memory: BodyMemory
    openapi: OpenApiDocument
