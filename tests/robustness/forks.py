"""Uses arrays before and after a fork. Usage: forks.py KIND."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import zarr

import wazarr

SHAPE = (64, 256, 256)


def make(folder: str) -> zarr.Array[Any]:
    """Make an array that takes our threads, and use them."""
    wazarr.enable()
    zarr.config.set({"threading.max_workers": 2})
    array = zarr.create_array(
        folder,
        shape=SHAPE,
        chunks=(4, 64, 256),
        shards=(8, 256, 256),
        dtype="u2",
        compressors=zarr.codecs.GzipCodec(level=1),
    )
    array[:] = values()
    assert np.array_equal(np.asarray(array[:]), values())
    return array


def values() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """What the array holds."""
    return (np.arange(np.prod(SHAPE)) % 1000).astype("u2").reshape(SHAPE)


def read_part(arguments: tuple[zarr.Array[Any], int]) -> int:
    """Read one plane, in whatever process."""
    array, at = arguments
    return int(np.asarray(array[at], dtype="i8").sum())


def read_and_write(array: zarr.Array[Any], folder: str) -> None:
    """Read everything, write everything to another array."""
    assert np.array_equal(np.asarray(array[:]), values())
    other = zarr.create_array(folder, shape=SHAPE, chunks=(4, 256, 256), dtype="u2")
    other[:] = values()
    other[1:9, 3:77] = 5
    assert (np.asarray(other[1:9, 3:77]) == 5).all()


def wait(child: int, timeout_s: float = 60) -> None:
    """Wait for the end of a child; a child that hangs is a failure."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the child ended with {status}"
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


def fork_child(array: zarr.Array[Any]) -> int:
    """Fork a child that reads and writes."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            read_and_write(array, tempfile.mkdtemp())
            status = 0
        finally:
            os._exit(status)
    return child


def plain(array: zarr.Array[Any]) -> None:
    """Fork twice, the second time from a child."""
    wait(fork_child(array))
    child = os.fork()
    if child == 0:
        read_and_write(array, tempfile.mkdtemp())
        wait(fork_child(array))
        os._exit(0)
    wait(child)
    read_and_write(array, tempfile.mkdtemp())


def busy(array: zarr.Array[Any]) -> None:
    """Fork while other threads read and write, strings and Python stores too."""
    stop = threading.Event()
    failures: list[BaseException] = []
    texts = zarr.create_array(zarr.storage.MemoryStore(), shape=(2000,), chunks=(50,), dtype="string")
    wrapped = zarr.create_array(
        zarr.storage.WrapperStore(zarr.storage.MemoryStore()), shape=(64, 4096), chunks=(8, 4096), dtype="u2"
    )
    scratch = zarr.create_array(tempfile.mkdtemp(), shape=SHAPE, chunks=(4, 256, 256), dtype="u2")

    def keep(run: Any) -> None:
        try:
            while not stop.is_set():
                run()
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    def with_strings() -> None:
        texts[:] = np.array(["x" * 20] * 2000, dtype=object)
        texts[:]

    def with_a_python_store() -> None:
        wrapped[3:60] = 4
        wrapped[:]

    def with_files() -> None:
        scratch[1:60] = 3

    threads = [
        threading.Thread(target=keep, args=(run,), daemon=True)
        for run in (lambda: array[:], with_strings, with_a_python_store, with_files)
    ]
    for thread in threads:
        thread.start()
    for _ in range(int(sys.argv[2])):
        time.sleep(0.02)
        wait(fork_child(array))
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread of the parent hangs"
    assert not failures, failures


def pools(array: zarr.Array[Any]) -> None:
    """Worker processes of all kinds, and ones that read for a loader."""
    expected = [int(plane.astype("i8").sum()) for plane in values()[:8]]
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            found = list(executor.map(read_part, [(array, at) for at in range(8)], timeout=100))
        assert found == expected, method


def loader(array: zarr.Array[Any]) -> None:
    """Workers that inherit the array, as those of a data loader do, epoch after epoch."""
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        questions: Any = context.Queue()
        answers: Any = context.Queue()

        def work(questions: Any = questions, answers: Any = answers) -> None:
            for at in iter(questions.get, None):
                answers.put((at, int(np.asarray(array[at], dtype="i8").sum())))

        workers = [context.Process(target=work, daemon=True) for _ in range(3)]
        for worker in workers:
            worker.start()
        for at in range(16):
            questions.put(at)
        found = dict(answers.get(timeout=60) for _ in range(16))
        for _ in workers:
            questions.put(None)
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
        assert found == {at: int(values()[at].astype("i8").sum()) for at in range(16)}
        array[0]


def exits(array: zarr.Array[Any]) -> None:
    """End the process while threads read objects and files."""
    texts = zarr.create_array(zarr.storage.MemoryStore(), shape=(20000,), chunks=(500,), dtype="string")
    texts[:] = np.array(["x" * 20] * 20000, dtype=object)

    def forever(each: zarr.Array[Any]) -> None:
        while True:
            each[:]

    for each in (array, texts, array, texts):
        threading.Thread(target=forever, args=(each,), daemon=True).start()
    time.sleep(0.3)


if __name__ == "__main__":
    kind = {"plain": plain, "busy": busy, "pools": pools, "loader": loader, "exits": exits}[sys.argv[1]]
    kind(make(tempfile.mkdtemp()))
