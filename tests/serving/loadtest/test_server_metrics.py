"""The server's own measurements, between two readings of a real or a made-up `/metrics`."""

import json
import math

import pytest
import requests
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from serving.loadtest.server_metrics import compare_metrics

ROW = [0.0] * 64


def read_metrics(live):
    return requests.get(f"{live.url}/metrics", timeout=120).text


def make_metrics(durations, model="digits"):
    """Return the text of `/metrics` of a server with requests of these durations, in seconds."""
    registry = CollectorRegistry()
    family = Histogram(
        "forwardpass_request_seconds",
        "s",
        ("protocol", "model"),
        buckets=(0.001, 0.01, 0.1),
        registry=registry,
    )
    series = family.labels("rows", model)
    for duration in durations:
        series.observe(duration)
    return generate_latest(registry).decode()


def test_compare_real_server_counts_what_was_sent(live):
    url = f"{live.url}/predict"
    requests.post(url, json={"instances": [ROW]}, timeout=120)
    before = read_metrics(live)
    for _ in range(7):
        requests.post(url, json={"instances": [ROW] * 3}, timeout=120)
    requests.post(url, json={"instances": [[1]]}, timeout=120)
    requests.post(url, data=b"{", headers={"Content-Type": "application/json"}, timeout=120)
    requests.get(f"{live.url}/nowhere", timeout=120)
    metrics = compare_metrics(before, read_metrics(live), "digits")

    assert metrics.request_count == 9
    assert 0 < metrics.duration.mean < 1
    bounds = metrics.duration.percentiles["p50"]
    assert bounds.low <= bounds.estimate <= bounds.high
    assert list(metrics.stages) == ["decode", "queue", "run", "encode"]
    assert metrics.stages["run"].count == 7
    assert sum(stage.mean for stage in metrics.stages.values()) < 9 * metrics.duration.mean
    assert metrics.batch_rows.mean == 3
    assert sum(metrics.refusals.values()) == 3
    assert metrics.refusals["404"] == 1  # refused before its model was known
    json.dumps(metrics.as_json(), allow_nan=False)


def test_compare_same_reading_twice_counts_nothing(live):
    requests.post(f"{live.url}/predict", json={"instances": [ROW]}, timeout=120)
    reading = read_metrics(live)
    metrics = compare_metrics(reading, reading, "digits")
    assert (metrics.request_count, metrics.duration.percentiles, metrics.refusals) == (0, {}, {})
    assert math.isnan(metrics.duration.mean)


def test_percentile_lies_within_its_bucket():
    before = make_metrics([0.0005] * 50)
    after = make_metrics([0.0005] * 50 + [0.002] * 95 + [0.05] * 5)
    duration = compare_metrics(before, after, "digits").duration
    assert duration.count == 100
    assert duration.mean == pytest.approx(0.0044)
    p50, p99 = duration.percentiles["p50"], duration.percentiles["p99"]
    assert (p50.low, p50.high) == (0.001, 0.01)
    assert p50.estimate == pytest.approx(0.001 + 0.009 * 50 / 95)
    assert (p99.low, p99.high) == (0.01, 0.1)


def test_percentile_in_the_last_bucket_has_no_upper_bound():
    duration = compare_metrics(make_metrics([]), make_metrics([3.0]), "digits").duration
    p50 = duration.percentiles["p50"]
    assert (p50.low, p50.high, p50.estimate) == (0.1, math.inf, 0.1)


FOREIGN_TEXTS = [
    "",
    "<!doctype html><p>a {b}</p>",
    '{"detail": [1, 2]}',
    "up 1\n",
    "# TYPE http_requests_total counter\nhttp_requests_total 5\n",
]


@pytest.mark.parametrize("text", FOREIGN_TEXTS)
def test_compare_text_of_another_server_returns_none(text):
    assert compare_metrics(text, make_metrics([0.1]), "digits") is None
    assert compare_metrics(make_metrics([0.1]), text, "digits") is None


def test_compare_requests_of_another_model_returns_none():
    assert compare_metrics(make_metrics([]), make_metrics([0.1], "flowers"), "digits") is None


def test_compare_restarted_server_returns_none():
    assert compare_metrics(make_metrics([0.1, 0.1]), make_metrics([0.1]), "digits") is None
