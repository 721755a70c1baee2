"""Metrics: facts of the server as Prometheus reads them.

They are gathered when they are asked for, from the table that all workers count in and from the
repository, of which every worker knows the same: it does not matter which of them answers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import perf_counter

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

from serving.http.handlers.zeros import RELOAD_OUTCOMES, iterate_initial_series
from serving.repository import Repository
from serving.telemetry.loads import NO_WORKER
from serving.telemetry.metric_definitions import METRIC_DEFINITIONS, RELOADS
from serving.telemetry.shared_counters import (
    IN_FLIGHT_REQUESTS,
    OLDEST_QUEUED_TIME,
    QUEUED_ROWS,
    MetricDefinition,
    SharedCounters,
)

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

    def text(self) -> bytes:
        """In Prometheus' text format, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _CounterCollector(Collector):
    """What all workers have counted, the dead ones among them."""

    def __init__(self, table: SharedCounters, repository: Repository) -> None:
        self._table, self._repository = table, repository

    def collect(self) -> Iterator[Metric]:
        counted = self._table.totals()
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
    if not family.bounds:
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for labels, numbers in used.items():
            counter.add_metric(labels, numbers[0])
        return counter
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, (*buckets, total) in used.items():
        histogram.add_metric(labels, _cumulate_buckets(family, buckets), total)
    return histogram


def _cumulate_buckets(
    family: MetricDefinition, buckets: Sequence[float]
) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, family.bounds), "+Inf"]
    return list(zip(bounds, accumulate(buckets), strict=True))


class _GaugeCollector(Collector):
    """What is so just now, in the workers that live."""

    def __init__(self, table: SharedCounters) -> None:
        self._table = table

    def collect(self) -> Iterator[Metric]:
        now, slots = perf_counter(), list(self._table.slots())
        yield GaugeMetricFamily(
            "forwardpass_in_flight_requests",
            "Requests that are being answered, this one among them.",
            value=sum(slot.numbers[IN_FLIGHT_REQUESTS] for slot in slots),
        )
        yield GaugeMetricFamily(
            "forwardpass_queue_rows",
            "Rows that wait for a run or are in one.",
            value=sum(slot.numbers[QUEUED_ROWS] for slot in slots),
        )
        began = [since for slot in slots if (since := slot.numbers[OLDEST_QUEUED_TIME])]
        yield GaugeMetricFamily(
            "forwardpass_queue_oldest_seconds",
            "How long the first of these has been waiting.",
            # Processes of one machine have this clock in common.
            value=max(0.0, now - min(began)) if began else 0.0,
        )
        yield self._open_connections()
        accepted = sum(self._table.loads.accepted) or None  # no sample under another server
        yield CounterMetricFamily(
            "forwardpass_connections_accepted", "Connections accepted.", value=accepted
        )

    def _open_connections(self) -> Metric:
        gauge = GaugeMetricFamily(
            "forwardpass_open_connections",
            "Connections that are open in each worker, idle ones among them.",
            labels=("worker",),
        )
        for number, connections in enumerate(self._table.loads.open):
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
        waiting = Counter(key.rpartition("/")[0] for key in self._repository.held)
        for name in sorted({*self._repository.served, *waiting}):
            held.add_metric((name,), waiting[name])
        for name, model in self._repository.served.items():
            for variant, trial in model.trials.items():
                labels = (name, str(model.manifest.version), variant)
                passed.add_metric(labels, trial.passed)
                served.add_metric(labels, variant == model.variant)
                for rows, microseconds in trial.microseconds.items():
                    seconds.add_metric((*labels, str(rows)), microseconds / 1e6)
        yield from (held, passed, served, seconds)
