"""gunicorn's configuration of a server that never returns heap memory to the system.

`test_memory.py` must notice the difference.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "tests.without_trim:create_app()"


def create_app() -> Any:
    """Return the server's application, whose heap is never trimmed."""
    # Imported in the worker, after the fork.
    from serving.http.app import create_app as create_normal_app  # noqa: PLC0415
    from serving.runtime import heap  # noqa: PLC0415

    heap._malloc_trim = None  # type: ignore[assignment]
    return create_normal_app()
