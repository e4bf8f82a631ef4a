"""Filesystems of fsspec that cannot be written, or not in every way; the others are in `kinds.py`."""

from __future__ import annotations

import base64
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore

from tests.pipelines import ORACLE_PATH, SUBJECT_PATH, ZARR_VERSION, pipeline
from tests.stores.archives import ARCHIVES, files_of
from tests.stores.layouts import LAYOUTS, check_reads, values, write_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.files import FileServer

pytest.importorskip("fsspec")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_http(layout: str, file_server: FileServer, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path, layout)
    file_server.files.update({f"a folder/100%/{key}": content for key, content in files.items()})
    url = file_server.url("a folder/100%")
    check_reads(lambda _: FsspecStore.from_url(url, read_only=True), expected)


@pytest.mark.parametrize("layout", ["v3", "v3, sharded", "v2"])
@pytest.mark.parametrize("archive", ["stored", "deflated"])
def test_zip(archive: str, layout: str, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", layout)
    path = tmp_path / "array.zip"
    path.write_bytes(ARCHIVES[archive](files))
    url = f"zip://::{path.as_uri()}"
    # fsspec mixes up requests of one archive: we know, the default pipeline does not.
    with zarr.config.set({"async.concurrency": 1, "wazarr.store_concurrency": 64}):
        check_reads(lambda _: FsspecStore.from_url(url, read_only=True), expected)


@pytest.mark.parametrize("path", [ORACLE_PATH, SUBJECT_PATH])
def test_a_local_filesystem_that_makes_no_folders(path: str, tmp_path: Path) -> None:
    """Writing into a folder that is not there fails, and is no reason to make it."""
    with pipeline(path):
        store = FsspecStore.from_url(tmp_path.as_uri(), storage_options={"auto_mkdir": False})
        array = zarr.create_array(store, shape=(20,), chunks=(5,), dtype="i4")
        with pytest.raises(FileNotFoundError):
            array[...] = 3
        assert not (tmp_path / "c").exists()
        assert np.array_equal(np.asarray(array[...]), np.zeros(20))


def test_a_local_filesystem_whose_folders_are_there(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pipeline(SUBJECT_PATH):
        store = FsspecStore.from_url(tmp_path.as_uri(), storage_options={"auto_mkdir": False})
        array = zarr.create_array(store, shape=(20,), chunks=(5,), dtype="i4")
        array[:13] = 3
        assert np.array_equal(np.asarray(array[...]), [3] * 13 + [0] * 7)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["0", "1", "2"]


def test_exceptions_that_the_user_allows_mean_missing(file_server: FileServer, tmp_path: Path) -> None:
    """`allowed_exceptions` is a setting of the store: with it, other failures are fill values, by request."""
    files, expected = files_of(tmp_path, "v3, uncompressed")
    file_server.files.update(files)

    class Forbidden(Exception):
        """What the filesystem raises."""

    def opened(**options: Any) -> zarr.Array[Any]:
        store = FsspecStore.from_url(file_server.url(), read_only=True)
        inner = store.fs._cat_file

        async def cat_file(path: str, *args: Any, **kwargs: Any) -> Any:
            if path.endswith("c/0/0"):
                raise Forbidden(path)
            return await inner(path, *args, **kwargs)

        class Filesystem(type(store.fs)):  # type: ignore[misc]
            """A subclass, so that nothing native stands in."""

            _cat_file = staticmethod(cat_file)

        filesystem = Filesystem(asynchronous=True, skip_instance_cache=True)
        with pipeline(SUBJECT_PATH):
            return zarr.open_array(
                FsspecStore(filesystem, path=store.path, read_only=True, **options), mode="r"
            )

    with pytest.raises(Forbidden, match="c/0/0"):
        opened()[...]
    expected[:6, :5] = -7
    assert np.array_equal(
        np.asarray(opened(allowed_exceptions=(FileNotFoundError, Forbidden))[...]), expected
    )


# --- references ------------------------------------------------------------------------------------------


def references_to(files: dict[str, bytes], folder: Path, url: Callable[[Path], str]) -> dict[str, Any]:
    """Put the chunks into one file, with something between them, and refer to their places in it."""
    heap = bytearray(b"a header")
    refs: dict[str, Any] = {}
    path = folder / "heap.bin"
    for number, (key, content) in enumerate(files.items()):
        if key.endswith(("zarr.json", ".zarray", ".zattrs")):
            refs[key] = content.decode()
        elif number % 5 == 0:
            refs[key] = "base64:" + base64.b64encode(content).decode()
        else:
            refs[key] = [url(path), len(heap), len(content)]
            heap += content + b"between"
    path.write_bytes(heap)
    return {"version": 1, "refs": refs}


@pytest.mark.parametrize("layout", ["v3", "v3, sharded", "v2"])
@pytest.mark.parametrize("target", ["file", "http"])
def test_references(target: str, layout: str, file_server: FileServer, tmp_path: Path) -> None:
    files, expected = files_of(tmp_path / "files", layout)

    def url(path: Path) -> str:
        return path.as_uri() if target == "file" else file_server.url(path.name)

    references = references_to(files, tmp_path, url)
    file_server.files["heap.bin"] = (tmp_path / "heap.bin").read_bytes()
    (tmp_path / "refs.json").write_text(json.dumps(references))

    def open_store(_: bool) -> FsspecStore:
        return FsspecStore.from_url(
            "reference://",
            storage_options={
                "fo": str(tmp_path / "refs.json"),
                "remote_protocol": target,
                "remote_options": {"asynchronous": True},
            },
            read_only=True,
        )

    check_reads(open_store, expected)


def test_references_that_kerchunk_makes(tmp_path: Path) -> None:
    kerchunk = pytest.importorskip("kerchunk.zarr")
    store = zarr.storage.LocalStore(tmp_path / "group")
    zarr.create_group(store, zarr_format=2)
    write_all(store, "v2", "array")
    references = kerchunk.single_zarr(str(tmp_path / "group"), inline_threshold=0)

    def open_store(_: bool) -> FsspecStore:
        options = {"fo": references, "remote_protocol": "file"}
        return FsspecStore.from_url("reference://", storage_options=options, read_only=True)

    check_reads(open_store, values(), "array")


def virtual_dataset(folder: Path) -> tuple[Any, Any]:
    """Write a dataset of Zarr chunks; return VirtualiZarr's store of references to them, and its dataset."""
    virtualizarr = pytest.importorskip("virtualizarr")
    xarray = pytest.importorskip("xarray")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore

    source = xarray.Dataset({"a": (("y", "x"), values())})
    source.to_zarr(folder, zarr_format=3, encoding={"a": {"chunks": (6, 5)}}, consolidated=False)
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    parser = virtualizarr.parsers.ZarrParser()
    store = parser(url=folder.as_uri(), registry=registry)
    virtual = virtualizarr.open_virtual_dataset(url=folder.as_uri(), registry=registry, parser=parser)
    return store, virtual


def test_references_that_virtualizarr_makes(tmp_path: Path) -> None:
    """Kept in a file, and opened from it."""
    _, virtual = virtual_dataset(tmp_path / "dataset")
    virtual.vz.to_kerchunk(str(tmp_path / "refs.json"), format="json")
    with pipeline(SUBJECT_PATH):
        store = FsspecStore.from_url(
            "reference://",
            storage_options={"fo": str(tmp_path / "refs.json"), "remote_protocol": "file"},
            read_only=True,
        )
        array = zarr.open_array(store, path="a", mode="r")
        assert np.array_equal(np.asarray(array[...]), values())


def test_the_store_of_virtualizarr(tmp_path: Path) -> None:
    store, _ = virtual_dataset(tmp_path / "dataset")
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(store, path="a", mode="r")
        assert np.array_equal(np.asarray(array[...]), values())
        assert np.array_equal(np.asarray(array[3:14, 4:11]), values()[3:14, 4:11])


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this VirtualiZarr names paths that Icechunk does not take")
def test_references_that_virtualizarr_puts_into_icechunk(tmp_path: Path) -> None:
    icechunk = pytest.importorskip("icechunk")
    _, virtual = virtual_dataset(tmp_path / "dataset")
    url = f"{tmp_path.as_uri()}/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(url, icechunk.local_filesystem_store(str(tmp_path)))
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Passing `None` in", DeprecationWarning)
        repository = icechunk.Repository.create(
            icechunk.in_memory_storage(),
            config=config,
            authorize_virtual_chunk_access=icechunk.containers_credentials({url: None}),
        )
    session = repository.writable_session("main")
    virtual.vz.to_icechunk(session.store)
    session.commit("references")
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(repository.readonly_session("main").store, path="a", mode="r")
        assert np.array_equal(np.asarray(array[...]), values())
        assert np.array_equal(np.asarray(array[3:14, 4:11]), values()[3:14, 4:11])
