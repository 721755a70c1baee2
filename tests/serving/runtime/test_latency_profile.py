"""What times of runs come to."""

import numpy as np
import pytest

from serving.repository import Repository
from serving.runtime import GraphError
from serving.runtime.latency_profile import MAX_BLOCKING_SECONDS, RUNS_PER_SIZE, LatencyProfile

# Seconds of a small, a middling and a heavy network by rows, as measured on a desk.
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
HEAVY = {
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


def test_a_batch_grows_as_long_as_a_row_gets_cheaper():
    pace = LatencyProfile.from_run_seconds(SMALL)
    assert pace.batch_rows == 64
    assert pace.seconds_per_row == pytest.approx(95e-6 / 64)


def test_a_batch_never_holds_the_loop_for_longer_than_it_may():
    pace = LatencyProfile.from_run_seconds(HEAVY)
    assert pace.batch_rows == 64
    assert pace.batch_rows * pace.seconds_per_row <= MAX_BLOCKING_SECONDS
    assert pace.slice_rows * pace.seconds_per_row <= MAX_BLOCKING_SECONDS * 1.001
    assert LatencyProfile.from_run_seconds({1: 0.05}).batch_rows == 1
    assert LatencyProfile.from_run_seconds({1: 0.05}).slice_rows == 1


def test_requests_run_alone_from_where_joining_two_saves_little():
    assert (
        LatencyProfile.from_run_seconds(SMALL).min_unbatched_rows == 32
    )  # 190 against 2 · 95 is nothing; 95 against 2 · 52, 9 %
    linear = {size: size * 1e-4 for size in SMALL}
    assert LatencyProfile.from_run_seconds(linear).min_unbatched_rows == 1
    free = dict.fromkeys(SMALL, 0.0001)
    assert LatencyProfile.from_run_seconds(free).min_unbatched_rows == 256


def test_noise_makes_no_batch_smaller():
    for size in (1, 8, 16, 64):
        noisy = SMALL | {size: SMALL[size] * 20}
        assert LatencyProfile.from_run_seconds(noisy).batch_rows >= 64


def test_it_is_measured_of_the_session_itself(shipped):
    model = Repository(shipped).find_model(None)
    runs = []

    class Counted:
        def run(self, inputs):
            runs.append(len(inputs["features"]))
            return model.session.run(inputs)

    pace = LatencyProfile.measure(Counted(), {"features": np.ones((3, 64), np.float32)})
    assert max(map(runs.count, runs)) <= RUNS_PER_SIZE[1] + 1  # and one to warm up
    assert list(pace.seconds) == sorted(pace.seconds)
    assert 1 < pace.min_unbatched_rows <= pace.batch_rows <= pace.slice_rows
    assert model.latency_profile.seconds


def test_measure_runs_of_up_to_256_rows_are_timed():
    class Instant:
        def __init__(self):
            self.runs = []

        def run(self, inputs):
            self.runs.append(len(inputs["features"]))

    session = Instant()
    pace = LatencyProfile.measure(session, {"features": np.ones((3, 64), np.float32)})
    assert sorted(set(session.runs)) == [1, 2, 4, 8, 16, 32, 64, 128, 256] == list(pace.run_seconds)
    assert set(map(session.runs.count, pace.seconds)) <= {*range(4, 22)}  # with one to warm up


def test_inputs_of_another_model_are_refused(shipped):
    model = Repository(shipped).find_model(None)
    with pytest.raises(GraphError):
        LatencyProfile.measure(model.session, {"features": np.ones((3, 65), np.float32)})
