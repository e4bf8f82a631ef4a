"""A shard of which a part is read through a store's Python methods: its index, then the inner chunks needed.

What `bridge` and `sync_bridge` have in common: what to ask for, and what to make of the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarr.abc.store import RangeByteRequest, SuffixByteRequest

from wazarr.errors import StoreError

if TYPE_CHECKING:
    from wazarr import _native

__all__ = ["PartOfShard", "no_longer_than"]


class PartOfShard:
    """One shard of a planned read.

    Parameters
    ----------
    job : _native.ReadJob
        The planned read.
    index : int
        The shard's position in the batch.
    part : tuple of (str, int)
        Where its index lies and how long that is, as `job.partial_shard` answers.

    Attributes
    ----------
    index_request : ByteRequest
        What to ask for first.
    index_len : int
        How many bytes that are.
    """

    def __init__(self, job: _native.ReadJob, index: int, part: tuple[str, int]) -> None:
        location, self.index_len = part
        at_start = location == "start"
        self.index_request: RangeByteRequest | SuffixByteRequest = (
            RangeByteRequest(0, self.index_len) if at_start else SuffixByteRequest(self.index_len)
        )
        self._job = job
        self._index = index
        self._shard_index: _native.ShardIndex | None = None

    def ranges(self, stored_index: Any) -> list[tuple[int, int]]:
        """Return the ranges of bytes that are needed, ascending, given the stored index as an array."""
        self._shard_index, ranges = self._job.shard_ranges(self._index, stored_index)
        return ranges

    def feed(self, parts: list[tuple[int, Any]] | None) -> int:
        """Have the inner chunks decoded from arrays of bytes, each with where it begins.

        None where there is no such value, before or after its index was fetched: as zarr-python has it, the
        shard is missing. Answers how much waits to be decoded.
        """
        if parts is None or self._shard_index is None:
            return self._job.feed(self._index, None)
        return self._job.feed_parts(self._index, self._shard_index, parts)


def no_longer_than(length: int, array: Any, label: str) -> Any:
    """Return an answer, unless it is more than what was asked for: nobody knows where in it that is.

    One that is less ends where the value does, which its index or its codec will notice.
    """
    if array.nbytes > length:
        raise StoreError(
            f"chunk {label!r}: the store answered a request for {length} bytes with {array.nbytes}"
        )
    return array
