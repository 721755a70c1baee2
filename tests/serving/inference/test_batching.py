"""Rows of many requests in one run: real ONNX Runtime in a real gevent loop."""

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
from serving.repository import Repository
from serving.runtime import GraphError
from serving.runtime.latency_profile import LatencyProfile
from tests.processes import HANG_SECONDS

# No limit is another one, nor the rows that wait at most in the tests below.
PACE = LatencyProfile({}, batch_rows=8, min_unbatched_rows=7, slice_rows=100, seconds_per_row=1e-5)


class Recorded:
    """A session that keeps how many rows each run had."""

    def __init__(self, session):
        self.session, self.runs = session, []

    def run(self, inputs):
        self.runs.append(len(inputs["features"]))
        return self.session.run(inputs)


@pytest.fixture
def model(shipped):
    found = Repository(shipped).find(None)
    return replace(found, session=Recorded(found.session), latency_profile=PACE)


def call(rows, **options):
    made = CallContext(**options)
    made.rows = len(rows)
    return made


def ask(batcher, model, rows, **options):
    return batcher.run(model, {"features": rows}, call(rows, **options))


def together(*functions):
    """Their results, all begun in the same turn of the loop; an error is a result."""
    gevent.sleep(1e-9)  # the loop knows what time it is
    greenlets = [gevent.spawn(function) for function in functions]
    gevent.joinall(greenlets, timeout=HANG_SECONDS)
    assert all(greenlet.ready() for greenlet in greenlets), "one waits for ever"
    return [greenlet.exception or greenlet.value for greenlet in greenlets]


def assert_own(model, rows, outputs):
    expected = model.session.session.run({"features": rows})
    np.testing.assert_array_equal(outputs["label"], expected["label"])
    np.testing.assert_array_equal(outputs["probabilities"], expected["probabilities"])


@pytest.fixture
def rows(digits):
    return digits[0].astype(np.float32)


def test_requests_of_a_turn_share_a_run_and_each_gets_its_own_answer(model, rows):
    batcher = Batcher()
    parts = [rows[0:1], rows[1:4], rows[4:6], rows[6:8]]
    answers = together(*(lambda p=p: ask(batcher, model, p) for p in parts))
    assert model.session.runs == [8]
    for part, answer in zip(parts, answers, strict=True):
        assert_own(model, part, answer)


def test_each_call_is_told_of_the_run_that_answered_it(model, rows):
    batcher, calls = Batcher(), [call(rows[:1]), call(rows[:2])]
    together(
        *(lambda c=c: batcher.run(model, {"features": rows[: c.rows]}, c) for c in calls),
    )
    assert [c.batch_rows for c in calls] == [3, 3]
    assert all(c.started_at < c.started < c.run_ended_at for c in calls)


def test_a_lone_request_waits_for_no_one(model, rows):
    batcher = Batcher()
    (answer,) = together(lambda: ask(batcher, model, rows[:2]))
    assert_own(model, rows[:2], answer)
    assert model.session.runs == [2]


def test_outside_a_loop_each_request_is_run_by_itself(model, rows):
    batcher = Batcher(queue_rows=1, queue_seconds=1e-9)
    assert_own(model, rows[:5], ask(batcher, model, rows[:5]))
    assert model.session.runs == [5]


def test_a_run_holds_no_more_rows_than_it_may_and_the_rest_goes_next(model, rows):
    batcher = Batcher(max_batch_rows=4)
    parts = [rows[at : at + 3] for at in range(0, 30, 3)]
    answers = together(*(lambda p=p: ask(batcher, model, p) for p in parts))
    assert model.session.runs == [3] * 10
    for part, answer in zip(parts, answers, strict=True):
        assert_own(model, part, answer)


