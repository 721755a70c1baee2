"""A server of which one worker, the first to try, refuses version 2 of every model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "tests.one_worker_refuses:create_app()"


def create_app() -> Any:
    """The server's application, whose proofs fail in one of the workers."""
    # In the worker, after fork.
    from serving.bundle import BundleError  # noqa: PLC0415
    from serving.http.app import create_app as honest  # noqa: PLC0415
    from serving.repository import loading as loader  # noqa: PLC0415

    real, taken = loader.load_version, Path(os.environ["ODD_WORKER"])
    try:
        taken.touch(exist_ok=False)
    except FileExistsError:
        return honest()

    def prove(models: Path, name: str, edition: Any, *options: Any) -> Any:
        if edition.version == 2:
            raise BundleError(f"{models}/{name}/2: expected what this worker is not")
        return real(models, name, edition, *options)

    loader.load_version = prove
    return honest()
