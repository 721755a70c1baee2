"""gunicorn settings of the server without its middleware: no request ids, counters or logs.

`monitoring_cost.py` compares the server with it.
"""

from __future__ import annotations

from typing import Any

from serving.server.gunicorn_conf import *  # noqa: F403

wsgi_app = "benchmarks.robustness.unmonitored_config:create_app()"


def create_app() -> Any:
    """Return the server's application without its outermost layer."""
    # Imported here, so that it is imported in the worker, after the fork.
    from serving.http.app import create_app as create_monitored_app  # noqa: PLC0415

    app: Any = create_monitored_app()
    app.wsgi_app = app.wsgi_app._app
    return app
