"""What this server replaces inside gunicorn, since gunicorn has no setting for it.

- `gunicorn.util.write_error`, which gunicorn's workers call for a request that cannot be read: its
  errors are in HTML, and nothing counts them.
- `gunicorn.workers.base.WorkerTmp`, the file whose time shows that a worker is alive: only its
  folder can be set, which may be missing, full, read-only or slow.
"""

from __future__ import annotations

import json
import os
import socket
from functools import partial

from gunicorn import util
from gunicorn.workers import base
from gunicorn.workers.workertmp import WorkerTmp

from serving.repository.shared_state import open_memory_file
from serving.telemetry.event_metrics import EventMetrics


class HeartbeatFile(WorkerTmp):  # type: ignore[misc]
    """A file in memory whose modification time shows the arbiter that a worker is alive."""

    def __init__(self, _config: object) -> None:
        self._tmp = os.fdopen(open_memory_file("heartbeat"), "w+b", 0)


def use_heartbeat_in_memory() -> None:
    """Let gunicorn create a `HeartbeatFile` for each worker; call it in the arbiter."""
    base.WorkerTmp = HeartbeatFile


def use_json_errors(metrics: EventMetrics) -> None:
    """Let gunicorn answer requests that it cannot read as `write_error_response` does.

    Args:
        metrics: Counters of the process that answers.
    """
    util.write_error = partial(write_error_response, metrics)


def write_error_response(
    metrics: EventMetrics, client: socket.socket, status: int, reason: str, fault: str
) -> None:
    """Send an error response in place of the application, for a malformed or timed out request.

    Args:
        metrics: Counters of this process.
        client: Socket of the connection.
        status: HTTP status.
        reason: HTTP reason phrase, from which the error code is made.
        fault: Description of the fault; for 408 and 504 the whole error message.
    """
    if status not in (408, 504):
        fault = (
            f"expected a well-formed HTTP request; got one that was refused: {fault or reason}; "
            f"check the program that sent it"
        )
    error = {
        "error": fault,
        "code": reason.lower().replace(" ", "_"),
        "details": {},
    }
    body = json.dumps(error).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    metrics.count_refused_request(status)
    util.write_nonblock(client, head.encode("latin-1") + body)
