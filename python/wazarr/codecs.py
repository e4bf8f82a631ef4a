"""From zarr's codec objects to a bound native chain.

A pipeline receives codec *instances*. One is native only if its type is exactly one that we know (for
numcodecs' codecs the wrapped instance as well): a class that the user registered in its place, or a
subclass, runs as the user wrote it (`wazarr.python_codecs`). Which codec runs where is decided here, once
for each distinct chunk spec.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Final

import numcodecs
import numcodecs.registry
import numpy as np
import zarr.codecs
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec
from zarr.codecs import sharding as zarr_sharding
from zarr.codecs._v2 import V2Codec
from zarr.core.array_spec import ArraySpec
from zarr.core.dtype import UInt64

from wazarr import python_codecs
from wazarr.chains import BoundChain, Build, dtype_str, is_variable_length, words_of
from wazarr.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wazarr.wasm.steps import Steps

__all__ = ["bind", "following_spec", "is_shard_lookup_replaced", "label_of"]

_MISSING_INDEX: Final = 2**64 - 1

_NUMCODECS_NAMES: Final = (
    "AsType", "Adler32", "BZ2", "BitRound", "Blosc", "CRC32", "CRC32C", "Delta", "FixedScaleOffset",
    "Fletcher32", "GZip", "JenkinsLookup3", "LZ4", "LZMA", "PackBits", "PCodec", "Quantize",
    "Shuffle", "VLenBytes", "VLenUTF8", "Zlib", "Zstd",
)  # fmt: skip

_NUMCODECS: Final[dict[type, str]] = {
    cls: cls.codec_id for name in _NUMCODECS_NAMES if (cls := getattr(numcodecs, name, None)) is not None
}
"""numcodecs classes with a native engine, by exact type (some come with optional dependencies)."""

for _module, _name in (("checksum32", "CRC32C"), ("pcodec", "PCodec"), ("bitround", "BitRound")):
    try:
        _cls = getattr(__import__(f"numcodecs.{_module}", fromlist=[_name]), _name)
    except (ImportError, AttributeError):
        continue
    _NUMCODECS[_cls] = _cls.codec_id

for _id, _entry in numcodecs.registry.entries.items():
    if str(_entry.value).startswith("numcodecs_wasm_"):
        # The class of an installed numcodecs-wasm package compiles for seconds when it is loaded, which
        # numcodecs does where metadata name the codec: ours reads and writes the same, and loads nothing.
        _value = f"wazarr.wasm.numcodecs:{_id.replace('-', '_').replace('.', '_')}"
        numcodecs.registry.entries[_id] = EntryPoint(_id, _value, "numcodecs.codecs")

_DTYPE_KEYS: Final = ("dtype", "astype", "encode_dtype", "decode_dtype")

_VLEN_TYPES: Final[dict[type, str]] = {
    zarr.codecs.VLenUTF8Codec: "vlen-utf8",
    zarr.codecs.VLenBytesCodec: "vlen-bytes",
}


def _is_wrapper(cls: type) -> bool:
    """Return whether a class is zarr's own wrapper of a numcodecs codec (`numcodecs.*` in metadata).

    They are in zarr since 3.1.3, before that in numcodecs.
    """
    return any(
        getattr(sys.modules.get(module), cls.__name__, None) is cls
        for module in ("zarr.codecs.numcodecs", "numcodecs.zarr3")
    )


_SCALE_OFFSET: Final[type | None] = getattr(zarr.codecs, "ScaleOffset", None)
_CAST_VALUE: Final[type | None] = getattr(zarr.codecs, "CastValue", None)


def bind(codecs: Sequence[Any], spec: ArraySpec, wasm: Steps | None = None) -> BoundChain:
    """Bind codecs to a chunk spec.

    Parameters
    ----------
    codecs : sequence of zarr.abc.codec.Codec
        In the order of encoding: array→array, one array→bytes, bytes→bytes.
    spec : ArraySpec
        The decoded chunk.
    wasm : Steps, optional
        The pipeline's modules, if there are any among the codecs.

    Returns
    -------
    BoundChain

    Raises
    ------
    UnsupportedError
        The chain as a whole cannot run here: it decodes to Python objects in a Python codec.
    InvalidInputError
        A codec's configuration makes no sense for the chunk.
    """
    dtype = spec.dtype.to_native_dtype()
    build = Build(shape=tuple(spec.shape), dtype=dtype_str(dtype), wasm=wasm)
    if len(codecs) == 1 and type(codecs[0]) is V2Codec:
        _add_v2(build, codecs[0], spec, dtype)
    else:
        _add_v3(build, codecs, spec)
    chain = build.chain(spec, dtype)
    is_variable = build.vlen is not None or (build.shard is not None and is_variable_length(dtype))
    if is_variable_length(dtype) and not is_variable:
        raise UnsupportedError("a codec that decodes to Python objects runs in Python")
    return BoundChain(
        chain,
        dtype,
        tuple(build.engines),
        tuple(build.reasons),
        tuple(build.fallbacks),
        build.lacks_module,
        is_variable,
        dtype.kind == "T" and chain.is_text,
    )


# --- Zarr v3 -------------------------------------------------------------------------------------------


def _add_v3(build: Build, codecs: Iterable[Any], spec: ArraySpec) -> None:
    if build.wasm is not None and build.dtype != "|O":
        build.len_bytes = math.prod(build.shape) * np.dtype(build.dtype).itemsize
    for codec in codecs:
        following = following_spec(build.wasm, codec, spec)
        try:
            _add_native_v3(build, codec, spec)
        except UnsupportedError as unsupported:
            _add_python_v3(build, codec, spec, following, unsupported.reason)
        if build.len_bytes is not None:
            build.len_bytes = _encoded_len(codec, build.len_bytes, spec)
        spec = following
        if isinstance(codec, ArrayArrayCodec):
            build.shape = tuple(spec.shape)
            build.dtype = dtype_str(spec.dtype.to_native_dtype())
        else:
            # From here on there are only bytes.
            build.shape, build.dtype = (0,), "|u1"


def following_spec(steps: Steps | None, codec: Any, spec: ArraySpec) -> ArraySpec:
    """Return the spec of what a codec makes of a chunk."""
    if steps is not None:
        ours = steps.own(codec)
        # What only the module knows it is asked for, also where a store had to tell which module.
        if hasattr(ours, "wasm_resolve") and (description := steps.at_hand(ours)) is not None:
            following: ArraySpec = ours.wasm_resolve(description, spec)
            return following
    return codec.resolve_metadata(spec)  # type: ignore[no-any-return]


def _encoded_len(codec: Any, decoded_len: int, spec: ArraySpec) -> int | None:
    """Return the length in bytes of what a codec gives, where it is fixed."""
    try:
        return int(codec.compute_encoded_size(decoded_len, spec))
    except Exception:  # noqa: BLE001 - most codecs refuse; a user's may do so in any way
        return None


def label_of(codec: Any) -> str:
    """Return a codec's name for messages."""
    try:
        return str(codec.to_dict()["name"])
    except Exception:  # noqa: BLE001 - a user's class; the label is only for messages
        return type(codec).__name__


