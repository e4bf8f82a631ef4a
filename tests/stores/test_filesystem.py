"""Files past the page cache, and files that are kept open: the same values, whatever others do."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

import wazarr
from tests.pipelines import ORACLE_PATH, SUBJECT_IS_WAZARR, SUBJECT_PATH, pipeline
from tests.stores.layouts import LAYOUTS, check_round_trip
from wazarr import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not (SUBJECT_IS_WAZARR and sys.platform == "linux"), reason="what only our pipeline has, and on Linux"
)

DIRECT = {"codec_pipeline.direct_io": True}
KEPT = {"codec_pipeline.file_handle_cache_size": 1000}
WAYS: list[dict[str, Any]] = [DIRECT, KEPT, DIRECT | KEPT, {"codec_pipeline.file_handle_cache_size": 2}]
VALUES = np.arange(1, 20_001, dtype="i4")


def counted(name: str) -> int:
    files: dict[str, int] = wazarr.counters()["files"]
    return files[name]


def make(folder: Path, **options: Any) -> zarr.Array[Any]:
    options = {"chunks": (1000,)} | options
    array = zarr.create_array(
        LocalStore(folder), name="a", shape=VALUES.shape, dtype="i4", fill_value=7, **options
    )
    array[...] = VALUES
    return array


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_round_trips(way: dict[str, Any], layout: str, tmp_path: Path) -> None:
    with zarr.config.set(way):
        check_round_trip(lambda read_only: LocalStore(tmp_path, read_only=read_only), layout)


def can_be_direct(folder: Path) -> bool:
    """Whether a file here can be read past the page cache, as the system says."""
    path = folder / "probe"
    path.write_bytes(b"x" * 4096)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("chunk", [100, 999, 1024, 20_000, (400, (20_000,)), (1000, (4000,))])
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_reads_and_writes_past_the_page_cache(chunk: Any, compressors: Any, tmp_path: Path) -> None:
    chunk, shards = (chunk, None) if isinstance(chunk, int) else chunk
    with pipeline(SUBJECT_PATH, **DIRECT):
        wazarr.reset_counters()
        array = make(tmp_path, chunks=(chunk,), compressors=compressors, shards=shards)
        for selection in (slice(None), slice(1023, 1025), slice(5, None, 4097)):
            assert np.array_equal(np.asarray(array[selection]), VALUES[selection])
        array[1500:1600] = 0
    asked = "direct" if can_be_direct(tmp_path) else "direct_refused"
    assert counted(asked) >= 2 * len(range(0, 20_000, shards[0] if shards else chunk))
    expected = VALUES.copy()
    expected[1500:1600] = 0
    with pipeline(ORACLE_PATH):
        assert np.array_equal(np.asarray(zarr.open_array(tmp_path / "a")[...]), expected)


def test_a_disk_that_cannot_is_read_all_the_same_and_counted() -> None:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        pytest.skip("no such file system here")
    with tempfile.TemporaryDirectory(dir=folder) as name, pipeline(SUBJECT_PATH, **DIRECT):
        wazarr.reset_counters()
        array = make(Path(name))
        assert np.array_equal(np.asarray(array[...]), VALUES)
        can = can_be_direct(Path(name))
        assert counted("direct_refused" if not can else "direct") >= 40
        assert counted("direct" if not can else "direct_refused") == 0


def is_cached(path: Path) -> bool:
    """Whether the beginning of a file is in the page cache; a look by reading would bring it there."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    page = ctypes.c_ubyte()
    with path.open("rb") as file:
        address = libc.mmap(None, 1, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(1), ctypes.byref(page)) == 0
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(1))
    return bool(page.value & 1)


