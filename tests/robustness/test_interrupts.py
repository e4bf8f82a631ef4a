"""Whoever gives up stops our work, soon and cleanly; whoever does not, is not disturbed."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

import wazarr
from tests.robustness.interrupted import SlowStore
from tests.robustness.isolation import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.serial

GENEROUS_S = 0.5
"""The aim is 100 ms on a machine that does nothing else; this bound is for one that does."""


@pytest.mark.parametrize("action", ["write", "write-shards", "read", "read-slow-store", "write-slow-store"])
def test_an_interrupt_stops_the_work(action: str, record_property: Callable[[str, object], None]) -> None:
    answer = json.loads(run("interrupted", action, "default", timeout_s=200).splitlines()[0])
    assert answer["outcome"] == "interrupted"
    assert answer["worked"]
    record_property("stopped_after_s", answer["stopped_after_s"])
    assert answer["stopped_after_s"] < GENEROUS_S


@pytest.mark.parametrize("action", ["write-slow-store-briefly", "write-briefly"])
def test_a_swallowed_signal_cancels_nothing(action: str) -> None:
    answer = json.loads(run("interrupted", action, "swallow", timeout_s=200).splitlines()[0])
    assert answer["outcome"] == "finished"
    assert answer["signals"] == 2


@pytest.mark.parametrize("kind", ["files", "slow store"])
async def test_a_cancelled_task_stops_the_work(tmp_path: Path, kind: str) -> None:
    values = np.tile(np.random.default_rng(0).integers(0, 50, (4, 512, 512), "u2"), (32, 1, 1))
    with wazarr.enabled(wazarr__store_concurrency=2):
        store = (
            zarr.storage.LocalStore(tmp_path) if kind == "files" else SlowStore(zarr.storage.MemoryStore())
        )
        array = await zarr.api.asynchronous.create_array(
            store,
            shape=values.shape,
            chunks=(2, 512, 512),
            dtype="u2",
            compressors=zarr.codecs.ZstdCodec(level=12),
        )
        task = asyncio.ensure_future(array.setitem(slice(None), values))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 2
        before = (wazarr.counters()["write"], SlowStore.requests)
        await asyncio.sleep(0.3)
        assert (wazarr.counters()["write"], SlowStore.requests) == before
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(array.setitem(slice(None), values), 0.05)
        before = (wazarr.counters()["write"], SlowStore.requests)
        await asyncio.sleep(0.3)
        assert (wazarr.counters()["write"], SlowStore.requests) == before
        # And the locks are free again.
        await array.setitem(slice(0, 1), values[:1])
        assert np.array_equal(np.asarray(await array.getitem(slice(0, 1))), values[:1])


def test_a_timeout_of_sync_stops_the_work() -> None:
    from zarr.core.sync import sync

    with wazarr.enabled(wazarr__store_concurrency=2):
        array = zarr.create_array(
            SlowStore(zarr.storage.MemoryStore()), shape=(4000,), chunks=(4,), dtype="u2"
        )
        with pytest.raises(TimeoutError):
            sync(array._async_array.getitem(slice(None)), timeout=0.2)
        time.sleep(0.3)
        before = SlowStore.requests
        time.sleep(0.4)
        assert SlowStore.requests == before