def _add_python_v3(build: Build, codec: Any, spec: ArraySpec, following: ArraySpec, reason: str) -> None:
    if is_variable_length(spec.dtype.to_native_dtype()) and isinstance(
        codec, ArrayArrayCodec | ArrayBytesCodec
    ):
        raise UnsupportedError(f"codec {label_of(codec)!r} decodes to Python objects in Python: {reason}")
    label = label_of(codec)
    build.python(label, python_codecs.adapt_v3(codec, label, spec, following), reason)


def _add_native_v3(build: Build, codec: Any, spec: ArraySpec) -> None:
    cls = type(codec)
    if cls is zarr.codecs.BytesCodec:
        _add_bytes(build, codec, spec)
    elif cls is zarr.codecs.TransposeCodec:
        _add_transpose(build, codec)
    elif cls in _VLEN_TYPES:
        _add_vlen(build, _VLEN_TYPES[cls], spec)
    elif cls is zarr.codecs.ShardingCodec:
        _add_shard(build, codec, spec)
    elif cls is zarr.codecs.ZstdCodec:
        build.native("zstd", {"level": codec.level, "checksum": codec.checksum})
    elif cls is zarr.codecs.GzipCodec:
        build.native("gzip", {"level": codec.level})
    elif cls is zarr.codecs.BloscCodec:
        build.native("blosc", dict(codec.to_dict()["configuration"]))
    elif cls is zarr.codecs.Crc32cCodec:
        build.native("crc32c", {"location": "end"})
    elif _is_wrapper(cls):
        _add_numcodecs(build, codec._codec, label=codec.codec_name)
    elif build.wasm is not None and (module := build.wasm.own(codec)) is not None:
        from wazarr.wasm import binding

        binding.add_v3(build, build.wasm, module, spec)
    elif _SCALE_OFFSET is not None and cls is _SCALE_OFFSET:
        build.native("scale_offset", _scale_offset_configuration(codec, spec))
    elif _CAST_VALUE is not None and cls is _CAST_VALUE:
        build.native("cast_value", _cast_value_configuration(codec, spec))
    else:
        raise UnsupportedError(f"{cls.__module__}.{cls.__qualname__} has no native engine")


