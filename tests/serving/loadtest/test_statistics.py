"""Figures of a run, beside NumPy's percentiles of the same times."""

import json
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    TIMED_OUT,
    UNANSWERED,
    WRONG_ANSWER,
    PreparedRequest,
    RunRecord,
)
from serving.loadtest.statistics import PERCENTILES, TimeDistribution, compute_statistics

CALLS = [
    PreparedRequest(b"", 1, None, lambda body: None),
    PreparedRequest(b"", 32, None, lambda body: None),
]
PRECISION = 1e-3  # of HdrHistogram with three digits


def record(due, sent, ended, *, status=200, call=0, seconds=10.0, faults=()):
    due, sent, ended = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (due, sent, ended)))
    filled = np.broadcast_to
    return RunRecord(
        due=due,
        sent=sent,
        ended=ended,
        status=filled(np.int16(status), due.shape),
        call=filled(np.int32(call), due.shape),
        late=np.maximum(sent - due, 0),
        seconds=seconds,
        wall=seconds,
        processor=0.1,
        busy=0.2,
        open_loop=True,
        connections=64,
        faults=Counter(faults),
    )


def stalled(rate=1000, seconds=10.0, service=1e-3, begin=4.0, stall=1.0):
    """A server that takes a millisecond each, and stands still for a second, on one connection."""
    due = np.arange(int(rate * seconds)) / rate
    waits = (due > begin) & (due < begin + stall)
    sent = np.where(waits, begin + stall, due)
    return record(due, sent, sent + service, seconds=seconds)


@pytest.mark.parametrize("count", [1, 7, 1600, 20_000])
@pytest.mark.parametrize("percentile", [*PERCENTILES, 99.95, 100])
def test_percentiles_are_those_of_numpy(rng, count, percentile):
    times = rng.lognormal(-6, 1.5, count)
    rank = math.ceil(Fraction(str(percentile)) * count / 100)
    # Half a rank lower it is the same value, and no rounding can make it the next.
    expected = np.percentile(times, 100 * (rank - 0.5) / count, method="inverted_cdf")
    found = TimeDistribution.of(times).percentile(percentile)
    assert found == pytest.approx(expected, rel=PRECISION, abs=1e-6)


def test_mean_and_maximum_are_exact(rng):
    times = rng.exponential(0.01, 5000)
    found = TimeDistribution.of(times)
    assert (found.count, found.mean, found.most) == (5000, times.mean(), times.max())


def test_no_percentile_is_above_the_maximum(rng):
    found = TimeDistribution.of(rng.exponential(5.0, 100))
    assert found.percentiles["p99.99"] <= found.most


def test_of_no_times_nothing_is_told():
    found = TimeDistribution.of(np.empty(0))
    assert math.isnan(found.percentile(99))
    assert found.as_json()["p99"] is None
    assert found.percentile_curve().shape == (0, 2)


