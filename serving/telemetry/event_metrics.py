"""Count events: refused requests, connections, TLS handshakes, changes of versions."""

from __future__ import annotations

from serving.telemetry.metric_definitions import (
    ACCEPT_ERRORS,
    CONNECTIONS_EVICTED,
    NO_PROTOCOL,
    RELOADS,
    REQUESTS,
    TLS_FAILURES,
)
from serving.telemetry.shared_counters import MetricDefinition, WorkerSlot


class EventMetrics:
    """Counts the events of one process.

    Args:
        slot: Slot of this process in the shared counters.
    """

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot

    def count_refused_request(self, status: int) -> None:
        """Count a request that is refused before the application sees it, such as a malformed one.

        Args:
            status: HTTP status of the response.
        """
        self._add(REQUESTS, (NO_PROTOCOL, "", "", "", str(status)))

    def count_reload(self, model: str, outcome: str) -> None:
        """Count an attempt to serve another version of a model, or none.

        Args:
            model: Name of the model's folder in the repository.
            outcome: One of `RELOAD_OUTCOMES`.
        """
        self._add(RELOADS, (model, outcome))

    def count_accept_error(self, name: str) -> None:
        """Count a failed attempt to accept a connection.

        Args:
            name: Symbolic name of the system error, such as "EMFILE".
        """
        self._add(ACCEPT_ERRORS, (name,))

    def count_evicted_connections(self, reason: str, connections: int) -> None:
        """Count idle connections that were closed in favour of new ones.

        Args:
            reason: Limit that was reached, one of `EVICTION_REASONS`.
            connections: Number of connections closed.
        """
        self._add(CONNECTIONS_EVICTED, (reason,), connections)

    def count_tls_failure(self, cause: str) -> None:
        """Count a TLS handshake that failed.

        Args:
            cause: Cause of the failure, one of `TLS_FAILURE_CAUSES`.
        """
        self._add(TLS_FAILURES, (cause,))

    def _add(self, definition: MetricDefinition, labels: tuple[str, ...], count: int = 1) -> None:
        self._slot.values[self._slot.get_series_index(definition, labels)] += count
