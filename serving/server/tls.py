"""TLS handshakes, and how failures are counted and logged."""

from __future__ import annotations

import logging
import ssl
from typing import Any

from serving.telemetry.log_rate_limit import LogRateLimiter
from serving.telemetry.request_metrics import count_tls_failure

# What OpenSSL calls a failure, what the metrics call it, and what is logged.
FAILURE_CAUSES: dict[str, tuple[str, str]] = {
    "HTTP_REQUEST": (
        "plain_http",
        "expected TLS; got plain HTTP on the TLS port; let the client use https://",
    ),
    "HTTPS_PROXY_REQUEST": (
        "plain_http",
        "expected TLS; got a plain HTTP CONNECT; this is no proxy",
    ),
    "WRONG_VERSION_NUMBER": (
        "not_tls",
        "expected TLS; got other bytes; let the client use https://",
    ),
    "UNSUPPORTED_PROTOCOL": (
        "protocol",
        "expected TLS 1.2 or 1.3; got an older version; update the client",
    ),
    "NO_SHARED_CIPHER": (
        "protocol",
        "expected a cipher that both sides have; got none; update the client",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "certificate",
        "the client does not trust this certificate: give it the authority's",
    ),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (
        "certificate",
        "the client refuses this certificate; check its names and its authority",
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        "certificate",
        "the client refuses this certificate; check its names and its authority",
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "certificate",
        "the client says that this certificate has expired; renew it",
    ),
}
OTHER_CAUSE = "other"
LOG_PERIOD_SECONDS = 60.0  # from a log line of a cause to the number of its repetitions

log = logging.getLogger(__name__)


def complete_handshake(client: Any) -> bool:
    """Do the TLS handshake if the connection uses TLS; return whether it can be used.

    A client that only disconnects, such as a load balancer's check, is not counted as a failure.

    Args:
        client: Socket of the connection.

    Raises:
        OSError: If the client is gone.
    """
    if not isinstance(client, ssl.SSLSocket):
        return True
    try:
        client.do_handshake()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return False
    except ssl.SSLError as error:
        reason = error.reason or ""
        name, text = FAILURE_CAUSES.get(
            reason, (OTHER_CAUSE, reason.lower().replace("_", " ") or str(error))
        )
        count_tls_failure(name)
        if _log_limit.should_log(text):
            log.warning("TLS handshake failed: %s", text)
        return False
    return True


def _log_repetitions(text: str, count: int) -> None:
    log.warning("TLS handshake failed: %s; %d more in %.0f s", text, count, LOG_PERIOD_SECONDS)


_log_limit = LogRateLimiter(_log_repetitions, max_lines=1, period_seconds=LOG_PERIOD_SECONDS)
