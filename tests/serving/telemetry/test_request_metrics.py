"""What a finished request adds to the counters."""

import timeit

import numpy as np
import pytest

from serving.call_context import CallContext
from serving.telemetry.event_metrics import EventMetrics
from serving.telemetry.metric_definitions import BATCH_ROWS_BUCKETS, DURATION_BUCKETS
from serving.telemetry.request_metrics import RequestMetrics
from serving.telemetry.shared_counters import SharedCounters, WorkerSlot


def make_context(*, decode=2e-5, queue=1e-4, run=3e-3, encode=1e-6, rows=2, batch=5):
    """Return the context of an answered request whose stages took these times, in seconds."""
    context = CallContext()
    context.protocol, context.model_label = "rows", ("m", "1", "fp32")
    context.rows, context.batch_rows = rows, batch
    context.decoded_at = context.started_at + decode
    context.run_started_at = context.decoded_at + queue
    context.run_ended_at = context.run_started_at + run
    context.encoded_at = context.run_ended_at + encode
    return context


def read_series(slot: WorkerSlot):
    return {(name, *labels): values for name, labels, values in slot.iter_series()}


def test_request_metrics_every_stage_is_counted_in_its_bucket():
    counters = SharedCounters()
    metrics = RequestMetrics(counters.own_slot)
    rng = np.random.default_rng(0)
    stages = {s: 10 ** rng.uniform(-6, 1.5, 500) for s in ("decode", "queue", "run", "encode")}
    for times in zip(*stages.values(), strict=True):
        metrics.count_request(make_context(**dict(zip(stages, times, strict=True))), 200)
    found = read_series(counters.own_slot)
    for stage, times in stages.items():
        *buckets, total = found["forwardpass_stage_seconds", stage, "rows", "m"]
        edges = [-np.inf, *DURATION_BUCKETS, np.inf]
        # A random time is hardly ever so close to a bound that rounding moves it to another bucket.
        np.testing.assert_array_equal(buckets, np.histogram(times, edges)[0])
        assert total == pytest.approx(times.sum(), rel=1e-6)


@pytest.mark.parametrize(("rows", "bucket"), [(1, 0), (2, 1), (3, 2), (4096, 11), (4097, 12)])
def test_request_metrics_value_on_a_bound_is_in_the_bucket_below(rows, bucket):
    counters = SharedCounters()
    RequestMetrics(counters.own_slot).count_request(make_context(batch=rows), 200)
    *buckets, total = read_series(counters.own_slot)["forwardpass_batch_rows", "m"]
    assert np.flatnonzero(buckets).tolist() == [bucket]
    assert total == rows
    assert len(buckets) == len(BATCH_ROWS_BUCKETS) + 1


def test_request_metrics_failed_request_counts_the_stages_it_finished():
    counters = SharedCounters()
    metrics = RequestMetrics(counters.own_slot)
    unknown, undecoded, late = CallContext(), CallContext(), make_context()
    undecoded.protocol, undecoded.model_label = "rows", ("m", "1", "fp32")
    late.run_started_at = late.run_ended_at = late.encoded_at = 0.0
    for context, status in ((unknown, 404), (undecoded, 422), (late, 503)):
        metrics.count_request(context, status)
    found = {key: values for key, values in read_series(counters.own_slot).items() if any(values)}
    requests = {key[1:]: values for key, values in found.items() if "_requests" in key[0]}
    assert requests == {
        ("none", "", "", "", "404"): [1],
        ("rows", "m", "1", "fp32", "422"): [1],
        ("rows", "m", "1", "fp32", "503"): [1],
    }
    assert {key[1] for key in found if "_stage" in key[0]} == {"decode"}
    assert not [key for key in found if key[0] in ("forwardpass_rows", "forwardpass_batch_rows")]


def test_event_metrics_refused_request_has_no_protocol():
    slot = SharedCounters().own_slot
    metrics = EventMetrics(slot)
    metrics.count_refused_request(400)
    metrics.count_refused_request(400)
    found = read_series(slot)
    assert found["forwardpass_requests", "none", "", "", "", "400"] == [2]


def test_request_metrics_count_request_is_fast():
    metrics, context = RequestMetrics(SharedCounters().own_slot), make_context()
    metrics.count_request(context, 200)
    seconds = (
        min(timeit.repeat(lambda: metrics.count_request(context, 200), number=1000, repeat=20))
        / 1000
    )
    assert seconds < 50e-6  # it takes 2 to 3 µs on an idle machine
