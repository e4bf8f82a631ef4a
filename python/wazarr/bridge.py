"""Stores that only Python can speak to: their own methods, many requests in flight.

Bytes arrive through the store's asynchronous methods, in the event loop that the request runs in, and are
decoded by the native engine as they arrive while further requests are under way. Nothing here looks
inside a chunk; what to fetch of a shard the native side says.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.abc.store import RangeByteRequest, SuffixByteRequest

from wazarr import config, stores, sync_bridge
from wazarr.errors import StoreError, of_store
from wazarr.jobs import ended
from wazarr.stores import StorePath, ranges_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wazarr import _native

__all__ = ["read", "write"]

_T = TypeVar("_T")


async def for_each(count: int, limit: int, body: Callable[[int], Awaitable[None]]) -> None:
    """Await `body(0)` … `body(count - 1)`, at most `limit` at a time; the first failure ends the rest.

    Parameters
    ----------
    count : int
        How many.
    limit : int
        How many at the same time, at most.
    body : callable
        What to do for each index.
    """
    lanes = min(count, limit)
    if lanes <= 1:
        for index in range(count):
            await body(index)
        return
    indices = iter(range(count))

    async def lane() -> None:
        for index in indices:
            await body(index)

    tasks = [asyncio.ensure_future(lane()) for _ in range(lanes)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        # All are over before this returns: none may touch the caller's array any more.
        await asyncio.gather(*tasks, return_exceptions=True)


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
    limit = _in_flight(job, batch)
    # Shards that are read at the same time share what is allowed.
    share = max(1, limit // min(limit, len(batch)))
    most = stores.max_waiting_bytes()

    async def body(position: int) -> None:
        index = indices[position]
        getter, spec = batch[index][:2]
        part = job.partial_shard(index) if isinstance(getter, StorePath) else None
        if part is None:
            buffer = await _named(getter, "get", getter.get(prototype=spec.prototype))
            left = job.feed(index, None if buffer is None else buffer.as_numpy_array())
        else:
            left = await _feed_part_of_shard(job, index, getter, spec, part, share)
        if left > most:
            await ended(job, lambda notify: job.wait(most // 2, notify))

    try:
        await for_each(len(indices), limit, body)
    except BaseException:
        job.cancel()
        # Nothing may touch the caller's array any more; how that ends is nobody's news.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await ended(job, lambda notify: job.wait(0, notify))
        raise
    await ended(job, lambda notify: job.wait(0, notify))


async def _feed_part_of_shard(
    job: _native.ReadJob, index: int, getter: Any, spec: Any, part: tuple[str, int], limit: int
) -> int:
    """Fetch a shard's index, then the inner chunks that are needed, neighbours in one request.

    At most `limit` requests are in flight at the same time. Answers what `feed` answers.
    """
    location, index_len = part
    request = RangeByteRequest(0, index_len) if location == "start" else SuffixByteRequest(index_len)
    buffer = await _named(getter, "get", getter.get(prototype=spec.prototype, byte_range=request))
    if buffer is None:
        return job.feed(index, None)
    stored_index = _no_longer_than(index_len, buffer.as_numpy_array(), getter)
    max_gap, max_bytes = stores.coalescing(spec)
    shard_index, ranges = job.shard_ranges(index, stored_index)
    fetching = _fetch_ranges(getter, spec, ranges, max_gap, max_bytes, limit)
    parts = await _named(getter, "get", fetching)
    if parts is None:
        # Deleted between the two requests: as zarr-python has it, the shard is missing.
        return job.feed(index, None)
    return job.feed_parts(index, shard_index, parts)


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
                    parts.append((start, _no_longer_than(end - start, fetched.as_numpy_array(), getter)))
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
            parts.append((start, _no_longer_than(end - start, fetched.as_numpy_array(), getter)))

    await for_each(len(joined), limit, fetch)
    return None if is_gone else parts


def _no_longer_than(length: int, array: Any, getter: Any) -> Any:
    """Refuse an answer that is more than what was asked for: nobody knows where in it that is.

    One that is less ends where the value does, which its index or its codec will notice.
    """
    if array.nbytes > length:
        raise StoreError(
            f"chunk {_label(getter)!r}: the store answered a request for {length} bytes with {array.nbytes}"
        )
    return array


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
