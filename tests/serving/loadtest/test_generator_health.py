import time

import numpy as np
import pytest

from serving.loadtest import open_loop
from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator_health import assess_generator, measure_max_rate
from serving.loadtest.run_record import PreparedRequest, RunRecord
from tests.load_requests import make_address, make_call


def test_a_generator_that_has_room_is_not_blamed(live):
    calls = [make_call()]
    due = open_loop.generate_constant_arrivals(50, 0.5)
    record = LoadEngine(make_address(live.url), calls).open_loop(
        due, np.zeros(len(due), np.int32), 1
    )
    record.late[:] = 0  # what a busy machine does to it is another test's
    found = assess_generator(record, measure_max_rate(calls))
    assert found.verdict is None
    assert 0 < found.processor_share < 0.9
    assert found.most > 2000


def test_a_slow_generator_says_so_and_not_that_the_server_is_slow(live):
    def think(_):
        until = time.perf_counter() + 0.004
        while time.perf_counter() < until:
            pass

    call = make_call(fault=think)  # 4 ms of processor for each answer: 250 a second, at most
    due = open_loop.generate_constant_arrivals(400, 1)
    record = LoadEngine(make_address(live.url), [call]).open_loop(
        due, np.zeros(len(due), np.int32), 1
    )
    found = assess_generator(record, None)
    assert found.verdict.startswith("The generator was the bottleneck: it was busy")


def made(late, latency, processor=0.1, busy=0.2):
    n = 1000
    due = np.linspace(0, 1, n, endpoint=False)
    return RunRecord(
        due=due,
        sent=due + late,
        ended=due + latency,
        status=np.full(n, 200, np.int16),
        call=np.zeros(n, np.int32),
        late=np.full(n, late),
        seconds=1.0,
        wall=1.25,
        busy=busy,
        processor=processor,
        open_loop=True,
        connections=3,
    )


@pytest.mark.parametrize(
    ("record", "sendable", "said"),
    [
        (made(0.0001, 0.005), 10_000, None),
        (made(0.004, 0.005), 10_000, "left up to 4.0 ms after their time (p99), of 5.0 ms"),
        (made(0.004, 0.5), 10_000, None),  # next to nothing of it
        (made(0.0004, 0.001), 10_000, None),  # too short to matter
        (made(0.0, 0.005, processor=0.97 * 1.25), 10_000, "it was busy 97% of the time"),
        (made(0.0, 0.005, busy=0.96 * 1.25), 10_000, "it was busy 96% of the time"),
        (made(0.0, 0.005), 1_100, "it can send 1100 here"),
        (made(0.0, 0.005), None, None),
    ],
)
def test_the_bottleneck_is_named(record, sendable, said):
    verdict = assess_generator(record, sendable).verdict
    assert (verdict is None) if said is None else (said in verdict)


def test_the_share_of_the_processor_is_that_of_the_whole_time():
    found = assess_generator(made(0.004, 0.5), 10_000)
    assert found.processor_share == pytest.approx(0.1 / 1.25)
    assert (found.late_p99_ms, found.most) == (pytest.approx(4.0), 10_000)


def test_a_run_without_requests_has_nothing_to_be_blamed_for():
    empty = made(0, 0)
    none = np.zeros(len(empty.due), bool)
    record = RunRecord(
        due=empty.due[none],
        sent=empty.sent[none],
        ended=empty.ended[none],
        status=empty.status[none],
        call=empty.call[none],
        late=empty.late[none],
        seconds=0.0,
        wall=1.0,
        processor=0.0,
        busy=0.0,
        open_loop=True,
        connections=1,
    )
    assert assess_generator(record, 100.0).verdict is None


@pytest.mark.usefixtures("processes")
def test_what_it_can_send_depends_on_what_it_sends():
    small = PreparedRequest(make_call().wire, 1, b"{}", lambda _: None)
    large = PreparedRequest(make_call(b" " * 2_000_000).wire, 1, b"{}", lambda _: None)
    assert measure_max_rate([small]) > 3 * measure_max_rate([large])
