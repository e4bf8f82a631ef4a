"""Stores that only Python can speak to: how many requests are in flight, and what a failure leaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.storage import MemoryStore, WrapperStore

import wazarr
from tests.pipelines import ZARR_VERSION
from wazarr import stores

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("subject_pipeline")


class Watched(WrapperStore[Any]):
    """Takes its time, counts what is in flight, and can fail."""

    def __init__(self, fails: Callable[[str, str], bool] = lambda *_: False) -> None:
        super().__init__(MemoryStore())
        self.fails = fails
        self.is_recording = False
        self.in_flight = 0
        self.most_in_flight = 0
        self.requests: list[tuple[str, str, Any]] = []

    async def _serve(self, kind: str, key: str, answer: Any, byte_range: Any = None) -> Any:
        if not self.is_recording:
            return await answer
        self.requests.append((kind, key, byte_range))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.02)
            if self.fails(kind, key):
                raise OSError(f"{kind} {key} failed")
            return await answer
        finally:
            self.in_flight -= 1
            answer.close()

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        return await self._serve("get", key, self._store.get(key, prototype, byte_range), byte_range)

    async def set(self, key: str, value: Any) -> None:
        await self._serve("set", key, self._store.set(key, value))

    async def delete(self, key: str) -> None:
        await self._serve("delete", key, self._store.delete(key))

    def kinds(self) -> Counter[str]:
        return Counter(kind for kind, _, _ in self.requests)


def make(store: Watched, **options: Any) -> zarr.Array[Any]:
    """Make an array of 24 chunks, all there, and begin to record."""
    options = {"chunks": (5,), "compressors": None, **options}
    array = zarr.create_array(store, shape=(120,), dtype="i4", **options)
    array[:] = np.arange(1, 121)
    store.is_recording = True
    return array


LIMITS = {"wazarr.store_concurrency": 4, "array.sharding_coalesce_max_gap_bytes": 0}
SHARDED = {"shards": (20,)}


@pytest.mark.parametrize("limit", [1, 4, 64])
@pytest.mark.parametrize("action", ["read", "write", "write in part", "read shards in part", "read shards"])
def test_as_many_requests_are_in_flight_as_allowed_and_no_more(action: str, limit: int) -> None:
    store = Watched()
    with zarr.config.set({**LIMITS, "wazarr.store_concurrency": limit}):
        array = make(store, **(SHARDED if "shards" in action else {}))
        expected = np.arange(1, 121)
        match action:
            case "read" | "read shards":
                assert np.array_equal(array[:], expected)
            case "read shards in part":
                assert np.array_equal(array[::10], expected[::10])
            case "write":
                array[:] = expected
            case "write in part":
                array[1:119] = expected[1:119]
    chunks = 6 if "shards" in action else 24
    assert store.most_in_flight <= limit
    if action in ("read", "write"):
        assert store.most_in_flight == min(limit, chunks)
    assert np.array_equal(array[:], expected)


@pytest.mark.parametrize("limit", [3, 64])
def test_one_shard_may_use_all_requests(limit: int) -> None:
    store = Watched()
    with zarr.config.set({**LIMITS, "wazarr.store_concurrency": limit}):
        array = make(store, shards=(120,))
        # Every second inner chunk: nothing to join.
        assert np.array_equal(array.oindex[np.arange(0, 120, 10)], np.arange(1, 121, 10))
    if ZARR_VERSION >= (3, 4):  # before that, neighbours are joined over gaps of up to 1 MiB
        assert store.most_in_flight == min(limit, 12)
        assert len(store.requests) == 1 + 12


def test_a_part_of_a_shard_is_its_index_and_what_is_needed() -> None:
    store = Watched()
    array = make(store, **SHARDED)
    with zarr.config.set(LIMITS):
        assert array[6] == 7
    (_, key, index_range), (_, same_key, chunk_range) = store.requests
    assert key == same_key == "c/0"
    assert index_range == SuffixByteRequest(4 * 16 + 4)
    assert isinstance(chunk_range, RangeByteRequest)
    assert chunk_range.end - chunk_range.start == 5 * 4


def test_whole_shards_are_one_request() -> None:
    store = Watched()
    array = make(store, **SHARDED)
    assert np.array_equal(array[0:40], np.arange(1, 41))
    assert [(kind, key) for kind, key, _ in store.requests] == [("get", "c/0"), ("get", "c/1")]


def test_a_shard_that_goes_between_two_requests_is_missing() -> None:
    class Vanishing(Watched):
        """Deletes a value once its index was fetched."""

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            answer = await super().get(key, prototype, byte_range)
            if self.is_recording and isinstance(byte_range, SuffixByteRequest):
                await self._store.delete(key)
            return answer

    array = make(Vanishing(), **SHARDED)
    assert array[6] == 0


def test_chunks_that_become_empty_are_deleted() -> None:
    store = Watched()
    array = make(store)
    array[0:12] = 0
    assert store.kinds() == {"delete": 2, "get": 1, "set": 1}


@pytest.mark.parametrize("kind", ["get", "set"])
def test_a_failure_cancels_the_rest_and_frees_the_locks(kind: str) -> None:
    store = Watched(lambda kind_now, key: (kind_now, key) == (kind, "c/9"))
    with zarr.config.set(LIMITS):
        array = make(store)
        actions: dict[str, Callable[[], object]] = {
            "get": lambda: array[:],
            "set": lambda: array.set_basic_selection(..., 5),
        }
        with pytest.raises(OSError, match=f"{kind} c/9 failed"):
            actions[kind]()
        # Those in flight when it failed, perhaps each lane's next, and none after them.
        assert store.in_flight == 0
        assert len(store.requests) <= 10 + 2 * 4
        store.fails = lambda *_: False
        array[:] = 6
        assert np.array_equal(array[:], np.full(120, 6))


def test_errors_of_a_stores_own_class_reach_the_caller() -> None:
    class Own(Exception):
        """Some client library's exception."""

    def fails(kind: str, key: str) -> bool:
        raise Own(key)

    array = make(Watched(fails))
    with pytest.raises(Own, match="c/2"):
        array[10:15]