@pytest.mark.parametrize(
    ("count", "few"),
    [
        (10, ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"]),
        (20, ["p75", "p90", "p95", "p99", "p99.9", "p99.99"]),
        (999, ["p99", "p99.9", "p99.99"]),
        (1000, ["p99.9", "p99.99"]),
        (100_000, []),
    ],
)
def test_a_percentile_beyond_which_less_than_ten_lie_is_marked(count, few):
    assert TimeDistribution.of(np.full(count, 0.001)).as_json()["few"] == few


def test_the_curve_goes_from_the_median_to_the_maximum_by_the_share_beyond(rng):
    times = rng.lognormal(-6, 1, 10_000)
    curve = TimeDistribution.of(times).percentile_curve()
    assert np.all(np.diff(curve, axis=0) >= 0)
    assert curve[-1].tolist() == [10_000, times.max()]
    shares = 1 - 1 / curve[:-1, 0]
    below = [np.mean(times <= at * (1 + PRECISION) + 1e-6) for at in curve[:-1, 1]]
    assert np.all(below >= shares - 1e-9)


def test_encoded_histograms_add_up_to_that_of_all_times(rng):
    first, second = rng.exponential(0.002, 3000), rng.exponential(0.05, 2000)
    merged = HdrHistogram(1, 3_600_000_000, 3)
    for times in (first, second):
        merged.decode_and_add(TimeDistribution.of(times).encode())
    both = np.percentile(np.concatenate([first, second]), 99, method="inverted_cdf")
    assert merged.get_total_count() == 5000
    assert merged.get_value_at_percentile(99) / 1e6 == pytest.approx(both, rel=2 * PRECISION)


def test_a_stall_is_in_the_latency_and_hides_from_the_service_time():
    found = compute_statistics(stalled(), CALLS, 1000.0)
    assert found.latency.percentiles["p99.9"] == pytest.approx(1.0, abs=0.02)
    assert found.latency.percentiles["p95"] > 0.4
    assert found.service.percentiles["p99.9"] == pytest.approx(1e-3, rel=0.01)
    assert found.latency.percentiles["p50"] == pytest.approx(1e-3, rel=0.01)


def test_a_second_has_the_answers_that_came_and_the_waits_of_what_was_due():
    seconds = compute_statistics(stalled(), CALLS, 1000.0).by_second
    assert [second.second for second in seconds] == list(range(10))
    rates = [second.rate for second in seconds]
    assert rates[4] <= 2  # it stood still
    assert rates[5] == pytest.approx(2000, abs=3)
    assert rates[:4] + rates[6:] == pytest.approx([1000.0] * 8, abs=2)
    assert seconds[4].p50 == pytest.approx(0.5, abs=0.01)
    assert seconds[3].p99 == pytest.approx(0.001)


def overloaded(excess, seconds=1.0, rate=5000, bound=0.005):
    """A server that is asked for more than it answers, which is waited for ever longer."""
    due = np.arange(int(rate * seconds)) / rate
    return record(due, due, due + bound + excess * due, seconds=seconds)


@pytest.mark.parametrize(
    ("run", "falls"),
    [
        (overloaded(0.05), True),
        (overloaded(0.0), False),
        (overloaded(0.0005), False),  # half a millisecond in all
        (stalled(), False),  # it caught up
        (overloaded(0.05, seconds=0.01), False),  # too few to say
    ],
)
def test_a_server_that_falls_behind_is_found_out_within_its_bound(run, falls):
    found = compute_statistics(run, CALLS, 5000.0)
    assert found.falls_behind is falls
    assert found.as_json()["falls_behind"] is falls


def test_a_closed_loop_does_not_fall_behind():
    run = overloaded(0.05)
    run.open_loop = False
    assert not compute_statistics(run, CALLS, None).falls_behind


def test_seconds_are_put_in_order_and_the_last_need_not_be_whole():
    due = np.array([2.2, 0.5, 1.5, 0.1])
    found = compute_statistics(record(due, due, due + 0.01, seconds=2.5), CALLS, None)
    assert [s.rate for s in found.by_second] == [2.0, 1.0, 2.0]


def test_a_second_without_answers_has_errors_and_no_times():
    due = np.array([0.1, 1.1])
    found = compute_statistics(
        record(due, due, due + 0.1, status=[200, 503], seconds=2.0), CALLS, 1.0
    )
    assert found.by_second[1].errors == 1
    assert found.as_json()["by_second"][1]["p99_ms"] is None


def test_errors_are_named_and_only_right_answers_count():
    status = [200, 200, WRONG_ANSWER, 503, 503, 503, CONNECTION_FAILED, UNANSWERED, TIMED_OUT, 200]
    sent = np.arange(10) / 10
    sent[7] = np.nan
    run = record(np.arange(10) / 10, sent, sent + 0.01, status=status, call=[0, 1] * 5, seconds=2.0)
    found = compute_statistics(run, CALLS, 5.0)
    assert found.errors == {
        "503": 3,
        "unanswered": 1,
        "timeout": 1,
        "connection": 1,
        "wrong": 1,
    }
    assert (found.requests, found.sent, found.answered) == (10, 9, 3)
    assert (found.rate, found.sent_rate, found.rows_per_second) == (1.5, 4.5, 32.5)
    assert found.error_share == 0.7


def test_errors_of_each_kind_are_counted_by_its_name():
    counts = {503: 5, UNANSWERED: 1, TIMED_OUT: 2, CONNECTION_FAILED: 3, WRONG_ANSWER: 4, 422: 6}
    status = np.repeat([*counts], [*counts.values()])
    due = np.arange(len(status)) / 10
    assert compute_statistics(record(due, due, due + 0.01, status=status), CALLS, None).errors == {
        "503": 5,
        "unanswered": 1,
        "timeout": 2,
        "connection": 3,
        "wrong": 4,
        "422": 6,
    }


def test_a_timeout_counts_with_the_time_it_was_given_up():
    due = np.zeros(4)
    run = record(due, due, [0.001, 0.001, 10.0, 0.0001], status=[200, 200, TIMED_OUT, 503])
    found = compute_statistics(run, CALLS, None)
    assert found.latency.count == 3
    assert found.latency.most == 10.0


def test_what_never_left_has_a_latency_and_no_service_time():
    run = record([0.0, 0.0], [0.0, np.nan], [0.01, 5.0], status=[200, TIMED_OUT])
    found = compute_statistics(run, CALLS, None)
    assert (found.latency.count, found.service.count, found.late.count) == (2, 1, 1)


def test_answers_after_the_load_are_no_throughput():
    due = np.arange(1000) / 100
    slow = np.arange(1000) / 50  # half as fast as they came
    found = compute_statistics(record(due, due, slow + 0.001), CALLS, 100.0)
    assert found.answered == 1000
    assert found.rate == pytest.approx(50, rel=0.01)


def test_json_has_the_keys_that_others_read():
    run = record([0.0], [0.0], [0.002], faults={"no": 3, "nay": 9, "nope": 1, "never": 2})
    told = json.loads(json.dumps(compute_statistics(run, CALLS, None).as_json(), allow_nan=False))
    assert {"p50", "p90", "p99", "p99.9"} <= told["latency_ms"].keys()
    assert {
        "rate",
        "errors",
        "service_ms",
        "late_ms",
        "sent",
        "answered",
        "rows_per_second",
        "seconds",
        "by_second",
    } <= told.keys()
    assert told["latency_ms"]["p50"] == pytest.approx(2.0)
    assert told["latency_ms"]["max"] == pytest.approx(2.0)
    assert [example["fault"] for example in told["errors"]["examples"]] == ["nay", "no", "never"]


def test_an_empty_run_has_figures_too():
    found = compute_statistics(record([], [], []), CALLS, 5.0)
    assert found.rate == 0
    assert found.error_share == 1
    json.dumps(found.as_json(), allow_nan=False)
