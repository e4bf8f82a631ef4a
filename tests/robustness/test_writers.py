"""Writers at the same time lose nothing; readers beside them see old or new chunks and no error."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import wazarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORES = ["files", "memory", "python store"]
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunk": {"chunks": (32, 8)},
    "shard": {"chunks": (4, 8), "shards": (32, 8)},
    "plain": {"chunks": (32, 8), "compressors": None},
}


def _store(kind: str, folder: Path) -> Any:
    if kind == "files":
        return LocalStore(folder)
    return MemoryStore() if kind == "memory" else WrapperStore(MemoryStore())


def _together(works: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a writer hangs"
    assert not failures, failures


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("store", STORES)
def test_threads_that_write_parts_of_one_chunk(tmp_path: Path, store: str, layout: str) -> None:
    with wazarr.enabled():
        array = zarr.create_array(_store(store, tmp_path), shape=(32, 8), dtype="i4", **LAYOUTS[layout])
        for number in range(1, 41):
            parts = [
                functools.partial(array.__setitem__, slice(at * 8, at * 8 + 8), number) for at in range(4)
            ]
            _together(list(parts))
            assert (np.asarray(array[:]) == number).all(), number


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("store", STORES)
async def test_tasks_that_write_parts_of_one_chunk(tmp_path: Path, store: str, layout: str) -> None:
    with wazarr.enabled():
        array = await zarr.api.asynchronous.create_array(
            _store(store, tmp_path), shape=(32, 8), dtype="i4", **LAYOUTS[layout]
        )
        for number in range(1, 61):
            await asyncio.gather(*[array.setitem(at, number) for at in range(32)])
            assert (np.asarray(await array.getitem(slice(None))) == number).all(), number


@pytest.mark.parametrize("store", STORES)
def test_overlapping_batches_of_many_chunks_do_not_block_each_other(tmp_path: Path, store: str) -> None:
    with wazarr.enabled():
        array = zarr.create_array(_store(store, tmp_path), shape=(64, 64), chunks=(8, 64), dtype="i4")

        def rows(first: int) -> None:
            for number in range(30):
                array[first : first + 40] = number

        def columns(first: int) -> None:
            for number in range(30):
                array[:, first : first + 3] = number

        _together([lambda: rows(0), lambda: rows(20), lambda: columns(0), lambda: columns(30)])
        found = np.asarray(array[:])
        assert (found[:20, 10:20] == 29).all()


def test_threads_that_write_different_chunks(tmp_path: Path) -> None:
    with wazarr.enabled():
        array = zarr.create_array(tmp_path, shape=(64, 8), chunks=(1, 8), dtype="i4")

        def write(at: int) -> None:
            for number in range(10):
                array[at::8] = at * 100 + number

        _together([lambda at=at: write(at) for at in range(8)])  # type: ignore[misc]
        found = np.asarray(array[:, 0])
        assert list(found) == [at % 8 * 100 + 9 for at in range(64)]


def _write_rows(array: zarr.Array[Any], first: int) -> None:
    for number in range(40):
        array[first::2] = first * 100 + number


def test_processes_that_write_different_chunks(tmp_path: Path) -> None:
    with wazarr.enabled():
        array = zarr.create_array(tmp_path, shape=(32, 8), chunks=(1, 8), dtype="i4")
        array[:] = 1
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_write_rows, args=(array, first)) for first in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
            assert writer.exitcode == 0
        assert list(np.asarray(array[:, 3])) == [at % 2 * 100 + 39 for at in range(32)]


@pytest.mark.parametrize("path", ["wazarr.CodecPipeline", "zarr.core.codec_pipeline.BatchedCodecPipeline"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_readers_beside_a_writer_see_whole_chunks(tmp_path: Path, layout: str, path: str) -> None:
    """Ours writes; we or the default pipeline read."""
    with wazarr.enabled():
        array = zarr.create_array(
            tmp_path, shape=(64, 8), dtype="i4", config={"write_empty_chunks": True}, **LAYOUTS[layout]
        )
        array[:] = 0
    with zarr.config.set({"codec_pipeline.path": path}):
        reader = zarr.open_array(tmp_path, mode="r")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = np.asarray(reader[:])
            assert np.ptp(found[:32]) == 0
            assert np.ptp(found[32:]) == 0
            part = np.asarray(reader[3:30, 2:5])
            # One version of a chunk in a read of it.
            assert layout == "shard" or np.ptp(part) == 0

    def write() -> None:
        try:
            for number in range(300):
                array[:] = np.full((64, 8), number, "i4")
        finally:
            stop.set()

    _together([write, read, read])


def test_readers_beside_a_deleter_see_values_or_fill(tmp_path: Path) -> None:
    with wazarr.enabled():
        array = zarr.create_array(tmp_path, shape=(64, 8), chunks=(4, 8), shards=(32, 8), dtype="i4")
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                found = np.asarray(array[:])
                assert np.ptp(found[:32]) == 0

        def write() -> None:
            try:
                for number in range(300):
                    array[:] = np.full((64, 8), number % 2 * 5, "i4")
            finally:
                stop.set()

        _together([write, read, read])
