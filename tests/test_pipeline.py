"""`CodecPipeline` as zarr calls it: every method of the interface, against the default pipeline's."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.abc.codec import CodecPipeline as ZarrCodecPipeline
from zarr.codecs import (
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    VLenUTF8Codec,
    ZstdCodec,
)
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.core.dtype import get_data_type_from_native_dtype
from zarr.registry import get_pipeline_class
from zarr.storage import MemoryStore, StorePath

import wazarr
from tests.pipelines import ZARR_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore:Combining a `sharding_indexed` codec")

BYTES, ZSTD, CRC = BytesCodec(), ZstdCodec(), Crc32cCodec()
TRANSPOSE = TransposeCodec(order=(1, 0))
SHARD = ShardingCodec(chunk_shape=(2, 3))

CHAINS: dict[str, list[Any]] = {
    "bytes": [BYTES],
    "compressed": [BYTES, ZSTD],
    "checksum": [BYTES, CRC],
    "filters": [TRANSPOSE, BytesCodec(endian="big"), GzipCodec(level=1), CRC],
    "shard": [SHARD],
    "compressed shard": [SHARD, CRC],
}


def spec_of(dtype: Any = "<f4", shape: tuple[int, ...] = (4, 6), *, order: Any = "C") -> ArraySpec:
    """Make the spec of a chunk."""
    zdtype = get_data_type_from_native_dtype(np.dtype(dtype))
    return ArraySpec(
        shape=shape,
        dtype=zdtype,
        fill_value=zdtype.default_scalar(),
        config=ArrayConfig(order=order, write_empty_chunks=False),
        prototype=default_buffer_prototype(),
    )


def both(codecs: list[Any]) -> tuple[Any, Any]:
    """Make our pipeline and the default one of some codecs."""
    return wazarr.CodecPipeline.from_codecs(codecs), BatchedCodecPipeline.from_codecs(codecs)


def outcome(action: Callable[[], Any]) -> Any:
    """Return what an action gives, or the class and the text of what it raises."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - whatever it is, ours must be the same
        return type(error), str(error)


# --- construction and identity -------------------------------------------------------------------------


def test_it_is_registered_under_its_name() -> None:
    with zarr.config.set({"codec_pipeline.path": "wazarr.CodecPipeline"}):
        assert get_pipeline_class() is wazarr.CodecPipeline


def test_every_method_of_the_interface_is_there_with_its_parameters() -> None:
    for name, method in vars(ZarrCodecPipeline).items():
        if name.startswith("_") or not callable(getattr(ZarrCodecPipeline, name)):
            continue
        ours = getattr(wazarr.CodecPipeline, name)
        function = getattr(method, "__func__", method)
        expected = list(inspect.signature(function).parameters)
        found = list(inspect.signature(getattr(ours, "__func__", ours)).parameters)
        assert found == expected, name


