"""Which stores the engine speaks to itself, and which it leaves to their own methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore, LocalStore, ObjectStore, WrapperStore, ZipStore

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.stores.archives import files_of, make_archive
from tests.stores.kinds import KINDS, Place
from tests.stores.layouts import check_reads, write_all

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = ["wrapper", "logging", "latency", "cache", "obstore memory"]
STRICT: dict[str, Any] = {"codec_pipeline.strict": True}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request, tmp_path / "place")


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_native_stores_are_no_fallback(kind: str, place: Place) -> None:
    expected = write_all(KINDS[kind](place, False), "v3, sharded")
    wazarr.reset_counters()
    check_reads(lambda read_only: KINDS[kind](place, read_only), expected, **STRICT)
    requests = wazarr.counters()["store_requests"]
    assert requests["native"] > 0
    assert requests["python"] == 0


@pytest.mark.parametrize("kind", PYTHON)
def test_other_stores_are_named(kind: str, place: Place) -> None:
    write_all(KINDS[kind](place, False), "v3")
    store = KINDS[kind](place, True)
    with pipeline(SUBJECT_PATH, **STRICT):
        array = zarr.open_array(store, mode="r")
        with pytest.raises(wazarr.errors.UnsupportedError, match=type(store).__name__):
            array[...]


def test_zip_archives_opened_for_writing_stay_with_python(tmp_path: Path) -> None:
    with pipeline(SUBJECT_PATH):
        store = ZipStore(tmp_path / "array.zip", mode="w")
        array = zarr.create_array(store, shape=(4,), chunks=(2,), dtype="i4")
        array[...] = 1
        assert wazarr.explain(array).store_engine == "python"
        store.close()


SUBCLASSES: dict[str, Any] = {
    "ZipStore": type("OwnZip", (ZipStore,), {}),
    "ObjectStore": type("OwnObjects", (ObjectStore,), {}),
    "FsspecStore": type("OwnFsspec", (FsspecStore,), {}),
}


@pytest.mark.parametrize("kind", SUBCLASSES)
def test_subclasses_keep_their_own_methods(kind: str, tmp_path: Path) -> None:
    cls = SUBCLASSES[kind]
    files, expected = files_of(tmp_path / "files", "v3")
    if kind == "ZipStore":
        store = cls(make_archive("stored", files, tmp_path / "array.zip"))
    elif kind == "ObjectStore":
        from obstore.store import LocalStore as ObstoreLocal

        store = cls(ObstoreLocal(prefix=tmp_path / "files"), read_only=True)
    else:
        store = cls.from_url((tmp_path / "files").as_uri(), read_only=True)
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(store, mode="r")
        assert wazarr.explain(array).store_engine == "python"
        assert np.array_equal(np.asarray(array[...]), expected)


def test_a_wrapper_is_explained_as_python(tmp_path: Path) -> None:
    write_all(LocalStore(tmp_path), "v3")
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(WrapperStore(LocalStore(tmp_path, read_only=True)), mode="r")
    explained = wazarr.explain(array)
    assert explained.store_engine == "python"
    assert explained.requests_in_flight == 64
