"""Batches of many requests, run by a real ONNX Runtime session in a real gevent loop."""

import gc
import select
import socket
import time
import weakref
from dataclasses import replace
from time import perf_counter

import gevent
import numpy as np
import pytest

from serving.call_context import CallContext
from serving.errors import ClientGoneError, DeadlineError, OverloadedError
from serving.inference import batching
from serving.inference.batching import Batcher
from serving.runtime import GraphError
from serving.runtime.latency_profile import LatencyProfile
from tests.processes import HANG_SECONDS
from tests.repositories import load_repository

# All limits differ from each other, and from the queue sizes in the tests below.
PROFILE = LatencyProfile(
    {}, max_batch_rows=8, min_unbatched_rows=7, slice_rows=100, seconds_per_row=1e-5
)


class RecordingSession:
    """A session that records the number of rows of each run."""

    def __init__(self, session):
        self.session, self.runs = session, []

    def run(self, inputs):
        self.runs.append(len(inputs["features"]))
        return self.session.run(inputs)


@pytest.fixture
def model(shipped):
    served = load_repository(shipped).find_model(None)
    return replace(served, session=RecordingSession(served.session), latency_profile=PROFILE)


def make_context(rows, **options):
    context = CallContext(**options)
    context.rows = len(rows)
    return context


def run_rows(batcher, model, rows, **options):
    return batcher.run(model, {"features": rows}, make_context(rows, **options))


def run_concurrently(*functions):
    """Start all functions in one loop iteration, and return their results or their errors."""
    gevent.sleep(1e-9)  # updates the loop's clock
    greenlets = [gevent.spawn(function) for function in functions]
    gevent.joinall(greenlets, timeout=HANG_SECONDS)
    assert all(greenlet.ready() for greenlet in greenlets), "a request waits for ever"
    return [greenlet.exception or greenlet.value for greenlet in greenlets]


def assert_outputs_match(model, rows, outputs):
    expected = model.session.session.run({"features": rows})
    np.testing.assert_array_equal(outputs["label"], expected["label"])
    np.testing.assert_array_equal(outputs["probabilities"], expected["probabilities"])


@pytest.fixture
def rows(digits):
    return digits[0].astype(np.float32)


def test_batcher_requests_of_one_iteration_share_a_run(model, rows):
    batcher = Batcher()
    parts = [rows[0:1], rows[1:4], rows[4:6], rows[6:8]]
    answers = run_concurrently(*(lambda p=p: run_rows(batcher, model, p) for p in parts))
    assert model.session.runs == [8]
    for part, answer in zip(parts, answers, strict=True):
        assert_outputs_match(model, part, answer)


def test_batcher_run_stores_its_times_and_rows_in_each_context(model, rows):
    batcher, contexts = Batcher(), [make_context(rows[:1]), make_context(rows[:2])]
    run_concurrently(
        *(lambda c=c: batcher.run(model, {"features": rows[: c.rows]}, c) for c in contexts),
    )
    assert [c.batch_rows for c in contexts] == [3, 3]
    assert all(c.started_at < c.run_started_at < c.run_ended_at for c in contexts)


def test_batcher_single_request_runs_at_once(model, rows):
    batcher = Batcher()
    (answer,) = run_concurrently(lambda: run_rows(batcher, model, rows[:2]))
    assert_outputs_match(model, rows[:2], answer)
    assert model.session.runs == [2]


def test_batcher_outside_a_gevent_loop_runs_each_request_by_itself(model, rows):
    batcher = Batcher(queue_rows=1, queue_seconds=1e-9)
    assert_outputs_match(model, rows[:5], run_rows(batcher, model, rows[:5]))
    assert model.session.runs == [5]


def test_batcher_more_rows_than_max_batch_rows_runs_several_batches(model, rows):
    batcher = Batcher(max_batch_rows=4)
    parts = [rows[at : at + 3] for at in range(0, 30, 3)]
    answers = run_concurrently(*(lambda p=p: run_rows(batcher, model, p) for p in parts))
    assert model.session.runs == [3] * 10
    for part, answer in zip(parts, answers, strict=True):
        assert_outputs_match(model, part, answer)


