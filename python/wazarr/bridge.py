"""Stores that only Python can speak to: their own methods, many requests in flight.

Bytes arrive through the store's asynchronous methods, in the event loop that the request runs in, and are
decoded by the native engine as they arrive while further requests are under way. Nothing here looks
inside a chunk; what to fetch of a shard the native side says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.abc.store import RangeByteRequest

from wazarr import config, stores, sync_bridge
from wazarr.errors import StoreError, of_store
from wazarr.jobs import ended
from wazarr.lanes import for_each
from wazarr.shard_parts import PartOfShard, no_longer_than
from wazarr.stores import StorePath, ranges_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from wazarr import _native

__all__ = ["read", "write"]

_T = TypeVar("_T")

_GROUP = 8
"""Small values in one request; Icechunk fetches at most ten of one request at the same time."""


async def read(job: _native.ReadJob, batch: Sequence[tuple[Any, ...]]) -> None:
    """Fetch the chunks of a planned read and have them decoded.

    Parameters
    ----------
    job : _native.ReadJob
        The planned read.
    batch : sequence of tuple
        zarr's batch that it was planned from.
    """
    indices: Sequence[int] = range(len(batch))
    if sync_bridge.serves(batch):
        indices = await sync_bridge.read(job, batch)
        if not indices:
            return
    reading = _Reading(job, batch, indices)
    try:
        await reading.run()
    except BaseException:
        job.cancel()
        # Nothing may touch the caller's array any more; how that ends is nobody's news.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await ended(job, lambda notify: job.wait(0, notify))
        raise
    await ended(job, lambda notify: job.wait(0, notify))


class _Reading:
    """One read: which chunks are asked for together, and how many at the same time."""

    def __init__(
        self, job: _native.ReadJob, batch: Sequence[tuple[Any, ...]], indices: Sequence[int]
    ) -> None:
        self._job = job
        self._batch = batch
        self._limit = _in_flight(job, batch)
        self._most = stores.max_waiting_bytes()
        # Shards that are read at the same time share what is allowed.
        self._share = max(1, self._limit // min(self._limit, len(batch)))
        self._budget = _Budget(config.bytes_in_flight())
        self._many = self._way_of_many()
        size = 1 if self._many is None else min(_GROUP, self._limit)
        self._groups = [indices[start : start + size] for start in range(0, len(indices), size)]

    def _way_of_many(self) -> Callable[..., Any] | None:
        getter, spec = self._batch[0][:2]
        if type(getter) is not StorePath or any(entry[0].store is not getter.store for entry in self._batch):
            return None
        many = stores.many_of(getter.store, spec)
        has_parts = many is not None and any(self._job.partial_shard(at) for at in range(len(self._batch)))
        return None if has_parts else many

    async def run(self) -> None:
        """Fetch everything and have it decoded, without waiting for the last to be decoded."""
        lanes = max(1, self._limit // len(self._groups[0]))
        is_guess = config.wanted_concurrency() is None
        await for_each(len(self._groups), lanes, self._body, is_guess=is_guess)

    async def _body(self, position: int) -> None:
        group = self._groups[position]
        left = await self._feed_many(group) if self._many is not None else None
        if left is None:

            async def feed(at: int) -> None:
                nonlocal left
                left = await self._feed(group[at])

            await for_each(len(group), len(group), feed)
        if left is not None and left > self._most:
            await ended(self._job, lambda notify: self._job.wait(self._most // 2, notify))

    async def _feed_many(self, group: Sequence[int]) -> int | None:
        """Fetch several chunks in one request; None where they have to be fetched one by one."""
        assert self._many is not None
        requests = [(self._batch[index][0].path, None) for index in group]
        try:
            buffers = await self._many(self._batch[0][1].prototype, requests)
            arrays = [buffer.as_numpy_array() for buffer in buffers]
        except Exception:  # noqa: BLE001 - one by one they will tell which failed, and how
            # That one of them is missing is a failure too.
            self._many = None
            return None
        if len(arrays) != len(group):
            self._many = None
            return None
        left = 0
        for index, array in zip(group, arrays, strict=True):
            left = self._job.feed(index, array)
        return left

    async def _feed(self, index: int) -> int:
        getter, spec = self._batch[index][:2]
        part = self._job.partial_shard(index) if isinstance(getter, StorePath) else None
        if part is not None:
            return await self._feed_part(getter, spec, PartOfShard(self._job, index, part))
        buffer = await _named(getter, "get", getter.get(prototype=spec.prototype))
        return self._job.feed(index, None if buffer is None else buffer.as_numpy_array())

    async def _feed_part(self, getter: StorePath, spec: Any, shard: PartOfShard) -> int:
        """Fetch a shard's index, then the inner chunks that are needed, neighbours in one request."""
        request = getter.get(prototype=spec.prototype, byte_range=shard.index_request)
        buffer = await _named(getter, "get", request)
        if buffer is None:
            return shard.feed(None)
        array = no_longer_than(shard.index_len, buffer.as_numpy_array(), _label(getter))
        ranges = shard.ranges(array)
        async with self._budget.of(sum(end - start for start, end in ranges)):
            fetching = _fetch_ranges(getter, spec, ranges, *stores.coalescing(spec), self._share)
            return shard.feed(await _named(getter, "get", fetching))


