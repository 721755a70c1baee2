"""Names, labels and buckets of the metrics, on which operators' dashboards depend."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.http.handlers.metrics import PrometheusMetrics
from serving.telemetry.metric_definitions import (
    BATCH_ROWS_BUCKETS,
    DURATION_BUCKETS,
    METRIC_DEFINITIONS,
)
from serving.telemetry.shared_counters import SharedCounters
from tests.repositories import load_repository

DOCUMENT = Path("docs/operations.md")
MODEL = ("protocol", "model", "version", "variant")
LABELS = {
    "forwardpass_requests": (*MODEL, "code"),
    "forwardpass_rows": MODEL,
    "forwardpass_request_seconds": ("protocol", "model"),
    "forwardpass_stage_seconds": ("stage", "protocol", "model"),
    "forwardpass_batch_rows": ("model",),
    "forwardpass_reloads": ("model", "outcome"),
    "forwardpass_connections_evicted": ("reason",),
    "forwardpass_accept_errors": ("error",),
    "forwardpass_tls_handshake_failures": ("cause",),
}
MICROSECONDS = [25, 50, 100, 250, 500]
MILLISECONDS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500]
WHOLE_SECONDS = [1, 2.5, 5, 10]
TIMES = [*(t / 1e6 for t in MICROSECONDS), *(t / 1e3 for t in MILLISECONDS), *WHOLE_SECONDS]
BUCKETS = {
    "forwardpass_request_seconds": TIMES,
    "forwardpass_stage_seconds": TIMES,
    "forwardpass_batch_rows": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096],
}


def test_metric_definitions_names_labels_and_buckets():
    assert {metric.name: metric.label_names for metric in METRIC_DEFINITIONS} == LABELS
    assert list(DURATION_BUCKETS) == pytest.approx(BUCKETS["forwardpass_stage_seconds"])
    assert list(BATCH_ROWS_BUCKETS) == BUCKETS["forwardpass_batch_rows"]


@pytest.mark.parametrize("name", LABELS)
def test_metric_is_exposed_with_its_labels_and_documented(name, tmp_path):
    counters = SharedCounters()
    (definition,) = [metric for metric in METRIC_DEFINITIONS if metric.name == name]
    values = tuple(f"a {label}" for label in LABELS[name])
    counters.own_slot.values[counters.own_slot.get_series_index(definition, values)] = 3.0
    text = PrometheusMetrics(load_repository(tmp_path), counters, ["rows"]).render().decode()
    (family,) = [f for f in text_string_to_metric_families(text) if f.name == name]
    assert family.documentation.endswith(".")
    expected = dict(zip(LABELS[name], values, strict=True))
    if name in BUCKETS:
        buckets = [sample for sample in family.samples if sample.name == f"{name}_bucket"]
        bounds = [float(sample.labels.pop("le")) for sample in buckets]
        assert bounds == pytest.approx([*BUCKETS[name], float("inf")])
        assert all((sample.labels, sample.value) == (expected, 3.0) for sample in buckets)
        assert f"`{name}`" in DOCUMENT.read_text()
    else:
        counted = [sample[:3] for sample in family.samples if sample.value]
        assert counted == [(f"{name}_total", expected, 3.0)]
        assert f"`{name}_total`" in DOCUMENT.read_text()
