"""Does one long thing until interrupted, and says what happened. Usage: interrupted.py ACTION HANDLER.

Prints "ready" when at it; after the interrupt, a line of JSON. HANDLER is "default" or "swallow".
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import wazarr

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (512, 512, 512)
CHUNKS = (4, 512, 512)


class SlowStore(WrapperStore[MemoryStore]):
    """A store that takes its time."""

    requests = 0

    async def get(self, *arguments: Any, **keywords: Any) -> Any:
        """Get, slowly."""
        SlowStore.requests += 1
        await asyncio.sleep(0.05)
        return await super().get(*arguments, **keywords)

    async def set(self, *arguments: Any, **keywords: Any) -> None:
        """Set, slowly."""
        SlowStore.requests += 1
        await asyncio.sleep(0.05)
        await super().set(*arguments, **keywords)


def _values() -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    return np.tile(rng.integers(0, 50, (4, 512, 512), dtype="u2"), (128, 1, 1))


def _array(store: Any, **settings: Any) -> zarr.Array[Any]:
    keywords = {"shape": SHAPE, "chunks": CHUNKS, "dtype": "u2", **settings}
    return zarr.create_array(store, compressors=zarr.codecs.ZstdCodec(level=12), **keywords)


def prepare(action: str, folder: str) -> Callable[[], object]:
    """Return what takes long."""
    if action == "write-briefly":
        array, values = _array(folder), _values()[:128]
        return lambda: array.__setitem__(slice(0, 128), values)
    if action == "write":
        array, values = _array(folder), _values()
        return lambda: array.__setitem__(slice(None), values)
    if action == "write-shards":
        array, values = _array(folder, shards=(256, 512, 512)), _values()
        return lambda: array.__setitem__(slice(None), values)
    if action == "read":
        array = _array(folder)
        array[:8] = _values()[:8]
        chunk = (Path(folder) / "c/0/0/0").read_bytes()
        for number in range(128):
            at = Path(folder) / f"c/{number}/0/0"
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(chunk)
        return lambda: [array[:] for _ in range(20)]
    store = SlowStore(MemoryStore())
    zarr.config.set({"wazarr.store_concurrency": 2})
    array = zarr.create_array(store, shape=(4000,), chunks=(4,), dtype="u2", fill_value=7)
    if action == "read-slow-store":
        return lambda: array[:]
    if action == "write-slow-store-briefly":
        return lambda: array.__setitem__(slice(0, 160), 3)
    return lambda: array.__setitem__(slice(None), 3)


def _traces(folder: str) -> tuple[float, ...]:
    """What changes while we work: our threads' time, counters, requests, files."""
    files = sorted((str(path), path.stat().st_mtime_ns) for path in Path(folder).rglob("*") if path.is_file())
    counted = wazarr.counters()
    return (
        counted["read"]["chunks"],
        counted["write"]["chunks"],
        counted["codec_steps"]["native"],
        SlowStore.requests,
        len(files),
        hash(tuple(files)),
        native_ticks(),
    )


def native_ticks() -> int:
    """Processor time of our threads, in clock ticks."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text()
            if name.startswith("wazarr"):
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except FileNotFoundError:
            continue
    return ticks


def main() -> None:
    """Do it."""
    action, handler = sys.argv[1:3]
    wazarr.enable()
    zarr.config.set({"threading.max_workers": 2})
    folder = tempfile.mkdtemp()
    long = prepare(action, folder)
    signalled: list[float] = []
    # A process that was started in the background of a script inherits that interrupts are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def swallow(*_: object) -> None:
        signalled.append(time.monotonic())

    if handler == "swallow":
        signal.signal(signal.SIGINT, swallow)

    def interrupt() -> None:
        time.sleep(0.4)
        signalled.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    before = _traces(folder)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        long()
    except KeyboardInterrupt:
        outcome = "interrupted"
    else:
        outcome = "finished"
    raised = time.monotonic()
    # Looks every 5 ms for the last time at which anything moved, until nothing did for a while.
    last, moved = _traces(folder), raised
    while time.monotonic() - moved < 0.5:
        time.sleep(0.005)
        current = _traces(folder)
        if current != last:
            last, moved = current, time.monotonic()
    answer = {
        "outcome": outcome,
        "raised_after_s": raised - signalled[0] if signalled else None,
        "stopped_after_s": moved - signalled[0] if signalled else None,
        "worked": before != last,
        "signals": len(signalled),
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    leftovers = [path.name for path in Path(folder).rglob("*.partial")]
    assert not leftovers, leftovers
    # Nothing half-written: what is there can be read, and the array is as usable as before.
    if action in ("write", "write-shards"):
        array = zarr.open_array(LocalStore(folder), mode="r+")
        expected = _values()[:256] if action == "write-shards" else _values()[:4]
        step = len(expected)
        for at in range(0, SHAPE[0], step):
            found = np.asarray(array[at : at + step])
            assert not found.any() or np.array_equal(found, expected), at
        array[0:2, :5] = 1
        assert (np.asarray(array[0:2, :5]) == 1).all()


if __name__ == "__main__":
    main()
