"""gunicorn settings of a server in which the first worker that starts refuses every version 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403


def post_fork(_server: Any, _worker: Any) -> None:
    """Let the first worker that starts fail to load a version 2."""
    # Imported here, so that it is imported in the worker, after fork.
    from serving.bundle import BundleError  # noqa: PLC0415
    from serving.repository import loading  # noqa: PLC0415

    try:
        Path(os.environ["REFUSING_WORKER_FILE"]).touch(exist_ok=False)
    except FileExistsError:  # Another worker was first.
        return
    real_load_version = loading.load_version

    def load_version(models: Path, name: str, snapshot: Any, *options: Any) -> Any:
        if snapshot.version == 2:
            raise BundleError(
                f"{models}/{name}/2: expected another worker; got the one that refuses"
            )
        return real_load_version(models, name, snapshot, *options)

    loading.load_version = load_version
