"""Which codec gets which engine, decided by exact type."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr import codecs as zarr_codecs
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import numcodecs as wrappers
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.dtype import get_data_type_from_native_dtype
from zarr.storage import MemoryStore

import wazarr
from tests.pipelines import ZARR_VERSION
from wazarr.codecs import bind
from wazarr.errors import UnsupportedError

BYTES = zarr_codecs.BytesCodec()


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


def engines(codecs: list[Any], spec: ArraySpec) -> list[tuple[str, str]]:
    """Bind codecs and return the engine of each."""
    return list(bind(codecs, spec).engines)


# codecs after evolution, data type, name and engine of each
V3: dict[str, tuple[list[Any], str, list[str]]] = {
    "bytes": ([BYTES], "<f4", ["bytes native"]),
    "bytes, big": ([zarr_codecs.BytesCodec(endian="big")], "<f4", ["bytes native"]),
    "bytes, one byte": ([zarr_codecs.BytesCodec(endian=None)], "|i1", ["bytes native"]),
    "bytes, structured": ([BYTES], "<f4,<i2", ["bytes native"]),
    "transpose": (
        [zarr_codecs.TransposeCodec(order=(1, 0)), BYTES],
        "<f4",
        ["transpose native", "bytes native"],
    ),
    "zstd": ([BYTES, zarr_codecs.ZstdCodec()], "<f4", ["bytes native", "zstd native"]),
    "gzip": ([BYTES, zarr_codecs.GzipCodec()], "<f4", ["bytes native", "gzip native"]),
    "blosc": (
        [BYTES, zarr_codecs.BloscCodec(typesize=4, shuffle="shuffle")],
        "<f4",
        ["bytes native", "blosc native"],
    ),
    "crc32c": ([BYTES, zarr_codecs.Crc32cCodec()], "<f4", ["bytes native", "crc32c native"]),
    "vlen-utf8": ([zarr_codecs.VLenUTF8Codec()], "T", ["vlen-utf8 native"]),
    "sharding": (
        [zarr_codecs.ShardingCodec(chunk_shape=(2, 3), codecs=[BYTES, zarr_codecs.GzipCodec()])],
        "<f4",
        [
            "sharding_indexed native",
            "sharding_indexed/bytes native",
            "sharding_indexed/gzip native",
            "sharding_indexed/index/bytes native",
            "sharding_indexed/index/crc32c native",
        ],
    ),
    "shard that does not divide": (
        [zarr_codecs.ShardingCodec(chunk_shape=(3, 5))],
        "<f4",
        ["sharding_indexed python"],
    ),
    **{
        f"numcodecs.{name}": (
            [BYTES, getattr(wrappers, cls)(**options)],
            "<f4",
            ["bytes native", f"numcodecs.{name} {engine}"],
        )
        for name, cls, options, engine in (
            ("zlib", "Zlib", {"level": 1}, "native"),
            ("bz2", "BZ2", {"level": 1}, "native"),
            ("lz4", "LZ4", {}, "native"),
            ("lzma", "LZMA", {}, "native"),
            ("zstd", "Zstd", {}, "native"),
            ("gzip", "GZip", {}, "native"),
            ("blosc", "Blosc", {}, "native"),
            ("shuffle", "Shuffle", {"elementsize": 4}, "native"),
            ("crc32", "CRC32", {}, "native"),
            ("adler32", "Adler32", {}, "native"),
            ("fletcher32", "Fletcher32", {}, "native"),
            ("jenkins_lookup3", "JenkinsLookup3", {}, "native"),
        )
    },
    **{
        f"numcodecs.{name}": (
            [getattr(wrappers, cls)(**options), BYTES],
            dtype,
            [f"numcodecs.{name} native", "bytes native"],
        )
        for name, cls, options, dtype in (
            ("delta", "Delta", {"dtype": "<i4"}, "<i4"),
            (
                "fixedscaleoffset",
                "FixedScaleOffset",
                {"dtype": "<f4", "astype": "<i2", "scale": 10, "offset": 0},
                "<f4",
            ),
            ("quantize", "Quantize", {"digits": 2, "dtype": "<f4"}, "<f4"),
            ("bitround", "BitRound", {"keepbits": 3}, "<f4"),
            ("astype", "AsType", {"encode_dtype": "<f4", "decode_dtype": "<f8"}, "<f8"),
            ("packbits", "PackBits", {}, "|b1"),
        )
    },
}

if ZARR_VERSION >= (3, 4):
    scale_offset: Any = getattr(zarr_codecs, "ScaleOffset", None)
    cast_value: Any = getattr(zarr_codecs, "CastValue", None)
    V3["scale_offset"] = (
        [scale_offset(offset=1, scale=2), BYTES],
        "<f4",
        ["scale_offset native", "bytes native"],
    )
    V3["cast_value"] = (
        [cast_value(data_type="int16", rounding="nearest-even"), BYTES],
        "<f4",
        ["cast_value native", "bytes native"],
    )


@pytest.mark.parametrize("name", V3)
def test_version_3(name: str) -> None:
    codecs, dtype, expected = V3[name]
    assert [" ".join(pair) for pair in engines(codecs, spec_of(dtype))] == expected


def v2(*filters: Any, compressor: Any = None) -> list[Any]:
    """Return the one codec of a v2 array."""
    return [zarr_codecs._v2.V2Codec(filters=filters or None, compressor=compressor)]


V2: dict[str, tuple[list[Any], str, list[str]]] = {
    "nothing": (v2(), "<f4", ["bytes native"]),
    "blosc": (v2(compressor=numcodecs.Blosc()), "<f4", ["bytes native", "blosc native"]),
    "filters": (
        v2(numcodecs.Delta("<i4"), numcodecs.Shuffle(4), compressor=numcodecs.Zlib()),
        "<i4",
        ["bytes native", "delta native", "shuffle native", "zlib native"],
    ),
    "strings": (
        v2(numcodecs.VLenUTF8(), compressor=numcodecs.LZ4()),
        "T",
        ["vlen-utf8 native", "lz4 native"],
    ),
    "base64": (
        v2(numcodecs.Base64(), compressor=numcodecs.GZip()),
        "<f4",
        ["bytes native", "base64 python", "gzip native"],
    ),
}


@pytest.mark.parametrize("name", V2)
@pytest.mark.parametrize("order", ["C", "F"])
def test_version_2(name: str, order: str) -> None:
    codecs, dtype, expected = V2[name]
    assert [" ".join(pair) for pair in engines(codecs, spec_of(dtype, order=order))] == expected


class OwnZstd(zarr_codecs.ZstdCodec):
    """What a user registered in the place of zstd: marks what it wrote."""

    async def _encode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return chunk_bytes.__class__.from_bytes(b"own!" + chunk_bytes.to_bytes())

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        assert chunk_bytes.to_bytes().startswith(b"own!")
        return chunk_bytes.__class__.from_bytes(chunk_bytes.to_bytes()[4:])

    # zarr 3.4 asks for these where a class has them: zstd's own must not stand in for the two above.
    def _encode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return chunk_bytes.__class__.from_bytes(b"own!" + chunk_bytes.to_bytes())

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        assert chunk_bytes.to_bytes().startswith(b"own!")
        return chunk_bytes.__class__.from_bytes(chunk_bytes.to_bytes()[4:])


class OwnDelta(numcodecs.Delta):  # type: ignore[misc] # numcodecs is untyped
    """A subclass of numcodecs' own, under its id."""