def test_batcher_large_request_runs_unbatched_though_a_batch_would_hold_it(model, rows):
    for many, runs in ((6, [7]), (7, [1, 7])):
        batcher = Batcher()
        model.session.runs.clear()
        parts = [rows[:many], rows[many : many + 1]]
        answers = run_concurrently(*(lambda b=batcher, p=p: run_rows(b, model, p) for p in parts))
        assert sorted(model.session.runs) == runs
        for part, answer in zip(parts, answers, strict=True):
            assert_outputs_match(model, part, answer)


def test_batcher_max_batch_rows_of_one_never_joins_requests(model, rows):
    batcher = Batcher(max_batch_rows=1)
    run_concurrently(
        *(lambda at=at: run_rows(batcher, model, rows[at : at + 1]) for at in range(5))
    )
    assert model.session.runs == [1] * 5


def test_batcher_large_request_runs_in_slices_with_small_ones_between(model, rows):
    batcher, finished = Batcher(), []
    many = np.resize(rows, (450, 64))

    def run_large():
        answer = run_rows(batcher, model, many)
        finished.append("large")
        return answer

    def run_small():
        answer = run_rows(batcher, model, rows[:1])
        finished.append("small")
        return answer

    found, _ = run_concurrently(run_large, run_small)
    assert sorted(model.session.runs) == [1, 50, 100, 100, 100, 100]
    assert finished == ["small", "large"]
    assert_outputs_match(model, many, found)


def test_batcher_requests_of_two_models_never_share_a_run(model, rows):
    other = replace(model, session=RecordingSession(model.session.session))
    batcher = Batcher()
    run_concurrently(
        *(lambda m=m: run_rows(batcher, m, rows[:1]) for m in (model, other, model, other, other)),
    )
    assert (model.session.runs, other.session.runs) == ([2], [3])


def test_batcher_failed_run_raises_in_each_of_its_requests(model, rows):
    class Broken:
        def run(self, inputs):
            raise GraphError("no")

    batcher = Batcher()
    broken = replace(model, session=Broken())
    found = run_concurrently(
        *(lambda: run_rows(batcher, broken, rows[:1]) for _ in range(3)),
        lambda: run_rows(batcher, model, rows[:1]),
    )
    assert [type(f) for f in found[:3]] == [GraphError] * 3
    assert_outputs_match(model, rows[:1], found[3])
    assert batcher.pending_rows == 0
    assert_outputs_match(
        model, rows[:2], *run_concurrently(lambda: run_rows(batcher, model, rows[:2]))
    )


def test_batcher_rows_of_two_widths_fail_their_batch_and_no_later_one(model, rows):
    batcher = Batcher()
    found = run_concurrently(
        lambda: run_rows(batcher, model, rows[:1]), lambda: run_rows(batcher, model, rows[:1, :9])
    )
    assert all(isinstance(f, ValueError) for f in found)  # raised by NumPy as it concatenates them
    assert_outputs_match(
        model, rows[:1], *run_concurrently(lambda: run_rows(batcher, model, rows[:1]))
    )


def test_batcher_full_queue_refuses_at_once(model, rows):
    batcher = Batcher(queue_rows=6)
    found = run_concurrently(
        *(lambda n=n: run_rows(batcher, model, rows[:n]) for n in (4, 2, 1, 1))
    )
    assert [isinstance(f, OverloadedError) for f in found] == [False, False, True, True]
    assert "expected at most 6 rows in the queue; got 1 more while 6 are queued" in str(found[2])
    assert found[2].headers["Retry-After"] == "1"
    assert batcher.pending_rows == 0


@pytest.mark.parametrize(("waiting", "is_refused"), [(5, False), (6, True)])
def test_check_capacity_full_queue_refuses(waiting, is_refused, model, rows):
    batcher = Batcher(queue_rows=6)
    first, second = run_concurrently(
        lambda: run_rows(batcher, model, rows[:waiting]), batcher.check_capacity
    )
    assert_outputs_match(model, rows[:waiting], first)
    assert isinstance(second, OverloadedError) == is_refused
    assert not is_refused or "got another request while 6 are queued" in str(second)


def test_batcher_request_larger_than_the_empty_queue_is_answered(model, rows):
    batcher = Batcher(queue_rows=6)
    (found,) = run_concurrently(lambda: run_rows(batcher, model, rows[:50]))
    assert_outputs_match(model, rows[:50], found)


