"""A part of a shard: what is asked for, and what is made of the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zarr.abc.store import RangeByteRequest, SuffixByteRequest

from wazarr.errors import StoreError
from wazarr.shard_parts import PartOfShard, no_longer_than


class Job:
    """A planned read that notes what it is given."""

    def __init__(self) -> None:
        self.fed: list[Any] = []

    def shard_ranges(self, index: int, array: Any) -> tuple[str, list[tuple[int, int]]]:
        return f"index of {index}: {array}", [(0, 4), (8, 12)]

    def feed(self, index: int, array: Any) -> int:
        self.fed.append((index, array))
        return 1

    def feed_parts(self, index: int, shard_index: str, parts: Any) -> int:
        self.fed.append((index, shard_index, parts))
        return 2


@pytest.mark.parametrize(
    ("location", "request_"), [("start", RangeByteRequest(0, 20)), ("end", SuffixByteRequest(20))]
)
def test_the_index_first_then_the_parts(location: str, request_: object) -> None:
    job: Any = Job()
    shard = PartOfShard(job, 3, (location, 20))
    assert shard.index_request == request_
    assert shard.index_len == 20
    assert shard.ranges("stored") == [(0, 4), (8, 12)]
    assert shard.feed([(0, "bytes")]) == 2
    assert job.fed == [(3, "index of 3: stored", [(0, "bytes")])]


def test_what_is_not_there_is_missing() -> None:
    job: Any = Job()
    shard = PartOfShard(job, 3, ("end", 20))
    assert shard.feed(None) == 1
    shard.ranges("stored")
    assert shard.feed(None) == 1
    assert job.fed == [(3, None), (3, None)]


def test_an_answer_of_more_bytes_than_asked_for_is_refused() -> None:
    array = np.zeros(5, "u1")
    assert no_longer_than(5, array, "c/0") is array
    assert no_longer_than(6, array, "c/0") is array
    with pytest.raises(StoreError, match=r"'c/0'.* 4 bytes with 5"):
        no_longer_than(4, array, "c/0")