def test_batcher_request_of_many_rows_runs_alone_though_a_batch_would_hold_it(model, rows):
    for many, runs in ((6, [7]), (7, [1, 7])):
        batcher = Batcher()
        model.session.runs.clear()
        parts = [rows[:many], rows[many : many + 1]]
        answers = together(*(lambda b=batcher, p=p: ask(b, model, p) for p in parts))
        assert sorted(model.session.runs) == runs
        for part, answer in zip(parts, answers, strict=True):
            assert_own(model, part, answer)


def test_a_run_of_one_joins_none(model, rows):
    batcher = Batcher(max_batch_rows=1)
    together(*(lambda at=at: ask(batcher, model, rows[at : at + 1]) for at in range(5)))
    assert model.session.runs == [1] * 5


def test_a_request_of_many_rows_runs_alone_in_slices_and_lets_others_go_between(model, rows):
    batcher, finished = Batcher(), []
    many = np.resize(rows, (450, 64))

    def large():
        answer = ask(batcher, model, many)
        finished.append("large")
        return answer

    def small():
        answer = ask(batcher, model, rows[:1])
        finished.append("small")
        return answer

    found, _ = together(large, small)
    assert sorted(model.session.runs) == [1, 50, 100, 100, 100, 100]
    assert finished == ["small", "large"]
    assert_own(model, many, found)


def test_models_never_share_a_run(model, rows):
    other = replace(model, session=Recorded(model.session.session))
    batcher = Batcher()
    together(
        *(lambda m=m: ask(batcher, m, rows[:1]) for m in (model, other, model, other, other)),
    )
    assert (model.session.runs, other.session.runs) == ([2], [3])


def test_an_error_of_a_joint_run_reaches_each_of_its_requests_at_once(model, rows):
    class Broken:
        def run(self, inputs):
            raise GraphError("no")

    batcher = Batcher()
    broken = replace(model, session=Broken())
    found = together(
        *(lambda: ask(batcher, broken, rows[:1]) for _ in range(3)),
        lambda: ask(batcher, model, rows[:1]),
    )
    assert [type(f) for f in found[:3]] == [GraphError] * 3
    assert_own(model, rows[:1], found[3])
    assert batcher.rows == 0
    assert_own(model, rows[:2], *together(lambda: ask(batcher, model, rows[:2])))


def test_rows_of_another_width_harm_the_requests_of_their_run_and_no_later_one(model, rows):
    batcher = Batcher()
    found = together(
        lambda: ask(batcher, model, rows[:1]), lambda: ask(batcher, model, rows[:1, :9])
    )
    assert all(isinstance(f, ValueError) for f in found)  # NumPy's, as it joins them
    assert_own(model, rows[:1], *together(lambda: ask(batcher, model, rows[:1])))


def test_limits_count_rows_and_refuse_at_once(model, rows):
    batcher = Batcher(queue_rows=6)
    found = together(*(lambda n=n: ask(batcher, model, rows[:n]) for n in (4, 2, 1, 1)))
    assert [isinstance(f, OverloadedError) for f in found] == [False, False, True, True]
    assert "expected at most 6 rows to wait; got 1 more than the 6" in str(found[2])
    assert found[2].headers["Retry-After"] == "1"
    assert batcher.rows == 0


@pytest.mark.parametrize(("waiting", "is_refused"), [(5, False), (6, True)])
def test_batcher_whose_queue_is_full_refuses_a_request_before_its_body_is_read(
    waiting, is_refused, model, rows
):
    batcher = Batcher(queue_rows=6)
    first, second = together(lambda: ask(batcher, model, rows[:waiting]), batcher.check_capacity)
    assert_own(model, rows[:waiting], first)
    assert isinstance(second, OverloadedError) == is_refused
    assert not is_refused or "got some more than the 6 that do" in str(second)


def test_one_request_larger_than_the_queue_is_still_answered(model, rows):
    batcher = Batcher(queue_rows=6)
    (found,) = together(lambda: ask(batcher, model, rows[:50]))
    assert_own(model, rows[:50], found)


