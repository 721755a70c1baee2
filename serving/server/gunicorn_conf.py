"""gunicorn's configuration file: its settings, and the hooks of the arbiter and the workers.

Each worker loads the models itself, after the fork. What all processes share is created before it:
the imported modules, and the `SharedResources` that each worker and its application get.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import resource
import signal
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime.proof_server import ProofServer
from serving.server.gunicorn_overrides import use_heartbeat_in_memory, use_json_errors
from serving.settings.environment import describe_service_links, find_service_links
from serving.settings.options import Settings, find_unknown_variables
from serving.telemetry import logs
from serving.telemetry.event_metrics import EventMetrics
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


def on_starting(server: Any) -> None:
    """Prepare the arbiter before it forks the first worker."""
    _raise_file_limit()
    _import_shared_modules()
    use_heartbeat_in_memory()
    server.shared = _create_shared_resources()
    os.register_at_fork(after_in_parent=_unblock_stop_signals)


def _create_shared_resources() -> Any:
    # After `_import_shared_modules`, so that the proof server shares the memory of the modules.
    components = importlib.import_module("serving.http.components")
    # If the process that started this one ignored SIGCHLD, it would still be ignored, and the end
    # of a child of the proof server could not be awaited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    shared = components.SharedResources(
        # More slots than workers: after SIGHUP old and new workers run at the same time for a
        # while, and SIGTTIN adds workers.
        counters=SharedCounters(2 * workers + 8),
        state=SharedState(),
        proof_server=ProofServer(),
    )
    components.inherited_resources.set(shared)
    return shared


def _unblock_stop_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


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


def pre_fork(server: Any, worker: Any) -> None:
    """Prepare the arbiter for the fork of a worker."""
    # A new worker has the arbiter's signal handlers, which put a signal into a queue that only the
    # arbiter reads. So these signals stay blocked until the worker has its own handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    assign_shared_resources(server, worker)


def assign_shared_resources(server: Any, worker: Any) -> None:
    """Give a worker what all processes share, and a slot of its own in the counters.

    gunicorn's error responses are counted in that slot, too.
    """
    worker.shared = server.shared
    worker.slot = server.shared.counters.claim_slot()
    use_json_errors(EventMetrics(server.shared.counters.own_slot))


def post_worker_init(worker: Any) -> None:
    """Log that a worker has loaded its models and accepts connections from here on."""
    worker.log.info("worker ready")


def worker_exit(_server: Any, worker: Any) -> None:
    """Clean up in a worker that ends."""
    # A version may still be loading in a thread. Without this, the exit would be counted as a crash
    # that the version caused.
    RolloutStore(worker.shared.state).clear_load_attempt()
    # Otherwise frozen objects would be destroyed at interpreter exit, after modules they need.
    gc.unfreeze()


def child_exit(server: Any, worker: Any) -> None:
    """Release the counters of a worker that has ended or was killed; runs in the arbiter."""
    server.shared.counters.release_slot(worker.slot)


def ssl_context(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the TLS settings of all connections; called if a certificate is configured."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The worker does the handshake itself, within its time limits.
    wrap_later = partial(context.wrap_socket, do_handshake_on_connect=False)
    context.wrap_socket = wrap_later  # type: ignore[method-assign]
    return context