def _add_transpose(build: Build, codec: Any) -> None:
    order = [int(axis) for axis in codec.order]
    if build.codecs:
        build.native("transpose", {"order": order})
        return
    # Nothing moved the elements yet: only the strides of gather and scatter change.
    axes = build.stored_axes or list(range(len(order)))
    build.stored_axes = [axes[axis] for axis in order]
    build.done("transpose")


def _add_bytes(build: Build, codec: Any, spec: ArraySpec) -> None:
    dtype = spec.dtype.to_native_dtype()
    if is_variable_length(dtype):
        raise UnsupportedError("the bytes codec cannot hold objects")
    endian = codec.endian
    stored = dtype
    if endian is not None:
        stored = _in_byte_order(dtype, str(getattr(endian, "value", endian)))
    if stored != dtype:
        build.native("byteswap", {"words": words_of(dtype), "item_size": dtype.itemsize}, label="bytes")
    else:
        build.done("bytes")


def _in_byte_order(dtype: np.dtype[Any], endian: str) -> np.dtype[Any]:
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _add_vlen(build: Build, name: str, spec: ArraySpec) -> None:
    if build.codecs or not is_variable_length(spec.dtype.to_native_dtype()):
        raise UnsupportedError(f"{name} of {spec.dtype}")
    build.vlen = name
    build.done(name)


_GET_CHUNK_SLICE: Final = zarr_sharding._ShardIndex.get_chunk_slice


def is_shard_lookup_replaced() -> bool:
    """Return whether somebody replaced how zarr's own codec looks up inner chunks: then theirs has to run."""
    return zarr_sharding._ShardIndex.get_chunk_slice is not _GET_CHUNK_SLICE


