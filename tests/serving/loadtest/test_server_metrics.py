"""What a server says of itself, between two looks at a real one."""

import json
import math

import pytest
import requests
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from serving.loadtest.server_metrics import compare_metrics

ROW = [0.0] * 64


def metrics(live):
    return requests.get(f"{live.url}/metrics", timeout=120).text


def told(values, model="digits"):
    """/metrics of a server whose requests took so many seconds each."""
    registry = CollectorRegistry()
    family = Histogram(
        "forwardpass_request_seconds",
        "s",
        ("protocol", "model"),
        buckets=(0.001, 0.01, 0.1),
        registry=registry,
    )
    series = family.labels("rows", model)
    for value in values:
        series.observe(value)
    return generate_latest(registry).decode()


def test_a_real_server_counts_what_was_sent(live):
    url = f"{live.url}/predict"
    requests.post(url, json={"instances": [ROW]}, timeout=120)
    before = metrics(live)
    for _ in range(7):
        requests.post(url, json={"instances": [ROW] * 3}, timeout=120)
    requests.post(url, json={"instances": [[1]]}, timeout=120)
    requests.post(url, data=b"{", headers={"Content-Type": "application/json"}, timeout=120)
    requests.get(f"{live.url}/nowhere", timeout=120)
    found = compare_metrics(before, metrics(live), "digits")

    assert found.requests == 9
    assert 0 < found.seconds.mean < 1
    bounds = found.seconds.percentiles["p50"]
    assert bounds.low <= bounds.estimate <= bounds.high
    assert list(found.stages) == ["decode", "queue", "run", "encode"]
    assert found.stages["run"].count == 7
    assert sum(stage.mean for stage in found.stages.values()) < 9 * found.seconds.mean
    assert found.batch_rows.mean == 3
    assert sum(found.refused.values()) == 3
    assert found.refused["404"] == 1  # of no model
    json.dumps(found.as_json(), allow_nan=False)


def test_two_looks_with_nothing_between_count_nothing(live):
    requests.post(f"{live.url}/predict", json={"instances": [ROW]}, timeout=120)
    same = metrics(live)
    found = compare_metrics(same, same, "digits")
    assert (found.requests, found.seconds.percentiles, found.refused) == (0, {}, {})
    assert math.isnan(found.seconds.mean)


def test_a_percentile_lies_in_its_bucket():
    before = told([0.0005] * 50)
    found = compare_metrics(
        before, told([0.0005] * 50 + [0.002] * 95 + [0.05] * 5), "digits"
    ).seconds
    assert found.count == 100
    assert found.mean == pytest.approx(0.0044)
    p50, p99 = found.percentiles["p50"], found.percentiles["p99"]
    assert (p50.low, p50.high) == (0.001, 0.01)
    assert p50.estimate == pytest.approx(0.001 + 0.009 * 50 / 95)
    assert (p99.low, p99.high) == (0.01, 0.1)


def test_beyond_the_last_bound_only_that_is_known():
    p50 = compare_metrics(told([]), told([3.0]), "digits").seconds.percentiles["p50"]
    assert (p50.low, p50.high, p50.estimate) == (0.1, math.inf, 0.1)


FOREIGN = [
    "",
    "<!doctype html><p>a {b}</p>",
    '{"detail": [1, 2]}',
    "up 1\n",
    "# TYPE http_requests_total counter\nhttp_requests_total 5\n",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_a_missing_or_foreign_answer_tells_nothing(text):
    assert compare_metrics(text, told([0.1]), "digits") is None
    assert compare_metrics(told([0.1]), text, "digits") is None


def test_another_model_tells_nothing():
    assert compare_metrics(told([]), told([0.1], "flowers"), "digits") is None


def test_a_server_that_was_started_anew_tells_nothing():
    assert compare_metrics(told([0.1, 0.1]), told([0.1]), "digits") is None
