"""gunicorn settings of a server in which the first worker that starts refuses every version 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "tests.one_worker_refuses:create_app()"


def create_app() -> Any:
    """Return the application of the server; loading a version 2 fails in the first worker."""
    # Imported here, so that it is imported in the worker, after fork.
    from serving.bundle import BundleError  # noqa: PLC0415
    from serving.http.app import create_app as create_real_app  # noqa: PLC0415
    from serving.repository import loading  # noqa: PLC0415

    real_load_version = loading.load_version
    try:
        Path(os.environ["REFUSING_WORKER_FILE"]).touch(exist_ok=False)
    except FileExistsError:  # Another worker was first.
        return create_real_app()

    def load_version(models: Path, name: str, snapshot: Any, *options: Any) -> Any:
        if snapshot.version == 2:
            raise BundleError(
                f"{models}/{name}/2: expected another worker; got the one that refuses"
            )
        return real_load_version(models, name, snapshot, *options)

    loading.load_version = load_version
    return create_real_app()