def _add_shard(build: Build, codec: Any, spec: ArraySpec) -> None:
    if is_shard_lookup_replaced():
        raise UnsupportedError("the index lookup of zarr's sharding codec was replaced")
    inner_spec = ArraySpec(
        shape=tuple(codec.chunk_shape),
        dtype=spec.dtype,
        fill_value=spec.fill_value,
        config=spec.config,
        prototype=spec.prototype,
    )
    if len(inner_spec.shape) != len(spec.shape) or any(
        inner == 0 or outer % inner for outer, inner in zip(spec.shape, inner_spec.shape, strict=True)
    ):
        raise UnsupportedError(f"inner chunks {inner_spec.shape} do not divide {spec.shape}")
    grid = tuple(outer // inner for outer, inner in zip(spec.shape, inner_spec.shape, strict=True))
    inner = bind(codec.codecs, inner_spec, build.wasm)
    if build.codecs and inner.is_variable:
        raise UnsupportedError("a filter before a shard of variable-length elements")
    index_spec = ArraySpec(
        shape=(*grid, 2),
        dtype=UInt64(endianness="little"),
        fill_value=_MISSING_INDEX,
        config=replace(spec.config, order="C"),
        prototype=spec.prototype,
    )
    index = bind(codec.index_codecs, index_spec, build.wasm)
    location = str(getattr(codec.index_location, "value", codec.index_location))
    order = str(getattr(codec, "subchunk_write_order", "morton"))
    build.shard = (inner.chain, index.chain, location, order)
    build.done("sharding_indexed")
    build.engines += [(f"sharding_indexed/{name}", engine) for name, engine in inner.engines]
    build.engines += [(f"sharding_indexed/index/{name}", engine) for name, engine in index.engines]
    build.reasons += inner.reasons + index.reasons
    build.fallbacks += inner.fallbacks + index.fallbacks
    build.lacks_module |= inner.lacks_module or index.lacks_module


def _add_numcodecs(build: Build, codec: Any, *, label: str) -> None:
    name = _NUMCODECS.get(type(codec))
    if name is None:
        raise UnsupportedError(f"{type(codec).__module__}.{type(codec).__qualname__} has no native engine")
    configuration = {key: _plain(key, value) for key, value in codec.get_config().items() if key != "id"}
    build.native(name, configuration, label=label)


def _plain(key: str, value: Any) -> Any:
    """Return a value of a codec's configuration as JSON has it, data types spelt out."""
    if key in _DTYPE_KEYS and value is not None:
        return np.dtype(value).str
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def _scalar(value: Any, dtype: np.dtype[Any]) -> int | dict[str, str]:
    """Return a number exactly, as the native codecs read it: integers as such, floats by their bits."""
    if dtype.kind in "iu":
        return int(value)
    return {"bits": np.asarray(value, dtype.newbyteorder("<")).tobytes().hex()}


def _scale_offset_configuration(codec: Any, spec: ArraySpec) -> dict[str, Any]:
    dtype = spec.dtype.to_native_dtype()
    offset = spec.dtype.from_json_scalar(codec.offset, zarr_format=3)
    scale = spec.dtype.from_json_scalar(codec.scale, zarr_format=3)
    return {"offset": _scalar(offset, dtype), "scale": _scalar(scale, dtype)}


def _cast_value_configuration(codec: Any, spec: ArraySpec) -> dict[str, Any]:
    source = spec.dtype.to_native_dtype()
    target = codec.dtype.to_native_dtype()
    scalar_map = {}
    for direction, keys, values in (("encode", source, target), ("decode", target, source)):
        entries = (codec.scalar_map or {}).get(direction)
        if entries:
            as_key = int if keys.kind in "iu" else float
            as_value = int if values.kind in "iu" else float
            scalar_map[direction] = [
                [_scalar(as_key(key), keys), _scalar(as_value(value), values)]
                for key, value in entries.items()
            ]
    return {
        "target_dtype": target.str,
        "rounding": codec.rounding,
        "out_of_range": codec.out_of_range,
        "scalar_map": scalar_map,
    }


# --- Zarr v2 -------------------------------------------------------------------------------------------


def _add_v2(build: Build, codec: V2Codec, spec: ArraySpec, dtype: np.dtype[Any]) -> None:
    """Add filters and compressor of Zarr v2, which see the elements in the order in which they are stored."""
    ndim = len(spec.shape)
    if spec.order == "F" and ndim > 1:
        build.stored_axes = list(range(ndim))[::-1]
        build.shape = build.shape[::-1]
    steps = [*(codec.filters or ()), *((codec.compressor,) if codec.compressor is not None else ())]
    if is_variable_length(dtype):
        first = steps.pop(0) if steps else None
        name = {"vlen-utf8": "vlen-utf8", "vlen-bytes": "vlen-bytes"}.get(_NUMCODECS.get(type(first), ""))
        if name is None:
            raise UnsupportedError(f"objects in Zarr v2 through {type(first).__name__} run in Python")
        build.vlen = name
        build.done(name)
        build.shape, build.dtype = (0,), "|u1"
    else:
        build.done("bytes")
    for step in steps:
        if build.wasm is not None and (module := build.wasm.own(step)) is not None:
            from wazarr.wasm import binding

            binding.add_v2(build, build.wasm, module, spec)
            continue
        label = str(getattr(step, "codec_id", type(step).__name__))
        try:
            _add_numcodecs(build, step, label=label)
        except UnsupportedError as unsupported:
            build.python(
                label, python_codecs.adapt_v2(step, label, build.shape, build.dtype), unsupported.reason
            )
        build.shape, build.dtype = _after_v2(step, build.shape, build.dtype)


def _after_v2(step: Any, shape: tuple[int, ...], dtype: str) -> tuple[tuple[int, ...], str]:
    """Shape and data type of what a numcodecs codec gives."""
    match _NUMCODECS.get(type(step)):
        case "delta" | "fixedscaleoffset" | "quantize":
            return shape, step.astype.str
        case "astype":
            return shape, step.encode_dtype.str
        case "bitround":
            return shape, dtype
        case "packbits":
            return (1 + -(-int(np.prod(shape)) // 8),), "|u1"
        case _:
            return (0,), "|u1"
