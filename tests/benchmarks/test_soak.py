"""The verdict of a soak is steady unless something drifts; and a short soak of a real server."""

import json
import os
import socket
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import theilslopes

from benchmarks.robustness.drift import measure_drift
from benchmarks.robustness.process_samples import ServerSample, sample_server
from benchmarks.robustness.soak.__main__ import main, make_series
from benchmarks.robustness.soak.load_windows import LoadWindow, draw_order, summarize_window
from benchmarks.robustness.soak.reloads import KINDS
from benchmarks.robustness.soak.soak_requests import SoakRequest
from benchmarks.robustness.soak.verdict import STEADY, compute_figures, list_drifts, make_verdict
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    TIMED_OUT,
    WRONG_ANSWER,
    PreparedRequest,
    RunRecord,
)

SOAK_SECONDS = 1200.0
RELOADS = {"appears": 30}
SAMPLE_TIMES = np.arange(5, SOAK_SECONDS, 5)


def make_samples(added_mb=0.0, added_descriptors=0, **changes):
    """Return samples of 20 minutes with noise, with growth added to memory and descriptors."""
    rng = np.random.default_rng(3)
    connections = rng.integers(0, 40, len(SAMPLE_TIMES))
    memory = 180 + rng.normal(0, 0.4, len(SAMPLE_TIMES)) + added_mb
    descriptors = 30 + connections + added_descriptors
    constants = {"arbiter_mb": 67.0, "threads": 5, "workers": (11, 12), **changes}
    return [
        ServerSample(
            at=at,
            rss_mb=size,
            pss_mb=size / 2,
            descriptors=int(count),
            connections=int(c),
            **constants,
        )
        for at, size, count, c in zip(SAMPLE_TIMES, memory, descriptors, connections, strict=True)
    ]


def make_windows(growth=1.0, **changes):
    """Return 80 windows whose latency grows by the factor `growth` from the first to the last."""
    rng = np.random.default_rng(4)
    times = np.arange(7.5, SOAK_SECONDS, 15)
    factor = np.linspace(1, growth, len(times)) * rng.lognormal(0, 0.15, len(times))
    constants = {
        "requests": 6000,
        "refused": 600,
        "wrong": 0,
        "dropped": 0,
        "unexpected": Counter(),
        "is_generator_late": False,
        "faults": (),
        **changes,
    }
    return [
        LoadWindow(at=at, p50_ms=1.2 * f, p99_ms=6 * f, **constants)
        for at, f in zip(times, factor, strict=True)
    ]


def make_figures(samples=None, windows=None, failed_reloads=()):
    return compute_figures(
        samples or make_samples(), windows or make_windows(), SOAK_SECONDS, RELOADS, failed_reloads
    )


def grow(rate_per_hour):
    """Return values at the times of the samples that grow from 0 at this rate."""
    return rate_per_hour * SAMPLE_TIMES / 3600


def test_verdict_noise_is_steady():
    found = make_figures()
    assert make_verdict(found) == STEADY
    assert found.requests == 80 * 6000
    assert found.refused == 80 * 600


@pytest.mark.parametrize("rate", [8, 20, 100])
def test_verdict_slow_leak_in_noise_is_reported(rate):
    found = make_figures(make_samples(added_mb=grow(rate)))
    assert len(list_drifts(found)) == 1
    assert "the workers' memory grows by" in make_verdict(found)
    assert found.memory.slope == pytest.approx(rate, rel=0.15)
    assert found.memory.low <= rate <= found.memory.high


def test_verdict_single_step_of_memory_is_steady():
    jump = 6.0 * (SAMPLE_TIMES > 300)
    assert make_verdict(make_figures(make_samples(added_mb=jump))) == STEADY


def test_verdict_growth_in_warm_up_is_steady():
    grown = 40 * np.minimum(SAMPLE_TIMES / 120, 1)
    assert make_verdict(make_figures(make_samples(added_mb=grown))) == STEADY


def test_verdict_leak_of_arbiter_is_reported():
    leaking = [
        replace(s, arbiter_mb=67 + grown) for s, grown in zip(make_samples(), grow(30), strict=True)
    ]
    assert "the arbiter's memory" in make_verdict(make_figures(leaking))


def test_verdict_leak_of_descriptors_among_changing_connections_is_reported():
    lost = SAMPLE_TIMES // 60  # one a minute
    found = make_figures(make_samples(added_descriptors=lost))
    assert list_drifts(found) == [
        f"descriptors beyond those of connections grew from "
        f"{found.descriptors.first:g} to {found.descriptors.last:g}"
    ]
    assert found.descriptors.slope == pytest.approx(60, rel=0.1)


@pytest.mark.parametrize(("growth", "steady"), [(1.3, True), (3.0, False)])
def test_verdict_latency_that_grows_is_reported(growth, steady):
    found = make_figures(windows=make_windows(growth))
    assert (make_verdict(found) == STEADY) is steady
    assert steady or "p50 went from" in make_verdict(found)


