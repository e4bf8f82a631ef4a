"""The programs that people really use zarr through: xarray, dask, and other readers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs as v3
from zarr.storage import LocalStore, MemoryStore

from tests.conformance.comparison import same_bits
from tests.conformance.values import bits, counting, smooth
from tests.pipelines import ORACLE_PATH, SUBJECT_IS_WAZARR, SUBJECT_PATH, pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("subject_pipeline")]


@pytest.fixture
def counted() -> Iterator[None]:
    """Ask afterwards that our engine, and nothing else, has done the work."""
    if not SUBJECT_IS_WAZARR:
        yield
        return
    import wazarr

    wazarr.reset_counters()
    yield
    counters = wazarr.counters()
    assert counters["read"]["chunks"] + counters["write"]["chunks"] > 0, counters
    assert counters["fallbacks"] == {}, counters


# ------------------------------------------------------------------------------------------ xarray


def _weather(*, times: int = 10) -> Any:
    xarray = pytest.importorskip("xarray")
    start = np.datetime64("2020-01-01", "ns")
    return xarray.Dataset(
        {
            "temperature": (("time", "y", "x"), smooth(times, 13, 11, dtype="float32")),
            "wet": (("time", "y", "x"), bits(times, 13, 11, dtype="?")),
            "name": (("y",), np.array([f"row {row}" for row in range(13)], dtype=object)),
        },
        coords={
            "time": start + np.arange(times) * np.timedelta64(6, "h"),
            "y": np.arange(13.0),
            "x": np.arange(11.0),
        },
        attrs={"title": "made up"},
    )


def _open(path: Path) -> Any:
    xarray = pytest.importorskip("xarray")
    return xarray.open_zarr(str(path), chunks=None, consolidated=False)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_round_trip(tmp_path: Path, zarr_format: int, counted: None) -> None:
    dataset = _weather()
    path = tmp_path / "weather"
    encoding = {"temperature": {"chunks": (4, 5, 6)}, "wet": {"chunks": (3, 13, 11)}}
    dataset.to_zarr(str(path), zarr_format=zarr_format, encoding=encoding, consolidated=False)
    again = _open(path)
    assert again.identical(dataset.assign_attrs(again.attrs))
    window = {"time": slice(2, 9, 3), "y": [12, 0, 3], "x": 4}
    assert again.isel(window).load().equals(dataset.isel(window))
    points = {"y": ("point", [1, 12, 0]), "x": ("point", [0, 10, 3])}
    xarray = pytest.importorskip("xarray")
    indexers = {name: xarray.DataArray(index, dims=dim) for name, (dim, index) in points.items()}
    assert again.isel(indexers).load().equals(dataset.isel(indexers))
    with pipeline(ORACLE_PATH):
        assert _open(path).load().identical(again.load())


def test_xarray_packed_sharded_encoding(tmp_path: Path, counted: None) -> None:
    dataset = _weather()[["temperature"]]
    path = tmp_path / "packed"
    packing = {
        "dtype": "int16",
        "scale_factor": 0.01,
        "add_offset": 40.0,
        "_FillValue": -9999,
        "chunks": (2, 5, 6),
        "shards": (4, 10, 12),
        "compressors": [v3.BloscCodec(cname="zstd", shuffle="bitshuffle")],
    }
    dataset["temperature"][3, 4, 5] = np.nan
    dataset.to_zarr(str(path), zarr_format=3, encoding={"temperature": packing}, consolidated=False)
    ours = _open(path).load()
    np.testing.assert_allclose(ours["temperature"], dataset["temperature"], atol=0.006)
    with pipeline(ORACLE_PATH):
        assert _open(path).load().identical(ours)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_append(tmp_path: Path, zarr_format: int, counted: None) -> None:
    xarray = pytest.importorskip("xarray")
    path = tmp_path / "growing"
    whole = _weather(times=17).drop_vars("name")
    parts = [whole.isel(time=slice(*bounds)) for bounds in ((0, 6), (6, 7), (7, 17))]
    encoding = {"temperature": {"chunks": (4, 5, 6)}, "time": {"chunks": (4,)}}
    parts[0].to_zarr(str(path), zarr_format=zarr_format, encoding=encoding, consolidated=False)
    for part in parts[1:]:
        part.to_zarr(str(path), append_dim="time", consolidated=False)
    assert _open(path).load().equals(whole)
    assert xarray.concat(parts, "time").equals(_open(path).load())


def test_xarray_regions(tmp_path: Path, counted: None) -> None:
    path = tmp_path / "regions"
    whole = _weather(times=12).drop_vars("name")
    empty = whole.copy()
    empty["temperature"] = empty["temperature"] * 0
    empty["wet"] = empty["wet"] & False
    encoding = {"temperature": {"chunks": (3, 4, 4)}, "wet": {"chunks": (3, 4, 4)}}
    empty.to_zarr(str(path), encoding=encoding, consolidated=False)
    for begin in (3, 0, 9, 6):
        region = {"time": slice(begin, begin + 3), "y": slice(0, 13), "x": slice(0, 11)}
        part = whole.isel(region).drop_vars(["time", "y", "x"])
        part.to_zarr(str(path), region=region, consolidated=False)
    assert _open(path).load().equals(whole)
    later = whole.isel(time=slice(6, 9))
    (later[["temperature"]] + 1).to_zarr(str(path), region="auto", mode="r+", consolidated=False)
    reread = _open(path).load()
    assert reread["temperature"][6:9].equals(later["temperature"] + 1)
    assert reread["temperature"][:6].equals(whole["temperature"][:6])


# -------------------------------------------------------------------------------------------- dask

Scheduler = Literal["threads", "processes", "synchronous"]


def _dask() -> Any:
    return pytest.importorskip("dask")


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
@pytest.mark.parametrize("is_sharded", [False, True])
def test_dask_in_this_process(tmp_path: Path, scheduler: Scheduler, is_sharded: bool, counted: None) -> None:
    dask = _dask()
    dask_array = pytest.importorskip("dask.array")
    values = counting(40, 30, dtype="float64")
    store = LocalStore(tmp_path / "array")
    inner, shards = ((5, 5), (10, 10)) if is_sharded else ((10, 10), None)
    target = zarr.create_array(store, shape=(40, 30), chunks=inner, shards=shards, dtype="float64")
    with dask.config.set(scheduler=scheduler, num_workers=4):
        dask_array.store(dask_array.from_array(values, chunks=(10, 10)), target, lock=False)
        lazy = dask_array.from_zarr(target, chunks=(10, 10))
        assert same_bits(lazy.compute(), values)
        assert same_bits((lazy[3:31:2, ::-1] + 1).compute(), values[3:31:2, ::-1] + 1)
        assert lazy.sum().compute() == values.sum()


@pytest.mark.slow
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dask_in_other_processes(tmp_path: Path, zarr_format: Literal[2, 3]) -> None:
    dask = _dask()
    dask_array = pytest.importorskip("dask.array")
    values = counting(40, 30, dtype="int64")
    store = LocalStore(tmp_path / "array")
    target = zarr.create_array(store, shape=(40, 30), chunks=(10, 10), dtype="int64", zarr_format=zarr_format)
    target[...] = values  # the parent has used its engine before it makes children
    environment = {"ZARR_CODEC_PIPELINE__PATH": SUBJECT_PATH}
    with (
        dask.config.set(scheduler="processes", num_workers=2),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        lazy = dask_array.from_zarr(target, chunks=(10, 10))
        assert same_bits(lazy.compute(), values)
        dask_array.store(lazy * 2, target, lock=False)
    assert same_bits(np.asarray(target[...]), values * 2)


def test_dask_by_paths(tmp_path: Path) -> None:
    dask_array = pytest.importorskip("dask.array")
    values = smooth(23, 17)
    path = str(tmp_path / "array")
    dask_array.from_array(values, chunks=(10, 10)).to_zarr(path)
    assert same_bits(dask_array.from_zarr(path).compute(), values)


def test_dask_to_zarr(tmp_path: Path, counted: None) -> None:
    dask_array = pytest.importorskip("dask.array")
    values = smooth(23, 17)
    path = str(tmp_path / "array")
    array = zarr.create_array(path, shape=values.shape, chunks=(10, 10), dtype=values.dtype)
    dask_array.from_array(values, chunks=(10, 10)).to_zarr(array)
    # Given a path, dask makes an fsspec store, which is reached through Python.
    written = zarr.open_array(path, mode="r")
    assert same_bits(dask_array.from_zarr(written).compute(), values)


# ------------------------------------------------------------------------------- other readers

CHAINS: dict[str, dict[str, Any]] = {
    "raw": {"compressors": None},
    "zstd": {"compressors": v3.ZstdCodec(level=3)},
    "gzip": {"compressors": v3.GzipCodec(level=5)},
    "blosc": {"compressors": v3.BloscCodec(cname="lz4", shuffle="shuffle")},
    "blosc zstd bitshuffle": {"compressors": v3.BloscCodec(cname="zstd", shuffle="bitshuffle")},
    "crc32c": {"compressors": (v3.ZstdCodec(), v3.Crc32cCodec())},
    "big endian": {"serializer": v3.BytesCodec(endian="big"), "compressors": None},
    "transpose": {"filters": v3.TransposeCodec(order=(1, 0))},
    "sharded": {"chunks": (2, 3), "shards": (8, 6)},
    "sharded raw, index at the start": {
        "chunks": (2, 3),
        "shards": {"shape": (8, 6), "index_location": "start"},
        "compressors": None,
    },
}


def _written(path: Path, data: Any, **arguments: Any) -> None:
    """Write `data` with the pipeline under test: whole, and then a window once more."""
    layout = {"chunks": (4, 3), **arguments}
    array = zarr.create_array(LocalStore(path), shape=data.shape, dtype=data.dtype, **layout)
    array[...] = data
    array[3:9, 2:7] = data[3:9, 2:7]


@pytest.fixture
def tensorstore() -> Any:
    return pytest.importorskip("tensorstore")


@pytest.fixture
def zarrista() -> Any:
    pytest.importorskip("zarrista.store")
    return pytest.importorskip("zarrista")


def _read_by_tensorstore(tensorstore: Any, path: Path, driver: str) -> Any:
    specification = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(specification, open=True).result().read().result()


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("dtype", ["<i4", "<f8", "u1", "<u2"])
def test_tensorstore_reads_v3(
    tmp_path: Path, tensorstore: Any, chain: str, dtype: str, counted: None
) -> None:
    data = bits(13, 11, dtype=dtype)
    _written(tmp_path, data, **CHAINS[chain])
    assert same_bits(np.asarray(_read_by_tensorstore(tensorstore, tmp_path, "zarr3")), data)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "compressor",
    [None, numcodecs.Zlib(1), numcodecs.BZ2(1), numcodecs.Zstd(1)]
    + [numcodecs.Blosc(name, 3, shuffle) for name in ("lz4", "zstd") for shuffle in (0, 1, 2)],
    ids=repr,
)
def test_tensorstore_reads_v2(
    tmp_path: Path, tensorstore: Any, compressor: Any, order: str, counted: None
) -> None:
    data = bits(13, 11, dtype="<f4")
    _written(tmp_path, data, zarr_format=2, compressors=compressor, order=order)
    assert same_bits(np.asarray(_read_by_tensorstore(tensorstore, tmp_path, "zarr")), data)


@pytest.mark.parametrize("chain", ["raw", "zstd", "gzip", "blosc", "crc32c", "transpose", "sharded"])
def test_zarrista_reads_v3(tmp_path: Path, zarrista: Any, chain: str, counted: None) -> None:
    data = counting(13, 11, dtype="int32")
    _written(tmp_path, data, **CHAINS[chain])
    array = zarrista.Array.open(zarrista.store.FilesystemStore(str(tmp_path)))
    read = array.retrieve_array_subset((slice(0, 13), slice(0, 11)))
    assert same_bits(np.asarray(read), data)


V2_CODECS: tuple[tuple[str, list[Any] | None, Any], ...] = (
    ("zstd", None, numcodecs.Zstd(level=1)),
    ("gzip", None, numcodecs.GZip(level=1)),
    ("zlib", None, numcodecs.Zlib(level=1)),
    ("bz2", None, numcodecs.BZ2(level=1)),
    ("lzma", None, numcodecs.LZMA(preset=1)),
    ("lz4", None, numcodecs.LZ4()),
    ("blosc", None, numcodecs.Blosc("zstd", 3, 1)),
    ("delta", [numcodecs.Delta("<i4")], numcodecs.Zlib(1)),
    ("shuffle", [numcodecs.Shuffle(4)], None),
    ("delta, astype", [numcodecs.Delta("<i4"), numcodecs.AsType("<i8", "<i4")], None),
)


@pytest.mark.parametrize(
    ("filters", "compressor"), [row[1:] for row in V2_CODECS], ids=[row[0] for row in V2_CODECS]
)
def test_numcodecs_reads_v2_chunks(
    tmp_path: Path, filters: list[Any] | None, compressor: Any, counted: None
) -> None:
    data = counting(12, 9, dtype="<i4")
    _written(tmp_path, data, zarr_format=2, filters=filters, compressors=compressor)
    for row, column in itertools.product(range(3), range(3)):
        chunk: Any = (tmp_path / f"{row}.{column}").read_bytes()
        for codec in reversed([*(filters or []), *([compressor] if compressor else [])]):
            chunk = codec.decode(chunk)
        decoded = np.frombuffer(np.ascontiguousarray(chunk), dtype="<i4").reshape(4, 3)
        expected = data[4 * row : 4 * row + 4, 3 * column : 3 * column + 3]
        assert same_bits(decoded, np.ascontiguousarray(expected))


# -------------------------------------------------------------------------------------- zarr's API


def test_group_copy_and_consolidated_metadata(tmp_path: Path, counted: None) -> None:
    group = zarr.open_group(LocalStore(tmp_path / "group"), mode="w")
    data = smooth(20, 10)
    group.create_array("a", data=data, chunks=(6, 4))
    group.create_array("deep/b", data=data[::2], chunks=(3, 3), shards=(9, 9))
    zarr.consolidate_metadata(LocalStore(tmp_path / "group"))
    again = zarr.open_group(LocalStore(tmp_path / "group"), mode="r")
    first, second = again["a"], again["deep/b"]
    assert isinstance(first, zarr.Array)
    assert isinstance(second, zarr.Array)
    assert same_bits(np.asarray(first[...]), data)
    copied = zarr.from_array(MemoryStore(), data=second, chunks=(5, 5), shards=None)
    assert same_bits(np.asarray(copied[...]), data[::2])


def test_save_and_load(tmp_path: Path, counted: None) -> None:
    data = bits(30, dtype="<f8")
    zarr.save(str(tmp_path / "one"), data)
    assert same_bits(np.asarray(zarr.load(str(tmp_path / "one"))), data)
