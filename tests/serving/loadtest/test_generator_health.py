"""Whether the load generator was the bottleneck, in real runs and in made-up records."""

import time
from dataclasses import replace

import numpy as np
import pytest

from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator_health import assess_generator, measure_max_rate
from serving.loadtest.open_loop import generate_constant_arrivals
from serving.loadtest.run_record import PreparedRequest, RunRecord
from tests.load_requests import make_address, make_request


def run_at_rate(live, request, rate, seconds):
    due_at = generate_constant_arrivals(rate, seconds)
    indices = np.zeros(len(due_at), np.int32)
    return LoadEngine(make_address(live.url), [request]).run_open_loop(due_at, indices, 1)


def test_assess_generator_with_spare_time_has_no_warning(live):
    request = make_request()
    record = run_at_rate(live, request, 50, 0.5)
    record.send_delay[:] = 0  # a busy test machine may delay requests
    health = assess_generator(record, measure_max_rate([request]))
    assert health.warning is None
    assert 0 < health.cpu_share < 0.9
    assert health.max_rate > 2000


def test_assess_slow_generator_warns_that_it_was_busy(live):
    def spin(_body):
        end = time.perf_counter() + 0.004
        while time.perf_counter() < end:
            pass

    # With 4 ms of processor time per answer, the generator can send 250 requests per second.
    record = run_at_rate(live, make_request(find_fault=spin), 400, 1)
    health = assess_generator(record, None)
    assert health.warning.startswith("The load generator was the bottleneck: it was busy")


def make_record(send_delay, latency, cpu_seconds=0.1, busy_seconds=0.2, count=1000):
    """Return a run of one second in which all requests have the same delay and latency."""
    due_at = np.linspace(0, 1, count, endpoint=False)
    return RunRecord(
        due_at=due_at,
        sent_at=due_at + send_delay,
        ended_at=due_at + latency,
        status=np.full(count, 200, np.int16),
        request_index=np.zeros(count, np.int32),
        send_delay=np.full(count, send_delay),
        load_seconds=1.0,
        wall_seconds=1.25,
        busy_seconds=busy_seconds,
        cpu_seconds=cpu_seconds,
        is_open_loop=True,
        max_connections=3,
    )


@pytest.mark.parametrize(
    ("record", "max_rate", "expected"),
    [
        (make_record(0.0001, 0.005), 10_000, None),
        (make_record(0.004, 0.005), 10_000, "up to 4.0 ms after they were due (p99)"),
        (make_record(0.004, 0.5), 10_000, None),  # a small part of the latency
        (make_record(0.0004, 0.001), 10_000, None),  # too short to matter
        (make_record(0.0, 0.005, cpu_seconds=0.97 * 1.25), 10_000, "it was busy 97% of the time"),
        (make_record(0.0, 0.005, busy_seconds=0.96 * 1.25), 10_000, "it was busy 96% of the time"),
        (make_record(0.0, 0.005), 1_100, "it can send 1100/s on this machine"),
        (make_record(0.0, 0.005), None, None),
    ],
)
def test_assess_overloaded_or_late_generator_warns_with_the_cause(record, max_rate, expected):
    warning = assess_generator(record, max_rate).warning
    assert (warning is None) if expected is None else (expected in warning)


def test_assess_late_generator_warning_names_the_latency():
    warning = assess_generator(make_record(0.004, 0.005), 10_000).warning
    assert "the reported latency of 5.0 ms" in warning


def test_assess_cpu_share_is_relative_to_the_wall_time():
    health = assess_generator(make_record(0.004, 0.5), 10_000)
    assert health.cpu_share == pytest.approx(0.1 / 1.25)
    assert (health.send_delay_p99_ms, health.max_rate) == (pytest.approx(4.0), 10_000)


def test_assess_health_as_json_has_the_documented_keys():
    health = assess_generator(make_record(0.004, 0.005), 10_000)
    assert health.as_json() == {
        "processor_share": health.cpu_share,
        "late_p99_ms": health.send_delay_p99_ms,
        "most": 10_000,
        "verdict": health.warning,
    }


def test_assess_run_without_requests_has_no_warning():
    empty = replace(make_record(0, 0, count=0), load_seconds=0.0, cpu_seconds=0.0)
    assert assess_generator(empty, 100.0).warning is None


@pytest.mark.usefixtures("processes")
def test_measure_max_rate_large_requests_are_slower():
    small = PreparedRequest(make_request().http_bytes, 1, b"{}", lambda _: None)
    large = PreparedRequest(make_request(b" " * 2_000_000).http_bytes, 1, b"{}", lambda _: None)
    assert measure_max_rate([small]) > 3 * measure_max_rate([large])
