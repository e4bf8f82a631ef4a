"""Stores that a user wrote: which of their methods are called, and what they may do while called."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from tests.pipelines import SUBJECT_PATH, pipeline
from tests.stores.layouts import LAYOUTS, check_reads, check_round_trip, values, write_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path


class AsyncOnly(Store):
    """The least that is a store: abstract methods alone, over a dict of bytes."""

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, content: dict[str, bytes], *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self.content = content
        self.loops: set[int] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncOnly) and other.content is self.content

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        await asyncio.sleep(0)
        self.loops.add(threading.get_ident())
        value = self.content.get(key)
        if value is None:
            return None
        match byte_range:
            case RangeByteRequest(start, end):
                value = value[start:end]
            case OffsetByteRequest(offset):
                value = value[offset:]
            case SuffixByteRequest(suffix):
                value = value[-suffix:]
        return prototype.buffer.from_bytes(value)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[Any]) -> list[Any]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self.content

    async def set(self, key: str, value: Any) -> None:
        self._check_writable()
        await asyncio.sleep(0)
        self.content[key] = value.to_bytes()

    async def delete(self, key: str) -> None:
        self._check_writable()
        self.content.pop(key, None)

    async def list(self) -> AsyncIterator[str]:
        for key in list(self.content):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in list(self.content):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for key in list(self.content):
            if key.startswith(prefix):
                yield key.removeprefix(prefix).lstrip("/").partition("/")[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_of_abstract_methods_alone(layout: str) -> None:
    content: dict[str, bytes] = {}
    check_round_trip(lambda read_only: AsyncOnly(content, read_only=read_only), layout)


def test_methods_are_called_in_the_loop_of_the_request() -> None:
    content: dict[str, bytes] = {}
    write_all(AsyncOnly(content), "v3, sharded")
    store = AsyncOnly(content, read_only=True)
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(store, mode="r")
        store.loops.clear()
        array[...]
        array[3:5, 2]
        assert len(store.loops) == 1
        assert threading.get_ident() not in store.loops

        async def read() -> Any:
            store.loops.clear()
            return await array.async_array.getitem(slice(3, 5))

        assert np.array_equal(np.asarray(asyncio.run(read())), values()[3:5])
        assert store.loops == {threading.get_ident()}


def inverted(value: Any) -> Any:
    return None if value is None else cpu.Buffer.from_bytes(bytes(byte ^ 0xFF for byte in value.to_bytes()))


def is_chunk(key: str) -> bool:
    return not key.endswith("zarr.json")


class GetAlone(LocalStore):
    """Overrides `get` and `set`: the inherited `*_sync` methods would not invert."""

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        value = await super().get(key, prototype or default_buffer_prototype(), byte_range)
        return inverted(value) if is_chunk(key) else value

    async def set(self, key: str, value: Any) -> None:
        await super().set(key, inverted(value) if is_chunk(key) else value)


class SyncToo(GetAlone):
    """Overrides the `*_sync` methods as well, with the same result."""

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        value = super().get_sync(  # type: ignore[misc, unused-ignore]
            key, prototype=prototype or default_buffer_prototype(), byte_range=byte_range
        )
        return inverted(value) if is_chunk(key) else value

    def set_sync(self, key: str, value: Any) -> None:
        super().set_sync(key, inverted(value) if is_chunk(key) else value)  # type: ignore[misc, unused-ignore]


class RangesToo(GetAlone):
    """Overrides the plural as well."""

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[Any]) -> list[Any]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]


class Patched(LocalStore):
    """Not overridden: the object itself was patched."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        get, set_ = super().get, super().set

        async def patched_get(key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            value = await get(key, prototype or default_buffer_prototype(), byte_range)
            return inverted(value) if is_chunk(key) else value

        async def patched_set(key: str, value: Any) -> None:
            await set_(key, inverted(value) if is_chunk(key) else value)

        self.get, self.set = patched_get, patched_set  # type: ignore[method-assign]


@pytest.mark.parametrize("layout", ["v3", "v3, sharded", "v3, uncompressed"])
@pytest.mark.parametrize("cls", [GetAlone, SyncToo, RangesToo, Patched])
def test_what_is_overridden_is_what_runs(cls: type[LocalStore], layout: str, tmp_path: Path) -> None:
    check_round_trip(lambda read_only: cls(tmp_path, read_only=read_only), layout)
    plain = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert plain
    with pipeline(SUBJECT_PATH):
        backwards = zarr.open_array(LocalStore(tmp_path), mode="r")
        if layout == "v3, uncompressed":
            assert backwards[0, 16] == ~np.int32(5)  # 5 is what the round trip left there


class Virtual(MemoryStore):
    """Makes chunks out of another array, read with the same pipeline while it serves."""

    def __init__(self, source: zarr.Array[Any], *, is_sync: bool) -> None:
        super().__init__()
        self.source = source
        self.is_sync = is_sync

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        if not is_chunk(key):
            return await super().get(key, prototype or default_buffer_prototype(), byte_range)
        row = int(key.split("/")[1])
        selection = slice(row, row + 1)
        if self.is_sync:
            # From a thread: zarr's own loop may be the one that waits for this.
            read = await asyncio.to_thread(lambda: self.source[selection])
        else:
            read = await self.source.async_array.getitem(selection)
        return cpu.Buffer.from_bytes((np.asarray(read, "<i4") + 1).tobytes())


@pytest.mark.parametrize("is_sync", [False, True])
@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_store_may_read_arrays_while_it_serves(is_sync: bool, concurrency: int, tmp_path: Path) -> None:
    config = {"wazarr.store_concurrency": concurrency, "threading.max_workers": 1}
    with pipeline(SUBJECT_PATH, **config):
        write_all(LocalStore(tmp_path), "v3")
        source = zarr.open_array(LocalStore(tmp_path), mode="r")
        store = Virtual(source, is_sync=is_sync)
        array = zarr.create_array(store, shape=(23, 17), chunks=(1, 17), dtype="<i4", compressors=None)
        assert np.array_equal(np.asarray(array[...]), values() + 1)
        assert np.array_equal(np.asarray(array[3:9, 2]), values()[3:9, 2] + 1)


def test_two_virtual_stores_one_over_the_other(tmp_path: Path) -> None:
    with pipeline(SUBJECT_PATH, **{"threading.max_workers": 1}):
        write_all(LocalStore(tmp_path), "v3, sharded")
        below = zarr.open_array(LocalStore(tmp_path), mode="r")
        for _ in range(3):
            below = zarr.create_array(
                Virtual(below, is_sync=False), shape=(23, 17), chunks=(1, 17), dtype="<i4", compressors=None
            )
        assert np.array_equal(np.asarray(below[...]), values() + 3)


def test_buffers_that_are_no_bytes() -> None:
    """Memory maps, views with an offset, read-only and writable ones are all taken as they are."""
    content: dict[str, bytes] = {}
    expected = write_all(AsyncOnly(content), "v3")

    class Views(AsyncOnly):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            value = await super().get(key, prototype, byte_range)
            if value is None:
                return None
            padded = np.frombuffer(b"xyz" + value.to_bytes() + b"z", "u1")
            return prototype.buffer.from_array_like(padded[3:-1])

    check_reads(lambda _: Views(content, read_only=True), expected)


@pytest.mark.parametrize(("bytes_in_flight", "expected"), [(1 << 30, 8), (130_000, 3), (1, 1)])
def test_parts_of_shards_count_in_bytes(bytes_in_flight: int, expected: int) -> None:
    """Eight shards, of each an inner chunk of 40 kB."""
    content: dict[str, bytes] = {}
    stored = np.arange(1, 160_001, dtype="i4")
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(
            AsyncOnly(content),
            shape=stored.shape,
            chunks=(10_000,),
            shards=(20_000,),
            dtype="i4",
            compressors=None,
        )
        array[...] = stored

    class Counted(AsyncOnly):
        now = most = 0

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            if not isinstance(byte_range, RangeByteRequest):
                return await super().get(key, prototype, byte_range)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.02)
            self.now -= 1
            return await super().get(key, prototype, byte_range)

    store = Counted(content, read_only=True)
    with pipeline(SUBJECT_PATH, **{"wazarr.bytes_in_flight": bytes_in_flight}):
        read = zarr.open_array(store, mode="r").oindex[np.arange(5, 160_000, 20_000)]
    assert np.array_equal(np.asarray(read), stored[5::20_000])
    assert store.most == expected
