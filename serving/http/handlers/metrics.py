"""Handler of `GET /metrics`: the metrics of all workers, in Prometheus' text format.

They are collected at each request, from the counters that all workers share and from the
repository, whose state is the same in every worker. So it does not matter which worker answers.

Counters whose label values are known in advance start at 0. `increase()` and `rate()` need an
earlier value, so they would miss the first event of a series that appears with that event. These
initial series take no memory in the shared counters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, product
from time import perf_counter
from typing import Any

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

from serving.codec.messages import EncodedAnswer
from serving.http.components import ServerComponents
from serving.repository import Repository
from serving.telemetry.metric_definitions import (
    ACCEPT_ERROR_NAMES,
    ACCEPT_ERRORS,
    CONNECTIONS_EVICTED,
    EVICTION_REASONS,
    METRIC_DEFINITIONS,
    NO_PROTOCOL,
    RELOAD_OUTCOMES,
    RELOADS,
    REQUESTS,
    ROWS_ANSWERED,
    TLS_FAILURE_CAUSES,
    TLS_FAILURES,
)
from serving.telemetry.shared_counters import (
    IN_FLIGHT_REQUESTS,
    NO_WORKER,
    OLDEST_QUEUED_TIME,
    QUEUED_ROWS,
    MetricDefinition,
    SharedCounters,
)

# HTTP statuses of prediction requests whose model was found.
PREDICTION_STATUSES = (200, 400, 408, 413, 415, 422, 499, 500, 503, 504)
NO_MODEL = ("", "", "")
# HTTP statuses of requests that were answered before a model was found: those of predictions, and
# those of other protocols.
PREDICTION_STATUSES_WITHOUT_MODEL = (400, 401, 403, 404, 500, 503)
STATUSES_WITHOUT_MODEL = {
    "triton": (200, 400, 401, 403, 404, 500),
    "repository": (200, 400, 401, 403, 404, 409, 500, 503),
    NO_PROTOCOL: (400, 404, 405, 408, 413, 414, 431, 500),
}


def iterate_initial_series(
    repository: Repository, prediction_protocols: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the metric name and the label values of each series that starts at 0.

    Args:
        repository: Loaded models, by name and version.
        prediction_protocols: Protocols of the routes that answer with predictions.
    """
    for reason in EVICTION_REASONS:
        yield CONNECTIONS_EVICTED.name, (reason,)
    for error in ACCEPT_ERROR_NAMES:
        yield ACCEPT_ERRORS.name, (error,)
    for cause in TLS_FAILURE_CAUSES:
        yield TLS_FAILURES.name, (cause,)
    predictions = dict.fromkeys(prediction_protocols, PREDICTION_STATUSES_WITHOUT_MODEL)
    for protocol, statuses in (predictions | STATUSES_WITHOUT_MODEL).items():
        for status in statuses:
            yield REQUESTS.name, (protocol, *NO_MODEL, str(status))
    for name in list(repository.live_models):
        for outcome in RELOAD_OUTCOMES:
            yield RELOADS.name, (name, outcome)
        for model, protocol in product(
            repository.get_versions(name).values(), prediction_protocols
        ):
            yield ROWS_ANSWERED.name, (protocol, *model.metric_labels)
            for status in PREDICTION_STATUSES:
                yield REQUESTS.name, (protocol, *model.metric_labels, str(status))


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
VARIANT_LABELS = ("model", "version", "variant")
SeriesValues = dict[tuple[str, ...], list[float]]  # the values of a series, by its label values


class PrometheusMetrics:
    """The metrics of one application.

    Args:
        repository: Loaded models, by name and version.
        counters: Shared memory with the counters of all workers.
        prediction_protocols: Protocols of the routes that answer with predictions.
    """

    def __init__(
        self,
        repository: Repository,
        counters: SharedCounters,
        prediction_protocols: Collection[str],
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_CounterCollector(counters, repository, prediction_protocols))
        self._registry.register(_GaugeCollector(counters))
        self._registry.register(_VariantCollector(repository))

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format, whose media type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _CounterCollector(Collector):
    """Counters and histograms, summed over all workers, including those that have ended."""

    def __init__(
        self,
        counters: SharedCounters,
        repository: Repository,
        prediction_protocols: Collection[str],
    ) -> None:
        self._counters, self._repository = counters, repository
        self._prediction_protocols = prediction_protocols

    def collect(self) -> Iterator[Metric]:
        counted = self._counters.sum_over_slots()
        initial: defaultdict[str, SeriesValues] = defaultdict(dict)
        for name, labels in iterate_initial_series(self._repository, self._prediction_protocols):
            initial[name][labels] = [0.0]
        # A model that was only refused is not served, yet its reloads are counted.
        for (model, _), values in counted.get(RELOADS.name, {}).items():
            if any(values):
                initial[RELOADS.name] |= {(model, outcome): [0.0] for outcome in RELOAD_OUTCOMES}
        for metric in METRIC_DEFINITIONS:
            yield _build_metric(metric, counted.get(metric.name, {}), initial[metric.name])


