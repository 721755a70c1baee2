"""How gunicorn runs the application. Each worker loads the models itself, after fork."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from typing import Any

from gunicorn import util

from serving.agreement import Ledger
from serving.settings import Settings, unknown_twins

_settings = Settings()
logging.basicConfig(
    level=_settings.log_level.upper(),
    format="[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s",
    datefmt="%Y-%m-%d %H:%M:%S %z",  # as gunicorn's own lines
)
for _name in unknown_twins():
    # Not refused: an orchestrator may put variables of a service's name there.
    logging.getLogger(__name__).warning("expected a variable of a setting; got %s; ignored", _name)

wsgi_app = "serving.app:create_app()"
bind = [f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host
        else f"{_settings.host}:{_settings.port}"]  # fmt: skip
workers = _settings.workers
worker_class = "serving.worker.Worker"  # gevent: a slow client keeps no one waiting
keepalive = 75  # seconds: longer than the 60 of common load balancers, so that they hang up first
graceful_timeout = 8  # seconds for requests in progress: container engines kill after 10
loglevel = _settings.log_level
control_socket_disable = True  # it needs a writable file system
# The heartbeat file of a worker belongs in memory: on a slow disk it looks like a hung worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def on_starting(_server: Any) -> None:
    """In the arbiter, before it forks the first worker."""
    Ledger.shared = Ledger()


def _write_json_error(client: socket.socket, status: int, reason: str, fault: str) -> None:
    """What gunicorn answers to a request it cannot parse, and which no application sees."""
    error = {
        "error": f"expected a well-formed HTTP request; got one that was refused: "
        f"{fault or reason}; check what sent it",
        "code": reason.lower().replace(" ", "_"),
        "details": {},
    }
    body = json.dumps(error).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)


util.write_error = _write_json_error  # gunicorn's own is HTML, and it has no setting for it
