"""gunicorn settings of a server that leaks: it keeps every session that it has ever loaded.

The robustness scenarios must notice it, in memory that grows with every swap of versions.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "benchmarks.robustness.leaking_config:create_app()"
leaked_models: list[Any] = []


def create_app() -> Any:
    """Return the server's application with a `replace_versions` that keeps all models."""
    # Imported here, so that they are imported in the worker, after the fork.
    from serving.http.app import create_app as create_real_app  # noqa: PLC0415
    from serving.repository.loaded_models import LoadedModels  # noqa: PLC0415

    replace_versions = LoadedModels.replace_versions

    def leak_versions(self: LoadedModels, name: str, models: Any) -> None:
        leaked_models.extend(models)
        replace_versions(self, name, models)

    LoadedModels.replace_versions = leak_versions  # type: ignore[method-assign]
    return create_real_app()
