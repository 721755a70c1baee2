"""gunicorn settings of the server under gunicorn's own gevent worker.

They measure what the server's own worker is worth: only the worker class differs, and the HTTP
parser, which is gunicorn's default choice.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

worker_class = "gevent"
http_parser = "auto"


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its counters, without blocking the stop signals as for our own worker."""
    assign_shared_resources(server, worker)  # noqa: F405
