"""The Prometheus metrics that workers count, each declared once.

Every label has few values. Paths that no route matches, and names that a client invents, are never
values of a label.
"""

from __future__ import annotations

from serving.telemetry.shared_counters import MetricDefinition

# Upper bounds of histogram buckets: durations in seconds, and rows of a batch.
DURATION_BUCKETS = (
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
BATCH_ROWS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
NO_PROTOCOL = "none"  # protocol of requests that no route matched, or that could not be read
RELOAD_OUTCOMES = ("served", "held", "refused", "unloaded")
EVICTION_REASONS = ("connections", "descriptors")
TLS_FAILURE_CAUSES = ("plain_http", "not_tls", "protocol", "certificate", "other")
# Errors of accept(2), by what they say: no file descriptor or no memory was left for a new
# connection; the client or its network disappeared before the connection was accepted; the
# listening socket is closed or broken; a firewall forbade it.
OUT_OF_RESOURCES_ERROR_NAMES = ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")
CLIENT_GONE_ERROR_NAMES = (
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
)
LISTENER_UNUSABLE_ERROR_NAMES = ("EBADF", "EINVAL", "ENOTSOCK")
ACCEPT_ERROR_NAMES = (
    *OUT_OF_RESOURCES_ERROR_NAMES,
    *CLIENT_GONE_ERROR_NAMES,
    *LISTENER_UNUSABLE_ERROR_NAMES,
    "EPERM",
)
PREDICTION_LABELS = ("protocol", "model", "version", "variant")

REQUESTS = MetricDefinition(
    "forwardpass_requests", "Requests answered, by HTTP status.", (*PREDICTION_LABELS, "code")
)
ROWS_ANSWERED = MetricDefinition(
    "forwardpass_rows", "Rows (instances) of successful predictions.", PREDICTION_LABELS
)
REQUEST_SECONDS = MetricDefinition(
    "forwardpass_request_seconds",
    "Time from the head of a request to its answer.",
    ("protocol", "model"),
    DURATION_BUCKETS,
)
STAGE_SECONDS = MetricDefinition(
    "forwardpass_stage_seconds",
    "Time of each stage of a request: decode, queue (wait for the run), run, encode.",
    ("stage", "protocol", "model"),
    DURATION_BUCKETS,
)
BATCH_ROWS = MetricDefinition(
    "forwardpass_batch_rows",
    "Rows of the batch that a request was run in.",
    ("model",),
    BATCH_ROWS_BUCKETS,
)
RELOADS = MetricDefinition(
    "forwardpass_reloads",
    "Changes of a model's version that each worker tried, by outcome.",
    ("model", "outcome"),
)
CONNECTIONS_EVICTED = MetricDefinition(
    "forwardpass_connections_evicted",
    f"Idle connections closed to make room for new ones, by what ran out: "
    f"{', '.join(EVICTION_REASONS)}.",
    ("reason",),
)
ACCEPT_ERRORS = MetricDefinition(
    "forwardpass_accept_errors",
    "Failed attempts to accept a connection, by the name of the system error.",
    ("error",),
)
TLS_FAILURES = MetricDefinition(
    "forwardpass_tls_handshake_failures",
    f"TLS handshakes that failed, by cause: {', '.join(TLS_FAILURE_CAUSES)}.",
    ("cause",),
)
METRIC_DEFINITIONS = (
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