def _build_metric(metric: MetricDefinition, counted: SeriesValues, initial: SeriesValues) -> Metric:
    # Series that are still 0 are left out unless they are listed: the first request of a kind
    # creates the series of every stage, and a health check never reaches most of them.
    shown = initial | {labels: values for labels, values in counted.items() if any(values)}
    if not metric.bucket_bounds:
        counter = CounterMetricFamily(metric.name, metric.help, labels=metric.label_names)
        for labels, values in shown.items():
            counter.add_metric(labels, values[0])
        return counter
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.label_names)
    for labels, (*buckets, total) in shown.items():
        histogram.add_metric(labels, _cumulate_buckets(metric, buckets), total)
    return histogram


def _cumulate_buckets(
    metric: MetricDefinition, buckets: Sequence[float]
) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, metric.bucket_bounds), "+Inf"]
    return list(zip(bounds, accumulate(buckets), strict=True))


class _GaugeCollector(Collector):
    """Gauges of the present state of all running workers, and the connections accepted so far."""

    def __init__(self, counters: SharedCounters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        now, slots = perf_counter(), list(self._counters.iter_slots())
        yield GaugeMetricFamily(
            "forwardpass_in_flight_requests",
            "Requests being answered, including the one for these metrics.",
            value=sum(slot.values[IN_FLIGHT_REQUESTS] for slot in slots),
        )
        yield GaugeMetricFamily(
            "forwardpass_queue_rows",
            "Rows that wait for a run of their model or are being run.",
            value=sum(slot.values[QUEUED_ROWS] for slot in slots),
        )
        oldest = [time for slot in slots if (time := slot.values[OLDEST_QUEUED_TIME])]
        yield GaugeMetricFamily(
            "forwardpass_queue_oldest_seconds",
            "Time since the oldest of these rows was decoded, in seconds.",
            # `perf_counter` is the same clock in all processes of a machine.
            value=max(0.0, now - min(oldest)) if oldest else 0.0,
        )
        yield self._open_connections()
        # Under another WSGI server nothing is counted, and no sample is sent.
        accepted = sum(self._counters.worker_loads.accepted) or None
        yield CounterMetricFamily(
            "forwardpass_connections_accepted", "Connections accepted.", value=accepted
        )

    def _open_connections(self) -> Metric:
        gauge = GaugeMetricFamily(
            "forwardpass_open_connections",
            "Open connections of each worker, including idle ones.",
            labels=("worker",),
        )
        for number, connections in enumerate(self._counters.worker_loads.open):
            if connections != NO_WORKER:
                gauge.add_metric((str(number),), connections)
        return gauge


class _VariantCollector(Collector):
    """Gauges of the served versions' variants, and of versions that are held back."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[Metric]:
        passed = GaugeMetricFamily(
            "forwardpass_variant_selftest_passed",
            "1 if the variant of a served version passed its self-test on this machine, else 0.",
            labels=VARIANT_LABELS,
        )
        served = GaugeMetricFamily(
            "forwardpass_variant_served",
            "1 for the variant that serves requests, else 0.",
            labels=VARIANT_LABELS,
        )
        held = GaugeMetricFamily(
            "forwardpass_held_versions",
            "New versions held back, since they refuse requests that the live version accepts.",
            labels=("model",),
        )
        seconds = GaugeMetricFamily(
            "forwardpass_variant_run_seconds",
            "Median time of one run of a batch of this many rows, in seconds, measured when the "
            "version was loaded; only if several variants were compared.",
            labels=(*VARIANT_LABELS, "rows"),
        )
        held_counts = Counter(key.rpartition("/")[0] for key in self._repository.hold_reasons)
        for name in sorted({*self._repository.live_models, *held_counts}):
            held.add_metric((name,), held_counts[name])
        for name, model in self._repository.live_models.items():
            for variant, check in model.variant_checks.items():
                labels = (name, str(model.manifest.version), variant)
                passed.add_metric(labels, check.passed)
                served.add_metric(labels, variant == model.variant)
                for rows, microseconds in check.microseconds.items():
                    seconds.add_metric((*labels, str(rows)), microseconds / 1e6)
        yield from (held, passed, served, seconds)


def metrics(server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with all metrics."""
    protocols = server.routes.prediction_protocols
    content = PrometheusMetrics(server.repository, server.counters, protocols).render()
    return EncodedAnswer(content, media_type=CONTENT_TYPE)
