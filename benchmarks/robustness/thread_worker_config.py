"""gunicorn settings of the server under gunicorn's thread worker, where no batches are formed.

`answer_isolation.py` compares the server with it.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

worker_class = "gthread"
threads = 8
http_parser = "auto"


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its counters, without blocking the stop signals as for our own worker."""
    assign_shared_resources(server, worker)  # noqa: F405
