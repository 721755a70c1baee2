"""Metrics: facts of the server as Prometheus reads them.

They are gathered when they are asked for. Every worker has the same facts, so that it does not
matter which of them answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from serving.repository import Repository

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
LABELS = ("model", "version", "variant")  # as many values as the repository has variants


class Metrics:
    """All metrics of one application."""

    def __init__(self, repository: Repository) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Variants(repository))

    def text(self) -> bytes:
        """In Prometheus' text format, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Variants(Collector):
    """How the variants of the served versions did on this machine."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[GaugeMetricFamily]:
        passed = GaugeMetricFamily(
            "forwardpass_variant_selftest_passed",
            "1 if the variant of a served version reproduces its self-test here, else 0.",
            labels=LABELS,
        )
        served = GaugeMetricFamily(
            "forwardpass_variant_served", "1 for the variant that answers, else 0.", labels=LABELS
        )
        seconds = GaugeMetricFamily(
            "forwardpass_variant_run_seconds",
            "Median of one run of so many rows, where variants were raced at start-up.",
            labels=(*LABELS, "rows"),
        )
        for name, model in self._repository.served.items():
            for variant, trial in model.trials.items():
                labels = (name, str(model.manifest.version), variant)
                passed.add_metric(labels, trial.passed)
                served.add_metric(labels, variant == model.variant)
                for rows, microseconds in trial.microseconds.items():
                    seconds.add_metric((*labels, str(rows)), microseconds / 1e6)
        yield from (passed, served, seconds)