def test_what_would_wait_too_long_is_refused(model, rows):
    slow = replace(model, latency_profile=replace(PACE, seconds_per_row=0.1))
    batcher = Batcher(queue_seconds=0.25)
    found = together(*(lambda: ask(batcher, slow, rows[:1]) for _ in range(5)))
    assert [isinstance(f, OverloadedError) for f in found] == [False] * 3 + [True] * 2
    assert "expected to begin within 0.25 s;" in str(found[4])


def test_what_was_read_late_in_a_long_turn_has_waited_as_long_as_the_turn(model, rows):
    batcher = Batcher(queue_seconds=0.05)

    def busy():
        end = perf_counter() + 0.1
        while perf_counter() < end:
            pass

    _, found = together(busy, batcher.check_capacity)
    assert isinstance(found, OverloadedError)
    # Not what one has spent on its own decoding, once it has been let in.
    found = together(lambda: busy() or ask(batcher, model, rows[:1]))
    assert_own(model, rows[:1], *found)


def test_a_large_request_takes_no_room_from_those_that_are_joined(model, rows):
    batcher = Batcher(queue_rows=6)
    many = np.resize(rows, (450, 64))
    found = together(
        lambda: ask(batcher, model, many),
        *(lambda at=at: ask(batcher, model, rows[at : at + 1]) for at in range(6)),
    )
    assert_own(model, many, found[0])
    for at in range(6):
        assert_own(model, rows[at : at + 1], found[1 + at])


def test_a_deadline_is_kept_while_others_are_waited_for(model, rows):
    batcher = Batcher(max_delay=10 * HANG_SECONDS, max_batch_rows=2)
    (found,) = together(
        lambda: ask(batcher, model, rows[:1], deadline=perf_counter() + 0.05),
    )
    assert isinstance(found, DeadlineError)
    (full,) = together(lambda: ask(batcher, model, rows[:2]))  # what is full waits for no one
    assert_own(model, rows[:2], full)


def test_a_request_whose_time_is_over_is_not_run(model, rows):
    batcher = Batcher()
    found = together(
        lambda: ask(batcher, model, rows[:1]),
        lambda: ask(batcher, model, rows[1:4], deadline=perf_counter() - 0.001),
        lambda: ask(batcher, model, rows[4:5], deadline=perf_counter() + 60),
    )
    assert isinstance(found[1], DeadlineError)
    assert model.session.runs == [2]
    assert_own(model, rows[4:5], found[2])


def test_a_request_whose_time_ends_while_it_runs_is_told_so(model, rows):
    class Slow(Recorded):
        def run(self, inputs):
            time.sleep(0.05)
            return super().run(inputs)

    slow = replace(model, session=Slow(model.session.session))
    for size in (1, 50):  # joined, and alone
        (found,) = together(
            lambda n=size: ask(Batcher(), slow, rows[:n], deadline=perf_counter() + 0.02)
        )
        assert isinstance(found, DeadlineError)


