"""A soak is found steady if nothing drifts, and says what does; and it can be run."""

import json
import os
import socket
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import theilslopes

from benchmarks.robustness.drift import drift
from benchmarks.robustness.process_samples import Sample, sample
from benchmarks.robustness.soak.__main__ import main, series
from benchmarks.robustness.soak.load_windows import Window, order, window
from benchmarks.robustness.soak.reloads import KINDS
from benchmarks.robustness.soak.soak_requests import Asked
from benchmarks.robustness.soak.verdict import STEADY, drifts, figures, verdict
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    TIMED_OUT,
    WRONG_ANSWER,
    PreparedRequest,
    RunRecord,
)

SECONDS = 1200.0
RELOADS = {"appears": 30}
NOTHING = np.zeros(0)


def samples_of(mb=NOTHING, descriptors=NOTHING, **changed):
    """20 minutes of a server in noise, with what is added to its memory and descriptors."""
    rng = np.random.default_rng(3)
    at = np.arange(5, SECONDS, 5)
    connections = rng.integers(0, 40, len(at))
    memory = 180 + rng.normal(0, 0.4, len(at)) + (mb if len(mb) else 0)
    held = 30 + connections + (descriptors if len(descriptors) else 0)
    plain = {"arbiter_mb": 67.0, "threads": 5, "workers": (11, 12), **changed}
    return [
        Sample(
            at=when,
            rss_mb=size,
            pss_mb=size / 2,
            descriptors=int(count),
            connections=int(c),
            **plain,
        )
        for when, size, count, c in zip(at, memory, held, connections, strict=True)
    ]


def windows_of(growth=1.0, **changed):
    """80 pieces, whose latency is multiplied by `growth` from begin to end."""
    rng = np.random.default_rng(4)
    at = np.arange(7.5, SECONDS, 15)
    factor = np.linspace(1, growth, len(at)) * rng.lognormal(0, 0.15, len(at))
    plain = {
        "requests": 6000,
        "refused": 600,
        "wrong": 0,
        "dropped": 0,
        "unexpected": Counter(),
        "in_doubt": False,
        "faults": (),
        **changed,
    }
    return [
        Window(at=when, p50_ms=1.2 * f, p99_ms=6 * f, **plain)
        for when, f in zip(at, factor, strict=True)
    ]


def judged(samples=None, windows=None, failed=()):
    return figures(samples or samples_of(), windows or windows_of(), SECONDS, RELOADS, failed)


def growing(rate):
    """What grows by so much an hour, at the times of the samples."""
    return rate * np.arange(5, SECONDS, 5) / 3600


def test_noise_is_steady():
    found = judged()
    assert verdict(found) == STEADY
    assert found.requests == 80 * 6000
    assert found.refused == 80 * 600


@pytest.mark.parametrize("rate", [8, 20, 100])
def test_a_slow_leak_in_noise_is_noticed(rate):
    found = judged(samples_of(mb=growing(rate)))
    assert len(drifts(found)) == 1
    assert "the workers' memory grows by" in verdict(found)
    assert found.memory.slope == pytest.approx(rate, rel=0.15)
    assert found.memory.low <= rate <= found.memory.high


def test_one_jump_of_an_allocator_is_no_leak():
    jump = 6.0 * (np.arange(5, SECONDS, 5) > 300)
    assert verdict(judged(samples_of(mb=jump))) == STEADY


def test_what_grows_in_the_warm_up_alone_is_no_leak():
    grown = 40 * np.minimum(np.arange(5, SECONDS, 5) / 120, 1)
    assert verdict(judged(samples_of(mb=grown))) == STEADY


def test_a_leak_of_the_arbiter_is_noticed():
    leaking = [
        replace(s, arbiter_mb=67 + grown)
        for s, grown in zip(samples_of(), growing(30), strict=True)
    ]
    assert "the arbiter's memory" in verdict(judged(leaking))


