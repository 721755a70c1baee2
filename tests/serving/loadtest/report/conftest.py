"""Reports of made-up runs that have everything a report can show."""

from collections import Counter

import numpy as np
import pytest

from serving.loadtest.capacity import RateProbe
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import evaluate_objectives, parse_objectives
from serving.loadtest.report import LoadTestReport
from serving.loadtest.run_record import TIMED_OUT, WRONG_ANSWER, PreparedRequest, RunRecord
from serving.loadtest.server_metrics import HistogramSummary, PercentileBounds, ServerMetrics
from serving.loadtest.statistics import compute_statistics

REQUESTS = [PreparedRequest(b"", 4, None, lambda body: None)]
OBJECTIVES = parse_objectives(["p99=50ms", "p50=20ms", "p99.99=1s"])


def build_statistics(
    rate=200.0, *, load_seconds=10.0, stall=1.0, has_errors=True, is_open_loop=True, seed=0
):
    """Return statistics of a server that stalls once, by default with errors of several kinds."""
    rng = np.random.default_rng(seed)
    due_at = np.arange(int(rate * load_seconds)) / rate
    is_waiting = (due_at > 4) & (due_at < 4 + stall)
    sent_at = np.where(is_waiting, 4 + stall, due_at)
    status = np.full(len(due_at), 200, np.int16)
    if has_errors:
        status[::97], status[1::211], status[2::503] = 503, WRONG_ANSWER, TIMED_OUT
    faults = {"expected class 3 in instance 0, got 4": 9, "status 503: \x1b[31mfull": 21}
    record = RunRecord(
        due_at=due_at,
        sent_at=sent_at,
        ended_at=sent_at + rng.lognormal(-6, 0.5, len(due_at)),
        status=status,
        request_index=np.zeros(len(due_at), np.int32),
        send_delay=rng.exponential(2e-4, len(due_at)),
        load_seconds=load_seconds,
        wall_seconds=load_seconds,
        busy_seconds=0.1,
        cpu_seconds=0.3,
        is_open_loop=is_open_loop,
        max_connections=64,
        fault_counts=Counter(faults if has_errors else {}),
    )
    return compute_statistics(record, REQUESTS, rate if is_open_loop else None)


def build_histogram(mean):
    """Return a histogram of the server, whose p99 lies in its last bucket."""
    bounds = {
        "p50": PercentileBounds(1e-3, 2.5e-3, 2e-3),
        "p90": PercentileBounds(2.5e-3, 5e-3, 3e-3),
        "p99": PercentileBounds(10.0, float("inf"), 10.0),
    }
    return HistogramSummary(1998, mean, bounds)


def build_health(warning=None):
    """Return the health of a generator, with a warning or without."""
    return GeneratorHealth(0.031, 0.87, 31234.0, warning)


@pytest.fixture(scope="session")
def make_statistics():
    """Return the function `build_statistics`."""
    return build_statistics


@pytest.fixture(scope="session")
def make_health():
    """Return the function `build_health`."""
    return build_health


@pytest.fixture(scope="session")
def make_report():
    """Return a function that builds a report; its arguments replace attributes of the report."""

    def build(**changes):
        statistics = changes.pop("statistics", None) or build_statistics()
        server = ServerMetrics(
            1998,
            build_histogram(1.83e-3),
            {"decode": build_histogram(1.1e-4), "run": build_histogram(4.2e-4)},
            HistogramSummary(1998, 7.25, {}),
            {"503": 21, "429": 3},
        )
        attributes = {
            "target": "digits/1 at http://127.0.0.1:8000",
            "command": "python -m serving loadtest --rate 200",
            "load": "200 requests/s at random intervals (open loop), 10 s, 4 rows per request",
            "results": evaluate_objectives(statistics, OBJECTIVES),
            "server": server,
            "generator": build_health(),
            "machine": {"processor": "Xeon <4>", "cores": "2", "python": "3.11.9"},
        }
        return LoadTestReport(statistics=statistics, **{**attributes, **changes})

    return build


@pytest.fixture(scope="session")
def probes():
    """Return the rates that a capacity search probed; only the highest was not sustained."""
    return tuple(
        RateProbe(
            rate,
            build_statistics(rate, stall=0.0 if is_sustained else 2.0, has_errors=False),
            build_health(),
            is_sustained,
        )
        for rate, is_sustained in ((400.0, True), (100.0, True), (800.0, False))
    )


@pytest.fixture(scope="session")
def empty_statistics():
    """Return the statistics of a run without requests."""
    none = np.empty(0)
    record = RunRecord(
        due_at=none,
        sent_at=none,
        ended_at=none,
        status=none.astype(np.int16),
        request_index=none.astype(np.int32),
        send_delay=none,
        load_seconds=5.0,
        wall_seconds=5.0,
        cpu_seconds=0.0,
        busy_seconds=0.0,
        is_open_loop=True,
        max_connections=0,
    )
    return compute_statistics(record, REQUESTS, 5.0)
