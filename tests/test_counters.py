"""Counts are exact: chunks, bytes on both sides, runs of codecs, requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ShardingCodec, TransposeCodec
from zarr.codecs.numcodecs import Zlib
from zarr.storage import MemoryStore, WrapperStore

import wazarr

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("subject_pipeline")


class Own(Zlib):
    """A codec class of a user's."""


def counted(action: Callable[[], object]) -> dict[str, Any]:
    """Run something and return what it counted."""
    wazarr.reset_counters()
    action()
    return wazarr.counters()


def make(store: Any, **options: Any) -> zarr.Array[Any]:
    options = {"chunks": (4, 4), "compressors": [Crc32cCodec()], **options}
    return zarr.create_array(store, shape=(8, 8), dtype="i4", **options)


# options; then for a write of everything and a read of everything: chunks, encoded bytes, native and
# Python runs of codecs. A run of a shard's own codec is one; its inner chunks run theirs.
CHUNK_BYTES = 4 * 4 * 4
INDEX_BYTES = 4 * 16 + 4
CASES: dict[str, tuple[dict[str, Any], int, int, int, int]] = {
    "plain": ({"compressors": None}, 4, 4 * CHUNK_BYTES, 4, 0),
    "checksum": ({}, 4, 4 * (CHUNK_BYTES + 4), 8, 0),
    "transposed": ({"filters": [TransposeCodec(order=(1, 0))]}, 4, 4 * (CHUNK_BYTES + 4), 12, 0),
    "version 2": ({"zarr_format": 2, "compressors": None, "order": "F"}, 4, 4 * CHUNK_BYTES, 4, 0),
    "a shard": ({"shards": (8, 8), "compressors": None}, 1, 4 * CHUNK_BYTES + INDEX_BYTES, 1 + 4, 0),
    "shards within a shard": (
        {
            "chunks": (8, 8),
            "compressors": None,
            "serializer": ShardingCodec(chunk_shape=(8, 4), codecs=[ShardingCodec(chunk_shape=(4, 4))]),
        },
        1,
        4 * CHUNK_BYTES + 3 * 36,
        1 + 2 + 4,
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_whole_arrays(name: str) -> None:
    options, chunks, encoded, native, python = CASES[name]
    array = make(MemoryStore(), **options)
    values = np.arange(1, 65, dtype="i4").reshape(8, 8)
    for direction, action in (
        ("write", lambda: array.__setitem__(..., values)),
        ("read", lambda: array[...]),
    ):
        counts = counted(action)
        traffic = {"chunks": chunks, "bytes_encoded": encoded, "bytes_decoded": 256}
        nothing = dict.fromkeys(traffic, 0)
        assert counts == {
            "read": traffic if direction == "read" else nothing,
            "write": traffic if direction == "write" else nothing,
            "codec_steps": {"native": native, "wasm": 0, "python": python},
            "store_requests": {"native": chunks, "python": 0, "bytes_fetched": 0, "bytes_wasted": 0},
            "files": {"direct": 0, "direct_refused": 0, "reused": 0, "asked_ahead": 0, "made_elsewhere": 0},
            "fallbacks": {},
        }, direction


def test_python_codecs_and_stores_count_as_such() -> None:
    array = make(WrapperStore(MemoryStore()), compressors=[Own(level=1)])
    written = counted(lambda: array.__setitem__(..., 1))
    assert written["codec_steps"] == {"native": 4, "wasm": 0, "python": 4}
    read = counted(lambda: array[0:4])
    assert read["codec_steps"] == {"native": 2, "wasm": 0, "python": 2}
    assert read["store_requests"] == {"native": 0, "python": 2, "bytes_fetched": 0, "bytes_wasted": 0}
    assert sorted(read["fallbacks"].values()) == [2, 2]


def test_parts_count_what_is_selected() -> None:
    array = make(MemoryStore())
    array[...] = 1
    read = counted(lambda: array[0:2, 3:5])
    assert read["read"] == {"chunks": 2, "bytes_encoded": 2 * (CHUNK_BYTES + 4), "bytes_decoded": 16}
    written = counted(lambda: array.__setitem__((0, slice(0, 2)), 5))
    assert written["write"] == {"chunks": 1, "bytes_encoded": CHUNK_BYTES + 4, "bytes_decoded": 8}
    # The stored chunk is read for what must survive of it.
    assert written["store_requests"] == {"native": 2, "python": 0, "bytes_fetched": 0, "bytes_wasted": 0}


def test_missing_and_deleted_chunks_count_without_bytes() -> None:
    array = make(MemoryStore())
    read = counted(lambda: array[...])
    assert read["read"] == {"chunks": 4, "bytes_encoded": 0, "bytes_decoded": 256}
    assert read["codec_steps"]["native"] == 0
    written = counted(lambda: array.__setitem__(..., 0))
    assert written["write"] == {"chunks": 4, "bytes_encoded": 0, "bytes_decoded": 256}


def test_answers_are_snapshots() -> None:
    array = make(MemoryStore())
    before = counted(lambda: array[...])
    array[...]
    assert before["read"]["chunks"] == 4
    assert wazarr.counters()["read"]["chunks"] == 8
