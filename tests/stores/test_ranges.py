"""Servers that take ranges in their own way are read all the same, with no more bytes than need be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import RangeByteRequest
from zarr.codecs import BytesCodec, ShardingCodec
from zarr.storage import MemoryStore, WrapperStore

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, first, whenever
from tests.stores.readers import READERS, open_subject, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.files import FileServer, Ranges

BOTH = pytest.mark.parametrize("reader", READERS)

VALUES = np.arange(1, 401, dtype="i4")
SELECTION = slice(225, 395, 20)


def serve_shards(file_server: FileServer, folder: Path, location: Any = "end") -> str:
    """Shards whose inner chunks no checksum protects."""
    return serve(file_server, folder, VALUES, chunks=(200,), compressors=None, serializer=sharding(location))


def sharding(location: Any) -> ShardingCodec:
    return ShardingCodec(chunk_shape=(10,), codecs=[BytesCodec()], index_location=location)


@BOTH
@pytest.mark.parametrize("ranges", ["none", "no suffix: 416", "no suffix: 200"])
@pytest.mark.parametrize("location", ["start", "end"])
def test_parts_of_shards_without_ranges(
    location: str, ranges: Ranges, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    array = open_subject(READERS[reader](serve_shards(file_server, tmp_path, location)))
    file_server.ranges = ranges
    assert np.array_equal(np.asarray(array[SELECTION]), VALUES[SELECTION])


@BOTH
@pytest.mark.usefixtures("no_small_shards")
def test_ranges_are_asked_for_again(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    """One odd answer, of a proxy say, does not have whole values fetched for ever."""
    array = open_subject(READERS[reader](serve_shards(file_server, tmp_path)))
    file_server.ranges = "none"
    assert np.array_equal(np.asarray(array[SELECTION]), VALUES[SELECTION])
    file_server.ranges = "all"
    for _ in range(80):
        file_server.forget()
        assert np.array_equal(np.asarray(array[SELECTION]), VALUES[SELECTION])
        if all(request.range for request in file_server.chunks()):
            return
    raise AssertionError("whole values are fetched still")


@BOTH
@pytest.mark.parametrize(
    "kind",
    [
        "fewer bytes than asked",
        "more bytes than asked",
        "other bytes than asked",
        "shorter than told",
        "longer than told",
    ],
)
@pytest.mark.parametrize("about", ["index and data", "data"])
def test_an_answer_to_another_question_is_not_taken(
    about: str, kind: Any, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    """No checksum protects the data: only the answer's length and Content-Range tell."""
    array = open_subject(READERS[reader](serve_shards(file_server, tmp_path)))
    file_server.schedule = lambda request: (
        Fault(kind)
        if request.range and (about != "data" or not request.range.startswith(("-", "800")))
        else None
    )
    try:
        read = np.asarray(array[SELECTION])
    except OSError:
        return
    assert np.array_equal(read, VALUES[SELECTION])


@BOTH
@pytest.mark.parametrize(
    "kind", ["fewer bytes than asked", "other bytes than asked", "shorter than told", "longer than told"]
)
def test_a_wrong_answer_that_passes_is_asked_again(
    kind: Any, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    array = open_subject(READERS[reader](serve_shards(file_server, tmp_path)))
    file_server.schedule = first(1, Fault(kind))
    assert np.array_equal(np.asarray(array[SELECTION]), VALUES[SELECTION])


@BOTH
@pytest.mark.usefixtures("no_small_shards")
@pytest.mark.parametrize("stored", ["chunks", "shards"])
def test_another_page_is_not_taken_for_the_value(
    stored: str, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    """As a login page, with status 200, long enough to hold the range that was asked for."""
    options: dict[str, Any] = {} if stored == "chunks" else {"serializer": sharding("end")}
    url = serve(file_server, tmp_path, VALUES, stored, chunks=(200,), compressors=None, **options)
    array = open_subject(READERS[reader](url))
    page = Fault("status", 200, body=b"please log in " * 50)
    file_server.schedule = lambda request: (
        None if stored == "shards" and (request.range or "").startswith("-") else whenever(page)(request)
    )
    with pytest.raises((wazarr.errors.StoreError, wazarr.errors.CodecError), match="c/1"):
        array[225:235]


@BOTH
def test_a_small_shard_is_one_request(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    """A suffix range that is sure to hold index and data takes both, for shards of a known size."""
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(50,), compressors=None)
    array = open_subject(READERS[reader](url))
    assert np.array_equal(np.asarray(array[[3, 33]]), VALUES[[3, 33]])
    assert len(file_server.chunks()) == 1


@BOTH
def test_part_of_a_large_uncompressed_chunk(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    stored = np.arange(1 << 20, dtype="i4").reshape(1024, 1024)
    url = serve(file_server, tmp_path, stored, chunks=(1024, 1024), compressors=None)
    array = open_subject(READERS[reader](url))
    assert np.array_equal(np.asarray(array[100:110]), stored[100:110])
    (request,) = file_server.chunks()
    assert request.range == f"{100 * 4096}-{110 * 4096 - 1}"


@BOTH
def test_part_of_a_large_blosc_chunk(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1 << 20, (1 << 20,), "i4")
    codec = zarr.codecs.BloscCodec(cname="lz4", shuffle="noshuffle", blocksize=1 << 16, typesize=4)
    url = serve(file_server, tmp_path, stored, chunks=(1 << 20,), compressors=codec)
    array = open_subject(READERS[reader](url))
    assert np.array_equal(np.asarray(array[5000:6000]), stored[5000:6000])
    asked = [request.range for request in file_server.chunks()]
    assert None not in asked
    fetched = sum(int(text.partition("-")[2]) - int(text.partition("-")[0]) + 1 for text in asked if text)
    assert fetched < len(file_server.files["array/c/0"]) / 4


@pytest.mark.parametrize("kind", ["everything", "less", "more"])
def test_a_users_store_that_answers_with_other_lengths(kind: str) -> None:
    """The bridge compares what it got with what it asked for; there is nothing else that would tell."""

    class Careless(WrapperStore[Any]):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            if isinstance(byte_range, RangeByteRequest):
                match kind:
                    case "everything":
                        byte_range = None
                    case "less":
                        byte_range = RangeByteRequest(byte_range.start, byte_range.end - 4)
                    case _:
                        byte_range = RangeByteRequest(byte_range.start - 4, byte_range.end)
            return await super().get(key, prototype, byte_range)

    serializer = ShardingCodec(chunk_shape=(10,), codecs=[BytesCodec()])
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(
            Careless(MemoryStore()), data=VALUES, chunks=(200,), compressors=None, serializer=serializer
        )
        if kind == "less":
            # Bytes that nobody needed may be missing.
            assert np.array_equal(np.asarray(array[SELECTION]), VALUES[SELECTION])
            return
        with pytest.raises(wazarr.errors.StoreError, match="c/1"):
            array[SELECTION]
