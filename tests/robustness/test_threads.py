"""Many threads, many arrays, several event loops; the configured maximum is one."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import wazarr
from tests.wasm import guests

VALUES = (np.arange(16 * 256 * 256) % 251).astype("u2").reshape(16, 256, 256)


def _array(store: Any, **settings: Any) -> zarr.Array[Any]:
    array = zarr.create_array(
        store,
        **{
            "shape": VALUES.shape,
            "dtype": "u2",
            "chunks": (2, 256, 256),
            "compressors": zarr.codecs.GzipCodec(level=6),
            **settings,
        },
    )
    array[:] = VALUES
    return array


def _native_threads() -> dict[int, int]:
    """Processor time, in nanoseconds, that each of the threads has had that decode and encode.

    Those that speak to the network, or look now and then how long a guest has run, are not among them.
    """
    threads = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            if re.match(r"wazarr-(\d|spare)", (task / "comm").read_text()):
                threads[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return threads


@pytest.mark.serial
@pytest.mark.parametrize("maximum", [1, 2, 3])
@pytest.mark.parametrize("kind", ["chunks", "one shard", "guests"])
def test_the_maximum_is_one(tmp_path: Path, maximum: int, kind: str) -> None:
    with wazarr.enabled(threading__max_workers=maximum):
        settings: dict[str, Any] = {"shards": VALUES.shape} if kind == "one shard" else {}
        if kind == "guests":
            settings["compressors"] = [wazarr.WasmCodec(guests.xor()), zarr.codecs.GzipCodec(level=6)]
        arrays = [_array(tmp_path / str(number), **settings) for number in range(2)]
        # Threads of an earlier maximum end on their own, once the machine gets to it.
        end = time.monotonic() + 20
        while len(_native_threads()) > maximum and time.monotonic() < end:
            time.sleep(0.01)
        before = _native_threads()
        stop = threading.Event()
        most_alive = 0

        def look() -> None:
            nonlocal most_alive
            while not stop.is_set():
                most_alive = max(most_alive, len(_native_threads()))
                time.sleep(0.001)

        observer = threading.Thread(target=look)
        observer.start()
        with ThreadPoolExecutor(6) as executor:
            list(executor.map(lambda number: arrays[number % 2][:], range(12)))
            list(executor.map(lambda number: arrays[number % 2].__setitem__(..., VALUES), range(6)))
        stop.set()
        observer.join()
        worked = {
            thread
            for thread, time_ns in _native_threads().items()
            if time_ns > before.get(thread, 0) + 1_000_000
        }
        assert most_alive <= maximum
        assert 1 <= len(worked) <= maximum
        if maximum == 2:
            assert len(worked) == 2, "one shard has to use all threads"


@pytest.mark.serial
def test_the_number_of_threads_is_bounded(tmp_path: Path) -> None:
    with wazarr.enabled(threading__max_workers=2):
        arrays = [
            zarr.create_array(tmp_path / str(number), shape=(64, 512), chunks=(8, 512), dtype="u4")
            for number in range(50)
        ]
        before = threading.active_count()
        most = 0

        def use(number: int) -> None:
            nonlocal most
            array = arrays[number % 50]
            array[:] = number
            assert int(np.asarray(array[3, 4])) in (
                number,
                number + 50,
                number - 50,
                number + 100,
                number - 100,
            )
            most = max(most, len(list(Path("/proc/self/task").iterdir())))

        with ThreadPoolExecutor(20) as executor:
            list(executor.map(use, range(150)))
        assert len(_native_threads()) <= 2
        assert most <= before + 20 + 2 + 8


def test_many_threads_on_one_array(tmp_path: Path) -> None:
    with wazarr.enabled(threading__max_workers=2):
        array = _array(tmp_path)
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(4):
                    array[number] = VALUES[number]
                    assert np.array_equal(np.asarray(array[number]), VALUES[number])
                    assert np.array_equal(np.asarray(array[:, number]), VALUES[:, number])
            except BaseException as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
        assert not failures


def test_several_event_loops(tmp_path: Path) -> None:
    with wazarr.enabled():
        array = _array(tmp_path)
        wrapped = _array(zarr.storage.WrapperStore(zarr.storage.MemoryStore()))
        answers: list[bool] = []

        async def read() -> None:
            both = [array._async_array, wrapped._async_array]
            for found in await asyncio.gather(*[each.getitem(slice(None)) for each in both * 3]):
                answers.append(np.array_equal(np.asarray(found), VALUES))  # noqa: PERF401 - as they come

        threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert answers == [True] * 24


def test_the_maximum_may_change_at_any_time(tmp_path: Path) -> None:
    array = None
    stop = threading.Event()
    failures: list[BaseException] = []
    with wazarr.enabled():
        array = _array(tmp_path)

        def read() -> None:
            try:
                while not stop.is_set():
                    assert np.array_equal(np.asarray(array[:]), VALUES)
            except BaseException as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(60):
            zarr.config.set({"threading.max_workers": 1 + number % 4})
            time.sleep(0.005)
        stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        zarr.config.set({"threading.max_workers": 2})
        assert np.array_equal(np.asarray(array[:]), VALUES)
        end = time.monotonic() + 10
        while len(_native_threads()) > 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(_native_threads()) <= 2
        zarr.config.set({"threading.max_workers": None})
    assert not failures


def _in_another_process(pickled: bytes) -> tuple[bool, int, str]:
    zarr.config.set({"threading.max_workers": 1})
    array = pickle.loads(pickled)
    is_equal = np.array_equal(np.asarray(array[:]), VALUES)
    pipeline = array._async_array.codec_pipeline
    return is_equal, len(_native_threads()), type(pipeline).__name__


def test_a_pickled_array_follows_the_process_it_wakes_up_in(tmp_path: Path) -> None:
    with wazarr.enabled(threading__max_workers=3):
        array = _array(tmp_path)
        array[:]
        pipeline = array._async_array.codec_pipeline
        assert pickle.loads(pickle.dumps(pipeline)) == pipeline
        assert hash(pickle.loads(pickle.dumps(pipeline))) == hash(pipeline)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
            answer = executor.submit(_in_another_process, pickle.dumps(array)).result(timeout=100)
    assert answer == (True, 1, "CodecPipeline")
