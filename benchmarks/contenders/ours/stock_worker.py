"""The server under gunicorn's stock gevent worker, to measure what its own worker is worth.

It is gunicorn's configuration of the server with another worker class and gunicorn's default choice
of an HTTP parser, so that the rest is the same.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

worker_class = "gevent"
http_parser = "auto"


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its counters; the server's own worker also takes blocked stop signals."""
    assign_shared_resources(server, worker)  # noqa: F405
