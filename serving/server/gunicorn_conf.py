"""gunicorn's configuration file: its settings, and the hooks of the arbiter and the workers.

Each worker loads the models itself, after the fork. The imported modules, the counters and the
state of model rollouts, which all processes share, are created before it.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.workers import base
from gunicorn.workers.workertmp import WorkerTmp

from serving.repository.shared_state import SharedState, open_memory_file
from serving.settings.environment import describe_service_links, find_service_links
from serving.settings.options import Settings, find_unknown_variables
from serving.telemetry import logs
from serving.telemetry.request_metrics import count_refused_request
from serving.telemetry.shared_counters import SharedCounters

_settings = Settings()
logs.configure_logging(_settings.log_level)
for _name in find_unknown_variables():
    # Warn instead of failing, because an orchestrator may set other variables with this prefix.
    logging.getLogger(__name__).warning(
        "expected the variable of an option, as listed by `serving run --help`; got %s, which is "
        "ignored; correct its name or remove it",
        _name,
    )
if _links := find_service_links(os.environ):  # none after `serving run`, which removes them
    logging.getLogger(__name__).warning("%s", describe_service_links(_links))

wsgi_app = "serving.http.app:create_app()"
bind = [
    f"[{_settings.host}]:{_settings.port}"
    if ":" in _settings.host
    else f"{_settings.host}:{_settings.port}"
]
workers = _settings.workers
worker_class = "serving.server.worker.Worker"  # gevent: slow clients do not block others
keepalive = _settings.keep_alive
# As gunicorn uses it, the parser in C accepts bare LF, continued lines and more. Our own code
# (`serving.server.request_head`) uses it with additional checks.
http_parser = "python"
graceful_timeout = 8  # seconds for requests in progress: container engines kill after 10
loglevel = _settings.log_level
forwarded_allow_ips = _settings.forwarded_allow_ips
logger_class = "serving.telemetry.logs.GunicornLogger"
certfile = _settings.tls_cert and str(_settings.tls_cert)
keyfile = _settings.tls_key and str(_settings.tls_key)
control_socket_disable = True  # it needs a writable file system

STOP_SIGNALS = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
MAX_OPEN_FILES = 65_536  # limit that a process sets for itself; each connection is an open file


def on_starting(_server: Any) -> None:
    """Prepare the arbiter before it forks the first worker."""
    _raise_file_limit()
    _import_shared_modules()
    SharedState.inherited = SharedState()
    _start_proof_server()
    os.register_at_fork(after_in_parent=_unblock_stop_signals)
    # More slots than workers: after SIGHUP old and new workers run at the same time for a while,
    # and SIGTTIN adds workers.
    SharedCounters.shared = SharedCounters(2 * workers + 8)


def _unblock_stop_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _start_proof_server() -> None:
    # After the shared imports, so that the fork shares their memory. If the process that started
    # this one ignored SIGCHLD, it would still be ignored, and the end of a child could not be
    # awaited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    server = importlib.import_module("serving.runtime.proof_server").ProofServer
    server.shared = server()


def _raise_file_limit() -> None:
    """Allow as many open files as the system grants.

    A shell's default of 1024 can be used up by the connections of one worker.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))


def _import_shared_modules() -> None:
    """Import the modules that every worker needs before the fork, so that workers share the memory.

    ONNX Runtime is not imported, since its threads would not exist in a forked process. NumPy's
    BLAS has threads, too, but ends them before a fork, and each process starts new ones if needed.
    """
    importlib.import_module("serving.http.app")
    gc.collect()
    # Otherwise the first garbage collection of every worker would write to all these objects, and
    # so copy their memory.
    gc.freeze()


def pre_fork(_server: Any, worker: Any) -> None:
    """Prepare the arbiter for the fork of a worker."""
    # A new worker has the arbiter's signal handlers, which put a signal into a queue that only the
    # arbiter reads. So these signals stay blocked until the worker has its own handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    worker.slot = SharedCounters.get_current().claim_slot()


def post_worker_init(worker: Any) -> None:
    """Log that a worker has loaded its models and accepts connections from here on."""
    worker.log.info("worker ready")


def worker_exit(_server: Any, _worker: Any) -> None:
    """Clean up in a worker that ends."""
    if SharedState.inherited is not None:
        # The thread that loads a version may still be running: it does not end by itself.
        module = importlib.import_module("serving.repository.rollout_store")
        module.RolloutStore(SharedState.inherited).clear_load_attempt()
    # Otherwise frozen objects would be destroyed at interpreter exit, after modules they need.
    gc.unfreeze()


def child_exit(_server: Any, worker: Any) -> None:
    """Release the counters of a worker that has ended or was killed; runs in the arbiter."""
    SharedCounters.get_current().release_slot(worker.slot)


def ssl_context(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the TLS settings of all connections; called if a certificate is configured."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The worker does the handshake itself, within its time limits.
    wrap_later = partial(context.wrap_socket, do_handshake_on_connect=False)
    context.wrap_socket = wrap_later  # type: ignore[method-assign]
    return context


def _write_json_error(client: socket.socket, status: int, reason: str, fault: str) -> None:
    """Send an error response in place of the application, for a malformed or timed out request.

    Args:
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
    count_refused_request(status)
    util.write_nonblock(client, head.encode("latin-1") + body)


util.write_error = _write_json_error  # gunicorn's errors are in HTML, and no setting changes that


class HeartbeatFile(WorkerTmp):  # type: ignore[misc]
    """A file in memory whose modification time shows the arbiter that a worker is alive.

    gunicorn's own file is in a folder, which may be missing, full, read-only or slow.
    """

    def __init__(self, _config: Any) -> None:
        self._tmp = os.fdopen(open_memory_file("heartbeat"), "w+b", 0)


base.WorkerTmp = HeartbeatFile  # gunicorn only has a setting for the folder
