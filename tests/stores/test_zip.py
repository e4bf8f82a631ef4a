"""Zip archives: whatever `zipfile` reads, with the same values; whatever it refuses is an error."""

from __future__ import annotations

import io
import os
import pickle
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import ZipStore

from tests.pipelines import ORACLE_PATH, SUBJECT_PATH, ZARR_VERSION, pipeline
from tests.stores.archives import ARCHIVES, data_of, encrypt, files_of, make_archive
from tests.stores.layouts import ARRAY_SHAPE, FILL_VALUE, LAYOUTS, check_reads, create, values

if TYPE_CHECKING:
    from pathlib import Path

KEY = "c/0/0"


def opened(path: Path, **config: Any) -> zarr.Array[Any]:
    with pipeline(SUBJECT_PATH, **config):
        return zarr.open_array(ZipStore(path), mode="r")


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("layout", ["v3", "v3, sharded"])
def test_archives(archive: str, layout: str, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", layout)
    path = make_archive(archive, files, tmp_path / "array.zip")
    check_reads(lambda _: ZipStore(path), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_written_by_our_pipeline(layout: str, compression: int, tmp_path: Path) -> None:
    path = tmp_path / "array.zip"
    with pipeline(SUBJECT_PATH):
        store = ZipStore(path, mode="w", compression=compression)
        array = create(store, layout)
        array[...] = values()
        # While it is open for writing, too.
        assert np.array_equal(np.asarray(array[3:20, ::3]), values()[3:20, ::3])
        store.close()
        store = ZipStore(path, mode="a")
        assert np.array_equal(np.asarray(zarr.open_array(store, mode="r+")[...]), values())
        store.close()
    check_reads(lambda _: ZipStore(path), values())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_rewritten_chunks(tmp_path: Path) -> None:
    path = tmp_path / "array.zip"
    expected = values()
    with pipeline(SUBJECT_PATH):
        store = ZipStore(path, mode="w")
        array = create(store, "v3")
        array[...] = expected
        array[1:9, 1:9] = expected[1:9, 1:9] = 99
        assert np.array_equal(np.asarray(array[...]), expected)
        store.close()
    check_reads(lambda _: ZipStore(path), expected)


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr takes paths alone")
def test_file_objects(tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3, sharded")
    content = ARCHIVES["deflated"](files)
    check_reads(lambda _: ZipStore(io.BytesIO(content)), expected)


def test_a_pickled_store_reads_the_same(tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3")
    path = make_archive("stored", files, tmp_path / "array.zip")
    array = opened(path)
    assert np.array_equal(np.asarray(array[...]), expected)
    with pipeline(SUBJECT_PATH):
        assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(array))[...]), expected)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_an_open_archive_stays_what_it_was(how: str, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3, uncompressed")
    path = make_archive("stored", files, tmp_path / "array.zip")
    array = opened(path)
    assert np.array_equal(np.asarray(array[:2]), expected[:2])
    if how == "removed":
        path.unlink()
    else:
        others = {key: content if "zarr" in key else b"\0" * len(content) for key, content in files.items()}
        make_archive("leading junk", others, tmp_path / "other.zip").replace(path)
    assert np.array_equal(np.asarray(array[...]), expected)


def test_an_archive_read_again_after_it_was_replaced(tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3, uncompressed")
    path = make_archive("stored", files, tmp_path / "array.zip")
    first = opened(path)
    assert np.array_equal(np.asarray(first[...]), expected)
    mtime = path.stat().st_mtime_ns
    chunk = np.full((6, 5), 3, "<i4").tobytes()
    others = {key: content if "zarr" in key else chunk for key, content in files.items()}
    make_archive("stored", others, tmp_path / "other.zip").replace(path)
    os.utime(path, ns=(mtime, mtime))  # same size, same time, another file
    assert np.array_equal(np.unique(np.asarray(opened(path)[0:6, 0:5])), [3])


def test_several_threads_read_at_the_same_time(tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3, sharded")
    array = opened(make_archive("deflated", files, tmp_path / "array.zip"))
    failures: list[object] = []

    def read() -> None:
        for _ in range(5):
            read = np.asarray(array[...])
            failures.extend(read[read != expected])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- what must not be read as data -----------------------------------------------------------------------


def refused(path: Path) -> None:
    """Both pipelines raise, and ours does not say that chunks are missing."""
    for one in (ORACLE_PATH, SUBJECT_PATH):
        with pipeline(one), pytest.raises(Exception) as failure:  # noqa: PT011 - zipfile has many
            zarr.open_array(ZipStore(path), mode="r")[...]
        assert not isinstance(failure.value, (KeyError, AssertionError))


@pytest.mark.parametrize("archive", ["stored", "deflated"])
def test_encrypted_members(archive: str, tmp_path: Path) -> None:
    files, _ = files_of(tmp_path / "files", "v3")
    path = tmp_path / "array.zip"
    path.write_bytes(encrypt(ARCHIVES[archive](files)))
    refused(path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_archives(kept: float, tmp_path: Path) -> None:
    files, _ = files_of(tmp_path / "files", "v3")
    path = tmp_path / "array.zip"
    content = ARCHIVES["stored"](files)
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path)


def test_a_file_cut_behind_its_directory(tmp_path: Path) -> None:
    """The directory was read; then the file became shorter."""
    path = tmp_path / "array.zip"
    with pipeline(ORACLE_PATH):
        store = ZipStore(path, mode="w")
        zarr.create_array(store, data=np.ones((16, 8192)), chunks=(1, 8192), compressors=None)
        store.close()
    array = opened(path)
    array[0, 0]
    os.truncate(path, 100_000)
    with pytest.raises(Exception) as failure:  # noqa: PT011 - `zipfile` raises its own, we ours
        array[...]
    assert not isinstance(failure.value, AssertionError)


@pytest.mark.parametrize("archive", ["stored", "deflated"])
def test_a_wrong_checksum(archive: str, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", "v3, uncompressed")
    content = bytearray(ARCHIVES[archive](files))
    content[data_of(bytes(content), KEY) + 4] ^= 1
    path = tmp_path / "array.zip"
    path.write_bytes(content)
    refused(path)
    assert np.array_equal(np.asarray(opened(path)[18:]), expected[18:])


def test_a_local_header_that_is_none(tmp_path: Path) -> None:
    files, _ = files_of(tmp_path / "files", "v3")
    content = bytearray(ARCHIVES["stored"](files))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        at = archive.getinfo(KEY).header_offset
    content[at : at + 4] = b"none"
    path = tmp_path / "array.zip"
    path.write_bytes(content)
    refused(path)


def test_members_that_are_missing_are_the_fill_value(tmp_path: Path) -> None:
    files, _ = files_of(tmp_path / "files", "v3")
    files = {key: content for key, content in files.items() if not key.startswith("c/")}
    array = opened(make_archive("stored", files, tmp_path / "array.zip"))
    assert np.array_equal(np.asarray(array[...]), np.full(ARRAY_SHAPE, FILL_VALUE))
