"""A value that is replaced between two of our requests for it: the old or the new, never some of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from tests.pipelines import ZARR_VERSION
from tests.stores.readers import READERS, open_subject, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.faults import Schedule
    from tests.servers.files import FileServer
    from tests.servers.request import Request

pytestmark = [
    pytest.mark.parametrize("reader", READERS),
    pytest.mark.usefixtures("no_small_shards"),
    pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no knob for gaps"),
]

OLD = np.arange(1, 401, dtype="i4")
NEW = -OLD
# Three inner chunks, far enough from each other for a request each.
SELECTION = np.array([5, 105, 205])


def after(count: int, server: FileServer, *, again: bool = False) -> Schedule:
    """Replace the shard once it was asked for so often, or every time from then on."""
    files = server.files
    versions = [files["old/c/0"], files["new/c/0"]]
    asked = 0

    def schedule(request: Request) -> None:
        nonlocal asked
        if request.key == "array/c/0":
            asked += 1
            if asked == count or (again and asked > count):
                versions.reverse()
                files["array/c/0"] = versions[0]

    files["array/c/0"] = versions[0]
    return schedule


def serve_both(server: FileServer, folder: Path, **options: Any) -> str:
    shards = {"chunks": (10,), "shards": (400,), "compressors": None} | options
    serve(server, folder / "1", OLD, "old", **shards)
    serve(server, folder / "2", NEW, "new", **shards)
    return serve(server, folder / "3", OLD, "array", **shards)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_shard_is_of_one_version(count: int, reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve_both(file_server, tmp_path)
    with zarr.config.set({"array.sharding_coalesce_max_gap_bytes": 0, "wazarr.store_concurrency": 1}):
        array = open_subject(READERS[reader](url))
        file_server.schedule = after(count, file_server)
        read = np.asarray(array.oindex[SELECTION])
    assert np.array_equal(read, NEW[SELECTION])
    # Index and parts, until one was of another version; then all of it again.
    assert len(file_server.chunks()) == count + 4


def test_a_shard_that_is_replaced_all_the_time_is_fetched_whole(
    reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve_both(file_server, tmp_path)
    with zarr.config.set({"array.sharding_coalesce_max_gap_bytes": 0, "wazarr.store_concurrency": 1}):
        array = open_subject(READERS[reader](url))
        file_server.schedule = after(2, file_server, again=True)
        read = np.asarray(array.oindex[SELECTION])
    assert any(np.array_equal(read, version[SELECTION]) for version in (OLD, NEW))
    assert [request.range for request in file_server.chunks()][-1] is None


def test_many_at_the_same_time(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve_both(file_server, tmp_path)
    for count in range(1, 30):
        with zarr.config.set({"array.sharding_coalesce_max_gap_bytes": 0}):
            array = open_subject(READERS[reader](url))
            file_server.schedule = after(count, file_server)
            read = np.asarray(array.oindex[np.arange(5, 400, 20)])
        assert any(np.array_equal(read, version[5::20]) for version in (OLD, NEW)), count


def test_a_shard_that_is_deleted_is_missing_as_a_whole(
    reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve_both(file_server, tmp_path, fill_value=77)
    asked = 0

    def schedule(request: Request) -> None:
        nonlocal asked
        if request.key == "array/c/0":
            asked += 1
            if asked == 3:
                del file_server.files["array/c/0"]

    with zarr.config.set({"array.sharding_coalesce_max_gap_bytes": 0, "wazarr.store_concurrency": 1}):
        array = open_subject(READERS[reader](url))
        file_server.schedule = schedule
        assert np.array_equal(np.asarray(array.oindex[SELECTION]), [77, 77, 77])


def test_the_blocks_of_a_chunk_are_of_one_version(
    reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "chunks": (1 << 20,),
        "compressors": BloscCodec(cname="lz4", shuffle="noshuffle", blocksize=1 << 16),
    }
    noise = np.random.default_rng(1).integers(0, 1 << 30, 1 << 20, dtype="i4")
    serve(file_server, tmp_path / "1", noise, "old", **options)
    serve(file_server, tmp_path / "2", noise + 1, "new", **options)
    url = serve(file_server, tmp_path / "3", noise, "array", **options)
    assert len(file_server.files["old/c/0"]) == len(file_server.files["new/c/0"])
    array = open_subject(READERS[reader](url))
    file_server.schedule = after(2, file_server)
    selection = slice(300_000, 400_000)
    assert np.array_equal(np.asarray(array[selection]), noise[selection] + 1)
    assert [request.range for request in file_server.chunks()][-1] is None
