"""The families: every metric that is counted, declared once. Values of labels are few, always.

A path that no route knows, or a name that a client made up, is no label.
"""

from __future__ import annotations

from serving.telemetry.shared_counters import Family

SECONDS = (
    25e-6,
    50e-6,
    100e-6,
    250e-6,
    500e-6,
    1e-3,
    2.5e-3,
    5e-3,
    10e-3,
    25e-3,
    50e-3,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
VERSION = ("protocol", "model", "version", "variant")

REQUESTS = Family(
    "forwardpass_requests", "Requests that were answered, by HTTP status.", (*VERSION, "code")
)
ROWS_ANSWERED = Family("forwardpass_rows", "Instances that were answered.", VERSION)
REQUEST_SECONDS = Family(
    "forwardpass_request_seconds",
    "From the head of a request to its answer.",
    ("protocol", "model"),
    SECONDS,
)
STAGE_SECONDS = Family(
    "forwardpass_stage_seconds",
    "Of that: decode to arrays, wait in the queue, run the graph, encode the answer.",
    ("stage", "protocol", "model"),
    SECONDS,
)
BATCH_ROWS = Family(
    "forwardpass_batch_rows", "Rows of the run that answered a request.", ("model",), ROWS
)
RELOADS = Family(
    "forwardpass_reloads",
    "Attempts of each worker to take up, or go back to, a version, by outcome.",
    ("model", "outcome"),
)
CONNECTIONS_EVICTED = Family(
    "forwardpass_connections_evicted",
    "Idle connections closed to make room for new ones, by what ran out: connections, descriptors.",
    ("reason",),
)
ACCEPT_ERRORS = Family(
    "forwardpass_accept_errors",
    "Failed attempts to accept a connection, by name of the system's error.",
    ("error",),
)
TLS_FAILURES = Family(
    "forwardpass_tls_handshake_failures",
    "TLS handshakes that failed, by cause: plain_http, not_tls, protocol, certificate, other.",
    ("cause",),
)
FAMILIES = (
    REQUESTS,
    ROWS_ANSWERED,
    REQUEST_SECONDS,
    STAGE_SECONDS,
    BATCH_ROWS,
    RELOADS,
    CONNECTIONS_EVICTED,
    ACCEPT_ERRORS,
    TLS_FAILURES,
)
