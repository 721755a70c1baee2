"""gunicorn's configuration of a server that never returns heap memory to the system.

`test_memory.py` must notice the difference.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403


def post_fork(_server: Any, _worker: Any) -> None:
    """Let the worker never trim its heap."""
    # Imported in the worker, after the fork.
    from serving.runtime import heap  # noqa: PLC0415

    heap._malloc_trim = None  # type: ignore[assignment]