def test_a_leak_of_descriptors_is_noticed_under_connections_that_come_and_go():
    lost = np.arange(5, SECONDS, 5) // 60  # one a minute
    found = judged(samples_of(descriptors=lost))
    assert drifts(found) == [
        f"descriptors beyond those of connections grew from "
        f"{found.descriptors.first:g} to {found.descriptors.last:g}"
    ]
    assert found.descriptors.slope == pytest.approx(60, rel=0.1)


@pytest.mark.parametrize(("growth", "steady"), [(1.3, True), (3.0, False)])
def test_a_drift_of_latency_is_noticed(growth, steady):
    found = judged(windows=windows_of(growth))
    assert (verdict(found) == STEADY) is steady
    assert steady or "p50 went from" in verdict(found)


@pytest.mark.parametrize(
    ("amiss", "said"),
    [
        ({"wrong": 1}, "80 wrong answers"),
        ({"dropped": 2}, "160 requests without an answer"),
        ({"unexpected": Counter({"503": 1})}, "unexpected statuses: 80 × 503"),
    ],
)
def test_any_answer_amiss_is_not_steady(amiss, said):
    assert drifts(judged(windows=windows_of(**amiss))) == [said]


def test_a_worker_that_died_is_noticed():
    samples = samples_of()
    samples[100:] = [replace(s, workers=(11, 13)) for s in samples[100:]]
    assert verdict(judged(samples)) == "1 workers died"


def test_a_reload_that_failed_is_noticed():
    assert verdict(judged(failed=["load: expected 3; got 2"])) == "1 reloads failed"


def test_the_slope_is_that_of_scipy_and_quarters_are_medians():
    rng = np.random.default_rng(5)
    at, values = np.sort(rng.uniform(0, 7200, 40)), rng.normal(10, 1, 40)
    found = drift(at, values)
    expected = theilslopes(values, at / 3600)
    assert (found.slope, found.low, found.high) == pytest.approx(
        (expected[0], expected[2], expected[3])
    )
    assert (found.first, found.last) == (np.median(values[:10]), np.median(values[-10:]))
    assert found.in_percent().slope == pytest.approx(100 * found.slope / found.first)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="expected 4 samples or more; got 3"):
        drift(np.arange(3.0), np.ones(3))


def recorded(call, status, latency):
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


def asked_of(*statuses):
    return [Asked(PreparedRequest(b"", 1, None, lambda _: None), status) for status in statuses]


def test_each_status_is_held_against_its_request():
    call = [0, 0, 0, 0, 0, 1, 1, 1]
    status = [200, 503, WRONG_ANSWER, TIMED_OUT, 422, 422, 200, CONNECTION_FAILED]
    latency = [0.002, 9, 9, 9, 9, 9, 9, 9]
    found = window(recorded(call, status, latency), asked_of(200, 422), at=7.5)
    assert (found.requests, found.refused, found.wrong, found.dropped) == (8, 1, 1, 2)
    assert found.unexpected == {"503": 1, "422": 1, "200": 1}
    assert (found.p50_ms, found.p99_ms) == pytest.approx((2.0, 2.0))
    assert "503: full" in found.faults
    assert "expected 422; got 200" in found.faults
    assert "422: wrong width" not in found.faults


def test_a_tenth_is_bad():
    drawn = order(asked_of(200, 200, 404, 422), 20_000, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert shares == pytest.approx([0.45, 0.45, 0.05, 0.05], abs=0.01)


def test_connections_are_counted_while_their_client_keeps_them():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            taken, _ = server.accept()
            found = sample(os.getpid(), port, 5.0)
            assert (found.at, found.connections) == (5.0, 1)
        with taken:
            # The server's end is still open, as of one that forgot to close it.
            assert sample(os.getpid(), port, 5.0).connections == 0


def test_a_long_series_is_thinned():
    many = 3 * samples_of()[:200]
    found = series(many, windows_of())
    assert len(found["samples"]["at"]) == 200
    assert len(found["windows"]["p99_ms"]) == 80


@pytest.mark.usefixtures("processes")
def test_a_short_soak_of_a_real_server(tmp_path):
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
    assert set(seen["reloads"]) >= set(KINDS[:3])
    assert min(found["series"]["samples"]["connections"]) >= 0
    assert seen["memory_mb"]["first"] > 50
