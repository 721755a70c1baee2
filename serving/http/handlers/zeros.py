"""Counters that start at 0: the series that are exposed before their first event.

A counter that appears with its first event begins at 1 for Prometheus: `increase()` and `rate()` do
not see that event, which may be the only one. So every series whose labels are known beforehand
begins at 0: outcomes, reasons and errors, and the statuses of every served version. None of them
takes memory in the table of counters.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from serving.repository import Repository
from serving.telemetry.metric_definitions import (
    ACCEPT_ERRORS,
    CONNECTIONS_EVICTED,
    RELOADS,
    REQUESTS,
    ROWS_ANSWERED,
    TLS_FAILURES,
)
from serving.telemetry.request_metrics import NO_PROTOCOL

RELOAD_OUTCOMES = ("served", "held", "refused", "unloaded")
EVICTION_REASONS = ("connections", "descriptors")
# Errors of accept(2): resources that ran out, connections that failed, an unusable socket.
ACCEPT_ERROR_NAMES = (
    "EMFILE",
    "ENFILE",
    "ENOBUFS",
    "ENOMEM",
    "EPERM",
    "ECONNABORTED",
    "ECONNRESET",
    "EPROTO",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ETIMEDOUT",
    "EINTR",
    "EBADF",
    "EINVAL",
    "ENOTSOCK",
)
TLS_FAILURE_CAUSES = ("plain_http", "not_tls", "protocol", "certificate", "other")
PREDICTION_PROTOCOLS = (
    "rows",
    "inference_v2",
    "tensorflow",
    "clouds",
)  # protocols of requests for a model
PREDICTION_STATUSES = (200, 400, 408, 413, 415, 422, 499, 500, 503, 504)  # of requests for a model
NO_MODEL = ("", "", "")
# Statuses of requests that never came to a model, by protocol.
STATUSES_WITHOUT_MODEL = {
    **dict.fromkeys(PREDICTION_PROTOCOLS, (400, 401, 403, 404, 500, 503)),
    "triton": (200, 400, 401, 403, 404, 500),
    "repository": (200, 400, 401, 403, 404, 409, 500, 503),
    NO_PROTOCOL: (400, 404, 405, 408, 413, 414, 431, 500),
}


def iterate_initial_series(repository: Repository) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the metric's name and the label values of each series that begins at 0."""
    for reason in EVICTION_REASONS:
        yield CONNECTIONS_EVICTED.name, (reason,)
    for error in ACCEPT_ERROR_NAMES:
        yield ACCEPT_ERRORS.name, (error,)
    for cause in TLS_FAILURE_CAUSES:
        yield TLS_FAILURES.name, (cause,)
    for protocol, statuses in STATUSES_WITHOUT_MODEL.items():
        for status in statuses:
            yield REQUESTS.name, (protocol, *NO_MODEL, str(status))
    for name in list(repository.served):
        for outcome in RELOAD_OUTCOMES:
            yield RELOADS.name, (name, outcome)
        for model, protocol in product(repository.versions(name).values(), PREDICTION_PROTOCOLS):
            yield ROWS_ANSWERED.name, (protocol, *model.label)
            for status in PREDICTION_STATUSES:
                yield REQUESTS.name, (protocol, *model.label, str(status))
