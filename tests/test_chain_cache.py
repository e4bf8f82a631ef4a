"""Bound chains are shared by arrays that are alike, and only by those."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    VLenBytesCodec,
    VLenUTF8Codec,
    ZstdCodec,
)
from zarr.codecs import sharding as zarr_sharding
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.dtype import VariableLengthBytes, get_data_type_from_native_dtype

import wazarr
from wazarr import chain_cache

if TYPE_CHECKING:
    from wazarr.chains import BoundChain


class Own(ZstdCodec):
    """Somebody's own class."""


def shard(**settings: Any) -> ShardingCodec:
    return ShardingCodec(**{"chunk_shape": (2, 3), "codecs": [BytesCodec(), ZstdCodec(level=1)]} | settings)


def blosc(**settings: Any) -> list[Any]:
    options: dict[str, Any] = {
        "typesize": 4,
        "cname": "lz4",
        "clevel": 5,
        "shuffle": "shuffle",
        "blocksize": 0,
    }
    return [BytesCodec(), BloscCodec(**options | settings)]


def spec_of(dtype: Any = "<f4", fill: Any = None, **changes: Any) -> ArraySpec:
    data_type = VariableLengthBytes() if dtype is bytes else get_data_type_from_native_dtype(np.dtype(dtype))
    spec = ArraySpec(
        shape=(4, 6),
        dtype=data_type,
        fill_value=data_type.default_scalar() if fill is None else data_type.cast_scalar(fill),
        config=ArrayConfig(order="C", write_empty_chunks=False),
        prototype=default_buffer_prototype(),
    )
    return replace(spec, **changes)


def bound(codecs: list[Any], dtype: Any = "<f4", fill: Any = None, **changes: Any) -> BoundChain:
    """Bind codecs in a pipeline of their own."""
    pipeline: Any = wazarr.CodecPipeline.from_codecs(codecs)
    chain: BoundChain = pipeline.bound(spec_of(dtype, fill, **changes))
    return chain


@pytest.fixture(autouse=True)
def _no_chains() -> None:
    chain_cache._CHAINS.clear()


DIFFERENT: dict[str, Any] = {
    "plain": lambda: bound([BytesCodec()]),
    "big": lambda: bound([BytesCodec(endian="big")]),
    "no byte order": lambda: bound([BytesCodec(endian=None)], "|u1"),
    "transposed": lambda: bound([TransposeCodec(order=(1, 0)), BytesCodec()]),
    "not transposed": lambda: bound([TransposeCodec(order=(0, 1)), BytesCodec()]),
    "text": lambda: bound([VLenUTF8Codec()], np.dtypes.StringDType()),
    "bytes": lambda: bound([VLenBytesCodec()], bytes),
    "zstd 1": lambda: bound([BytesCodec(), ZstdCodec(level=1)]),
    "zstd 2": lambda: bound([BytesCodec(), ZstdCodec(level=2)]),
    "zstd, checksum": lambda: bound([BytesCodec(), ZstdCodec(level=1, checksum=True)]),
    "zstd, then a checksum": lambda: bound([BytesCodec(), ZstdCodec(level=1), Crc32cCodec()]),
    "gzip 1": lambda: bound([BytesCodec(), GzipCodec(level=1)]),
    "gzip 2": lambda: bound([BytesCodec(), GzipCodec(level=2)]),
    "blosc": lambda: bound(blosc()),
    "blosc zstd": lambda: bound(blosc(cname="zstd")),
    "blosc 6": lambda: bound(blosc(clevel=6)),
    "blosc bits": lambda: bound(blosc(shuffle="bitshuffle")),
    "blosc 2 bytes": lambda: bound(blosc(typesize=2)),
    "blosc blocks": lambda: bound(blosc(blocksize=64)),
    "shard": lambda: bound([shard()]),
    "shard, index first": lambda: bound([shard(index_location="start")]),
    "shard, smaller": lambda: bound([shard(chunk_shape=(2, 2))]),
    "shard, plain": lambda: bound([shard(codecs=[BytesCodec()])]),
    "shard, bare index": lambda: bound([shard(index_codecs=[BytesCodec()])]),
    "shape": lambda: bound([BytesCodec()], shape=(6, 4)),
    "data type": lambda: bound([BytesCodec()], "<i4"),
    "time": lambda: bound([BytesCodec()], "<M8[s]"),
    "other time": lambda: bound([BytesCodec()], "<M8[ms]"),
    "fill value": lambda: bound([BytesCodec()], fill=1.5),
    "negative zero": lambda: bound([BytesCodec()], fill=-0.0),
    "order": lambda: bound([BytesCodec()], config=ArrayConfig(order="F", write_empty_chunks=False)),
    "empty chunks": lambda: bound([BytesCodec()], config=ArrayConfig(order="C", write_empty_chunks=True)),
}


@pytest.mark.filterwarnings("ignore")
def test_arrays_that_are_alike_share_a_chain_and_others_do_not() -> None:
    first = {name: make() for name, make in DIFFERENT.items()}
    assert len({id(chain) for chain in first.values()}) == len(DIFFERENT)
    for name, make in DIFFERENT.items():
        assert make() is first[name], name


@pytest.mark.parametrize(
    ("key", "value"),
    [("codec_pipeline.validate_checksums", False), ("wazarr.variable_length_limit", 1 << 20)],
)
def test_settings_tell_chains_apart(key: str, value: Any) -> None:
    make = DIFFERENT["zstd, then a checksum"]
    usual = make()
    with zarr.config.set({key: value}):
        assert make() is not usual
    assert make() is usual


def test_somebodys_own_class_shares_nothing() -> None:
    codecs = [BytesCodec(), Own(level=1)]
    assert bound(codecs) is not bound(codecs)
    assert bound(codecs).engines[1][1] == "python"
    inner = [shard(codecs=codecs)]
    assert bound(inner) is not bound(inner)


def test_a_replaced_lookup_of_inner_chunks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(DIFFERENT["shard"]().engines)["sharding_indexed"] == "native"
    replaced = zarr_sharding._ShardIndex.get_chunk_slice
    monkeypatch.setattr(zarr_sharding._ShardIndex, "get_chunk_slice", lambda *args: replaced(*args))
    assert dict(DIFFERENT["shard"]().engines)["sharding_indexed"] == "python"


def test_zero_is_not_false() -> None:
    """Only `False` turns checksums off."""
    make = DIFFERENT["zstd, then a checksum"]
    usual = make()
    with zarr.config.set({"codec_pipeline.validate_checksums": 0}):
        assert make() is usual


def test_chains_with_codecs_in_python_are_not_shared() -> None:
    codecs = [shard(chunk_shape=(3, 4))]  # does not divide
    assert bound(codecs).fallbacks
    assert bound(codecs) is not bound(codecs)


def test_many_layouts_do_not_pile_up() -> None:
    make = DIFFERENT["gzip 1"]
    make()
    pipeline: Any = wazarr.CodecPipeline.from_codecs([BytesCodec()])
    for length in range(1, 300):
        pipeline.bound(spec_of("<f4", shape=(length, 1)))
    assert 0 < len(chain_cache._CHAINS) <= chain_cache._KEPT
    assert 0 < len(pipeline._chains._chains) <= chain_cache._KEPT
    assert make().chain.len_bytes == 96