def forget(folder: Path) -> bool:
    """Take the files below a folder out of the page cache; whether they are out of it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return not any(map(is_cached, files))


def test_files_outside_the_page_cache_are_asked_for_before_their_turn(tmp_path: Path) -> None:
    with pipeline(SUBJECT_PATH):
        array = make(tmp_path)
        if not forget(tmp_path / "a" / "c"):
            pytest.skip("this file system keeps everything in memory")
        wazarr.reset_counters()
        assert np.array_equal(np.asarray(array[...]), VALUES)
        assert counted("asked_ahead") > 0
        wazarr.reset_counters()
        assert np.array_equal(np.asarray(array[...]), VALUES)
        assert counted("asked_ahead") == 0, "they are in the page cache now"


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (4000,), "compressors": None},
        {"chunks": (4000,), "compressors": "auto"},
        {"chunks": (500,), "shards": (4000,)},
    ],
    ids=["uncompressed", "zstd", "shards"],
)
def test_what_a_window_or_a_partial_write_needs_is_asked_for(options: dict[str, Any], tmp_path: Path) -> None:
    with pipeline(SUBJECT_PATH):
        array = make(tmp_path, **options)
        expected = VALUES.copy()

        def read() -> None:
            values = [np.asarray(array[part]) for part in (slice(3990, 8300, 2), slice(3990, 4010))]
            assert np.array_equal(values[0], expected[3990:8300:2])
            assert np.array_equal(values[1], expected[3990:4010])

        def write() -> None:
            array[3990:4010] = expected[3990:4010] = 1

        for act in (read, write):
            if not forget(tmp_path / "a" / "c"):
                pytest.skip("this file system keeps everything in memory")
            wazarr.reset_counters()
            act()
            assert counted("asked_ahead") > 0
        assert np.array_equal(np.asarray(array[...]), expected)


def test_nothing_is_counted_when_off(tmp_path: Path) -> None:
    with pipeline(SUBJECT_PATH):
        wazarr.reset_counters()
        make(tmp_path)[...]
    assert {counted(name) for name in ("direct", "direct_refused", "reused", "asked_ahead")} == {0}


# --- temporary files in another part of the disk -----------------------------------------------------------


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.fixture
def worn(tmp_path: Path) -> Iterator[Path]:
    """The folder of an array of 200 chunks where files count as slow to make: they are made elsewhere."""
    _native.count_files_as_slow(True)
    try:
        with pipeline(SUBJECT_PATH):
            array = make(tmp_path, chunks=(100,))
            wazarr.reset_counters()
            array[...] = VALUES
        if sys.version_info < (3, 12):
            assert counted("made_elsewhere") == 0
            pytest.skip("there listing fails where a folder goes away")
        if counted("made_elsewhere") == 0:
            pytest.skip("no ext4, or one with a journal")
        assert counted("made_elsewhere") == 200
        yield tmp_path
    finally:
        _native.count_files_as_slow(False)


def test_chunks_that_are_written_elsewhere_are_moved_into_place(worn: Path) -> None:
    assert hidden(worn) == []
    with pipeline(ORACLE_PATH):
        assert np.array_equal(np.asarray(zarr.open_array(worn, path="a", mode="r")[...]), VALUES)
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(worn, path="a", mode="r+")
        array[...] = VALUES + 1  # over the old ones
        assert np.array_equal(np.asarray(array[...]), VALUES + 1)
        shutil.rmtree(worn / "a" / "c")
        array[...] = VALUES
        assert np.array_equal(np.asarray(array[...]), VALUES)
    assert hidden(worn) == []


def test_a_write_that_fails_leaves_nothing_hidden(worn: Path) -> None:
    chunk = worn / "a" / "c" / "150"
    chunk.unlink()
    (chunk / "x").mkdir(parents=True)
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(worn, path="a", mode="r+")
        wazarr.reset_counters()
        with pytest.raises(wazarr.errors.StoreError, match="a/c/150") as kept:  # with all that it holds
            array[...] = VALUES
    assert counted("made_elsewhere") > 0
    assert hidden(worn) == []
    assert kept.value.__traceback__ is not None
    assert (chunk / "x").is_dir()


# --- files that are kept open ----------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> zarr.Array[Any]:
    """An array of which every file is open."""
    with pipeline(SUBJECT_PATH, **KEPT):
        array = make(tmp_path)
        assert np.array_equal(np.asarray(array[...]), VALUES)
        wazarr.reset_counters()
        assert np.array_equal(np.asarray(array[...]), VALUES)
        assert counted("reused") == 20
    return array


def test_a_chunk_that_is_replaced_is_seen(kept: zarr.Array[Any], tmp_path: Path) -> None:
    expected = VALUES.copy()
    with zarr.config.set(KEPT):
        for turn in range(5):
            # By ourselves, and by somebody who moves another file there.
            kept[2000:3000] = expected[2000:3000] = turn
            shutil.copy(tmp_path / "a/c/2", tmp_path / "a/c/new")
            (tmp_path / "a/c/new").replace(tmp_path / "a/c/5")
            expected[5000:6000] = turn
            assert np.array_equal(np.asarray(kept[...]), expected)


def test_a_chunk_that_is_deleted_is_missing(kept: zarr.Array[Any], tmp_path: Path) -> None:
    expected = VALUES.copy()
    (tmp_path / "a/c/4").unlink()
    expected[4000:5000] = 7
    with zarr.config.set(KEPT):
        assert np.array_equal(np.asarray(kept[...]), expected)
        kept[7000:8000] = expected[7000:8000] = 7  # empty: deleted
        assert not (tmp_path / "a/c/7").exists()
        assert np.array_equal(np.asarray(kept[...]), expected)
        kept[4000:5000] = expected[4000:5000] = 1
        assert np.array_equal(np.asarray(kept[...]), expected)


def test_a_chunk_that_is_overwritten_in_place_is_seen(kept: zarr.Array[Any], tmp_path: Path) -> None:
    """As zarrs-python writes."""
    expected = VALUES.copy()
    for number in (3, 4):
        (tmp_path / f"a/c/{number}").write_bytes((tmp_path / "a/c/9").read_bytes())
        expected[number * 1000 : (number + 1) * 1000] = VALUES[9000:10_000]
    with zarr.config.set(KEPT):
        assert np.array_equal(np.asarray(kept[...]), expected)


def test_another_folder_of_the_same_name(kept: zarr.Array[Any], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "a")
    with pipeline(SUBJECT_PATH, **KEPT):
        array = make(tmp_path)
        array[...] = -VALUES
        assert np.array_equal(np.asarray(array[...]), -VALUES)
        assert np.array_equal(np.asarray(kept[...]), -VALUES)


def test_no_more_files_stay_open_than_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "a/c"
    with pipeline(SUBJECT_PATH, **{"codec_pipeline.file_handle_cache_size": 5}):
        array = make(tmp_path)
        array[...]
        array[3000:9000]
    # Some are gone by the time they are looked at.
    links = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    assert 0 < len([link for link in links if link.startswith(str(folder))]) <= 5


def test_readers_and_a_writer_at_the_same_time(tmp_path: Path) -> None:
    """Every chunk is of one version, and no older than one that was there before the read."""
    with pipeline(SUBJECT_PATH, **KEPT):
        array = make(tmp_path, chunks=(2000,))
        array[...] = 0
        written = 0
        failures: list[str] = []
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                before = written
                chunks = np.asarray(array[...]).reshape(10, 2000)
                if (chunks.min(1) != chunks.max(1)).any():
                    failures.append("a chunk of two versions")
                if chunks.min() < before:
                    failures.append(f"{chunks.min()} after {before}")

        with zarr.config.set(KEPT):
            readers = [threading.Thread(target=read) for _ in range(2)]
            for reader in readers:
                reader.start()
            for number in range(1, 200):
                array[...] = number
                written = number
            is_over.set()
            for reader in readers:
                reader.join()
    assert not failures


def test_explain_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pipeline(SUBJECT_PATH, **DIRECT, **KEPT):
        explanation = wazarr.explain(make(tmp_path))
    assert explanation.direct_io
    assert explanation.kept_handles == 1000
    shown = capsys.readouterr().out
    assert "past the page cache" in shown
    assert "1000 files kept open" in shown