def test_batcher_wait_above_queue_seconds_is_refused(model, rows):
    slow = replace(model, latency_profile=replace(PROFILE, seconds_per_row=0.1))
    batcher = Batcher(queue_seconds=0.25)
    found = run_concurrently(*(lambda: run_rows(batcher, slow, rows[:1]) for _ in range(5)))
    assert [isinstance(f, OverloadedError) for f in found] == [False] * 3 + [True] * 2
    assert "expected to run the request within 0.25 s;" in str(found[4])


def test_check_capacity_long_iteration_counts_as_waiting(model, rows):
    batcher = Batcher(queue_seconds=0.05)

    def block_loop():
        end = perf_counter() + 0.1
        while perf_counter() < end:
            pass

    _, found = run_concurrently(block_loop, batcher.check_capacity)
    assert isinstance(found, OverloadedError)
    # The time that an accepted request spends on its own decoding does not count.
    found = run_concurrently(lambda: block_loop() or run_rows(batcher, model, rows[:1]))
    assert_outputs_match(model, rows[:1], *found)


def test_batcher_large_request_does_not_fill_the_queue(model, rows):
    batcher = Batcher(queue_rows=6)
    many = np.resize(rows, (450, 64))
    found = run_concurrently(
        lambda: run_rows(batcher, model, many),
        *(lambda at=at: run_rows(batcher, model, rows[at : at + 1]) for at in range(6)),
    )
    assert_outputs_match(model, many, found[0])
    for at in range(6):
        assert_outputs_match(model, rows[at : at + 1], found[1 + at])


def test_max_delay_deadline_passes_raises(model, rows):
    batcher = Batcher(max_delay=10 * HANG_SECONDS, max_batch_rows=2)
    (found,) = run_concurrently(
        lambda: run_rows(batcher, model, rows[:1], deadline=perf_counter() + 0.05),
    )
    assert isinstance(found, DeadlineError)
    (full,) = run_concurrently(lambda: run_rows(batcher, model, rows[:2]))
    assert_outputs_match(model, rows[:2], full)


def test_batcher_expired_request_is_not_run(model, rows):
    batcher = Batcher()
    found = run_concurrently(
        lambda: run_rows(batcher, model, rows[:1]),
        lambda: run_rows(batcher, model, rows[1:4], deadline=perf_counter() - 0.001),
        lambda: run_rows(batcher, model, rows[4:5], deadline=perf_counter() + 60),
    )
    assert isinstance(found[1], DeadlineError)
    assert model.session.runs == [2]
    assert_outputs_match(model, rows[4:5], found[2])


def test_batcher_deadline_passes_during_the_run_raises(model, rows):
    class Slow(RecordingSession):
        def run(self, inputs):
            time.sleep(0.05)
            return super().run(inputs)

    slow = replace(model, session=Slow(model.session.session))
    for size in (1, 50):  # in a batch, and unbatched
        (found,) = run_concurrently(
            lambda n=size: run_rows(Batcher(), slow, rows[:n], deadline=perf_counter() + 0.02)
        )
        assert isinstance(found, DeadlineError)