# --- ranges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "max_gap", "max_bytes", "joined"),
    [
        ([], 0, 100, []),
        ([(0, 5), (5, 9)], 0, 100, [(0, 9)]),
        ([(0, 5), (6, 9)], 0, 100, [(0, 5), (6, 9)]),
        ([(0, 5), (6, 9)], 1, 100, [(0, 9)]),
        ([(0, 5), (5, 9), (9, 12)], 0, 9, [(0, 9), (9, 12)]),
        ([(0, 50), (50, 90)], 10, 20, [(0, 50), (50, 90)]),
        ([(0, 9), (2, 4), (4, 12)], 0, 100, [(0, 12)]),
    ],
)
def test_neighbours_are_joined(
    ranges: list[tuple[int, int]], max_gap: int, max_bytes: int, joined: list[tuple[int, int]]
) -> None:
    assert stores.joined(ranges, max_gap, max_bytes) == joined


def test_requests_are_counted() -> None:
    array = make(Watched())
    wazarr.reset_counters()
    array[0:10]
    assert wazarr.counters()["store_requests"] == {
        "native": 0,
        "python": 2,
        "bytes_fetched": 0,
        "bytes_wasted": 0,
    }


@pytest.mark.parametrize("steps", range(12))
async def test_a_write_cancelled_at_any_step_gives_its_locks_back(steps: int) -> None:
    array = make(Watched())._async_array
    # A second writer has to wait for the first one's chunks.
    first, second = (asyncio.ensure_future(array.setitem(slice(None), number)) for number in (1, 2))
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in (first, second):
        task.cancel()
    # The exceptions stay alive, and with them the frames that hold the jobs.
    failures = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(failure, asyncio.CancelledError) for failure in failures)
    again = asyncio.ensure_future(array.setitem(slice(None), 3))
    done, _ = await asyncio.wait([again], timeout=60)
    if not done:
        # A wait for locks does not end with a cancellation: leave the loop without it.
        pytest.exit("the locks of a cancelled write are still held", 1)
    assert np.asarray(await array.getitem(slice(None))).tolist() == [3] * 120


async def test_a_failure_is_told_though_other_chunks_still_wait_to_be_decoded() -> None:
    class Breaking(WrapperStore[MemoryStore]):
        """Has all chunks but the last at once."""

        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            if key == "c/63":
                raise ConnectionError("the line is dead")
            return await super().get(key, *args, **kwargs)

    values = np.random.default_rng(0).integers(0, 9, 64 << 16, "u1")
    zarr.create_array(store := MemoryStore(), data=values, chunks=(1 << 16,))
    with zarr.config.set({"codec_pipeline.path": "wazarr.CodecPipeline", "threading.max_workers": 1}):
        array = await zarr.api.asynchronous.open_array(store=Breaking(store))
        for _ in range(5):
            with pytest.raises(ConnectionError, match="c/63"):
                await array.getitem(...)
