"""Who waits for a request, and noticing that they left. (tests/robustness has it with real signals.)"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest
import zarr
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from wazarr import interrupt


async def _frames() -> bool:
    """Say whether the caller of this request is found, and found to be waiting."""
    caller = interrupt._find_caller(asyncio.current_task())
    if caller is None:
        return False
    thread, frame = caller
    assert frame.f_code.co_name == "sync"
    assert thread != threading.get_ident()
    return interrupt._is_running(thread, frame)


def test_the_caller_of_sync_is_found() -> None:
    assert sync(_frames())


def test_callers_on_several_threads_are_told_apart() -> None:
    found: dict[int, int] = {}

    async def caller() -> int:
        answer = interrupt._find_caller(asyncio.current_task())
        await asyncio.sleep(0.02)
        assert answer is not None
        assert interrupt._is_running(*answer)
        return answer[0]

    def wait() -> None:
        found[threading.get_ident()] = sync(caller())

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(thread == caller for thread, caller in found.items())


async def test_whoever_awaits_has_no_caller_to_watch() -> None:
    assert interrupt._find_caller(asyncio.current_task()) is None
    assert interrupt._find_caller(None) is None
    cancelled: list[bool] = []
    stop = interrupt.watch(asyncio.get_running_loop(), lambda: cancelled.append(True))
    await asyncio.sleep(3 * interrupt._INTERVAL_S)
    stop()
    assert not cancelled


async def _watch(cancelled: list[float], work_s: float) -> None:
    stop = interrupt.watch(asyncio.get_running_loop(), lambda: cancelled.append(time.monotonic()))
    try:
        await asyncio.sleep(work_s)
    finally:
        stop()


def test_nothing_is_cancelled_while_the_caller_waits() -> None:
    cancelled: list[float] = []
    sync(_watch(cancelled, 5 * interrupt._INTERVAL_S))
    time.sleep(2 * interrupt._INTERVAL_S)
    assert not cancelled


def test_a_caller_that_left_is_noticed_once() -> None:
    cancelled: list[float] = []
    with pytest.raises(TimeoutError):
        sync(_watch(cancelled, 1.0), timeout=0.05)
    left = time.monotonic()
    deadline = left + 0.9
    while not cancelled and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(cancelled) == 1
    assert cancelled[0] - left < 0.5
    time.sleep(3 * interrupt._INTERVAL_S)
    assert len(cancelled) == 1


def test_a_watch_that_ended_cancels_nothing() -> None:
    cancelled: list[float] = []
    with pytest.raises(TimeoutError):
        sync(_stopped_early(cancelled), timeout=0.02)
    time.sleep(4 * interrupt._INTERVAL_S)
    assert not cancelled


async def _stopped_early(cancelled: list[float]) -> None:
    interrupt.watch(asyncio.get_running_loop(), lambda: cancelled.append(1.0))()
    await asyncio.sleep(5 * interrupt._INTERVAL_S)


@pytest.mark.parametrize("length", [10, 1_000_000])
def test_an_answer_is_not_kept_by_a_reference_cycle(length: int) -> None:
    with zarr.config.set({"codec_pipeline.path": "wazarr.CodecPipeline"}):
        array = zarr.create_array(MemoryStore(), shape=(length,), chunks=(max(length // 4, 1),), dtype="u2")
        array[...] = np.arange(length, dtype="u2")
        gc.collect()
        gc.disable()
        try:
            alive = weakref.ref(np.asarray(array[...]))
            deadline = time.monotonic() + 5
            while alive() is not None and time.monotonic() < deadline:
                time.sleep(0.01)  # the event loop may be about to let go of it
            assert alive() is None
        finally:
            gc.enable()
