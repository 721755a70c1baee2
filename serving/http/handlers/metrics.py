"""`GET /metrics`: what all workers counted, as Prometheus reads it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from time import perf_counter

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from serving.repository import Repository
from serving.telemetry.metric_definitions import (
    ACCEPT_ERRORS,
    CONNECTIONS_EVICTED,
    METRIC_DEFINITIONS,
    RELOADS,
    REQUESTS,
    ROWS_ANSWERED,
    TLS_FAILURES,
)
from serving.telemetry.request_metrics import NO_PROTOCOL
from serving.telemetry.shared_counters import (
    IN_FLIGHT_REQUESTS,
    NO_WORKER,
    OLDEST_QUEUED_TIME,
    QUEUED_ROWS,
    MetricDefinition,
    SharedCounters,
)

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
    for name in list(repository.live_models):
        for outcome in RELOAD_OUTCOMES:
            yield RELOADS.name, (name, outcome)
        for model, protocol in product(
            repository.get_versions(name).values(), PREDICTION_PROTOCOLS
        ):
            yield ROWS_ANSWERED.name, (protocol, *model.metric_labels)
            for status in PREDICTION_STATUSES:
                yield REQUESTS.name, (protocol, *model.metric_labels, str(status))


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
VARIANT_LABELS = ("model", "version", "variant")  # as many values as the repository has variants
SeriesValues = dict[tuple[str, ...], list[float]]


class PrometheusMetrics:
    """All metrics of one application.

    Args:
        repository: of its models.
        table: that it counts in.
    """

    def __init__(self, repository: Repository, table: SharedCounters) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_CounterCollector(table, repository))
        self._registry.register(_GaugeCollector(table))
        self._registry.register(_VariantCollector(repository))

    def render(self) -> bytes:
        """In Prometheus' text format, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _CounterCollector(Collector):
    """What all workers have counted, the dead ones among them."""

    def __init__(self, table: SharedCounters, repository: Repository) -> None:
        self._table, self._repository = table, repository

    def collect(self) -> Iterator[Metric]:
        counted = self._table.sum_over_slots()
        known: defaultdict[str, SeriesValues] = defaultdict(dict)
        for name, labels in iterate_initial_series(self._repository):
            known[name][labels] = [0.0]
        for (model, _), numbers in counted.get(RELOADS.name, {}).items():
            if any(numbers):  # also of a model of which no version is served
                known[RELOADS.name] |= {(model, outcome): [0.0] for outcome in RELOAD_OUTCOMES}
        for family in METRIC_DEFINITIONS:
            yield _build_metric(family, counted.get(family.name, {}), known[family.name])


def _build_metric(family: MetricDefinition, counted: SeriesValues, known: SeriesValues) -> Metric:
    # A kind of request has all its series from the first one on; most of a health check's, which
    # is not decoded, run or of a model, would stay zero for ever.
    used = known | {labels: numbers for labels, numbers in counted.items() if any(numbers)}
    if not family.bucket_bounds:
        counter = CounterMetricFamily(family.name, family.help, labels=family.label_names)
        for labels, numbers in used.items():
            counter.add_metric(labels, numbers[0])
        return counter
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    for labels, (*buckets, total) in used.items():
        histogram.add_metric(labels, _cumulate_buckets(family, buckets), total)
    return histogram


def _cumulate_buckets(
    family: MetricDefinition, buckets: Sequence[float]
) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, family.bucket_bounds), "+Inf"]
    return list(zip(bounds, accumulate(buckets), strict=True))


class _GaugeCollector(Collector):
    """What is so just now, in the workers that live."""

    def __init__(self, table: SharedCounters) -> None:
        self._table = table

    def collect(self) -> Iterator[Metric]:
        now, slots = perf_counter(), list(self._table.iter_slots())
        yield GaugeMetricFamily(
            "forwardpass_in_flight_requests",
            "Requests that are being answered, this one among them.",
            value=sum(slot.values[IN_FLIGHT_REQUESTS] for slot in slots),
        )
        yield GaugeMetricFamily(
            "forwardpass_queue_rows",
            "Rows that wait for a run or are in one.",
            value=sum(slot.values[QUEUED_ROWS] for slot in slots),
        )
        began = [since for slot in slots if (since := slot.values[OLDEST_QUEUED_TIME])]
        yield GaugeMetricFamily(
            "forwardpass_queue_oldest_seconds",
            "How long the first of these has been waiting.",
            # Processes of one machine have this clock in common.
            value=max(0.0, now - min(began)) if began else 0.0,
        )
        yield self._open_connections()
        accepted = sum(self._table.worker_loads.accepted) or None  # no sample under another server
        yield CounterMetricFamily(
            "forwardpass_connections_accepted", "Connections accepted.", value=accepted
        )

    def _open_connections(self) -> Metric:
        gauge = GaugeMetricFamily(
            "forwardpass_open_connections",
            "Connections that are open in each worker, idle ones among them.",
            labels=("worker",),
        )
        for number, connections in enumerate(self._table.worker_loads.open):
            if connections != NO_WORKER:
                gauge.add_metric((str(number),), connections)
        return gauge


class _VariantCollector(Collector):
    """How the variants of the served versions did on this machine."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[Metric]:
        passed = GaugeMetricFamily(
            "forwardpass_variant_selftest_passed",
            "1 if the variant of a served version reproduces its self-test here, else 0.",
            labels=VARIANT_LABELS,
        )
        served = GaugeMetricFamily(
            "forwardpass_variant_served",
            "1 for the variant that answers, else 0.",
            labels=VARIANT_LABELS,
        )
        held = GaugeMetricFamily(
            "forwardpass_held_versions",
            "New versions that wait to be loaded, since they do not accept what the live one does.",
            labels=("model",),
        )
        seconds = GaugeMetricFamily(
            "forwardpass_variant_run_seconds",
            "Median of one run of so many rows, where variants were raced at start-up.",
            labels=(*VARIANT_LABELS, "rows"),
        )
        waiting = Counter(key.rpartition("/")[0] for key in self._repository.hold_reasons)
        for name in sorted({*self._repository.live_models, *waiting}):
            held.add_metric((name,), waiting[name])
        for name, model in self._repository.live_models.items():
            for variant, trial in model.variant_checks.items():
                labels = (name, str(model.manifest.version), variant)
                passed.add_metric(labels, trial.passed)
                served.add_metric(labels, variant == model.variant)
                for rows, microseconds in trial.microseconds.items():
                    seconds.add_metric((*labels, str(rows)), microseconds / 1e6)
        yield from (held, passed, served, seconds)


def create_metrics_blueprint(repository: Repository, table: SharedCounters) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("metrics", __name__)
    of_all = PrometheusMetrics(repository, table)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(of_all.render(), content_type=CONTENT_TYPE)

    return routes
