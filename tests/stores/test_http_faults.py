"""What a server does wrong is an error that names the chunk: never fill values, never other bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, first, whenever
from tests.stores.readers import READERS, move_chunks, open_subject, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.files import FileServer, Ranges

VALUES = np.arange(1, 401, dtype="i4")
STATUSES = [400, 401, 403, 408, 409, 410, 429, 500, 502, 503, 504]
CUT = [Fault("reset before the head"), Fault("reset in mid-body"), Fault("short body")]
PASSING = [Fault("status", status) for status in (429, 500, 503)] + CUT
WRONG = [
    Fault("fewer bytes than asked"),
    Fault("more bytes than asked"),
    Fault("other bytes than asked"),
]


def label(fault: Fault) -> str:
    return f"{fault.status}" if fault.kind == "status" else fault.kind


def read_or_error(array: zarr.Array[Any], selection: Any) -> np.ndarray[Any, Any] | Exception:
    try:
        return np.asarray(array[selection])
    except Exception as error:  # noqa: BLE001 - what exactly is raised is not asked here
        return error


@pytest.mark.parametrize("fault", [Fault("status", status) for status in STATUSES] + CUT, ids=label)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("stored", ["chunks", "shards, whole", "shards, index", "shards, inner chunks"])
@pytest.mark.usefixtures("no_small_shards")
def test_a_failure_is_an_error(
    stored: str, reader: str, fault: Fault, file_server: FileServer, tmp_path: Path
) -> None:
    shards: dict[str, Any] = {} if stored == "chunks" else {"shards": (100,)}
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), compressors=None, **shards)
    key = "array/c/2"
    array = open_subject(READERS[reader](url))
    if stored == "shards, inner chunks":

        def schedule(request: Any) -> Fault | None:
            is_index = request.range is None or request.range.startswith(("-", "400"))
            return None if is_index or request.key != key else fault

        file_server.schedule = schedule
    else:
        file_server.schedule = whenever(fault, key=key)
    selection = slice(None) if stored in ("chunks", "shards, whole") else slice(205, 395, 20)
    answer = read_or_error(array, selection)
    assert isinstance(answer, Exception), f"read {answer}"
    assert not isinstance(answer, FileNotFoundError)
    # And it is over once the server is well.
    file_server.behave()
    assert np.array_equal(np.asarray(array[selection]), VALUES[selection])


@pytest.mark.parametrize("fault", [Fault("status", 403), Fault("status", 500)], ids=label)
@pytest.mark.parametrize("reader", READERS)
def test_an_error_names_the_chunk(reader: str, fault: Fault, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    file_server.schedule = whenever(fault, key="array/c/17")
    array = open_subject(READERS[reader](url))
    with pytest.raises(Exception, match="c/17"):
        array[...]


@pytest.mark.parametrize("reader", READERS)
def test_only_404_is_missing(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    file_server.schedule = whenever(Fault("status", 404), key="array/c/17")
    expected = VALUES.copy()
    expected[170:180] = 0
    assert np.array_equal(np.asarray(open_subject(READERS[reader](url))[...]), expected)


@pytest.mark.parametrize("fault", PASSING, ids=label)
@pytest.mark.parametrize("selection", [slice(None), slice(5, 395, 20)], ids=["whole", "parts"])
def test_what_passes_is_tried_again(
    fault: Fault, selection: slice, file_server: FileServer, tmp_path: Path
) -> None:
    """obstore's own retries, which go by the store's configuration whoever makes the requests."""
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), shards=(100,))
    array = open_subject(READERS["obstore"](url))
    file_server.schedule = first(2, fault, key="array/c/")
    assert np.array_equal(np.asarray(array[selection]), VALUES[selection])


@pytest.mark.parametrize("fault", WRONG, ids=label)
@pytest.mark.parametrize("location", ["start", "end"])
def test_other_bytes_than_asked_are_not_taken_for_them(
    location: Any, fault: Fault, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve_uncompressed_shards(file_server, tmp_path, location)
    array = open_subject(READERS["obstore"](url))
    file_server.schedule = whenever(fault, ranges_only=True)
    answer = read_or_error(array, slice(225, 395, 20))
    assert isinstance(answer, Exception) or np.array_equal(answer, VALUES[225:395:20])


@pytest.mark.parametrize("ranges", ["none", "no suffix: 416", "no suffix: 200"])
@pytest.mark.parametrize("location", ["start", "end"])
def test_without_ranges_nothing_is_misread(
    location: Any, ranges: Ranges, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve_uncompressed_shards(file_server, tmp_path, location)
    array = open_subject(READERS["obstore"](url))
    file_server.ranges = ranges
    answer = read_or_error(array, slice(225, 395, 20))
    assert isinstance(answer, Exception) or np.array_equal(answer, VALUES[225:395:20])
    # Whole shards need no ranges.
    assert np.array_equal(np.asarray(array[...]), VALUES)


def serve_uncompressed_shards(file_server: FileServer, folder: Path, location: Any) -> str:
    """Shards whose inner chunks no checksum protects."""
    from zarr.codecs import BytesCodec, ShardingCodec

    serializer = ShardingCodec(chunk_shape=(10,), codecs=[BytesCodec()], index_location=location)
    return serve(file_server, folder, VALUES, chunks=(200,), compressors=None, serializer=serializer)


@pytest.mark.parametrize("reader", READERS)
def test_a_slow_drip_arrives(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(100,), compressors=None)
    file_server.schedule = whenever(Fault("drip", pause_s=0.002))
    assert np.array_equal(np.asarray(open_subject(READERS[reader](url))[...]), VALUES)


@pytest.mark.parametrize("reader", READERS)
def test_one_redirect_is_followed(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(100,))
    array = open_subject(READERS[reader](url))
    move_chunks(file_server)
    assert np.array_equal(np.asarray(array[...]), VALUES)
    assert not [request for request in file_server.chunks() if "referer" in request.headers]


@pytest.mark.parametrize("reader", READERS)
def test_redirects_in_a_circle_end(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(100,))
    array = open_subject(READERS[reader](url))
    file_server.schedule = lambda request: (
        None if request.is_metadata else Fault("status", 307, {"Location": file_server.url(request.key)})
    )
    assert isinstance(read_or_error(array, slice(0, 10)), Exception)
    assert len(file_server.chunks()) < 100


@pytest.mark.parametrize("status", [403, 507])
def test_a_refused_write_is_an_error(status: int, file_server: FileServer, tmp_path: Path) -> None:
    from obstore.store import HTTPStore

    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    retries: Any = {"max_retries": 0}
    with pipeline(SUBJECT_PATH):
        store = HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config=retries)
        array = zarr.open_array(ObjectStore(store), mode="r+")
        file_server.schedule = whenever(Fault("status", status), key="array/c/7")
        with pytest.raises(Exception, match="c/7"):
            array[...] = 3
        file_server.behave()
        array[...] = 4
        assert np.array_equal(np.asarray(array[...]), np.full(400, 4))


@pytest.mark.parametrize("kind", ["status", "reset in mid-body", "short body"])
def test_what_cannot_be_read_is_not_written_over(kind: Any, file_server: FileServer, tmp_path: Path) -> None:
    """A partial write begins with a read: if that fails, the chunk stays as it is."""
    from obstore.store import HTTPStore

    url = serve(file_server, tmp_path, VALUES, chunks=(100,))
    before = dict(file_server.files)
    retries: Any = {"max_retries": 0}
    with pipeline(SUBJECT_PATH):
        store = HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config=retries)
        array = zarr.open_array(ObjectStore(store), mode="r+")
        file_server.schedule = lambda request: (
            Fault(kind, 503) if request.method == "GET" and not request.is_metadata else None
        )
        with pytest.raises(Exception):  # noqa: B017, PT011 - obstore's, or ours
            array[50:60] = 3
    assert file_server.files == before