def tcp_pair():
    """Both ends of a connection as clients have it: of TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


def test_rows_of_a_client_that_reset_its_connection_are_not_run(model, rows):
    batcher = Batcher()
    (server, client), (staying, other) = tcp_pair(), tcp_pair()
    with server, staying, other:
        server.send(b"unread")
        select.select([client], [], [], HANG_SECONDS)
        client.close()  # which resets the connection, since it has not read all
        select.select([server], [], [], HANG_SECONDS)
        other.shutdown(socket.SHUT_WR)
        select.select([staying], [], [], HANG_SECONDS)
        found = together(
            lambda: ask(batcher, model, rows[:3], client=server.fileno()),
            lambda: ask(batcher, model, rows[3:4], client=staying.fileno()),
        )
    assert isinstance(found[0], ClientGoneError)
    assert model.session.runs == [1]
    assert_own(model, rows[3:4], found[1])


def test_a_request_that_was_given_up_is_left_out_and_holds_no_one(model, rows):
    batcher = Batcher()

    def given_up():
        with gevent.Timeout(0, False):
            ask(batcher, model, rows[:3])
        return "given up"

    found = together(given_up, lambda: ask(Batcher(), model, rows[:1]))
    assert found[0] == "given up" or isinstance(found[0], dict)
    greenlet = gevent.spawn(lambda: ask(batcher, model, rows[:3]))
    other = gevent.spawn(lambda: ask(batcher, model, rows[:2]))
    before = list(model.session.runs)
    gevent.get_hub().loop.run_callback(greenlet.kill, gevent.GreenletExit, False)
    gevent.joinall([greenlet, other], timeout=120)
    assert_own(model, rows[:2], other.value)
    assert batcher.rows == 0
    assert sum(model.session.runs[len(before) :]) in (2, 5)


def test_a_delay_waits_for_others_and_no_longer(model, rows):
    batcher = Batcher(max_delay=0.2)

    def later():
        gevent.sleep(0.02)
        return ask(batcher, model, rows[1:2])

    start = perf_counter()
    first, second = together(lambda: ask(batcher, model, rows[:1]), later)
    assert perf_counter() - start > 0.19
    assert model.session.runs == [2]
    assert_own(model, rows[:1], first)
    assert_own(model, rows[1:2], second)


def test_a_full_batch_does_not_wait_for_the_delay(model, rows):
    batcher = Batcher(max_delay=10 * HANG_SECONDS, max_batch_rows=4)
    together(*(lambda: ask(batcher, model, rows[:2]) for _ in range(2)))
    assert model.session.runs == [4]


def active(batcher):
    """Which watchers of the loop a batcher has started: at each turn's end, awake, late."""
    turns = batcher._flush_scheduler
    return (
        turns._end.active,
        turns._keep_awake_watcher.active,
        bool(turns._deadline_timer and turns._deadline_timer.active),
    )


def turns_of_the_loop(count):
    for _ in range(count):
        gevent.sleep(1e-9)


def wait_until_at_rest(batcher):
    with gevent.Timeout(HANG_SECONDS):
        while any(active(batcher)):
            gevent.sleep(0.001)


def test_linger_after_a_lone_request_the_loop_stays_awake_for_a_while(model, rows, monkeypatch):
    monkeypatch.setattr(batching, "BUSY_POLL_SECONDS", HANG_SECONDS)
    batcher = Batcher()
    together(lambda: ask(batcher, model, rows[:1]))
    turns_of_the_loop(20)
    assert active(batcher) == (True, True, False)
    together(lambda: ask(batcher, model, rows[:1]))  # and its while begins anew
    monkeypatch.setattr(batching, "BUSY_POLL_SECONDS", 0.0)
    wait_until_at_rest(batcher)
    assert model.session.runs == [1, 1]


def test_linger_is_so_short_that_no_processor_time_is_lost(model, rows):
    assert batching.BUSY_POLL_SECONDS <= 1e-4
    batcher = Batcher()
    together(lambda: ask(batcher, model, rows[:1]))
    wait_until_at_rest(batcher)
    assert active(batcher) == (False, False, False)


def test_linger_after_a_joint_run_is_none(model, rows, monkeypatch):
    monkeypatch.setattr(batching, "BUSY_POLL_SECONDS", HANG_SECONDS)
    batcher = Batcher()
    together(*(lambda: ask(batcher, model, rows[:1]) for _ in range(2)))
    turns_of_the_loop(5)
    assert active(batcher) == (False, False, False)