def test_subclasses_are_not_native() -> None:
    assert engines([BYTES, OwnZstd()], spec_of())[1] == ("zstd", "python")
    assert engines(v2(OwnDelta("<i4")), spec_of("<i4"))[1] == ("delta", "python")
    wrapped = wrappers.Delta(dtype="<i4")
    object.__setattr__(wrapped, "_codec", OwnDelta("<i4"))
    assert engines([wrapped, BYTES], spec_of("<i4"))[0] == ("numcodecs.delta", "python")


@pytest.fixture
def own_zstd_in_use() -> Any:
    """Register a class in the place of zstd, as users do, and name it in the configuration."""
    from zarr import registry

    registry.register_codec("zstd", OwnZstd)
    name = f"{OwnZstd.__module__}.{OwnZstd.__qualname__}"
    with zarr.config.set({"codecs.zstd": name}):
        yield
    registry.get_codec_class("zstd", reload_config=True)


def test_a_class_that_the_user_registered_wins(subject_pipeline: str, own_zstd_in_use: None) -> None:
    store = MemoryStore()
    zstd: Any = {"name": "zstd", "configuration": {}}
    array = zarr.create_array(store, shape=(8,), chunks=(4,), dtype="i4", compressors=zstd)
    array[:] = np.arange(8)
    assert store._store_dict["c/1"].to_bytes().startswith(b"own!")
    wazarr.reset_counters()
    assert np.array_equal(zarr.open_array(store, mode="r")[:], np.arange(8))
    assert wazarr.counters()["codec_steps"] == {"native": 2, "wasm": 0, "python": 2}


def test_fallbacks_name_codec_and_class_once_each() -> None:
    bound = bind([BYTES, OwnZstd(), zarr_codecs.Crc32cCodec()], spec_of())
    assert bound.fallbacks == ("codec 'zstd' runs in Python: tests.test_codecs.OwnZstd has no native engine",)
    assert bound.chain.has_python
    assert bound.chain.len_bytes == 96


class Renamer(BytesBytesCodec):
    """A codec that cannot even say what it is called."""

    is_fixed_size = False

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        raise NotImplementedError


def test_codecs_without_a_name_go_by_their_class() -> None:
    assert engines([BYTES, Renamer()], spec_of())[1] == ("Renamer", "python")


def test_objects_from_a_python_codec_go_to_zarrs_own_pipeline_as_a_whole() -> None:
    class OwnVlen(zarr_codecs.VLenUTF8Codec):
        """A subclass of a serializer of objects."""

    with pytest.raises(UnsupportedError, match="Python objects"):
        bind([OwnVlen()], spec_of("T"))


@pytest.mark.parametrize(
    ("codecs", "dtype", "encoded_len"),
    [
        ([BYTES], "<f4", 96),
        ([BYTES, zarr_codecs.Crc32cCodec()], "<f4", 100),
        ([BYTES, zarr_codecs.ZstdCodec()], "<f4", None),
        ([zarr_codecs.VLenUTF8Codec()], "T", None),
    ],
)
def test_encoded_lengths_are_known_where_they_are_fixed(
    codecs: Any, dtype: str, encoded_len: int | None
) -> None:
    assert bind(codecs, spec_of(dtype)).chain.encoded_len == encoded_len
