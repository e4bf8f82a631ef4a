"""Arrays that are copied somewhere else and opened by a process that knows nothing of their codecs."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import pytest
import xarray
import zarr
from zarr.storage import LocalStore, MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH
from tests.wasm import guests
from tests.wasm.places import VALUES

if TYPE_CHECKING:
    from tests.servers.s3 import Bucket

ROOT = Path(__file__).parents[2]
OURS = "wazarr.CodecPipeline"


def ask_a_stranger(cache: Path, *arrays: tuple[Path | str, str, str]) -> list[dict[str, Any]]:
    """Return what a process that has never seen a module reads.

    Parameters
    ----------
    cache : Path
        Its folder for modules.
    *arrays : tuple of (Path or str, str, str)
        Store, path of the array, pipeline. It sees them one after the other: the modules of two that are
        to be strange to it both have to be different.
    """
    arguments = [text for store, path, pipeline in arrays for text in (pipeline, str(store), path)]
    command = [sys.executable, "-m", "tests.wasm.stranger", str(cache), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


_seeds = itertools.count(5000)


def local(folder: Path, zarr_format: Any, embed: Any, name: str | None = "data") -> Path:
    """Return a folder with an array whose module no other array has."""
    module = guests.padded(guests.trim(), 64, seed=next(_seeds))
    with wazarr.enabled():
        zarr.create_array(
            LocalStore(folder),
            name=name,
            data=VALUES,
            chunks=(4, 6),
            zarr_format=zarr_format,
            compressors=wazarr.WasmCodec(module, embed=embed, zarr_format=zarr_format),
        )
    return folder


def moved(source: Path, target: Path) -> Path:
    shutil.move(source, target)
    return target


def zipped(source: Path, target: Path) -> Path:
    target = target.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(source.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(source))
    shutil.rmtree(source)
    return target


def through_memory(source: Path, target: Path) -> Path:
    # As zarr copies: every array as an array, whatever it is.
    first = zarr.open_group(source, mode="r")
    second = zarr.open_group(MemoryStore(), mode="w", zarr_format=first.metadata.zarr_format)
    with wazarr.enabled():
        for name, node in first.members(max_depth=None):
            if isinstance(node, zarr.Array):
                options: dict[str, Any] = {"serializer": "keep"} if first.metadata.zarr_format == 3 else {}
                # Where an array was copied before its module, that is there already.
                zarr.from_array(second.store, name=name, data=node, overwrite=True, **options)
            else:
                zarr.create_group(second.store, path=name, attributes=dict(node.attrs), overwrite=True)
    shutil.rmtree(source)
    memory: Any = second.store
    for key, value in memory._store_dict.items():
        (target / key).parent.mkdir(parents=True, exist_ok=True)
        (target / key).write_bytes(value.to_bytes())
    return target


COPIES = [
    (copy, embed, zarr_format)
    for copy in (moved, zipped, through_memory)
    for embed in ("inline", "hierarchy")
    for zarr_format in (2, 3)
]


def test_copies_open_where_nobody_knows_the_module(tmp_path: Path) -> None:
    arrays = []
    for number, (copy, embed, zarr_format) in enumerate(COPIES):
        source = local(tmp_path / f"source-{number}", zarr_format, embed)
        arrays.append((copy(source, tmp_path / f"target-{number}"), "data", OURS))
        assert not source.exists()
    arrays += [
        (local(tmp_path / "root", 3, "hierarchy", None), "", OURS),
        (local(tmp_path / "deep", 3, "hierarchy", "a/b/data"), "a/b/data", OURS),
        (local(tmp_path / "inside", 3, "hierarchy", "a/b/data") / "a" / "b" / "data", "", OURS),
    ]
    for answer in ask_a_stranger(tmp_path / "empty-cache", *arrays):
        assert answer["sum"] == VALUES.sum()
        assert answer["steps"]["wasm"] > 0
        assert answer["steps"]["python"] == 0


@pytest.mark.parametrize("embed", ["inline", "hierarchy"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_copies_open_from_an_object_store(
    zarr_format: Any, embed: str, bucket: Bucket, tmp_path: Path
) -> None:
    """Key by key to S3 and back, and read there by a process that has never seen the module."""
    source = local(tmp_path / "source", zarr_format, embed)
    remote = bucket.obstore()
    for file in source.rglob("*"):
        if file.is_file():
            remote.put(file.relative_to(source).as_posix(), file.read_bytes())
    shutil.rmtree(source)
    back = tmp_path / "back"
    for keys in remote.list():
        for key in (entry["path"] for entry in keys):
            (back / key).parent.mkdir(parents=True, exist_ok=True)
            (back / key).write_bytes(bytes(remote.get(key).bytes()))
    answers = ask_a_stranger(
        tmp_path / "cache", (f"s3:{bucket.name}:{bucket.endpoint}", "data", OURS), (back, "data", OURS)
    )
    assert [answer["sum"] for answer in answers] == [VALUES.sum()] * 2
    assert all(answer["steps"]["wasm"] > 0 and answer["steps"]["python"] == 0 for answer in answers)


def test_what_a_stranger_cannot_know(tmp_path: Path) -> None:
    hierarchy = local(tmp_path / "hierarchy", 3, "hierarchy")
    other = local(tmp_path / "other", 3, "hierarchy", "group/data")
    file = tmp_path / "a.wasm"
    file.write_bytes(guests.padded(guests.xor(), 64, seed=next(_seeds)))
    with wazarr.enabled():
        codec = wazarr.WasmCodec(file.as_uri(), embed="never")
        zarr.create_array(tmp_path / "never", name="data", data=VALUES, compressors=codec)
    arrays = {
        "inline, another pipeline": (local(tmp_path / "inline", 3, "inline"), "data", ORACLE_PATH),
        "hierarchy, another pipeline": (hierarchy, "data", ORACLE_PATH),
        "the same, ours": (hierarchy, "data", OURS),
        "the same again": (hierarchy, "data", ORACLE_PATH),
        "alone": (moved(other / "group" / "data", tmp_path / "alone"), "", OURS),
        "not allowed": (tmp_path / "never", "data", OURS),
    }
    answers = dict(zip(arrays, ask_a_stranger(tmp_path / "cache", *arrays.values()), strict=True))
    assert answers["inline, another pipeline"]["sum"] == VALUES.sum()
    refusal = answers["hierarchy, another pipeline"]
    assert refusal["error"] == "WasmModuleNotFoundError"
    assert "wazarr.fetch_codecs" in refusal["text"]
    # Ours finds it, and from then on it is known.
    assert answers["the same, ours"]["sum"] == VALUES.sum()
    assert answers["the same again"]["sum"] == VALUES.sum()
    alone = answers["alone"]
    assert alone["error"] == "WasmModuleNotFoundError"
    assert "copy that group too" in alone["text"]
    assert "wazarr.wasm.allow" in answers["not allowed"]["text"]
    # What one process found another has on disk.
    assert ask_a_stranger(tmp_path / "cache", (hierarchy, "data", ORACLE_PATH))[0]["sum"] == VALUES.sum()


# --- other processes -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("embed", ["inline", "hierarchy"])
def test_dask_with_processes(embed: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    big = np.tile(VALUES, (4, 4))
    with wazarr.enabled():
        array = zarr.create_array(
            store,
            name="data",
            shape=big.shape,
            chunks=(8, 12),
            dtype="u2",
            compressors=wazarr.WasmCodec(guests.padded(guests.xor(), 64, seed=31), embed=embed),
        )
        source: Any = dask.array.from_array(big, chunks=(8, 24))  # type: ignore[no-untyped-call]
        source.store(array, scheduler="processes", num_workers=2, lock=False)
        lazy: Any = dask.array.from_zarr(zarr.open_array(store, path="data", mode="r"))  # type: ignore[no-untyped-call]
        np.testing.assert_array_equal(lazy.compute(scheduler="processes", num_workers=2), big)
    assert ask_a_stranger(tmp_path / "none", (store, "data", OURS))[0]["sum"] == big.sum()


def test_xarray_with_dask_processes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    dataset = xarray.Dataset({"t": (("y", "x"), VALUES)}).chunk({"y": 8, "x": 6})
    codec = wazarr.WasmCodec(guests.padded(guests.trim(), seed=32))
    with wazarr.enabled():
        dataset.to_zarr(first, encoding={"t": {"compressors": [codec]}}, zarr_format=3)
        with dask.config.set(scheduler="processes", num_workers=1):
            xarray.open_zarr(first).to_zarr(second)
    shutil.rmtree(first)
    assert ask_a_stranger(tmp_path / "none", (second, "t", OURS))[0]["sum"] == VALUES.sum()


def _sum(store: str) -> int:
    return int(np.asarray(zarr.open_array(store, path="data", mode="r")[...]).sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_forked_children_read(tmp_path: Path) -> None:
    source = local(tmp_path / "source", 3, "hierarchy")
    with wazarr.enabled():
        assert _sum(str(source)) == VALUES.sum()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(_sum, [str(source)] * 4, chunksize=1) == [VALUES.sum()] * 4
        assert _sum(str(source)) == VALUES.sum()


def test_importing_wazarr_imports_none_of_it() -> None:
    script = (
        "import sys, wazarr, zarr, numpy as np\n"
        "wazarr.enable()\n"
        "array = zarr.create_array({}, data=np.arange(4))\n"
        "assert (array[...] == np.arange(4)).all()\n"
        "print([name for name in sys.modules if name.startswith('wazarr.wasm')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
