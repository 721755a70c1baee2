"""Statistics of made-up runs, with NumPy's percentiles of the same times as reference."""

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

REQUESTS = [PreparedRequest(b"", rows, None, lambda body: None) for rows in (1, 32)]
PRECISION = 1e-3  # of an HdrHistogram with three significant digits


def make_record(
    due_at, sent_at, ended_at, *, status=200, request_index=0, load_seconds=10.0, faults=()
):
    """Return a record of an open loop; scalars hold for all its requests."""
    due_at, sent_at, ended_at = np.broadcast_arrays(
        *(np.asarray(times, np.float64) for times in (due_at, sent_at, ended_at))
    )
    return RunRecord(
        due_at=due_at,
        sent_at=sent_at,
        ended_at=ended_at,
        status=np.broadcast_to(np.int16(status), due_at.shape),
        request_index=np.broadcast_to(np.int32(request_index), due_at.shape),
        send_delay=np.maximum(sent_at - due_at, 0),
        load_seconds=load_seconds,
        wall_seconds=load_seconds,
        cpu_seconds=0.1,
        busy_seconds=0.2,
        is_open_loop=True,
        max_connections=64,
        fault_counts=Counter(faults),
    )


def make_stalled_record(rate=1000, load_seconds=10.0, service=1e-3, stall_at=4.0, stall=1.0):
    """Return the record of a server that takes 1 ms per request and stalls for a second."""
    due_at = np.arange(int(rate * load_seconds)) / rate
    is_waiting = (due_at > stall_at) & (due_at < stall_at + stall)
    sent_at = np.where(is_waiting, stall_at + stall, due_at)
    return make_record(due_at, sent_at, sent_at + service, load_seconds=load_seconds)


def make_growing_record(growth, load_seconds=1.0, rate=5000, latency=0.005):
    """Return the record of a server whose latency grows by so many seconds per second."""
    due_at = np.arange(int(rate * load_seconds)) / rate
    return make_record(due_at, due_at, due_at + latency + growth * due_at)


@pytest.mark.parametrize("count", [1, 7, 1600, 20_000])
@pytest.mark.parametrize("percentile", [*PERCENTILES, 99.95, 100])
def test_distribution_percentiles_equal_those_of_numpy(rng, count, percentile):
    times = rng.lognormal(-6, 1.5, count)
    rank = math.ceil(Fraction(str(percentile)) * count / 100)
    # Half a rank lower NumPy returns the same value, and rounding cannot make it the next one.
    expected = np.percentile(times, 100 * (rank - 0.5) / count, method="inverted_cdf")
    measured = TimeDistribution.from_seconds(times).compute_percentile(percentile)
    assert measured == pytest.approx(expected, rel=PRECISION, abs=1e-6)


def test_distribution_mean_and_maximum_are_exact(rng):
    times = rng.exponential(0.01, 5000)
    distribution = TimeDistribution.from_seconds(times)
    assert (distribution.count, distribution.mean, distribution.maximum) == (
        5000,
        times.mean(),
        times.max(),
    )


def test_distribution_percentiles_do_not_exceed_the_maximum(rng):
    distribution = TimeDistribution.from_seconds(rng.exponential(5.0, 100))
    assert distribution.percentiles["p99.99"] <= distribution.maximum


def test_distribution_without_times_is_nan_and_null():
    distribution = TimeDistribution.from_seconds(np.empty(0))
    assert math.isnan(distribution.compute_percentile(99))
    assert distribution.as_json()["p99"] is None
    assert distribution.compute_curve().shape == (0, 2)


