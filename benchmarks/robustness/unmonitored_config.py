"""The server without its outermost layer: no request numbers, counts, logs or security headers.

It is gunicorn's configuration of the server with another application, so that the rest is real.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "benchmarks.robustness.unmonitored_config:create_app()"


def create_app() -> Any:
    """The server's application, unwrapped."""
    from serving.http.app import create_app as watched  # noqa: PLC0415 - in the worker, after fork

    app: Any = watched()
    app.wsgi_app = app.wsgi_app._app
    return app
