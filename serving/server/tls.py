"""TLS handshakes: each failure is counted by cause, and logged at most once a minute by cause."""

from __future__ import annotations

import logging
import ssl
from typing import Any

from serving.telemetry.event_metrics import EventMetrics
from serving.telemetry.log_rate_limit import LogRateLimiter

# OpenSSL's reason of a failure: the value of the metric's label `cause`, and the text to log.
FAILURE_CAUSES: dict[str, tuple[str, str]] = {
    "HTTP_REQUEST": (
        "plain_http",
        "expected TLS; got plain HTTP on the TLS port; let the client use https://",
    ),
    "HTTPS_PROXY_REQUEST": (
        "plain_http",
        "expected TLS; got an HTTP CONNECT request; this server is not a proxy",
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
        "expected a cipher that both sides support; got none; update the client",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "certificate",
        "expected the client to trust the server's certificate; it does not know the authority "
        "that signed it; install that authority's certificate on the client",
    ),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (
        "certificate",
        "expected the client to accept the server's certificate; it refuses it; check the "
        "certificate's host names and its authority",
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        "certificate",
        "expected the client to accept the server's certificate; it refuses it; check the "
        "certificate's host names and its authority",
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "certificate",
        "expected the client to accept the server's certificate; it reports that the certificate "
        "has expired; renew the certificate",
    ),
}
OTHER_CAUSE = "other"
LOG_PERIOD_SECONDS = 60.0  # after it, a second line says how often the failure was repeated

log = logging.getLogger(__name__)


class TlsHandshakes:
    """Does the TLS handshakes of one process, and counts and logs those that fail.

    Args:
        metrics: Counters of the process.
    """

    def __init__(self, metrics: EventMetrics) -> None:
        self._metrics = metrics
        self._log_limit = LogRateLimiter(
            _log_repetitions, max_lines=1, period_seconds=LOG_PERIOD_SECONDS
        )

    def complete(self, client: Any) -> bool:
        """Do the TLS handshake of a connection; return whether requests can be read from it.

        A client that disconnects during the handshake, for example a load balancer that checks
        whether the port is open, is not counted as a failure.

        Args:
            client: Socket of the connection; a plain socket needs no handshake.

        Raises:
            OSError: If the client has disconnected.
        """
        if not isinstance(client, ssl.SSLSocket):
            return True
        try:
            client.do_handshake()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False
        except ssl.SSLError as error:
            reason = error.reason or ""
            unknown = OTHER_CAUSE, reason.lower().replace("_", " ") or str(error)
            cause, text = FAILURE_CAUSES.get(reason, unknown)
            self._metrics.count_tls_failure(cause)
            if self._log_limit.should_log(text):
                log.warning("TLS handshake failed: %s", text)
            return False
        return True


def _log_repetitions(text: str, count: int) -> None:
    log.warning("TLS handshake failed: %s; %d more in %.0f s", text, count, LOG_PERIOD_SECONDS)
