"""A server that leaks: it keeps every session it ever swapped in, for `swaps.py` to catch.

It is gunicorn's configuration of the server with another application, so that the rest is real.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "benchmarks.robustness.leaking_config:create_app()"
kept: list[Any] = []


def create_app() -> Any:
    """The server's application, which keeps every model it ever loaded."""
    # In the worker, after fork.
    from serving.http.app import create_app as honest  # noqa: PLC0415
    from serving.repository.loaded_models import LoadedModels  # noqa: PLC0415

    swap = LoadedModels.replace_versions

    def keep(self: LoadedModels, name: str, models: Any) -> None:
        kept.extend(models)
        swap(self, name, models)

    LoadedModels.replace_versions = keep  # type: ignore[method-assign]
    return honest()
