"""Reads damaged chunks of one group of arrays, with little memory; prints what went otherwise than it should.

Usage: python -m tests.robustness.damage_victim GROUP ROUNDS SEED
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.codecs import numcodecs as wrapped
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import wazarr
from tests.robustness.damage import any_bytes, hostile, lying_elements, lying_indexes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALLOWANCE_BYTES = 96 << 20
"""How much more memory than before a damaged chunk may take: chunks have 32 KiB, variable-length data may
have 24 MiB, the rest is for allocators and caches."""

DATA_LIMIT_BYTES = 1 << 30

VALUES = (np.arange(8192, dtype="u4") * 2654435761 % 1000).astype("u4")


class Case:
    """An array of one chunk, the chunk's bytes, and how to store others in their place."""

    def __init__(self, name: str, codec: str, array: zarr.Array[Any], key: str) -> None:
        self.name = name
        self.codec = codec
        self.array = array
        self.key = key
        self.shard: dict[str, Any] | None = None
        self.elements: Callable[[bytes], bytes] | None = None

    @property
    def stored(self) -> bytes:
        return bytes(self._get())

    def _get(self) -> bytes:
        store = _innermost(self.array.store)
        if isinstance(store, LocalStore):
            return (store.root / self.key).read_bytes()
        found: bytes = store._store_dict[self.key].to_bytes()
        return found

    def put(self, encoded: bytes) -> None:
        store = _innermost(self.array.store)
        if isinstance(store, LocalStore):
            (store.root / self.key).write_bytes(encoded)
        else:
            store._store_dict[self.key] = zarr.core.buffer.cpu.Buffer.from_bytes(encoded)


def _innermost(store: Any) -> Any:
    return store._store if isinstance(store, WrapperStore) else store


def _array(store: Any, values: Any, **settings: Any) -> zarr.Array[Any]:
    shape = settings.pop("shape", values.shape)
    array = zarr.create_array(store, shape=shape, dtype=settings.pop("dtype", values.dtype), **settings)
    array[:] = values
    return array


_V3_COMPRESSORS: list[tuple[str, list[Any]]] = [
    ("zstd", [ZstdCodec(level=1)]),
    ("zstd", [ZstdCodec(level=1, checksum=True)]),
    ("gzip", [GzipCodec(level=1)]),
    ("gzip", [GzipCodec(level=5), Crc32cCodec()]),
    ("blosc", [BloscCodec(cname="lz4", shuffle="shuffle", typesize=4)]),
    ("blosc", [BloscCodec(cname="zstd", shuffle="bitshuffle", typesize=4)]),
    ("blosc", [BloscCodec(cname="blosclz", shuffle="noshuffle", typesize=4)]),
    ("blosc", [BloscCodec(cname="zlib", clevel=1, typesize=4)]),
    ("blosc", [BloscCodec(cname="lz4hc", clevel=1, typesize=4)]),
    ("crc32c", [Crc32cCodec()]),
    ("bytes", []),
    ("zlib", [wrapped.Zlib(level=1)]),
    ("bz2", [wrapped.BZ2(level=1)]),
    ("lzma", [wrapped.LZMA(preset=0)]),
    ("lz4", [wrapped.LZ4()]),
    ("zstd", [wrapped.Zstd(level=1)]),
    ("crc32", [wrapped.CRC32()]),
    ("adler32", [wrapped.Adler32()]),
    ("fletcher32", [wrapped.Fletcher32()]),
    ("jenkins", [wrapped.JenkinsLookup3()]),
    ("shuffle", [wrapped.Shuffle(elementsize=4), GzipCodec(level=1)]),
    ("lz4", [GzipCodec(level=1), wrapped.LZ4()]),
]

_V2_COMPRESSORS: list[tuple[str, Any]] = [
    ("zstd", numcodecs.Zstd(1)),
    ("gzip", numcodecs.GZip(1)),
    ("zlib", numcodecs.Zlib(1)),
    ("bz2", numcodecs.BZ2(1)),
    ("lzma", numcodecs.LZMA(preset=0)),
    ("lzma", numcodecs.LZMA(format=2, preset=0)),
    ("lz4", numcodecs.LZ4()),
    ("blosc", numcodecs.Blosc("lz4")),
    (
        "blosc",
        numcodecs.Blosc("snappy") if "snappy" in numcodecs.blosc.list_compressors() else numcodecs.Blosc(),
    ),
]

