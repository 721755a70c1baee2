"""How gunicorn runs the application. Each worker loads the models itself, after fork."""

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
    # Not refused: an orchestrator may put variables of its own there.
    logging.getLogger(__name__).warning(
        "expected the variable of an option, as `serving run --help` lists them; got %s, which is "
        "ignored",
        _name,
    )
if _links := find_service_links(os.environ):  # `serving run` has warned of them and taken them out
    logging.getLogger(__name__).warning("%s", describe_service_links(_links))

wsgi_app = "serving.http.app:create_app()"
bind = [
    f"[{_settings.host}]:{_settings.port}"
    if ":" in _settings.host
    else f"{_settings.host}:{_settings.port}"
]
workers = _settings.workers
worker_class = "serving.server.worker.Worker"  # gevent: a slow client keeps no one waiting
keepalive = _settings.keep_alive
# Its parser in C takes bare LF, continued lines and more; `request_head` uses it strictly.
http_parser = "python"
graceful_timeout = 8  # seconds for requests in progress: container engines kill after 10
loglevel = _settings.log_level
forwarded_allow_ips = _settings.forwarded_allow_ips
logger_class = "serving.telemetry.logs.GunicornLogger"
certfile = _settings.tls_cert and str(_settings.tls_cert)
keyfile = _settings.tls_key and str(_settings.tls_key)
control_socket_disable = True  # it needs a writable file system

STOP_SIGNALS = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
MAX_OPEN_FILES = 65_536  # that a process may have open, a connection each


def on_starting(_server: Any) -> None:
    """In the arbiter, before it forks the first worker."""
    _raise_file_limit()
    _import_shared_modules()
    SharedState.inherited = SharedState()
    _start_proof_server()
    os.register_at_fork(after_in_parent=_unblock_stop_signals)
    # On SIGHUP all workers are there twice for a while, and SIGTTIN adds some.
    SharedCounters.shared = SharedCounters(2 * workers + 8)


def _unblock_stop_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _start_proof_server() -> None:
    # Fork it after the shared imports; importing this module is one of them. Where the parent
    # process ignored the end of its children, so would this one, and could not wait for any.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    server = importlib.import_module("serving.runtime.proof_server").ProofServer
    server.shared = server()


def _raise_file_limit() -> None:
    """As many as are granted: shells give 1024, which a worker's connections alone can take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))


def _import_shared_modules() -> None:
    """What is imported before the fork is in memory once.

    All of it but ONNX Runtime, whose threads would not be there in a worker. NumPy's BLAS has some
    as well, but ends them before a fork, and each process begins its own when it multiplies.
    """
    importlib.import_module("serving.http.app")
    gc.collect()
    gc.freeze()  # or every worker's first collection would write to all of it, and so copy it


def pre_fork(_server: Any, worker: Any) -> None:
    """In the arbiter, before it forks a worker."""
    # In the worker these wait for its own handlers: the arbiter's, which it has until then, would
    # put them into a queue that no one reads there.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    worker.slot = SharedCounters.get_current().claim_slot()


def post_worker_init(worker: Any) -> None:
    """Log that a worker has loaded its models and accepts connections from here on."""
    worker.log.info("worker ready")


def worker_exit(_server: Any, _worker: Any) -> None:
    """In a worker that ends."""
    if SharedState.inherited is not None:  # in what it was loading, a thread does not end by itself
        store = importlib.import_module("serving.repository.rollout_store").RolloutStore
        store(SharedState.inherited).clear_load_attempt()
    gc.unfreeze()  # what is left to the interpreter's end meets modules that are gone


def child_exit(_server: Any, worker: Any) -> None:
    """In the arbiter, after a worker has ended, however it did."""
    SharedCounters.get_current().release_slot(worker.slot)


def ssl_context(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """How connections are encrypted, if there is a certificate."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The worker shakes hands itself, and no longer than it waits for anything else of a client.
    shake_later = partial(context.wrap_socket, do_handshake_on_connect=False)
    context.wrap_socket = shake_later  # type: ignore[method-assign]
    return context


def _write_json_error(client: socket.socket, status: int, reason: str, fault: str) -> None:
    """Answer a request that gunicorn cannot parse, or that takes too long; no application does."""
    if status not in (408, 504):  # whose fault is a whole sentence
        fault = (
            f"expected a well-formed HTTP request; got one that was refused: {fault or reason}; "
            f"check what sent it"
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


util.write_error = _write_json_error  # gunicorn's own is HTML, and it has no setting for it


class HeartbeatFile(WorkerTmp):  # type: ignore[misc]
    """The file whose time of change says that a worker lives; in memory, and in no folder.

    gunicorn puts it into a folder, which may be missing, full, read-only or slow.
    """

    def __init__(self, _config: Any) -> None:
        self._tmp = os.fdopen(open_memory_file("heartbeat"), "w+b", 0)


base.WorkerTmp = HeartbeatFile  # gunicorn has a setting for the folder only
