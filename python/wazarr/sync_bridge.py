"""Stores whose Python methods can be called without an event loop.

What zarr calls a store with sync IO: wrappers of local files and the like. A few threads of their own call
`get_sync` and `set_sync`; there are as many as native threads, so that no more decode and encode at the same
time. A task and a future for each chunk would take longer than such a store does. Where the first answer
takes long without any work, as from a store that waits for something, the asynchronous methods do the rest:
of them there can be many under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import zarr.abc.store
from zarr.abc.store import RangeByteRequest
from zarr.storage import LoggingStore, WrapperStore

from wazarr import config, stores
from wazarr.errors import of_store
from wazarr.jobs import ended
from wazarr.shard_parts import PartOfShard, no_longer_than

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wazarr import _native

__all__ = ["read", "serves", "write"]

_LONG_S = 2e-3
_WORKING_SHARE = 0.5
"""A first answer that took longer than the one, and worked for less than the other share of it: it waited."""

_PAIRS = (("get", "get_sync"), ("set", "set_sync"), ("delete", "delete_sync"))


def serves(batch: Sequence[tuple[Any, ...]]) -> bool:
    """Return whether the store of a batch has synchronous methods that may stand for the others.

    They may where each is defined at least as close to the store's class: else somebody overrode the other
    and did not know of it. Of wrappers that must hold all the way down. A `LoggingStore` is asked as it
    expects: who counts its calls of `get` means `get`.
    """
    supports = getattr(zarr.abc.store, "_store_supports_sync_io", None)
    if supports is None or any(type(entry[0]) is not stores.StorePath for entry in batch):
        return False
    store = batch[0][0].store
    if any(entry[0].store is not store for entry in batch) or not supports(store):
        return False
    while True:
        if isinstance(store, LoggingStore) or not all(_may_stand_for(store, *pair) for pair in _PAIRS):
            return False
        if not isinstance(store, WrapperStore):
            return True
        store = store._store


def _may_stand_for(store: Any, asynchronous: str, synchronous: str) -> bool:
    """Return whether a method is as close to a store's class as its twin, and neither is the object's own."""
    if asynchronous in vars(store) or synchronous in vars(store):
        return False
    mro = type(store).__mro__
    first = next((cls for cls in mro if asynchronous in vars(cls) or synchronous in vars(cls)), None)
    # An object that stands for a store without being one (a mock, a proxy) has neither.
    return first is not None and synchronous in vars(first)


class _Lanes:
    """Threads that take indices from one iterator, until all are done, one fails or somebody stops them."""

    def __init__(self, indices: Iterator[int], body: Callable[[int], None]) -> None:
        self._indices = indices
        self._body = body
        self._lock = threading.Lock()
        self._is_stopped = False
        self.failure: BaseException | None = None

    def _next(self) -> int | None:
        with self._lock:
            return None if self._is_stopped else next(self._indices, None)

    def _work(self) -> None:
        while (index := self._next()) is not None:
            try:
                self._body(index)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                with self._lock:
                    self._is_stopped = True
                    self.failure = self.failure or error

    async def run(self, count: int) -> None:
        """Run in `count` threads; returns only when all of them are over."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        left = count

        def one_ended() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done.set()

        def work() -> None:
            self._work()
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(one_ended)

        for number in range(count):
            threading.Thread(target=work, name=f"wazarr-store-{number}", daemon=True).start()
        try:
            await asyncio.shield(done.wait())
        except asyncio.CancelledError:
            self._is_stopped = True
            while not done.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await done.wait()
            raise
        if self.failure is not None:
            raise self.failure


class _Store:
    """The synchronous methods, whose failures say which chunk they were about."""

    def __init__(self, batch: Sequence[tuple[Any, ...]]) -> None:
        self._store = batch[0][0].store
        self._prototype = batch[0][1].prototype
        self._from_array = self._prototype.buffer.from_array_like

    def get(self, key: str, byte_range: Any = None, length: int | None = None) -> Any:
        """Return bytes as an array, or None; no more of them than `length`."""
        failure: BaseException
        try:
            buffer = self._store.get_sync(key, prototype=self._prototype, byte_range=byte_range)
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            failure = of_store(error, "get", key, stores.describe(self._store))
        else:
            array = None if buffer is None else buffer.as_numpy_array()
            return array if array is None or length is None else no_longer_than(length, array, key)
        raise failure

    def put(self, key: str, encoded: Any) -> None:
        """Store an array of bytes, or remove the value for None."""
        failure: BaseException
        operation = "delete" if encoded is None else "set"
        try:
            if encoded is None:
                self._store.delete_sync(key)
            else:
                self._store.set_sync(key, self._from_array(encoded))
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            is_refusal = self._store.read_only
            failure = error if is_refusal else of_store(error, operation, key, stores.describe(self._store))
        else:
            return
        raise failure