class _Budget:
    """Bytes of parts of shards that may be on their way at the same time, or else those of one shard."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def of(self, count: int) -> AsyncIterator[None]:
        """Wait until `count` more bytes fit in, and take them for the time of the context."""
        while self._taken > 0 and self._taken + count > self._most:
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        self._taken += count
        try:
            yield
        finally:
            self._taken -= count
            # All look again: some need less than others. Those that were cancelled are done already.
            while self._waiting:
                if not (freed := self._waiting.popleft()).done():
                    freed.set_result(None)


async def _fetch_ranges(
    getter: StorePath, spec: Any, ranges: list[tuple[int, int]], max_gap: int, max_bytes: int, limit: int
) -> list[tuple[int, Any]] | None:
    """Fetch ranges of bytes; None if the value is not there any more."""
    parts: list[tuple[int, Any]] = []
    get_ranges = ranges_of(getter.store)
    if get_ranges is not None:
        # The store's own way, which joins neighbours as it likes.
        requests = [RangeByteRequest(start, end) for start, end in ranges]
        try:
            async for group in get_ranges(
                getter.path,
                requests,
                prototype=spec.prototype,
                max_concurrency=limit,
                max_gap_bytes=max_gap,
                max_coalesced_bytes=max_bytes,
            ):
                for at, fetched in group:
                    if fetched is None:
                        return None
                    start, end = ranges[at]
                    parts.append(
                        (start, no_longer_than(end - start, fetched.as_numpy_array(), _label(getter)))
                    )
        except BaseExceptionGroup as group:
            _, others = group.split(FileNotFoundError)
            if others is None:
                return None
            if len(others.exceptions) == 1:
                raise others.exceptions[0] from None
            raise others from None
        return parts
    joined = stores.joined(ranges, max_gap, max_bytes)
    is_gone = False

    async def fetch(at: int) -> None:
        nonlocal is_gone
        start, end = joined[at]
        fetched = await getter.get(prototype=spec.prototype, byte_range=RangeByteRequest(start, end))
        if fetched is None:
            is_gone = True
        else:
            parts.append((start, no_longer_than(end - start, fetched.as_numpy_array(), _label(getter))))

    await for_each(len(joined), limit, fetch)
    return None if is_gone else parts


def _label(getter: Any) -> str:
    """Return what to call a chunk whose byte getter may be anything."""
    return str(getattr(getter, "path", type(getter).__name__))


async def _named(getter: Any, operation: str, request: Awaitable[_T]) -> _T:
    """Await a request; its failure says which chunk it was about."""
    failure: BaseException
    try:
        return await request
    except Exception as error:  # noqa: BLE001 - a store may raise anything
        store = getattr(getter, "store", getter)
        is_refusal = operation != "get" and getattr(store, "read_only", False)
        failure = error if is_refusal else of_store(error, operation, _label(getter), stores.describe(store))
    # Out here it is not the context of what is raised: it may hold what nobody may see.
    raise failure


def _in_flight(job: _native.ReadJob | _native.WriteJob, batch: Sequence[tuple[Any, ...]]) -> int:
    """Return how many requests may be under way."""
    if stores.is_serial(getattr(batch[0][0], "store", None)):
        return 1
    return job.in_flight(config.store_concurrency())


async def write(job: _native.WriteJob, batch: Sequence[tuple[Any, ...]]) -> None:
    """Have the chunks of a planned write encoded, and store them.

    Parameters
    ----------
    job : _native.WriteJob
        The planned write.
    batch : sequence of tuple
        zarr's batch that it was planned from.
    """
    inline = job.is_short
    written: list[str] = []

    async def body(index: int) -> None:
        setter, spec = batch[index][:2]
        existing = None
        if job.needs_existing(index):
            buffer = await _named(setter, "get", setter.get(prototype=spec.prototype))
            existing = None if buffer is None else buffer.as_numpy_array()
        if inline:
            job.encode(index, existing, None)
        else:
            await ended(job, lambda notify: job.encode(index, existing, notify))
        encoded = job.take(index)
        if encoded is None:
            await _named(setter, "delete", setter.delete())
        else:
            value = spec.prototype.buffer.from_array_like(encoded)
            await _named(setter, "set", setter.set(value))
        job.note_done()
        written.append(_label(setter))

    # Held from the first read to the last write, so that no update in between is lost. A task that is
    # cancelled while it waits for the locks still gets them first, and has to give them back.
    try:
        await ended(job, job.hold)
        if sync_bridge.serves(batch):
            await sync_bridge.write(job, batch, written)
        else:
            await for_each(len(batch), _in_flight(job, batch), body)
    except StoreError as error:
        error.written = tuple(written)
        raise
    finally:
        job.release()
