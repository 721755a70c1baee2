"""gunicorn's configuration of a server of which one worker refuses version 2 of every model.

It is the worker that starts first: it creates the file that the variable ODD_WORKER names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "tests.one_worker_refuses:create_app()"


def create_app() -> Any:
    """Return the server's application, which in one of the workers cannot load version 2."""
    # Imported in the worker, after the fork.
    from serving.bundle import BundleError  # noqa: PLC0415
    from serving.http.app import create_app as create_normal_app  # noqa: PLC0415
    from serving.repository import loading  # noqa: PLC0415

    load_version, marker = loading.load_version, Path(os.environ["ODD_WORKER"])
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return create_normal_app()

    def refuse_version_2(models: Path, name: str, snapshot: Any, *options: Any) -> Any:
        if snapshot.version == 2:
            raise BundleError(f"{models}/{name}/2: expected another worker")
        return load_version(models, name, snapshot, *options)

    loading.load_version = refuse_version_2
    return create_normal_app()
