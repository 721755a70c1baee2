"""What a finished request adds to the table."""

import timeit

import numpy as np
import pytest

from serving.call_context import CallContext
from serving.telemetry.metric_definitions import BATCH_ROWS_BUCKETS, DURATION_BUCKETS
from serving.telemetry.request_metrics import RequestMetrics, count_refused_request
from serving.telemetry.shared_counters import SharedCounters, WorkerSlot


def finished(*, decode=2e-5, queue=1e-4, run=3e-3, encode=1e-6, rows=2, batch=5):
    """A call that went all the way, with these seconds a stage."""
    call = CallContext()
    call.protocol, call.model_label, call.rows, call.batch_rows = (
        "rows",
        ("m", "1", "fp32"),
        rows,
        batch,
    )
    call.decoded_at = call.started_at + decode
    call.run_started_at = call.decoded_at + queue
    call.run_ended_at = call.run_started_at + run
    call.encoded_at = call.run_ended_at + encode
    return call


def listed(slot: WorkerSlot):
    return {(name, *labels): numbers for name, labels, numbers in slot.iter_series()}


def test_every_stage_is_counted_in_its_bucket():
    table = SharedCounters()
    counts = RequestMetrics(table.own_slot)
    rng = np.random.default_rng(0)
    stages = {s: 10 ** rng.uniform(-6, 1.5, 500) for s in ("decode", "queue", "run", "encode")}
    for times in zip(*stages.values(), strict=True):
        counts.count_request(finished(**dict(zip(stages, times, strict=True))), 200)
    found = listed(table.own_slot)
    for stage, times in stages.items():
        *buckets, total = found["forwardpass_stage_seconds", stage, "rows", "m"]
        edges = [-np.inf, *DURATION_BUCKETS, np.inf]
        # Times on a bound are as unlikely as the clock's rounding moving one across it.
        np.testing.assert_array_equal(buckets, np.histogram(times, edges)[0])
        assert total == pytest.approx(times.sum(), rel=1e-6)


@pytest.mark.parametrize(("rows", "bucket"), [(1, 0), (2, 1), (3, 2), (4096, 11), (4097, 12)])
def test_a_value_on_a_bound_counts_below_it(rows, bucket):
    table = SharedCounters()
    RequestMetrics(table.own_slot).count_request(finished(batch=rows), 200)
    *buckets, total = listed(table.own_slot)["forwardpass_batch_rows", "m"]
    assert np.flatnonzero(buckets).tolist() == [bucket]
    assert total == rows
    assert len(buckets) == len(BATCH_ROWS_BUCKETS) + 1


def test_a_request_counts_as_far_as_it_came():
    table = SharedCounters()
    counts = RequestMetrics(table.own_slot)
    unknown, undecoded, late = CallContext(), CallContext(), finished()
    undecoded.protocol, undecoded.model_label = "rows", ("m", "1", "fp32")
    late.started = late.run_ended_at = late.encoded = 0.0
    for call, status in ((unknown, 404), (undecoded, 422), (late, 503)):
        counts.add(call, status)
    found = {key: numbers for key, numbers in listed(table.own_slot).items() if any(numbers)}
    requests = {key[1:]: numbers for key, numbers in found.items() if "_requests" in key[0]}
    assert requests == {
        ("none", "", "", "", "404"): [1],
        ("rows", "m", "1", "fp32", "422"): [1],
        ("rows", "m", "1", "fp32", "503"): [1],
    }
    assert {key[1] for key in found if "_stage" in key[0]} == {"decode"}
    assert not [key for key in found if key[0] in ("forwardpass_rows", "forwardpass_batch_rows")]


def test_what_gunicorn_refuses_counts_too():
    count_refused_request(400)
    count_refused_request(400)
    assert listed(SharedCounters.get_current().own_slot)[
        "forwardpass_requests", "none", "", "", "", "400"
    ] == [2]


def test_counting_is_cheap():
    counts, call = RequestMetrics(SharedCounters().own_slot), finished()
    counts.add(call, 200)
    seconds = min(timeit.repeat(lambda: counts.add(call, 200), number=1000, repeat=20)) / 1000
    assert seconds < 50e-6  # it takes 2; a machine that is busy with something else may need more
