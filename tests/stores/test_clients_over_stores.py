"""xarray, dask and dask.distributed over remote stores, with our pipeline."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, ObjectStore, ZipStore

from tests.pipelines import SUBJECT_PATH, pipeline
from tests.stores.kinds import KINDS, Place
from tests.stores.readers import READERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.files import FileServer

VALUES = np.arange(600.0).reshape(20, 30)


def write_dataset(store: Any) -> None:
    """Write a dataset with the pipeline that is configured; it needs no listing to be opened."""
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset(
        {"a": (("y", "x"), VALUES)},
        coords={"x": np.arange(30), "name": ("y", [f"n{number}" for number in range(20)])},
    )
    encoding = {"a": {"chunks": (5, 10), "shards": (10, 30)}}
    dataset.to_zarr(store, encoding=encoding, zarr_format=3, consolidated=True)


def make_store(kind: str, request: pytest.FixtureRequest, *, is_empty: bool = False) -> Any:
    """Make a store, with a dataset in it: our pipeline wrote it where the store can be written."""
    folder: Path = request.getfixturevalue("tmp_path") / "data"
    if kind == "icechunk":
        icechunk = pytest.importorskip("icechunk")
        store: Any = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main").store
    elif kind == "icechunk local":
        icechunk = pytest.importorskip("icechunk")
        storage = icechunk.local_filesystem_storage(str(folder))
        session = icechunk.Repository.create(storage).writable_session("main")
        with pipeline(SUBJECT_PATH):
            write_dataset(session.store)
        session.commit("a dataset")
        return icechunk.Repository.open(storage).readonly_session("main").store
    elif kind in KINDS and not is_empty:
        place = Place(request, folder)
        folder.mkdir()
        with pipeline(SUBJECT_PATH):
            write_dataset(KINDS[kind](place, False))
        return KINDS[kind](place, True)
    elif kind == "s3":
        store = ObjectStore(request.getfixturevalue("bucket").obstore())
    elif kind == "zip":
        store = ZipStore(folder.with_suffix(".zip"), mode="w")
    else:
        store = LocalStore(folder)
    if is_empty:
        return store
    with pipeline(SUBJECT_PATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(Duplicate name|Consolidated metadata)")
        write_dataset(store)
    if kind == "zip":
        store.close()
        return ZipStore(folder.with_suffix(".zip"))
    if kind in READERS:
        server: FileServer = request.getfixturevalue("file_server")
        server.serve_folder(folder, "data/")
        return READERS[kind](server.url("data"))
    return store


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        *("zip", "icechunk", "icechunk local", "s3"),
        *READERS,
        *("memory", "wrapper", "cache", "latency", "obstore memory", "obstore local"),
        *("fsspec memory", "fsspec local", "fsspec s3"),
    ],
)
def test_xarray(kind: str, is_lazy: bool, request: pytest.FixtureRequest) -> None:
    xarray = pytest.importorskip("xarray")
    store = make_store(kind, request)
    with pipeline(SUBJECT_PATH):
        dataset = xarray.open_zarr(store, chunks={} if is_lazy else None)
        assert np.array_equal(dataset.a.values, VALUES)
        assert np.array_equal(dataset.a.isel(y=[1, 17], x=slice(3, 25, 4)).values, VALUES[[1, 17], 3:25:4])
        assert float(dataset.a.sum()) == VALUES.sum()
        assert dataset.name.values.tolist()[:2] == ["n0", "n1"]


@pytest.mark.parametrize("kind", ["s3", "obstore", "fsspec", "zip", "icechunk local"])
def test_workers_of_distributed(kind: str, request: pytest.FixtureRequest) -> None:
    """Workers with threads, which get the array pickled."""
    distributed = pytest.importorskip("distributed")
    dask_array: Any = pytest.importorskip("dask.array")

    store = make_store(kind, request)
    with (
        pipeline(SUBJECT_PATH),
        distributed.Client(
            n_workers=2, threads_per_worker=2, processes=False, dashboard_address=None
        ) as client,
    ):
        array = dask_array.from_zarr(zarr.open_array(store, path="a", mode="r"), chunks=(5, 10))
        assert np.array_equal(client.compute(array + 1).result(), VALUES + 1)


@pytest.mark.slow
def test_processes_of_distributed(request: pytest.FixtureRequest) -> None:
    """Workers in processes of their own, which read from a server in this one."""
    distributed = pytest.importorskip("distributed")
    dask_array: Any = pytest.importorskip("dask.array")

    store = make_store("obstore", request)
    with (
        pipeline(SUBJECT_PATH),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(_enable)
        array = dask_array.from_zarr(zarr.open_array(store, path="a", mode="r"), chunks=(5, 10))
        assert np.array_equal(client.compute(array + 1).result(), VALUES + 1)


def _enable() -> None:
    import wazarr

    wazarr.enable()


@pytest.mark.parametrize("kind", ["s3", "icechunk", "local"])
def test_dask_writes(kind: str, request: pytest.FixtureRequest) -> None:
    dask_array: Any = pytest.importorskip("dask.array")

    store = make_store(kind, request, is_empty=True)
    with pipeline(SUBJECT_PATH):
        target = zarr.create_array(store, shape=VALUES.shape, chunks=(5, 10), dtype="f8")
        dask_array.store(dask_array.from_array(VALUES, chunks=(5, 10)), target, scheduler="threads")
        assert np.array_equal(np.asarray(target[...]), VALUES)