def test_delay_the_loop_sleeps_while_a_request_waits_for_others(model, rows, monkeypatch):
    flushes = []
    flush = Batcher.flush

    def watched(batcher):
        result = flush(batcher)
        if result[0]:  # someone waits on
            flushes.append(active(batcher))
        return result

    monkeypatch.setattr(Batcher, "flush", watched)
    delay = 0.2
    batcher = Batcher(max_delay=delay)
    together(lambda: ask(batcher, model, rows[:1]))
    assert model.session.runs == [1]
    # By its timer alone, which is as often as a deadline may be late: no busy loop, no long sleep.
    assert 2 <= len(flushes) <= 3 * delay / batching.DEADLINE_CHECK_SECONDS
    assert set(flushes[1:]) == {(True, False, True)}
    assert active(batcher) == (False, False, False)


def test_delay_the_loop_sleeps_again_once_a_full_batch_has_run(model, rows):
    batcher = Batcher(max_delay=10 * HANG_SECONDS, max_batch_rows=4)
    full = [gevent.spawn(ask, batcher, model, rows[at : at + 2]) for at in (0, 2)]
    waiting = gevent.spawn(ask, batcher, model, rows[4:5])
    gevent.joinall(full, timeout=HANG_SECONDS)
    turns_of_the_loop(2)
    assert model.session.runs == [4]
    assert active(batcher) == (True, False, True)
    together(lambda: ask(batcher, model, rows[5:8]))
    assert_own(model, rows[4:5], waiting.get(timeout=HANG_SECONDS))
    assert model.session.runs == [4, 4]


def test_delay_shorter_than_the_timers_interval_is_kept(model, rows):
    batcher = Batcher(max_delay=batching.DEADLINE_CHECK_SECONDS / 10)
    found = together(lambda: ask(batcher, model, rows[:1]))
    assert_own(model, rows[:1], found[0])
    assert active(batcher) == (False, False, False)


def test_parked_rows_are_run_though_a_connection_is_ready_at_every_turn(model, rows):
    # As under steady arrivals, when the loop is never idle.
    here, there = socket.socketpair()
    with here, there:
        there.send(b"ready, always")
        watcher = gevent.get_hub().loop.io(here.fileno(), 1)
        watcher.start(lambda: None)
        try:
            batcher = Batcher()
            found = together(*(lambda: ask(batcher, model, rows[:1]) for _ in range(3)))
        finally:
            watcher.stop()
            watcher.close()
    assert model.session.runs == [3]
    assert all(isinstance(f, dict) for f in found)


def test_the_loop_sleeps_when_no_one_waits(model, rows):
    batcher = Batcher()
    together(lambda: ask(batcher, model, rows[:1]))
    before = time.thread_time()
    gevent.sleep(0.3)
    assert time.thread_time() - before < 0.15  # which a loop that does not sleep takes whole


def test_answers_never_cross(model, rows, rng):
    batcher = Batcher(max_batch_rows=16)
    sizes = rng.integers(1, 12, 300)
    places = [rng.integers(0, len(rows), size) for size in sizes]

    def client(mine):
        for place in mine:
            answer = ask(batcher, model, rows[place])
            assert_own(model, rows[place], answer)
            gevent.sleep(0)
        return "done"

    assert together(*(lambda at=at: client(places[at::20]) for at in range(20))) == ["done"] * 20
    assert max(model.session.runs) <= 16
    assert len(model.session.runs) < 300


def test_a_model_is_let_go_when_no_request_holds_it(model, rows):
    batcher, versions = Batcher(), [replace(model)]
    gone = weakref.ref(versions[0])
    assert_own(model, rows[:1], ask(batcher, versions[0], rows[:1]))
    together(lambda: ask(batcher, versions[0], rows[:1]))
    versions.clear()
    gc.collect()
    assert gone() is None


def test_batcher_small_request_waits_for_one_slice_of_many_large_ones(model, rows):
    batcher, large = Batcher(), np.tile(rows[:100], (3, 1))
    several = [lambda: ask(batcher, model, large) for _ in range(4)]
    answers = together(*several, lambda: ask(batcher, model, rows[:2]))
    assert model.session.runs.index(2) == 1
    assert sorted(model.session.runs) == [2] + [100] * 12
    assert_own(model, rows[:2], answers[-1])