_V2_FILTERS: list[tuple[str, Any, str]] = [
    ("delta", numcodecs.Delta("<u4"), "<u4"),
    ("delta", numcodecs.Delta("<u4", astype="<u2"), "<u4"),
    ("fixedscaleoffset", numcodecs.FixedScaleOffset(10, 3, "<f8", "<i2"), "<f8"),
    ("quantize", numcodecs.Quantize(2, "<f8", "<f4"), "<f8"),
    ("astype", numcodecs.AsType("<f4", "<f8"), "<f8"),
    ("packbits", numcodecs.PackBits(), "|b1"),
    ("shuffle", numcodecs.Shuffle(4), "<u4"),
    ("crc32", numcodecs.CRC32(), "<u4"),
    ("adler32", numcodecs.Adler32(), "<u4"),
    ("fletcher32", numcodecs.Fletcher32(), "<u4"),
]


def _compressors_v3() -> Iterator[Case]:
    for number, (codec, chain) in enumerate(_V3_COMPRESSORS):
        array = _array(MemoryStore(), VALUES, chunks=VALUES.shape, filters=None, compressors=chain)
        yield Case(f"v3 {number} {codec}", codec, array, "c/0")


def _compressors_v2() -> Iterator[Case]:
    for number, (codec, compressor) in enumerate(_V2_COMPRESSORS):
        array = _array(
            MemoryStore(), VALUES, chunks=VALUES.shape, filters=None, compressors=compressor, zarr_format=2
        )
        yield Case(f"v2 {number} {codec}", codec, array, "0")


def _filters() -> Iterator[Case]:
    for number, (codec, filtering, dtype) in enumerate(_V2_FILTERS):
        for compressor in (None, numcodecs.Zlib(1)):
            array = _array(
                MemoryStore(),
                VALUES.astype(dtype),
                chunks=VALUES.shape,
                filters=[filtering],
                compressors=compressor,
                zarr_format=2,
            )
            yield Case(f"v2 filter {number} {codec} {compressor}", codec, array, "0")
    values = VALUES.reshape(64, 128)
    turned = [TransposeCodec(order=(1, 0)), wrapped.Delta(dtype="<u4"), TransposeCodec(order=(1, 0))]
    for filters in (turned, turned[:1], turned[1:2]):
        array = _array(
            MemoryStore(), values, chunks=values.shape, filters=filters, compressors=[ZstdCodec(level=1)]
        )
        yield Case(f"v3 {filters}", "zstd", array, "c/0/0")
    try:
        pcodec = wrapped.PCodec(level=1)
        array = _array(
            MemoryStore(), VALUES, chunks=VALUES.shape, filters=None, serializer=pcodec, compressors=None
        )
    except (ImportError, AttributeError, ValueError):
        return
    yield Case("pcodec", "pcodec", array, "c/0")


def _shards() -> Iterator[Case]:
    chains: list[list[Any]] = [[BytesCodec()], [BytesCodec(), ZstdCodec(level=1)]]
    for location in ("start", "end"):
        for has_checksum in (True, False):
            for store in (MemoryStore(), LocalStore(tempfile.mkdtemp()), WrapperStore(MemoryStore())):
                for inner in chains:
                    sharding = ShardingCodec(
                        chunk_shape=(1024,),
                        codecs=inner,
                        index_codecs=[BytesCodec(), Crc32cCodec()] if has_checksum else [BytesCodec()],
                        index_location=location,
                    )
                    path = f"{type(store).__name__}-{len(inner)}"
                    array = zarr.create_array(
                        store,
                        name=path,
                        shape=VALUES.shape,
                        chunks=VALUES.shape,
                        dtype=VALUES.dtype,
                        filters=None,
                        serializer=sharding,
                        compressors=None,
                    )
                    array[:] = VALUES
                    name = f"shard {location} {has_checksum} {path}"
                    case = Case(name, "zstd" if len(inner) > 1 else "bytes", array, f"{path}/c/0")
                    case.shard = {"inner_count": 8, "location": location, "has_checksum": has_checksum}
                    yield case


def _strings() -> Iterator[Case]:
    texts = np.array([f"grün {number}" * (number % 3) for number in range(1, 65)], dtype=object)
    for store in (MemoryStore(), WrapperStore(MemoryStore())):
        for compressor in (None, GzipCodec(level=1), ZstdCodec(level=1)):
            for dtype, values in (("string", texts), ("variable_length_bytes", _as_bytes(texts))):
                path = f"{dtype}-{type(compressor).__name__}"
                array = zarr.create_array(
                    store, name=path, shape=(64,), chunks=(64,), dtype=dtype, compressors=compressor
                )
                array[:] = values
                case = Case(f"v3 {path}", _codec_of(compressor), array, f"{path}/c/0")
                case.elements = _encoder_of(compressor)
                yield case
    array = zarr.create_array(
        MemoryStore(), shape=(64,), chunks=(64,), dtype="string", compressors=numcodecs.Zlib(1), zarr_format=2
    )
    array[:] = texts
    case = Case("v2 string", "zlib", array, "0")
    case.elements = lambda plain: bytes(numcodecs.Zlib(1).encode(plain))
    yield case
    array = zarr.create_array(
        MemoryStore(), shape=(64,), chunks=(16,), shards=(64,), dtype="string", compressors=GzipCodec(level=1)
    )
    array[:] = texts
    case = Case("shard of strings", "gzip", array, "c/0")
    case.shard = {"inner_count": 4, "location": "end", "has_checksum": True}
    yield case


