"""Both kinds of timer, on a real event loop."""

import asyncio
import time

import pytest

from serving.loadtest import timer
from serving.loadtest.timer import create_timer


@pytest.mark.parametrize("kind", ["kernel", "event loop"])
def test_timer_expires_once_and_not_before_its_time(kind):
    async def expire():
        loop, expired_at = asyncio.get_running_loop(), []
        expired = asyncio.Event()

        def on_expired():
            expired_at.append(time.perf_counter())
            expired.set()

        create = create_timer if kind == "kernel" else timer._EventLoopTimer
        created = create(loop, on_expired)
        for delay in (0.03, 0.0005, -1.0):  # a time in the past expires at once
            expired.clear()
            moment = time.perf_counter() + delay
            created.schedule(moment)
            await asyncio.wait_for(expired.wait(), 120)
            assert expired_at[-1] >= moment - 0.001
        created.close()
        return expired_at

    assert len(asyncio.run(expire())) == 3


def test_timer_scheduled_again_expires_at_the_second_time_only():
    async def expire():
        expired_at = []
        created = create_timer(
            asyncio.get_running_loop(), lambda: expired_at.append(time.perf_counter())
        )
        start = time.perf_counter()
        created.schedule(start + 0.005)
        created.schedule(start + 0.05)
        await asyncio.sleep(0.2)
        created.close()
        return start, expired_at

    start, expired_at = asyncio.run(expire())
    assert len(expired_at) == 1
    assert expired_at[0] >= start + 0.049


def test_timer_closed_before_its_time_never_expires():
    async def expire():
        expired = []
        created = create_timer(asyncio.get_running_loop(), lambda: expired.append(1))
        created.schedule(time.perf_counter() + 0.02)
        created.close()
        await asyncio.sleep(0.05)
        return expired

    assert asyncio.run(expire()) == []
