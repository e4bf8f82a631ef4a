"""Stores that the engine speaks to itself: named as such, no fallback under `strict`, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore, ZipStore

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.stores.archives import files_of, make_archive
from tests.stores.kinds import KINDS, Place
from tests.stores.layouts import check_reads, values, write_all
from tests.stores.readers import READERS, open_subject, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.files import FileServer

NATIVE = [
    "obstore local",
    "obstore http",
    "obstore s3",
    "obstore azure",
    "obstore gcs",
    "fsspec memory",
    "fsspec local",
]
STRICT: dict[str, Any] = {"codec_pipeline.strict": True}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request, tmp_path / "place")


@pytest.mark.parametrize("kind", NATIVE)
def test_native_stores_are_no_fallback(kind: str, place: Place) -> None:
    expected = write_all(KINDS[kind](place, False), "v3, sharded")
    wazarr.reset_counters()
    check_reads(lambda read_only: KINDS[kind](place, read_only), expected, **STRICT)
    with pipeline(SUBJECT_PATH, **STRICT):
        array = zarr.open_array(KINDS[kind](place, False), mode="r+")
        array[2:9, 3] = expected[2:9, 3] = 5
        assert wazarr.explain(array).store_engine == "native"
    check_reads(lambda read_only: KINDS[kind](place, read_only), expected, **STRICT)
    requests = wazarr.counters()["store_requests"]
    assert requests["native"] > 0
    assert requests["python"] == 0


@pytest.mark.parametrize("archive", ["stored", "deflated", "zip64", "zip64 in local headers", "streamed"])
def test_zip_archives_opened_for_reading(archive: str, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3, sharded")
    path = make_archive(archive, files, tmp_path / "array.zip")
    check_reads(lambda _: ZipStore(path), expected, **STRICT)
    with pipeline(SUBJECT_PATH):
        assert wazarr.explain(zarr.open_array(ZipStore(path), mode="r")).store_engine == "native"


def test_http_of_fsspec(file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, values(), chunks=(4, 6), shards=(12, 12))
    check_reads(lambda _: FsspecStore.from_url(url, read_only=True), values(), **STRICT)


@pytest.mark.usefixtures("no_small_shards")
@pytest.mark.parametrize("reader", READERS)
def test_bytes_fetched_and_wasted_are_counted(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    """Two inner chunks of 40 bytes with one between them that nobody asked for, and the index."""
    stored = np.arange(1, 401, dtype="i4")
    url = serve(file_server, tmp_path, stored, chunks=(10,), shards=(400,), compressors=None)
    # So large that index and data are not fetched together.
    array = open_subject(READERS[reader](url))
    wazarr.reset_counters()
    assert np.array_equal(np.asarray(array.oindex[np.array([5, 25])]), stored[[5, 25]])
    requests = wazarr.counters()["store_requests"]
    sent = sum(
        len(file_server.files["array/c/0"]) if request.range is None else _span(request.range)
        for request in file_server.chunks()
    )
    assert requests["bytes_fetched"] == sent
    assert requests["bytes_wasted"] == sent - 2 * 40 - (40 * 16 + 4)


def _span(text: str) -> int:
    start, _, end = text.partition("-")
    return int(end) - int(start) + 1 if start else int(end)
