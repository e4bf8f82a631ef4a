"""How many requests a read makes, of what, and how many at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

from tests.pipelines import SUBJECT_PATH, ZARR_VERSION, pipeline
from tests.stores.readers import READERS, open_subject, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.files import FileServer

pytestmark = [pytest.mark.parametrize("reader", READERS), pytest.mark.usefixtures("no_small_shards")]

VALUES = np.arange(1, 401, dtype="i4")
ONE_IN_TWO = np.arange(0, 64 << 13, 2 << 13)
"""An element of every second inner chunk of 32 KiB."""
NO_GAPS = {"array.sharding_coalesce_max_gap_bytes": 0}


def test_a_chunk_is_one_request(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(50,))
    del file_server.files["array/c/3"]
    array = open_subject(READERS[reader](url))
    expected = VALUES.copy()
    expected[150:200] = 0
    assert np.array_equal(np.asarray(array[40:260]), expected[40:260])
    asked = sorted((request.key, request.range) for request in file_server.chunks())
    assert asked == [(f"array/c/{number}", None) for number in range(6)]
    assert not file_server.chunks("HEAD")


def test_a_whole_shard_is_one_request(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(100,))
    array = open_subject(READERS[reader](url))
    assert np.array_equal(np.asarray(array[...]), VALUES)
    asked = sorted((request.key, request.range) for request in file_server.chunks())
    assert asked == [(f"array/c/{number}", None) for number in range(4)]


def test_a_part_of_a_shard_is_its_index_and_joined_ranges(
    reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(200,), compressors=None)
    array = open_subject(READERS[reader](url))
    # Inner chunks 2 and 9 of the first shard: near enough for one request.
    assert np.array_equal(np.asarray(array.oindex[np.array([25, 95])]), VALUES[[25, 95]])
    asked = [request.range for request in file_server.chunks()]
    index_len = 20 * 16 + 4
    assert asked[0] in (f"-{index_len}", f"800-{800 + index_len - 1}", "800-")
    assert asked[1:] == ["80-399"]


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no knob for gaps")
def test_ranges_are_not_joined_over_larger_gaps(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(200,), compressors=None)
    with zarr.config.set(NO_GAPS):
        array = open_subject(READERS[reader](url))
        assert np.array_equal(np.asarray(array.oindex[np.array([25, 35, 95])]), VALUES[[25, 35, 95]])
    asked = [request.range for request in file_server.chunks()]
    assert sorted(asked[1:], key=str) == ["360-399", "80-159"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 64),
        ({"wazarr.store_concurrency": 4}, 4),
        ({"wazarr.store_concurrency": 1}, 1),
        ({"async.concurrency": 20}, 20),
        ({"async.concurrency": 20, "wazarr.store_concurrency": 7}, 7),
        ({"async.concurrency": 10}, 64),
    ],
)
@pytest.mark.parametrize("stored", ["chunks", "inner chunks"])
def test_as_many_requests_as_allowed_are_in_flight(
    reader: str,
    stored: str,
    settings: dict[str, int],
    expected: int,
    file_server: FileServer,
    tmp_path: Path,
) -> None:
    if stored == "inner chunks" and ZARR_VERSION < (3, 4):
        pytest.skip("this zarr always joins ranges over gaps")
    values = np.arange(1, 161, dtype="i4")
    options: dict[str, Any] = {"chunks": (1,), "compressors": None}
    if stored == "inner chunks":
        options["shards"] = (160,)
    url = serve(file_server, tmp_path, values, **options)
    with zarr.config.set({**NO_GAPS, **settings}):
        array = open_subject(READERS[reader](url))
        # A shard's index comes first, and alone.
        file_server.hold(expected, skip=int(stored == "inner chunks"))
        step = 1 if stored == "chunks" else 2
        assert np.array_equal(np.asarray(array[:160:step]), values[::step])
    assert not file_server.gave_up
    assert file_server.most_in_flight == expected


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no knob for gaps")
@pytest.mark.parametrize(("bytes_in_flight", "expected"), [(1 << 30, 32), (100 << 10, 3), (1, 1)])
def test_parts_of_shards_count_in_bytes(
    reader: str, bytes_in_flight: int, expected: int, file_server: FileServer, tmp_path: Path
) -> None:
    """32 inner chunks of 32 KiB, with gaps between them."""
    values = np.arange(64 << 13, dtype="i4")
    url = serve(
        file_server, tmp_path, values, chunks=(1 << 13,), shards=(64 << 13,), compressors=None, fill_value=-1
    )
    with zarr.config.set(NO_GAPS | {"wazarr.bytes_in_flight": bytes_in_flight}):
        array = open_subject(READERS[reader](url))
        file_server.hold(expected, skip=1)
        read = np.asarray(array.oindex[ONE_IN_TWO])
        assert np.array_equal(read, values[ONE_IN_TWO])
    assert not file_server.gave_up
    assert file_server.most_in_flight == expected


def test_a_slow_chunk_does_not_hold_the_others(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), compressors=None)
    file_server.answer_last("array/c/0", 40)
    with zarr.config.set({"wazarr.store_concurrency": 2}):
        array = open_subject(READERS[reader](url))
        assert np.array_equal(np.asarray(array[...]), VALUES)
    assert not file_server.gave_up


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_shard_is_written_with_one_put(
    reader: str, is_whole: bool, file_server: FileServer, tmp_path: Path
) -> None:
    if reader == "fsspec":
        pytest.skip("fsspec's HTTP does not write")
    from obstore.store import HTTPStore

    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(200,))
    with pipeline(SUBJECT_PATH):
        store = ObjectStore(HTTPStore(url, client_options={"allow_http": True}))
        array = zarr.open_array(store, mode="r+")
        file_server.forget()
        selection = slice(0, 400) if is_whole else slice(95, 305)
        array[selection] = VALUES[selection][::-1]
    asked = sorted(request.key for request in file_server.chunks("PUT"))
    assert asked == ["array/c/0", "array/c/1"]
    assert len(file_server.chunks()) == (0 if is_whole else 2)


def test_no_request_asks_for_sizes(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(200,))
    array = open_subject(READERS[reader](url))
    assert np.array_equal(np.asarray(array[5:395:20]), VALUES[5:395:20])
    assert not file_server.chunks("HEAD")


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no knobs")
def test_joined_ranges_are_no_larger_than_allowed(
    reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(400,), compressors=None)
    with zarr.config.set({"array.sharding_coalesce_max_bytes": 200}):
        array = open_subject(READERS[reader](url))
        assert np.array_equal(np.asarray(array[0:200]), VALUES[0:200])
    spans = [
        int(request.range.partition("-")[2]) - int(request.range.partition("-")[0]) + 1
        for request in file_server.chunks()
        if request.range and not request.range.startswith("-")
    ]
    assert max(spans) <= 200 or max(spans) == 40 * 16 + 4
