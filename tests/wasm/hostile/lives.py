"""What a process does while a guest runs. Usage: ``python -m tests.wasm.hostile.lives ACTION FOLDER``.

Actions print what happened; those that end the process print "ready" first.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import wazarr
from tests.wasm import guests
from tests.wasm.hostile import victim
from wazarr import _native


def array_of(module: bytes) -> zarr.Array[Any]:
    """Return an array whose codec is a module."""
    make = default_buffer_prototype().buffer.from_bytes
    document = victim.document(module, {}, is_in_front=False)
    content: dict[str, Any] = {"zarr.json": make(json.dumps(document).encode())}
    content |= {f"c/{number}": make(victim.chunk(number).tobytes()) for number in range(victim.COUNT)}
    return zarr.open_array(MemoryStore(content), mode="r+")


def check(array: zarr.Array[Any]) -> None:
    """Read all of an array whose codec changes nothing."""
    expected = np.concatenate([victim.chunk(number) for number in range(victim.COUNT)])
    assert np.array_equal(np.asarray(array[...]), expected)


def reading(array: zarr.Array[Any]) -> threading.Thread:
    """Read in another thread, and come back when the guest runs."""
    thread = threading.Thread(target=lambda: victim.attempt(lambda: array[...]), daemon=True)
    thread.start()
    time.sleep(0.3)
    return thread


def interrupted(_: Path) -> None:
    """Be interrupted in an endless loop."""
    array = array_of(guests.loop())
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    try:
        array[...]
    except KeyboardInterrupt:
        print("interrupted after", time.monotonic() - started - 0.5)
    check(array_of(guests.xor(0)))


def ended(_: Path) -> None:
    """Reach the end of the program while a guest runs."""
    reading(array_of(guests.loop()))
    print("ready", flush=True)


def exited(_: Path) -> None:
    """Exit without a word while a guest runs."""
    reading(array_of(guests.loop()))
    print("ready", flush=True)
    os._exit(0)


def forked(_: Path) -> None:
    """Fork while a guest runs and after; children and parent read."""
    sound = array_of(guests.xor(0))
    check(sound)
    for is_busy in (False, True):
        thread = reading(array_of(guests.loop())) if is_busy else None
        child = os.fork()
        if child == 0:
            try:
                check(sound)
                check(array_of(guests.xor(0)))
                error = victim.attempt(lambda: array_of(guests.trap())[...])
                os._exit(0 if error and "WasmTrapError" in error["classes"] else 3)
            except BaseException:  # noqa: BLE001 - the parent is told by the status
                os._exit(2)
        end = time.monotonic() + 30
        while (waited := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                raise AssertionError("the child hangs")
            time.sleep(0.01)
        assert waited[1] == 0, f"busy: {is_busy}, status {waited[1]}"
        check(sound)
        if thread is not None:
            thread.join()
    print("forked")


def shared(_: Path) -> None:
    """Share an array, half of whose chunks trap, among sixteen threads."""
    from tests.wasm.hostile.cases import sound

    array = array_of(guests.assembled(sound("(unreachable)")))
    problems: list[str] = []

    def use() -> None:
        for turn in range(20):
            number = turn % victim.COUNT
            error = victim.attempt(lambda number=number: one(number))
            if (error is None) == (number == victim.MARKED):
                problems.append(f"chunk {number}: {error}")

    def one(number: int) -> None:
        values = array[number * victim.CHUNK : (number + 1) * victim.CHUNK]
        if not np.array_equal(np.asarray(values), victim.chunk(number)):
            problems.append(f"chunk {number} is wrong")

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]
    print("shared")


def greedy(_: Path) -> None:
    """Have more guests than all may hold together."""
    from tests.wasm.hostile.cases import sound

    limit = 64 << 20
    with zarr.config.set({"wazarr.wasm.total_memory_limit": limit}):
        for number in range(20):
            memory = f'(memory (export "memory") {200 + number})'
            check(array_of(guests.assembled(sound(memory=memory))))
            assert _native.wasm_counters()["memory_bytes"] <= limit
    print("greedy")


def full(folder: Path) -> None:
    """Have no room on the disk for the cache."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    with zarr.config.set({"wazarr.wasm.cache_dir": str(folder / "cache")}):
        check(array_of(guests.padded(guests.xor(0), 5000)))
    left = [path.name for path in (folder / "cache").iterdir() if path.stat().st_size]
    assert not left, left
    print("full")


def cached(folder: Path) -> None:
    """Read with a cache folder."""
    with zarr.config.set({"wazarr.wasm.cache_dir": str(folder / "cache")}):
        check(array_of(guests.padded(guests.xor(0), 5000)))
    print("cached", json.dumps(_native.wasm_counters()))


def main() -> None:
    """Do one thing."""
    limits = {**victim.LIMITS, "wazarr.wasm.timeout_s": 3.0}
    wazarr.enable()
    with zarr.config.set(limits):
        globals()[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
