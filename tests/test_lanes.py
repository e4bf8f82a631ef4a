"""How many requests are in flight, when there are more, and that none is left."""

from __future__ import annotations

import asyncio
import time

import pytest

from wazarr import lanes
from wazarr.lanes import for_each


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_for_each_visits_every_index_once_in_order_of_start(limit: int) -> None:
    started: list[int] = []
    now = most = 0

    async def body(index: int) -> None:
        nonlocal now, most
        started.append(index)
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001 * (index % 3))
        now -= 1

    await for_each(20, limit, body)
    assert started == list(range(20))
    assert most == min(20, limit)
    await for_each(0, limit, body)
    assert len(started) == 20


@pytest.mark.parametrize("limit", [1, 3])
async def test_for_each_is_over_when_it_returns_whatever_happens(limit: int) -> None:
    active: set[int] = set()

    async def body(index: int) -> None:
        active.add(index)
        try:
            await asyncio.sleep(0)
            if index == 4:
                raise LookupError(index)
            await asyncio.sleep(0.05)
        finally:
            # Even if letting go takes a while.
            for _ in range(3):
                await asyncio.sleep(0)
            active.discard(index)

    with pytest.raises(LookupError, match="4"):
        await for_each(20, limit, body)
    assert not active
    task = asyncio.ensure_future(for_each(4, limit, body))
    await asyncio.sleep(0.0005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not active


async def test_few_begin_and_the_others_follow_where_the_store_makes_us_wait() -> None:
    now = most = 0

    async def body(_: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.15)
        now -= 1

    start = time.perf_counter()
    await for_each(64, 64, body, is_guess=True)
    assert most == 64
    # One wait, not eight: a machine may be busy, but not for a second.
    assert time.perf_counter() - start < 1.0


async def test_few_stay_where_the_store_works() -> None:
    now = most = 0

    async def body(_: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        end = time.process_time() + 0.002
        while time.process_time() < end:
            pass
        await asyncio.sleep(0)
        now -= 1

    await for_each(100, 64, body, is_guess=True)
    assert most == lanes.FIRST


async def test_there_are_more_where_answers_leave_time_to_spare() -> None:
    now = most = 0

    async def body(_: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    await for_each(4000, 64, body, is_guess=True)
    assert most > lanes.FIRST


async def test_a_process_that_is_busy_with_something_else_waits_for_no_more_than_twice_as_many() -> None:
    """Nothing arrives: there are twice as many after a while, however busy the process."""
    now = most = 0
    over = asyncio.Event()

    async def body(_: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 32:
            over.set()
        await over.wait()
        now -= 1

    async def work() -> None:
        while not over.is_set():
            end = time.process_time() + 0.003
            while time.process_time() < end:
                pass
            await asyncio.sleep(0)

    working = asyncio.ensure_future(work())
    await asyncio.wait_for(for_each(32, 32, body, is_guess=True), 30)
    await working
    assert most == 32