@pytest.mark.parametrize(
    ("count", "uncertain"),
    [
        (10, ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"]),
        (20, ["p75", "p90", "p95", "p99", "p99.9", "p99.99"]),
        (999, ["p99", "p99.9", "p99.99"]),
        (1000, ["p99.9", "p99.99"]),
        (100_000, []),
    ],
)
def test_distribution_percentiles_with_less_than_ten_times_beyond_are_uncertain(count, uncertain):
    distribution = TimeDistribution.from_seconds(np.full(count, 0.001))
    assert distribution.as_json()["few"] == uncertain


def test_distribution_curve_ends_at_the_maximum_and_covers_its_quantiles(rng):
    times = rng.lognormal(-6, 1, 10_000)
    curve = TimeDistribution.from_seconds(times).compute_curve()
    assert np.all(np.diff(curve, axis=0) >= 0)
    assert curve[-1].tolist() == [10_000, times.max()]
    quantiles = 1 - 1 / curve[:-1, 0]
    covered = [np.mean(times <= time * (1 + PRECISION) + 1e-6) for time in curve[:-1, 1]]
    assert np.all(covered >= quantiles - 1e-9)


def test_distribution_encoded_histograms_can_be_merged(rng):
    first, second = rng.exponential(0.002, 3000), rng.exponential(0.05, 2000)
    merged = HdrHistogram(1, 3_600_000_000, 3)
    for times in (first, second):
        merged.decode_and_add(TimeDistribution.from_seconds(times).encode_histogram())
    expected = np.percentile(np.concatenate([first, second]), 99, method="inverted_cdf")
    assert merged.get_total_count() == 5000
    measured = merged.get_value_at_percentile(99) / 1e6
    assert measured == pytest.approx(expected, rel=2 * PRECISION)


def test_statistics_stall_shows_in_latency_and_not_in_service_time():
    statistics = compute_statistics(make_stalled_record(), REQUESTS, 1000.0)
    assert statistics.latency.percentiles["p99.9"] == pytest.approx(1.0, abs=0.02)
    assert statistics.latency.percentiles["p95"] > 0.4
    assert statistics.service_time.percentiles["p99.9"] == pytest.approx(1e-3, rel=0.01)
    assert statistics.latency.percentiles["p50"] == pytest.approx(1e-3, rel=0.01)


def test_statistics_seconds_count_answers_when_they_arrive_and_latency_when_due():
    seconds = compute_statistics(make_stalled_record(), REQUESTS, 1000.0).by_second
    assert [second.second for second in seconds] == list(range(10))
    throughputs = [second.throughput for second in seconds]
    assert throughputs[4] <= 2  # the second of the stall
    assert throughputs[5] == pytest.approx(2000, abs=3)
    assert throughputs[:4] + throughputs[6:] == pytest.approx([1000.0] * 8, abs=2)
    assert seconds[4].p50 == pytest.approx(0.5, abs=0.01)
    assert seconds[3].p99 == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("record", "is_falling_behind"),
    [
        (make_growing_record(0.05), True),
        (make_growing_record(0.0), False),
        (make_growing_record(0.0005), False),  # half a millisecond in all
        (make_stalled_record(), False),  # it recovered
        (make_growing_record(0.05, load_seconds=0.01), False),  # too few requests to decide
    ],
)
def test_statistics_growing_latency_of_an_open_loop_is_falling_behind(record, is_falling_behind):
    statistics = compute_statistics(record, REQUESTS, 5000.0)
    assert statistics.is_falling_behind is is_falling_behind
    assert statistics.as_json()["falls_behind"] is is_falling_behind


def test_statistics_growing_latency_of_a_closed_loop_is_not_falling_behind():
    record = make_growing_record(0.05)
    record.is_open_loop = False
    assert not compute_statistics(record, REQUESTS, None).is_falling_behind


def test_statistics_unordered_requests_and_a_partial_second_are_counted():
    due_at = np.array([2.2, 0.5, 1.5, 0.1])
    record = make_record(due_at, due_at, due_at + 0.01, load_seconds=2.5)
    statistics = compute_statistics(record, REQUESTS, None)
    assert [second.throughput for second in statistics.by_second] == [2.0, 1.0, 2.0]


def test_statistics_second_without_correct_answers_has_errors_and_no_times():
    due_at = np.array([0.1, 1.1])
    record = make_record(due_at, due_at, due_at + 0.1, status=[200, 503], load_seconds=2.0)
    statistics = compute_statistics(record, REQUESTS, 1.0)
    assert statistics.by_second[1].errors == 1
    assert statistics.as_json()["by_second"][1]["p99_ms"] is None


