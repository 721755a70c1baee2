import asyncio
import time

import pytest

from serving.loadtest import timer as module
from serving.loadtest.timer import create_timer


@pytest.mark.parametrize("kind", ["best", "timer"])
def test_an_alarm_goes_off_in_time_and_not_before(kind):
    async def ring():
        loop, rung = asyncio.get_running_loop(), []
        done = asyncio.Event()

        def call():
            rung.append(time.perf_counter())
            done.set()

        set_up = create_timer(loop, call) if kind == "best" else module._EventLoopTimer(loop, call)
        for wait in (0.03, 0.0005, -1.0):  # what is over rings at once
            done.clear()
            asked = time.perf_counter() + wait
            set_up.set(asked)
            await asyncio.wait_for(done.wait(), 120)
            assert rung[-1] >= asked - 0.001
        set_up.close()
        return rung

    assert len(asyncio.run(ring())) == 3


def test_an_alarm_that_is_set_anew_rings_once():
    async def ring():
        rung = []
        one = create_timer(asyncio.get_running_loop(), lambda: rung.append(time.perf_counter()))
        start = time.perf_counter()
        one.set(start + 0.005)
        one.set(start + 0.05)
        await asyncio.sleep(0.2)
        one.close()
        return start, rung

    start, rung = asyncio.run(ring())
    assert len(rung) == 1
    assert rung[0] >= start + 0.049


def test_an_alarm_that_is_closed_does_not_ring():
    async def ring():
        rung = []
        one = create_timer(asyncio.get_running_loop(), lambda: rung.append(1))
        one.set(time.perf_counter() + 0.02)
        one.close()
        await asyncio.sleep(0.05)
        return rung

    assert asyncio.run(ring()) == []