@pytest.mark.parametrize(
    ("amiss", "said"),
    [
        ({"wrong": 1}, "80 wrong answers"),
        ({"dropped": 2}, "160 requests without an answer"),
        ({"unexpected": Counter({"503": 1})}, "unexpected statuses: 80 × 503"),
    ],
)
def test_verdict_any_failed_answer_is_reported(amiss, said):
    assert list_drifts(make_figures(windows=make_windows(**amiss))) == [said]


def test_verdict_worker_died_is_reported():
    samples = make_samples()
    samples[100:] = [replace(s, workers=(11, 13)) for s in samples[100:]]
    assert make_verdict(make_figures(samples)) == "1 workers died"


def test_verdict_failed_reload_is_reported():
    assert (
        make_verdict(make_figures(failed_reloads=["load: expected 3; got 2"])) == "1 reloads failed"
    )


def test_measure_drift_slope_is_scipys_and_quarters_are_medians():
    rng = np.random.default_rng(5)
    at, values = np.sort(rng.uniform(0, 7200, 40)), rng.normal(10, 1, 40)
    found = measure_drift(at, values)
    expected = theilslopes(values, at / 3600)
    assert (found.slope, found.low, found.high) == pytest.approx(
        (expected[0], expected[2], expected[3])
    )
    assert (found.first, found.last) == (np.median(values[:10]), np.median(values[-10:]))
    assert found.to_percent().slope == pytest.approx(100 * found.slope / found.first)


def test_measure_drift_too_few_samples_raises():
    with pytest.raises(ValueError, match="expected 4 samples or more; got 3"):
        measure_drift(np.arange(3.0), np.ones(3))


def make_record(call, status, latency):
    count = len(call)
    return RunRecord(
        due_at=np.zeros(count),
        sent_at=np.zeros(count),
        ended_at=np.array(latency),
        status=np.array(status, np.int16),
        request_index=np.array(call, np.int32),
        send_delay=np.zeros(count),
        load_seconds=1.0,
        wall_seconds=1.0,
        cpu_seconds=0.1,
        busy_seconds=0.1,
        is_open_loop=True,
        max_connections=1,
        fault_counts=Counter({"422: wrong width": 1, "503: full": 1}),
    )


def make_requests(*statuses):
    return [
        SoakRequest(PreparedRequest(b"", 1, None, lambda _: None), status) for status in statuses
    ]


def test_summarize_window_compares_each_status_with_its_request():
    call = [0, 0, 0, 0, 0, 1, 1, 1]
    status = [200, 503, WRONG_ANSWER, TIMED_OUT, 422, 422, 200, CONNECTION_FAILED]
    latency = [0.002, 9, 9, 9, 9, 9, 9, 9]
    found = summarize_window(make_record(call, status, latency), make_requests(200, 422), at=7.5)
    assert (found.requests, found.refused, found.wrong, found.dropped) == (8, 1, 1, 2)
    assert found.unexpected == {"503": 1, "422": 1, "200": 1}
    assert (found.p50_ms, found.p99_ms) == pytest.approx((2.0, 2.0))
    assert "503: full" in found.faults
    assert "expected 422; got 200" in found.faults
    assert "422: wrong width" not in found.faults


def test_draw_order_a_tenth_is_faulty():
    drawn = draw_order(make_requests(200, 200, 404, 422), 20_000, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert shares == pytest.approx([0.45, 0.45, 0.05, 0.05], abs=0.01)


def test_sample_server_counts_connections_that_their_client_keeps():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            taken, _ = server.accept()
            found = sample_server(os.getpid(), port, 5.0)
            assert (found.at, found.connections) == (5.0, 1)
        with taken:
            # The server's end is still open, as of one that forgot to close it.
            assert sample_server(os.getpid(), port, 5.0).connections == 0


def test_make_series_long_series_is_thinned():
    many = 3 * make_samples()[:200]
    found = make_series(many, make_windows())
    assert len(found["samples"]["at"]) == 200
    assert len(found["windows"]["p99_ms"]) == 80


@pytest.mark.usefixtures("processes")
def test_soak_short_run_of_real_server_writes_results(tmp_path):
    out = tmp_path / "soak.json"
    done = CliRunner().invoke(main, ["--minutes", "0.1", "--out", str(out)])
    found = json.loads(out.read_text())
    seen = found["figures"]
    assert done.exit_code == (found["verdict"] != STEADY), done.output
    assert found["verdict"] in done.output
    assert (seen["wrong"], seen["dropped"], seen["workers_died"]) == (0, 0, 0)
    assert (seen["unexpected"], seen["failed_reloads"], seen["faults"]) == ({}, [], [])
    assert seen["requests"] > 1000
    assert 0.05 < seen["refused"] / seen["requests"] < 0.15
    # A busy machine gets through fewer of them, in the same order.
    assert set(seen["reloads"]) == set(KINDS[: max(1, len(seen["reloads"]))])
    assert min(found["series"]["samples"]["connections"]) >= 0
    assert seen["memory_mb"]["first"] > 50
