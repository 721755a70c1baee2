"""How gunicorn runs the application. Each worker loads the models itself, after fork."""

from __future__ import annotations

import logging
from pathlib import Path

from serving.settings import Settings

_settings = Settings()
logging.basicConfig(level=_settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")

wsgi_app = "serving.app:create_app()"
bind = [f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host
        else f"{_settings.host}:{_settings.port}"]  # fmt: skip
workers = _settings.workers
worker_class = "gthread"  # keep-alive, and slow clients block no one
threads = _settings.threads
keepalive = 75  # seconds: longer than the 60 of common load balancers, so that they hang up first
loglevel = _settings.log_level
control_socket_disable = True  # it needs a writable file system
# The heartbeat file of a worker belongs in memory: on a slow disk it looks like a hung worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
