"""A server that never gives memory back: what `test_memory.py` must notice."""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "tests.without_trim:create_app()"


def create_app() -> Any:
    """Return the server's application, whose heap is never trimmed."""
    # In the worker, after fork.
    from serving.http.app import create_app as honest  # noqa: PLC0415
    from serving.runtime import heap  # noqa: PLC0415

    heap._malloc_trim = None  # type: ignore[assignment]
    return honest()