def _threads(batch: Sequence[tuple[Any, ...]]) -> int:
    return min(config.max_workers(), len(batch))


async def read(job: _native.ReadJob, batch: Sequence[tuple[Any, ...]]) -> list[int]:
    """Fetch the chunks of a planned read and have them decoded.

    Parameters
    ----------
    job : _native.ReadJob
        The planned read.
    batch : sequence of tuple
        zarr's batch that it was planned from.

    Returns
    -------
    list of int
        Positions in the batch of what is better fetched asynchronously: nothing, or all but the first.
    """
    store = _Store(batch)
    most = stores.max_waiting_bytes()
    rest: list[int] = []

    def body(index: int) -> None:
        if rest:
            return
        getter, spec = batch[index][:2]
        start, working = time.perf_counter(), time.thread_time()
        part = job.partial_shard(index)
        array = store.get(getter.path) if part is None else None
        if index == 0 and part is None and len(batch) > 1:
            took = time.perf_counter() - start
            if took > _LONG_S and time.thread_time() - working < took * _WORKING_SHARE:
                rest.extend(range(1, len(batch)))
        left = (
            job.feed(index, array)
            if part is None
            else _feed_part(store, getter, spec, PartOfShard(job, index, part))
        )
        if left > most:
            _wait(job, most // 2)

    try:
        # The first one alone: it tells how the others are best fetched.
        await _Lanes(iter(range(1)), body).run(1)
        if len(batch) > 1 and not rest:
            await _Lanes(iter(range(1, len(batch))), body).run(_threads(batch))
    except BaseException:
        job.cancel()
        # Nothing may touch the caller's array any more; how that ends is nobody's news.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await ended(job, lambda notify: job.wait(0, notify))
        raise
    if not rest:
        await ended(job, lambda notify: job.wait(0, notify))
    return rest


def _wait(job: _native.ReadJob, weight: int) -> None:
    """Wait, in a thread, until less is waiting to be decoded."""
    over = threading.Event()
    answers: list[BaseException | None] = []

    def notify(error: BaseException | None) -> None:
        answers.append(error)
        over.set()

    job.wait(weight, notify)
    over.wait()
    if answers[0] is not None:
        raise answers[0]


def _feed_part(store: _Store, getter: Any, spec: Any, shard: PartOfShard) -> int:
    """Fetch a shard's index, then the inner chunks that are needed, neighbours in one request."""
    stored_index = store.get(getter.path, shard.index_request, shard.index_len)
    if stored_index is None:
        return shard.feed(None)
    parts = []
    for start, end in stores.joined(shard.ranges(stored_index), *stores.coalescing(spec)):
        array = store.get(getter.path, RangeByteRequest(start, end), end - start)
        if array is None:
            return shard.feed(None)
        parts.append((start, array))
    return shard.feed(parts)


async def write(job: _native.WriteJob, batch: Sequence[tuple[Any, ...]], written: list[str]) -> None:
    """Have the chunks of a planned write encoded, and store them; the caller holds their locks.

    Parameters
    ----------
    job : _native.WriteJob
        The planned write.
    batch : sequence of tuple
        zarr's batch that it was planned from.
    written : list of str
        Gets the keys of what was stored.
    """
    store = _Store(batch)

    def body(index: int) -> None:
        setter = batch[index][0]
        existing = store.get(setter.path) if job.needs_existing(index) else None
        job.encode(index, existing, None)
        store.put(setter.path, job.take(index))
        job.note_done()
        written.append(setter.path)

    # A chunk that the batch names twice gets its values in the batch's order.
    has_repeats = len({setter.path for setter, *_ in batch}) < len(batch)
    await _Lanes(iter(range(len(batch))), body).run(1 if has_repeats else _threads(batch))