def _as_bytes(texts: Any) -> Any:
    values = np.empty(len(texts), dtype=object)
    values[:] = [text.encode() for text in texts]
    return values


def _codec_of(compressor: Any) -> str:
    return {GzipCodec: "gzip", ZstdCodec: "zstd"}.get(type(compressor), "vlen")


def _encoder_of(compressor: Any) -> Callable[[bytes], bytes]:
    if compressor is None:
        return lambda plain: plain
    codec = numcodecs.GZip(1) if isinstance(compressor, GzipCodec) else numcodecs.Zstd(1)
    return lambda plain: bytes(codec.encode(plain))


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "compressors-v3": _compressors_v3,
    "compressors-v2": _compressors_v2,
    "filters": _filters,
    "shards": _shards,
    "strings": _strings,
}


def _damages(case: Case, sound: bytes, rng: np.random.Generator, rounds: int) -> Iterator[tuple[str, bytes]]:
    yield from any_bytes(sound, rng, rounds)
    if case.shard is not None:
        yield from lying_indexes(sound, **case.shard)
        return
    yield from hostile(case.codec)
    if case.elements is not None:
        for kind, encoded in lying_elements(_plain_elements(case.array)):
            yield kind, case.elements(encoded)
        for kind, encoded in any_bytes(_plain_elements(case.array), rng, rounds):
            yield f"inside: {kind}", case.elements(encoded)


def _plain_elements(array: zarr.Array[Any]) -> bytes:
    values = np.empty(64, dtype=object)
    values[:] = [f"grün {number}" * (number % 3) for number in range(1, 65)]
    if "bytes" in str(array.metadata.to_dict()["data_type" if array.metadata.zarr_format == 3 else "dtype"]):
        return bytes(numcodecs.VLenBytes().encode(_as_bytes(values)))
    return bytes(numcodecs.VLenUTF8().encode(values))


def _try(case: Case, what: str, run: Callable[[], object], outcomes: Counter[str]) -> str | None:
    """Run and answer what is wrong with the outcome, if anything."""
    try:
        run()
    except wazarr.errors.CodecError as error:
        outcomes["refused"] += 1
        text = str(error)
        if isinstance(error, MemoryError):
            return f"no memory: {text}"
        if error.chunk_key != case.key or repr(case.key)[1:-1] not in text:
            return f"no chunk key: {error.chunk_key} {text}"
        if not error.codec or error.codec not in text:
            return f"no codec: {text}"
        if error.direction not in ("decode", "encode") or error.direction not in text:
            return f"no direction: {text}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what this looks for
        return f"{type(error).__mro__}: {error}"
    else:
        outcomes["taken"] += 1
    return None


def _assign(case: Case) -> Callable[[], object]:
    value: Any = {"u": 7, "f": 7, "b": True}.get(np.dtype(case.array.dtype).kind, "x")
    if "variable_length_bytes" in case.name:
        value = b"x"

    def assign() -> None:
        case.array[1:3] = value

    return assign


def main() -> None:
    """Try everything on one group."""
    group, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    wazarr.enable()
    zarr.config.set({"threading.max_workers": 2, "wazarr.variable_length_limit": 24 << 20})
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    failures = 0
    cases = [(case, case.stored) for case in GROUPS[group]()]
    damages = [(case, sound, list(_damages(case, sound, rng, rounds))) for case, sound in cases]
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT_BYTES, DATA_LIMIT_BYTES))
    for case, sound, forms in damages:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        for kind, encoded in forms:
            print("...", case.name, kind, flush=True)
            for what, run in (
                ("whole read", lambda case=case: case.array[:]),
                ("partial read", lambda case=case: case.array[3:9]),
                ("partial write", _assign(case)),
            ):
                case.put(encoded)
                wrong = _try(case, what, run, outcomes)
                if wrong is not None:
                    failures += 1
                    print(f"WRONG {case.name}: {what} of a chunk with {kind}: {wrong}", flush=True)
                if what == "partial write" and outcomes["refused"] and case.stored != encoded:
                    outcomes["rewritten"] += 1
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
        if more > ALLOWANCE_BYTES:
            failures += 1
            print(f"WRONG {case.name}: {more >> 20} MiB more memory", flush=True)
        case.put(sound)
        case.array[:]
    fallbacks = wazarr.counters()["fallbacks"]
    print("outcomes", dict(outcomes), "fallbacks", fallbacks)
    assert outcomes["refused"] > 100
    assert not [reason for reason in fallbacks if "codec" in reason], fallbacks
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