def connect_tcp_pair():
    """Return both ends of a TCP connection: the server's and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


def test_batcher_client_resets_connection_drops_rows(model, rows):
    batcher = Batcher()
    (server, client), (staying, other) = connect_tcp_pair(), connect_tcp_pair()
    with server, staying, other:
        server.send(b"unread")
        select.select([client], [], [], HANG_SECONDS)
        client.close()  # resets the connection, since data is unread
        select.select([server], [], [], HANG_SECONDS)
        other.shutdown(socket.SHUT_WR)
        select.select([staying], [], [], HANG_SECONDS)
        found = run_concurrently(
            lambda: run_rows(batcher, model, rows[:3], client_descriptor=server.fileno()),
            lambda: run_rows(batcher, model, rows[3:4], client_descriptor=staying.fileno()),
        )
    assert isinstance(found[0], ClientGoneError)
    assert model.session.runs == [1]
    assert_outputs_match(model, rows[3:4], found[1])


def test_batcher_killed_greenlet_drops_its_rows_and_runs_the_others(model, rows):
    batcher = Batcher()

    def time_out():
        with gevent.Timeout(0, False):
            run_rows(batcher, model, rows[:3])
        return "timed out"

    found = run_concurrently(time_out, lambda: run_rows(Batcher(), model, rows[:1]))
    assert found[0] == "timed out" or isinstance(found[0], dict)
    greenlet = gevent.spawn(lambda: run_rows(batcher, model, rows[:3]))
    other = gevent.spawn(lambda: run_rows(batcher, model, rows[:2]))
    before = list(model.session.runs)
    gevent.get_hub().loop.run_callback(greenlet.kill, gevent.GreenletExit, False)
    gevent.joinall([greenlet, other], timeout=120)
    assert_outputs_match(model, rows[:2], other.value)
    assert batcher.pending_rows == 0
    assert sum(model.session.runs[len(before) :]) in (2, 5)


def test_max_delay_waits_for_others_and_no_longer(model, rows):
    batcher = Batcher(max_delay=0.2)

    def start_later():
        gevent.sleep(0.02)
        return run_rows(batcher, model, rows[1:2])

    start = perf_counter()
    first, second = run_concurrently(lambda: run_rows(batcher, model, rows[:1]), start_later)
    assert perf_counter() - start > 0.19
    assert model.session.runs == [2]
    assert_outputs_match(model, rows[:1], first)
    assert_outputs_match(model, rows[1:2], second)


def test_max_delay_full_batch_runs_at_once(model, rows):
    batcher = Batcher(max_delay=10 * HANG_SECONDS, max_batch_rows=4)
    run_concurrently(*(lambda: run_rows(batcher, model, rows[:2]) for _ in range(2)))
    assert model.session.runs == [4]


def get_active_watchers(batcher):
    """Return which loop watchers are active: iteration end, keep awake, deadline timer."""
    scheduler = batcher._flush_scheduler
    return (
        scheduler._iteration_end_watcher.active,
        scheduler._keep_awake_watcher.active,
        bool(scheduler._deadline_timer and scheduler._deadline_timer.active),
    )


def run_loop_iterations(count):
    for _ in range(count):
        gevent.sleep(1e-9)


def wait_until_stopped(batcher):
    with gevent.Timeout(HANG_SECONDS):
        while any(get_active_watchers(batcher)):
            gevent.sleep(0.001)


def test_busy_poll_after_a_single_request_keeps_the_loop_awake(model, rows, monkeypatch):
    monkeypatch.setattr(batching, "BUSY_POLL_SECONDS", HANG_SECONDS)
    batcher = Batcher()
    run_concurrently(lambda: run_rows(batcher, model, rows[:1]))
    run_loop_iterations(20)
    assert get_active_watchers(batcher) == (True, True, False)
    run_concurrently(lambda: run_rows(batcher, model, rows[:1]))  # starts the time again
    monkeypatch.setattr(batching, "BUSY_POLL_SECONDS", 0.0)
    wait_until_stopped(batcher)
    assert model.session.runs == [1, 1]


def test_busy_poll_ends_soon(model, rows):
    assert batching.BUSY_POLL_SECONDS <= 1e-4
    batcher = Batcher()
    run_concurrently(lambda: run_rows(batcher, model, rows[:1]))
    wait_until_stopped(batcher)
    assert get_active_watchers(batcher) == (False, False, False)


def test_busy_poll_after_a_joint_batch_is_skipped(model, rows, monkeypatch):
    monkeypatch.setattr(batching, "BUSY_POLL_SECONDS", HANG_SECONDS)
    batcher = Batcher()
    run_concurrently(*(lambda: run_rows(batcher, model, rows[:1]) for _ in range(2)))
    run_loop_iterations(5)
    assert get_active_watchers(batcher) == (False, False, False)


def test_max_delay_loop_sleeps_while_a_request_waits_for_others(model, rows, monkeypatch):
    flushes = []
    flush = Batcher.flush

    def recording_flush(batcher):
        result = flush(batcher)
        if result[0]:  # a request is still pending
            flushes.append(get_active_watchers(batcher))
        return result

    monkeypatch.setattr(Batcher, "flush", recording_flush)
    max_delay = 0.2
    batcher = Batcher(max_delay=max_delay)
    run_concurrently(lambda: run_rows(batcher, model, rows[:1]))
    assert model.session.runs == [1]
    # The deadline timer alone wakes the loop: it neither polls all the time nor sleeps too long.
    assert 2 <= len(flushes) <= 3 * max_delay / batching.DEADLINE_CHECK_SECONDS
    assert set(flushes[1:]) == {(True, False, True)}
    assert get_active_watchers(batcher) == (False, False, False)


def test_max_delay_loop_sleeps_again_after_a_full_batch(model, rows):
    batcher = Batcher(max_delay=10 * HANG_SECONDS, max_batch_rows=4)
    full = [gevent.spawn(run_rows, batcher, model, rows[at : at + 2]) for at in (0, 2)]
    waiting = gevent.spawn(run_rows, batcher, model, rows[4:5])
    gevent.joinall(full, timeout=HANG_SECONDS)
    run_loop_iterations(2)
    assert model.session.runs == [4]
    assert get_active_watchers(batcher) == (True, False, True)
    run_concurrently(lambda: run_rows(batcher, model, rows[5:8]))
    assert_outputs_match(model, rows[4:5], waiting.get(timeout=HANG_SECONDS))
    assert model.session.runs == [4, 4]


def test_max_delay_shorter_than_the_deadline_check_is_kept(model, rows):
    batcher = Batcher(max_delay=batching.DEADLINE_CHECK_SECONDS / 10)
    found = run_concurrently(lambda: run_rows(batcher, model, rows[:1]))
    assert_outputs_match(model, rows[:1], found[0])
    assert get_active_watchers(batcher) == (False, False, False)


def test_flush_scheduler_flushes_though_a_connection_is_always_ready(model, rows):
    # Under a steady load the loop is never idle.
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.send(b"ready, always")
        watcher = gevent.get_hub().loop.io(reader.fileno(), 1)
        watcher.start(lambda: None)
        try:
            batcher = Batcher()
            found = run_concurrently(
                *(lambda: run_rows(batcher, model, rows[:1]) for _ in range(3))
            )
        finally:
            watcher.stop()
            watcher.close()
    assert model.session.runs == [3]
    assert all(isinstance(f, dict) for f in found)


def test_flush_scheduler_nothing_pending_lets_the_loop_sleep(model, rows):
    batcher = Batcher()
    run_concurrently(lambda: run_rows(batcher, model, rows[:1]))
    before = time.thread_time()
    gevent.sleep(0.3)
    assert time.thread_time() - before < 0.15  # a loop that never sleeps would take 0.3


def test_batcher_many_clients_each_get_their_own_outputs(model, rows, rng):
    batcher = Batcher(max_batch_rows=16)
    sizes = rng.integers(1, 12, 300)
    places = [rng.integers(0, len(rows), size) for size in sizes]

    def client(mine):
        for place in mine:
            answer = run_rows(batcher, model, rows[place])
            assert_outputs_match(model, rows[place], answer)
            gevent.sleep(0)
        return "done"

    assert (
        run_concurrently(*(lambda at=at: client(places[at::20]) for at in range(20)))
        == ["done"] * 20
    )
    assert max(model.session.runs) <= 16
    assert len(model.session.runs) < 300


def test_batcher_model_without_requests_is_freed(model, rows):
    batcher, versions = Batcher(), [replace(model)]
    gone = weakref.ref(versions[0])
    assert_outputs_match(model, rows[:1], run_rows(batcher, versions[0], rows[:1]))
    run_concurrently(lambda: run_rows(batcher, versions[0], rows[:1]))
    versions.clear()
    gc.collect()
    assert gone() is None


def test_batcher_small_request_waits_for_one_slice_of_many_large_ones(model, rows):
    batcher, large = Batcher(), np.tile(rows[:100], (3, 1))
    several = [lambda: run_rows(batcher, model, large) for _ in range(4)]
    answers = run_concurrently(*several, lambda: run_rows(batcher, model, rows[:2]))
    assert model.session.runs.index(2) == 1
    assert sorted(model.session.runs) == [2] + [100] * 12
    assert_outputs_match(model, rows[:2], answers[-1])
