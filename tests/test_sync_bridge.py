"""Stores with synchronous methods: which are called, by how many at a time, and what failures do."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import LoggingStore, MemoryStore, WrapperStore

import wazarr
from tests.pipelines import SUBJECT_PATH, ZARR_VERSION, pipeline
from wazarr import sync_bridge

if TYPE_CHECKING:
    import builtins

pytestmark = pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no synchronous stores")

VALUES = np.arange(400, dtype="i4").reshape(20, 20)


class Counted(WrapperStore[Any]):
    """Notes who is asked for chunks, and how many at the same time."""

    def __init__(self, store: Any, pause_s: float = 0.0) -> None:
        super().__init__(store)
        self.pause_s = pause_s
        self.calls: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.failing: str | None = None

    def _enter(self, method: str, key: str) -> None:
        with self.lock:
            self.calls.append((method, key))
            self.now += 1
            self.most = max(self.most, self.now)

    def _leave(self, key: str) -> None:
        with self.lock:
            self.now -= 1
        if key == self.failing:
            raise ConnectionError("the line is dead")

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self._enter("get", key)
        await asyncio.sleep(self.pause_s)
        self._leave(key)
        return await super().get(key, *args, **kwargs)

    def get_sync(self, key: str, **kwargs: Any) -> Any:
        self._enter("get_sync", key)
        time.sleep(self.pause_s)
        self._leave(key)
        return super().get_sync(key, **kwargs)

    async def set(self, key: str, value: Any) -> None:
        self.calls.append(("set", key))
        await super().set(key, value)

    def set_sync(self, key: str, value: Any) -> None:
        self._enter("set_sync", key)
        time.sleep(self.pause_s)
        self._leave(key)
        super().set_sync(key, value)

    async def delete(self, key: str) -> None:
        self.calls.append(("delete", key))
        await super().delete(key)

    def delete_sync(self, key: str) -> None:
        self.calls.append(("delete_sync", key))
        super().delete_sync(key)

    def chunk_methods(self) -> builtins.set[str]:
        return {method for method, key in self.calls if "c/" in key}


def _array(store: Any, **options: Any) -> zarr.Array[Any]:
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(store, shape=VALUES.shape, chunks=(4, 4), dtype="i4", **options)
        array[...] = VALUES
    return array


@pytest.mark.parametrize("options", [{}, {"shards": (8, 8)}])
def test_synchronous_methods_are_called_by_as_many_threads_as_allowed(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine any answer may take long.
    monkeypatch.setattr(sync_bridge, "_LONG_S", 60.0)
    store = Counted(MemoryStore())
    with zarr.config.set({"threading.max_workers": 2}):
        array = _array(store, **options)
        array[1:7, 2:15] = VALUES[1:7, 2:15]
        array[0:8, 0:8] = 0
        assert (np.asarray(array[0:8, 0:8]) == 0).all()
        array[0:8, 0:8] = VALUES[0:8, 0:8]
        for selection in (..., np.s_[3:9, 2:18], np.s_[::3, 5]):
            assert np.array_equal(np.asarray(array[selection]), VALUES[selection])
    assert store.chunk_methods() == {"get_sync", "set_sync", "delete_sync"}
    assert store.most <= 2
    assert np.array_equal(np.asarray(zarr.open_array(store._store, mode="r")[...]), VALUES)


def test_a_store_that_makes_us_wait_is_asked_for_many_chunks_at_once() -> None:
    array = _array(Counted(MemoryStore()))
    store = Counted(array.store._store, pause_s=0.05)  # type: ignore[attr-defined]
    with pipeline(SUBJECT_PATH):
        slow = zarr.open_array(store, mode="r+")
        assert np.array_equal(np.asarray(slow[...]), VALUES)
    assert [method for method, key in store.calls if "c/" in key].count("get_sync") == 1
    assert store.most > 8


def test_who_overrides_one_of_two_methods_is_asked_through_that_one() -> None:
    class Own(WrapperStore[Any]):
        seen: int = 0

        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            self.seen += "c/" in key
            return await super().get(key, *args, **kwargs)

    inner = Own(MemoryStore())
    array = _array(WrapperStore(inner))
    assert np.array_equal(np.asarray(array[...]), VALUES)
    assert inner.seen == 25


def test_a_store_that_counts_its_calls_is_asked_as_it_expects() -> None:
    store = LoggingStore(MemoryStore())
    array = _array(store)
    store.counter.clear()
    assert np.array_equal(np.asarray(array[...]), VALUES)
    assert store.counter["get"] == 25


@pytest.mark.parametrize("use", ["read", "write"])
def test_a_failure_names_its_chunk_and_ends_the_rest(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_bridge, "_LONG_S", 60.0)
    store = Counted(MemoryStore())
    with zarr.config.set({"threading.max_workers": 2}):
        array = _array(store)
        store.calls.clear()
        store.failing, store.pause_s = "c/1/1", 0.001
        with pytest.raises(ConnectionError, match="c/1/1") as failure:
            array[...] if use == "read" else array.__setitem__(..., 7)
    assert isinstance(failure.value, wazarr.errors.StoreError)
    assert isinstance(failure.value.__cause__, ConnectionError)
    assert len([key for _, key in store.calls if "c/" in key]) < 25
    if use == "write":
        assert failure.value.written is not None
        assert 0 < len(failure.value.written) < 25
        store.failing = None
        stored = np.asarray(zarr.open_array(store._store, mode="r")[...])
        for row, column in np.ndindex(5, 5):
            is_written = f"c/{row}/{column}" in failure.value.written
            block = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert np.array_equal(stored[block], np.full((4, 4), 7) if is_written else VALUES[block])


def test_a_cancelled_read_is_over_when_it_returns() -> None:
    store = Counted(MemoryStore())
    array = _array(store)
    store.pause_s = 0.001

    async def main() -> None:
        task = asyncio.ensure_future(array.async_array.getitem(...))
        while not store.now:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.now == 0
        asked = len(store.calls)
        await asyncio.sleep(0.05)
        assert len(store.calls) == asked

    asyncio.run(main())