def test_statistics_errors_are_not_counted_as_throughput():
    status = [200, 200, WRONG_ANSWER, 503, 503, 503, CONNECTION_FAILED, UNANSWERED, TIMED_OUT, 200]
    due_at = np.arange(10) / 10
    sent_at = due_at.copy()
    sent_at[7] = np.nan
    record = make_record(
        due_at,
        sent_at,
        sent_at + 0.01,
        status=status,
        request_index=[0, 1] * 5,
        load_seconds=2.0,
    )
    statistics = compute_statistics(record, REQUESTS, 5.0)
    assert statistics.error_counts == {
        "503": 3,
        "unanswered": 1,
        "timeout": 1,
        "connection": 1,
        "wrong": 1,
    }
    counts = (statistics.request_count, statistics.sent_count, statistics.answered_count)
    assert counts == (10, 9, 3)
    rates = (statistics.throughput, statistics.sent_rate, statistics.rows_per_second)
    assert rates == (1.5, 4.5, 32.5)
    assert statistics.error_share == 0.7


def test_statistics_errors_of_each_kind_have_their_name():
    counts = {
        503: 5,
        UNANSWERED: 1,
        TIMED_OUT: 2,
        CONNECTION_FAILED: 3,
        WRONG_ANSWER: 4,
        422: 6,
    }
    status = np.repeat([*counts], [*counts.values()])
    due_at = np.arange(len(status)) / 10
    record = make_record(due_at, due_at, due_at + 0.01, status=status)
    assert compute_statistics(record, REQUESTS, None).error_counts == {
        "503": 5,
        "unanswered": 1,
        "timeout": 2,
        "connection": 3,
        "wrong": 4,
        "422": 6,
    }


def test_statistics_timeout_counts_as_latency_and_a_refusal_does_not():
    due_at = np.zeros(4)
    status = [200, 200, TIMED_OUT, 503]
    record = make_record(due_at, due_at, [0.001, 0.001, 10.0, 0.0001], status=status)
    statistics = compute_statistics(record, REQUESTS, None)
    assert statistics.latency.count == 3
    assert statistics.latency.maximum == 10.0


def test_statistics_request_never_sent_has_latency_and_no_service_time():
    record = make_record([0.0, 0.0], [0.0, np.nan], [0.01, 5.0], status=[200, TIMED_OUT])
    statistics = compute_statistics(record, REQUESTS, None)
    assert statistics.latency.count == 2
    assert statistics.service_time.count == 1
    assert statistics.send_delay.count == 1


def test_statistics_answers_after_the_load_are_no_throughput():
    due_at = np.arange(1000) / 100
    ended_at = np.arange(1000) / 50 + 0.001  # half as fast as they were due
    statistics = compute_statistics(make_record(due_at, due_at, ended_at), REQUESTS, 100.0)
    assert statistics.answered_count == 1000
    assert statistics.throughput == pytest.approx(50, rel=0.01)


def test_statistics_as_json_has_the_documented_keys():
    faults = {"no": 3, "nay": 9, "nope": 1, "never": 2}
    record = make_record([0.0], [0.0], [0.002], faults=faults)
    statistics = compute_statistics(record, REQUESTS, None)
    content = json.loads(json.dumps(statistics.as_json(), allow_nan=False))
    assert {"p50", "p90", "p99", "p99.9"} <= content["latency_ms"].keys()
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
    } <= content.keys()
    assert content["latency_ms"]["p50"] == pytest.approx(2.0)
    assert content["latency_ms"]["max"] == pytest.approx(2.0)
    examples = [example["fault"] for example in content["errors"]["examples"]]
    assert examples == ["nay", "no", "never"]


def test_statistics_run_without_requests_are_valid_json():
    statistics = compute_statistics(make_record([], [], []), REQUESTS, 5.0)
    assert statistics.throughput == 0
    assert statistics.error_share == 1
    json.dumps(statistics.as_json(), allow_nan=False)