WRONG: dict[str, list[Any]] = {
    "nothing": [],
    "no serializer": [ZSTD],
    "two serializers": [BYTES, SHARD],
    "compressor first": [ZSTD, BYTES],
    "filter last": [BYTES, TRANSPOSE],
    "filter after a compressor": [BYTES, ZSTD, TRANSPOSE],
    "no codec": [BYTES, object()],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_orders_are_refused_as_by_zarr(name: str) -> None:
    codecs = WRONG[name]
    cls, text = outcome(lambda: wazarr.CodecPipeline.from_codecs(codecs))
    assert issubclass(cls, Exception)
    assert (cls, text) == outcome(lambda: BatchedCodecPipeline.from_codecs(codecs))


@pytest.mark.parametrize("name", CHAINS)
def test_identity(name: str) -> None:
    codecs = CHAINS[name]
    pipeline, oracle = both(codecs)
    assert list(pipeline) == list(oracle) == codecs
    for other in (wazarr.CodecPipeline.from_codecs(iter(codecs)), pickle.loads(pickle.dumps(pipeline))):
        assert other == pipeline
        assert hash(other) == hash(pipeline)
        assert repr(other) == repr(pipeline)
    assert pipeline != wazarr.CodecPipeline.from_codecs([BytesCodec(endian="big"), ZstdCodec(level=9)])
    assert pipeline != oracle
    assert repr(pipeline).startswith("CodecPipeline(array_array_codecs=(")
    for codec in codecs:
        assert repr(codec) in repr(pipeline)


def test_what_is_bound_is_no_part_of_the_value() -> None:
    used, fresh = both([BYTES, ZSTD])[0], both([BYTES, ZSTD])[0]
    bound = used.bound(spec_of())
    assert bound.chain.len_bytes == 96
    assert used == fresh
    assert hash(used) == hash(fresh)
    assert repr(used) == repr(fresh)
    assert len(pickle.dumps(used)) == len(pickle.dumps(fresh))


def test_chains_are_bound_once_for_each_spec_and_setting() -> None:
    pipeline, _ = both([BYTES, CRC])
    spec = spec_of()
    bound = pipeline.bound(spec)
    assert pipeline.bound(replace(spec)) is bound
    assert pipeline.bound(replace(spec, shape=(2, 2))) is not bound
    with zarr.config.set({"codec_pipeline.validate_checksums": False}):
        assert pipeline.bound(spec) is not bound
    for length in range(1, 300):
        pipeline.bound(replace(spec, shape=(length, 1)))
    assert pipeline.bound(spec).chain.len_bytes == 96


def test_a_pickled_pipeline_follows_the_process_that_unpickles_it() -> None:
    program = (
        "import pickle, sys, zarr; from wazarr import config; "
        "zarr.config.set({'threading.max_workers': 5}); "
        "pipeline = pickle.loads(sys.stdin.buffer.read()); "
        "print(type(pipeline).__module__, len(tuple(pipeline)), config.limits()[0])"
    )
    with zarr.config.set({"threading.max_workers": 2}):
        pickled = pickle.dumps(wazarr.CodecPipeline.from_codecs([BYTES, ZSTD]))
    answer = subprocess.run([sys.executable, "-c", program], input=pickled, capture_output=True, check=True)
    assert answer.stdout.split() == [b"wazarr", b"2", b"5"]


# --- metadata ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAINS)
def test_metadata_methods_answer_as_zarrs(name: str) -> None:
    pipeline, oracle = both(CHAINS[name])
    spec = spec_of()
    assert pipeline.supports_partial_decode == oracle.supports_partial_decode == (name == "shard")
    assert pipeline.supports_partial_encode == oracle.supports_partial_encode == (name == "shard")
    assert outcome(lambda: pipeline.compute_encoded_size(96, spec)) == outcome(
        lambda: oracle.compute_encoded_size(96, spec)
    )
    evolved = pipeline.evolve_from_array_spec(spec)
    assert type(evolved) is wazarr.CodecPipeline
    if ZARR_VERSION >= (3, 4):  # before that the default pipeline's method raises
        assert list(evolved) == list(oracle.evolve_from_array_spec(spec))


def test_evolution_threads_the_spec_through_the_chain() -> None:
    # A byte order is only dropped for single bytes: the serializer has to see what the filter makes.
    pipeline = wazarr.CodecPipeline.from_codecs([TRANSPOSE, BYTES]).evolve_from_array_spec(spec_of("|u1"))
    assert pipeline.array_bytes_codec == BytesCodec(endian=None)


class Refusing(Crc32cCodec):
    """Does not fit any array."""

    def validate(self, *, shape: Any, dtype: Any, chunk_grid: Any) -> None:
        raise ValueError(f"refused: {shape} {dtype} {chunk_grid}")


def test_validation_is_the_codecs_own() -> None:
    options: dict[str, Any] = {"shape": (8, 12), "dtype": "some type", "chunk_grid": "some grid"}
    wazarr.CodecPipeline.from_codecs([BYTES, CRC]).validate(**options)
    pipeline = wazarr.CodecPipeline.from_codecs([BYTES, ZSTD, Refusing()])
    with pytest.raises(ValueError, match=r"refused: \(8, 12\) some type some grid"):
        pipeline.validate(**options)


# --- chunks at hand ------------------------------------------------------------------------------------

CHUNKS = {
    "numbers": np.arange(24, dtype="<f4").reshape(4, 6),
    "Fortran order": np.asfortranarray(np.arange(24, dtype="<f4").reshape(4, 6)),
    "fill value": np.zeros((4, 6), "<f4"),
    "backwards": np.arange(24, dtype="<f4").reshape(4, 6)[::-1, ::-1],
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("chunk", CHUNKS)
async def test_encode_and_decode_are_as_the_default_pipelines(name: str, chunk: str) -> None:
    pipeline, oracle = both(CHAINS[name])
    spec = spec_of()
    values = cpu.NDBuffer.from_numpy_array(CHUNKS[chunk])
    ours = list(await pipeline.encode([(values, spec), (None, spec)]))
    theirs = list(await oracle.encode([(values, spec), (None, spec)]))
    assert [buffer is None for buffer in ours] == [buffer is None for buffer in theirs]
    for encoded in (ours, theirs):
        for decoder in (pipeline, oracle):
            decoded = list(await decoder.decode([(buffer, spec) for buffer in encoded]))
            for buffer, array in zip(encoded, decoded, strict=True):
                assert (array is None) == (buffer is None)
                if array is not None:
                    assert np.array_equal(array.as_numpy_array(), CHUNKS[chunk])


async def test_encode_and_decode_of_strings() -> None:
    pipeline, oracle = both([VLenUTF8Codec(), ZSTD])
    spec = spec_of("T", (3,))
    values = cpu.NDBuffer.from_numpy_array(
        np.array(["", "grün", "x" * 99], dtype=spec.dtype.to_native_dtype())
    )
    (ours,), (theirs,) = await asyncio.gather(
        pipeline.encode([(values, spec)]), oracle.encode([(values, spec)])
    )
    for encoded in (ours, theirs):
        (decoded,) = await pipeline.decode([(encoded, spec)])
        assert decoded.as_numpy_array().tolist() == ["", "grün", "x" * 99]


# --- reading and writing -------------------------------------------------------------------------------


async def test_read_says_of_every_chunk_whether_it_was_there() -> None:
    pipeline, _ = both([BYTES, CRC])
    store = MemoryStore()
    spec = spec_of("<i4", (2,))
    batch = [
        (StorePath(store, f"c/{at}"), spec, (slice(0, 2),), (slice(2 * at, 2 * at + 2),), True)
        for at in range(3)
    ]
    await pipeline.write(batch[1:2], cpu.NDBuffer.from_numpy_array(np.array([0, 0, 7, 8], "<i4")))
    out = cpu.NDBuffer.from_numpy_array(np.full(6, 9, "<i4"))
    statuses = await pipeline.read(batch, out)
    assert [result["status"] for result in statuses] == ["missing", "present", "missing"]
    assert out.as_numpy_array().tolist() == [0, 0, 7, 8, 0, 0]
    assert await pipeline.read([], out) == ()
    assert await pipeline.read(iter(batch[:1]), out) == ({"status": "missing"},)
    await pipeline.write([], out)


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no such key")
def test_missing_chunks_can_be_an_error(subject_pipeline: str) -> None:
    array = zarr.create_array(
        MemoryStore(), shape=(4,), chunks=(2,), dtype="i4", config={"read_missing_chunks": False}
    )
    array[:2] = 1
    assert np.array_equal(array[:2], [1, 1])
    with pytest.raises(Exception, match="c/1"):
        array[:]


def test_arrays_written_by_either_are_read_by_the_other(subject_pipeline: str) -> None:
    values = np.arange(96).reshape(8, 12)
    for writer, reader in ((subject_pipeline, "oracle"), ("oracle", subject_pipeline)):
        paths = {"oracle": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
        store = MemoryStore()
        with zarr.config.set({"codec_pipeline.path": paths.get(writer, writer)}):
            array = zarr.create_array(store, shape=(8, 12), shards=(4, 6), chunks=(2, 3), dtype="i4")
            array[...] = values
            array[3:5, 5:7] = -1
        with zarr.config.set({"codec_pipeline.path": paths.get(reader, reader)}):
            found = zarr.open_array(store, mode="r")[...]
        expected = values.copy()
        expected[3:5, 5:7] = -1
        assert np.array_equal(found, expected)
