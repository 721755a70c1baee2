"""Batch sizes that follow from the measured durations of runs, and the measuring itself."""

import itertools
import math
import time

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.runtime import (
    MAX_TIMING_SECONDS,
    GraphError,
    GraphSession,
    latency_profile,
    measure_latencies,
)
from serving.runtime.latency_profile import MAX_BLOCKING_SECONDS, RUNS_PER_SIZE, LatencyProfile
from tests.repositories import load_repository
from tests.variants import keep_unchanged, slow_down, write_variants

# Durations of a run in seconds, by its number of rows, as measured for a small and a large network.
SMALL = {
    1: 12e-6,
    2: 13e-6,
    4: 15e-6,
    8: 20e-6,
    16: 30e-6,
    32: 52e-6,
    64: 95e-6,
    128: 190e-6,
    256: 380e-6,
}
LARGE = {
    1: 8.3e-4,
    2: 9e-4,
    4: 1e-3,
    8: 1.1e-3,
    16: 1.7e-3,
    32: 2.8e-3,
    64: 5e-3,
    128: 1e-2 + 1e-6,
    256: 2.4e-2,
}


def test_from_run_seconds_batch_grows_while_the_time_per_row_falls():
    profile = LatencyProfile.from_run_seconds(SMALL)
    assert profile.max_batch_rows == 64
    assert profile.seconds_per_row == pytest.approx(95e-6 / 64)


def test_from_run_seconds_batches_and_slices_do_not_block_the_loop_too_long():
    profile = LatencyProfile.from_run_seconds(LARGE)
    assert profile.max_batch_rows == 64
    assert profile.max_batch_rows * profile.seconds_per_row <= MAX_BLOCKING_SECONDS
    assert profile.slice_rows * profile.seconds_per_row <= MAX_BLOCKING_SECONDS * 1.001
    assert LatencyProfile.from_run_seconds({1: 0.05}).max_batch_rows == 1
    assert LatencyProfile.from_run_seconds({1: 0.05}).slice_rows == 1


def test_from_run_seconds_requests_are_unbatched_once_joining_saves_little():
    # Joining two requests of 32 rows saves 9 % (95 µs instead of 2 · 52), of 64 rows nothing.
    assert LatencyProfile.from_run_seconds(SMALL).min_unbatched_rows == 32
    linear = {size: size * 1e-4 for size in SMALL}
    assert LatencyProfile.from_run_seconds(linear).min_unbatched_rows == 1
    constant = dict.fromkeys(SMALL, 0.0001)
    assert LatencyProfile.from_run_seconds(constant).min_unbatched_rows == 256


def test_from_run_seconds_one_slow_run_does_not_make_batches_smaller():
    for size in (1, 8, 16, 64):
        noisy = SMALL | {size: SMALL[size] * 20}
        assert LatencyProfile.from_run_seconds(noisy).max_batch_rows >= 64


def test_measure_loaded_model_returns_increasing_sizes(shipped):
    model = load_repository(shipped).find_model(None)
    runs = []

    class CountingSession:
        def run(self, inputs):
            runs.append(len(inputs["features"]))
            return model.session.run(inputs)

    profile = LatencyProfile.measure(CountingSession(), {"features": np.ones((3, 64), np.float32)})
    assert max(map(runs.count, runs)) <= RUNS_PER_SIZE[1] + 1  # plus one that is not timed
    assert list(profile.run_seconds) == sorted(profile.run_seconds)
    assert 1 < profile.min_unbatched_rows <= profile.max_batch_rows <= profile.slice_rows
    assert model.latency_profile.run_seconds


def test_measure_times_runs_of_1_to_256_rows():
    class InstantSession:
        def __init__(self):
            self.runs = []

        def run(self, inputs):
            self.runs.append(len(inputs["features"]))

    session = InstantSession()
    profile = LatencyProfile.measure(session, {"features": np.ones((3, 64), np.float32)})
    assert (
        sorted(set(session.runs)) == [1, 2, 4, 8, 16, 32, 64, 128, 256] == list(profile.run_seconds)
    )
    assert set(map(session.runs.count, profile.run_seconds)) <= {
        *range(4, 22)
    }  # includes one untimed run


def test_measure_inputs_of_another_model_are_refused(shipped):
    model = load_repository(shipped).find_model(None)
    with pytest.raises(GraphError):
        LatencyProfile.measure(model.session, {"features": np.ones((3, 65), np.float32)})


def test_measure_latencies_returns_times_of_each_graph_and_size(only_digits):
    folder = only_digits / "digits" / "1"
    bundle = Bundle.open(write_variants(folder, fp32=keep_unchanged, slow=slow_down))
    sessions = {name: GraphSession(bundle.read_graph(name)) for name in bundle.manifest.variants}
    found = measure_latencies(sessions, bundle.read_selftest().inputs, (1, 300))
    assert list(found) == ["fp32", "slow"]
    assert all(list(times) == [1, 300] for times in found.values())
    assert all(0 < found["fp32"][size] < found["slow"][size] for size in (1, 300))
    assert found["fp32"][1] < found["fp32"][300]


def test_measure_latencies_mixed_columns_are_timed(adults):
    bundle = Bundle.open(adults / "adults" / "1")
    times = measure_latencies(
        {"fp32": GraphSession(bundle.read_graph("fp32"))}, bundle.read_selftest().inputs
    )["fp32"]
    assert list(times) == [1, 8, 64, 256]


def test_measure_latencies_returns_the_median_of_the_timed_runs(monkeypatch):
    monkeypatch.setattr(latency_profile, "MAX_TIMED_RUNS", 5)
    durations = iter([7.0, 1.0, 2.0, 90.0, 3.0])  # of the timed runs, in seconds
    now, is_timed = [0.0], itertools.cycle([False, True])

    class ClockedSession:
        def run(self, rows):
            now[0] += next(durations) if next(is_timed) else 1000.0

    monkeypatch.setattr(latency_profile.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(latency_profile, "MAX_TIMING_SECONDS", 1e9)
    assert measure_latencies({"a": ClockedSession()}, {"features": np.ones((1, 2))}, (8,)) == {
        "a": {8: 3e6}
    }


@pytest.mark.slow
def test_measure_latencies_alternates_graphs_until_the_time_is_over():
    runs = []

    class SlowSession:
        def __init__(self, name):
            self.name = name

        def run(self, rows):
            time.sleep(0.02)
            runs.append((self.name, len(rows["features"])))

    found = measure_latencies(
        {"a": SlowSession("a"), "b": SlowSession("b")}, {"features": np.ones((3, 2))}, (1, 8)
    )
    # Each size ends with the round in which its time is over. A round is 4 runs, at least 80 ms.
    assert len(runs) <= 2 * 4 * (1 + math.ceil(MAX_TIMING_SECONDS / 0.08))
    # In each round every graph runs twice, and the second run is timed.
    assert [name for name, _ in runs] == ["a", "a", "b", "b"] * (len(runs) // 4)
    assert {rows for _, rows in runs} == {1, 8}
    assert all(median >= 20_000 for times in found.values() for median in times.values())
