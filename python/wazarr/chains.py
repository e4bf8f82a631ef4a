"""A native chain: under construction, codec by codec (`wazarr.codecs`), and bound."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wazarr import _native, config
from wazarr.errors import UnsupportedError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec

    from wazarr.wasm.steps import Steps

__all__ = [
    "BoundChain",
    "Build",
    "dtype_str",
    "fill_bytes",
    "fill_value_of",
    "is_variable_length",
    "words_of",
]


@dataclass(frozen=True)
class BoundChain:
    """A native chain with what Python needs to know of it.

    Attributes
    ----------
    chain : _native.Chain
        Runs.
    dtype : numpy.dtype
        Data type of the decoded chunk in memory.
    engines : tuple of (str, str)
        Name and engine of every codec, in the order of encoding; inner codecs of a shard follow it.
    reasons : tuple of (str or None)
        Why that engine, in the same order; None where nothing else was in question.
    fallbacks : tuple of str
        Reasons why some codec runs in Python.
    lacks_module : bool
        Whether the module of some codec is nowhere: then chunks that are stored cannot be read.
    is_variable : bool
        Whether the elements have variable length.
    is_text : bool
        Whether they are text in numpy's `StringDType`, which the engine fills and reads itself.
    """

    chain: _native.Chain
    dtype: np.dtype[Any]
    engines: tuple[tuple[str, str], ...]
    reasons: tuple[str | None, ...]
    fallbacks: tuple[str, ...]
    lacks_module: bool
    is_variable: bool
    is_text: bool


@dataclass
class Build:
    """A chain under construction: what the next codec sees, and what there is so far."""

    shape: tuple[int, ...]
    dtype: str
    codecs: list[_native.Codec] = field(default_factory=list)
    stored_axes: list[int] = field(default_factory=list)
    vlen: str | None = None
    shard: tuple[_native.Chain, _native.Chain, str, str] | None = None
    native_codecs: int = 0
    engines: list[tuple[str, str]] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)
    fallbacks: list[str] = field(default_factory=list)
    wasm: Steps | None = None
    lacks_module: bool = False
    len_bytes: int | None = None
    """Length of what the next codec sees, where it is fixed; kept only where `wasm` is there."""

    def native(
        self, name: str, configuration: dict[str, Any], *, label: str | None = None, reason: str | None = None
    ) -> None:
        """Append a native codec, or raise `UnsupportedError`."""
        codec = _native.bind_codec(
            name,
            json.dumps(configuration),
            self.shape,
            self.dtype,
            validate_checksums=config.get("codec_pipeline.validate_checksums") is not False,
        )
        self.codecs.append(codec)
        self.done(label or name, reason)

    def done(self, label: str, reason: str | None = None) -> None:
        """Count a codec that runs natively."""
        self.native_codecs += 1
        self.engines.append((label, "native"))
        self.reasons.append(reason)

    def python(self, label: str, codec: _native.Codec, reason: str) -> None:
        """Append a codec that runs in Python."""
        self.codecs.append(codec)
        self.engines.append((label, "python"))
        self.fallbacks.append(f"codec {label!r} runs in Python: {reason}")
        self.reasons.append(self.fallbacks[-1])

    def module(self, label: str, codec: _native.Codec, reason: str) -> None:
        """Append a codec that is a WebAssembly module."""
        self.codecs.append(codec)
        self.engines.append((label, "wasm"))
        self.reasons.append(reason)

    def swap(self, dtype: np.dtype[Any]) -> None:
        """Append a change of byte order that is part of another codec."""
        configuration = json.dumps({"words": words_of(dtype), "item_size": dtype.itemsize})
        self.codecs.append(
            _native.bind_codec("byteswap", configuration, self.shape, self.dtype, validate_checksums=True)
        )
        self.dtype = dtype.newbyteorder("S").str

    def chain(self, spec: ArraySpec, dtype: np.dtype[Any]) -> _native.Chain:
        """Bind what was collected."""
        is_variable = self.vlen is not None or is_variable_length(dtype)
        return _native.Chain(
            tuple(spec.shape),
            "|O" if is_variable else dtype.str,
            fill_bytes(spec, dtype),
            self.codecs,
            stored_axes=self.stored_axes or list(range(len(spec.shape))),
            vlen=self.vlen,
            shard=self.shard,
            writes_empty_chunks=bool(spec.config.write_empty_chunks),
            native_codecs=self.native_codecs,
            variable_limit_bytes=int(config.get("wazarr.variable_length_limit")),
        )


def is_variable_length(dtype: np.dtype[Any]) -> bool:
    """Return whether elements of a data type have variable length."""
    return dtype.kind in "OT"


def fill_value_of(spec: ArraySpec) -> Any:
    """Return the fill value; Zarr v2's `null` means the data type's default."""
    return spec.dtype.default_scalar() if spec.fill_value is None else spec.fill_value


def fill_bytes(spec: ArraySpec, dtype: np.dtype[Any]) -> bytes:
    """Return the bytes of one element that holds the fill value, as it lies in memory."""
    fill = fill_value_of(spec)
    if is_variable_length(dtype):
        if isinstance(fill, bytes):
            return fill
        return str(fill).encode() if isinstance(fill, str) else b""
    if isinstance(fill, np.generic) and fill.dtype == dtype:
        return fill.tobytes()
    # The view restores what numpy's allocation drops of time types without a unit: their byte order.
    element = np.empty(1, dtype=dtype).view(dtype)
    element[0] = fill
    return element.tobytes()


def dtype_str(dtype: np.dtype[Any]) -> str:
    """Return a data type as chains are told of it."""
    return "|O" if is_variable_length(dtype) else dtype.str


def words_of(dtype: np.dtype[Any], offset: int = 0) -> list[tuple[int, int]]:
    """Offset and size in bytes of every word of an element that a change of byte order reverses."""
    if dtype.names is not None:
        words = []
        for name in dtype.names:
            inner, inner_offset = dtype.fields[name][:2]  # type: ignore[index]
            words += words_of(inner, offset + inner_offset)
        return words
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        count = int(np.prod(shape))
        return [word for at in range(count) for word in words_of(base, offset + at * base.itemsize)]
    match dtype.kind:
        case "c":
            half = dtype.itemsize // 2
            return [(offset, half), (offset + half, half)]
        case "U":
            return [(offset + at, 4) for at in range(0, dtype.itemsize, 4)]
        case "i" | "u" | "f" | "m" | "M":
            return [(offset, dtype.itemsize)] if dtype.itemsize > 1 else []
        case "b" | "S":
            return []
        case "V" if dtype.type is np.void:
            return []
    raise UnsupportedError(f"the byte order of data type {dtype} is not known")
