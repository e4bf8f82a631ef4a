"""The codec ``wazarr.wasm`` as zarr-python and numcodecs see it.

`WasmCodec` makes one; behind it is a class for every kind in Zarr v3, and one for Zarr v2, where numcodecs'
interface knows no kinds. (One class cannot be both: zarr writes whatever is its own codec as v3 metadata.)
Under `wazarr.CodecPipeline` the methods that encode and decode here are not called: the engine runs the
module itself (`wazarr.codecs`). They are for zarr-python's own pipelines.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, get_args

import numcodecs.abc
import numpy as np
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec

from wazarr import config
from wazarr.errors import CodecError, InvalidInputError
from wazarr.wasm import engine, given, modules
from wazarr.wasm.description import NAME, Description, Kind
from wazarr.wasm.engine import Layout
from wazarr.wasm.given import Embed
from wazarr.wasm.threads import InThreads

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from zarr.abc.store import Store
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

    from wazarr import _native

__all__ = [
    "ArrayArrayWasmCodec",
    "ArrayBytesWasmCodec",
    "BytesBytesWasmCodec",
    "Embed",
    "NumcodecsWasmCodec",
    "WasmCodec",
]

_CODECS_KEPT: Final = 32

# For type checkers: what `WasmCodec` makes is a codec of one kind or another, which its arguments tell.
_SomeCodec: Any = object
if TYPE_CHECKING:
    _SomeCodec = Any

_is_stored: ContextVar[bool] = ContextVar("is_stored", default=False)


@contextmanager
def modules_are_stored() -> Iterator[None]:
    """Say to codecs that run in here that their modules are where readers find them."""
    token = _is_stored.set(True)
    try:
        yield
    finally:
        _is_stored.reset(token)


class WasmCodec(_SomeCodec):  # type: ignore[misc]
    """A codec that is a WebAssembly module, for `zarr.create_array`.

    Parameters
    ----------
    module : str, path or bytes
        The module: its file, its bytes, or where it can be fetched (``https:``, ``oci:``, ``file:``,
        ``data:``). What a program names itself needs no permission. A digest (``"sha256:…"``) names a
        module that this process or the cache on disk has.
    codec : str, optional
        What to call it, for people. Default: what the module says of itself, else the file's name.
    kind : {"bytes-bytes", "array-bytes", "array-array"}, optional
        Whether it is to be used among ``compressors=``, as ``serializer=``, or among ``filters=``. Default:
        what the module says of itself, else ``"bytes-bytes"``.
    parameters : mapping, optional
        What the module is configured with; anything that JSON holds.
    embed : {"auto", "hierarchy", "inline", "never"}
        How the module travels with the data. ``"hierarchy"``: as an array in a group `wasm_codecs` beside
        the array, written no later than the first chunk. ``"inline"``: in the array's metadata. ``"auto"``:
        inline up to `wazarr.wasm.inline_limit` bytes (32 KiB), and wherever a pipeline of zarr-python's
        own is in use, which cannot write the group; else in the hierarchy. ``"never"``: readers have to
        have it, or find it where `module` says.
    encoded : mapping, optional
        For ``"array-array"``: ``data_type`` and ``shape`` of what comes out, where they differ from what
        goes in. For the others ``overhead_bytes``, if every encoding is exactly so many bytes longer than
        what it encodes: then the codec may also stand in a shard's index.
    fresh_instance : bool, optional
        Whether every chunk needs an instance of its own: for a module that keeps state.
    interface : str, optional
        How to call the module, where its bytes leave that open.
    zarr_format : {3, 2}, optional
        Format of the arrays that it is for: zarr takes other objects for one than for the other.

    Raises
    ------
    OSError
        The file cannot be read.
    WasmModuleNotFoundError
        The address answers with no module, or the digest is not known here.
    CodecError, InvalidInputError
        It is no module, over a limit, or the rest makes no sense.

    Examples
    --------
    >>> predictor = wazarr.WasmCodec("predictor.wasm", parameters={"width": 1024})  # doctest: +SKIP
    >>> zarr.create_array(store, name="b02", shape=…, compressors=[predictor])  # doctest: +SKIP
    """

    wasm_label: ClassVar[str] = NAME
    wasm_origins: list[Store]
    """Stores that this object was met in, where its module may be."""

    _description: Description
    _embed: Embed | None
    _module: bytes | None
    _bound: dict[Any, _native.Codec]

    def __new__(
        cls,
        module: str | os.PathLike[str] | bytes | bytearray | memoryview,
        *,
        codec: str | None = None,
        kind: Kind | None = None,
        parameters: Mapping[str, Any] | None = None,
        embed: Embed = "auto",
        encoded: Mapping[str, Any] | None = None,
        fresh_instance: bool = False,
        interface: str | None = None,
        zarr_format: Literal[2, 3] = 3,
    ) -> Self:
        """Make a codec of the class for its format and kind."""
        if embed not in get_args(Embed):
            raise InvalidInputError(f"embed is {embed!r}, not one of {', '.join(get_args(Embed))}")
        content, address, name = given.given(module)
        facts = modules.survey(content)
        digest = modules.put(content)
        signature = facts.get("signature") or {}
        description = Description(
            codec=codec or signature.get("codec_id") or name or "wasm",
            kind=kind or facts.get("kind") or "bytes-bytes",
            module=digest,
            sources=() if address is None else (address,),
            parameters=given.as_json(parameters or {}, "parameters"),
            fresh_instance=fresh_instance,
            interface=interface,
            encoded=None if encoded is None else given.as_json(encoded, "encoded"),
        )
        return cls._make(description, zarr_format, embed=embed, module=content)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Do nothing: `__new__` has done it."""

    @classmethod
    def _make(
        cls,
        description: Description,
        zarr_format: int,
        *,
        embed: Embed | None = None,
        module: bytes | None = None,
    ) -> Self:
        made: Any = object.__new__(NumcodecsWasmCodec if zarr_format == 2 else _CLASSES[description.kind])
        made._set(_description=description, _embed=embed, _module=module, _bound={}, wasm_origins=[])
        has_fixed_size = description.kind == "array-array" or "overhead_bytes" in (description.encoded or {})
        made._set(is_fixed_size=has_fixed_size)
        return made  # type: ignore[no-any-return]

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            # zarr's base class is a frozen dataclass.
            object.__setattr__(self, name, value)

    # --- metadata --------------------------------------------------------------------------------------

    @property
    def wasm_description(self) -> Description:
        """What metadata say of it; where the module is to be is decided when they are first asked for."""
        if self._embed is not None:
            places = given.placed(self._embed, self._module or b"", self._description.sources)
            self._set(_description=self._description.with_sources(*places), _embed=None)
        return self._description

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make one from an entry of Zarr v3 metadata; its module is not looked for before it is needed."""
        return cls._make(Description.from_json(data.get("configuration") or {}), 3)

    def __eq__(self, other: object) -> bool:
        """Compare what metadata say."""
        return type(other) is type(self) and other.wasm_description == self.wasm_description

    def __hash__(self) -> int:
        return hash(self.wasm_description)

    def __repr__(self) -> str:
        description = self.wasm_description
        return f"{type(self).__name__}(codec={description.codec!r}, module={description.module!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what metadata say, and the module where another process might not find it."""
        description = self.wasm_description
        module = self._module
        if module is None and len(self.wasm_origins) > 1:
            # Being copied from one store to another, and in the second there is no module yet.
            module = modules.get_bytes(description.module)
        zarr_format = 2 if isinstance(self, NumcodecsWasmCodec) else 3
        return _restore, (description.to_json(), zarr_format, None if description.is_inline else module)

    # --- running ---------------------------------------------------------------------------------------

    def _codec(self, decoded: Layout, encoded: Layout, fill_value: Any) -> _native.Codec:
        """Return the module bound to a chunk; it is looked for where no store is needed."""
        description = self.wasm_description
        key = decoded, encoded, json.dumps(fill_value), engine.settings()
        found = self._bound.get(key)
        if found is None:
            modules.load(description)
            found = engine.bind(description, decoded, encoded, fill_value=fill_value)
            if len(self._bound) >= _CODECS_KEPT:
                self._bound.clear()
            self._bound[key] = found
        return found

    def _require_stored(self) -> None:
        """Raise where a chunk would be written whose module no reader finds."""
        description = self.wasm_description
        if description.is_in_hierarchy and not description.is_inline and not _is_stored.get():
            raise CodecError(
                f"the module of codec {description.codec!r} has to be stored beside the array before a chunk "
                "is, and zarr-python's own pipelines give a codec no store: call wazarr.enable() before "
                "opening the array, or make the codec with embed='inline'",
                codec=description.codec,
                direction="encode",
            )


class _ZarrWasmCodec(InThreads, WasmCodec):
    """What the kinds of Zarr v3 have in common."""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of Zarr v3 metadata."""
        return {"name": NAME, "configuration": self.wasm_description.to_json()}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Return the encoded length in bytes, where it is fixed.

        Raises
        ------
        NotImplementedError
            It is not.
        """
        if self._description.kind == "array-array":
            return engine.layout_of(self.resolve_metadata(chunk_spec)).len_bytes or 0
        encoded_len = engine.encoded_length(self._description, input_byte_length)
        if encoded_len is None:
            raise NotImplementedError(f"codec {self._description.codec!r} gives data of any length")
        return encoded_len

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Return itself: the chunk is told to the module when it runs."""
        return self

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        """Return what a chunk is after encoding."""
        return chunk_spec

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Check that the codec fits the array.

        Raises
        ------
        InvalidInputError
            It takes arrays, and the elements have variable length.
        """
        native = dtype.to_native_dtype()
        if self._description.kind != "bytes-bytes" and native.kind in "OT":
            raise InvalidInputError(
                f"codec {self._description.codec!r} takes no elements of variable length ({native})"
            )


class BytesBytesWasmCodec(_ZarrWasmCodec, BytesBytesCodec):
    """A module that encodes bytes to bytes."""

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        codec = self._codec(Layout(), Layout(), engine.fill_value_of(chunk_spec))
        decoded = engine.decode(codec, chunk_data.to_bytes(), None, _stage_limit(chunk_spec))
        return chunk_spec.prototype.buffer.from_bytes(decoded)

    def _encode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        self._require_stored()
        codec = self._codec(Layout(), Layout(), engine.fill_value_of(chunk_spec))
        return chunk_spec.prototype.buffer.from_bytes(engine.encode(codec, chunk_data.to_bytes()))


class ArrayBytesWasmCodec(_ZarrWasmCodec, ArrayBytesCodec):
    """A module that encodes arrays to bytes."""

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        decoded = engine.layout_of(chunk_spec)
        codec = self._codec(decoded, Layout(), engine.fill_value_of(chunk_spec))
        expected = decoded.len_bytes or 0
        return _to_array(engine.decode(codec, chunk_data.to_bytes(), expected, expected), chunk_spec)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        self._require_stored()
        decoded = engine.layout_of(chunk_spec)
        codec = self._codec(decoded, Layout(), engine.fill_value_of(chunk_spec))
        return chunk_spec.prototype.buffer.from_bytes(engine.encode(codec, _from_array(chunk_data, decoded)))


class ArrayArrayWasmCodec(_ZarrWasmCodec, ArrayArrayCodec):
    """A module that encodes arrays to arrays."""

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        """Return what a chunk is after encoding: as `encoded` says, else what it was."""
        return _encoded_spec(self._description, chunk_spec)

    def _decode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        codec, decoded, encoded = self._between(chunk_spec)
        expected = decoded.len_bytes or 0
        return _to_array(
            engine.decode(codec, _from_array(chunk_data, encoded), expected, expected), chunk_spec
        )

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        self._require_stored()
        codec, decoded, _ = self._between(chunk_spec)
        return _to_array(
            engine.encode(codec, _from_array(chunk_data, decoded)), self.resolve_metadata(chunk_spec)
        )

    def _between(self, spec: ArraySpec) -> tuple[_native.Codec, Layout, Layout]:
        decoded, encoded = engine.layout_of(spec), engine.layout_of(self.resolve_metadata(spec))
        return self._codec(decoded, encoded, engine.fill_value_of(spec)), decoded, encoded


class NumcodecsWasmCodec(WasmCodec, numcodecs.abc.Codec):  # type: ignore[misc]
    """A module of any kind as a filter or the compressor of Zarr v2."""

    codec_id: str = NAME  # not a ClassVar: zarr's protocol has it as an attribute of objects

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make one from Zarr v2 metadata, as numcodecs hands them over."""
        return cls._make(Description.from_json({key: config[key] for key in config if key != "id"}), 2)

    def get_config(self) -> dict[str, Any]:
        """Return what Zarr v2 metadata say of it."""
        return {"id": NAME, **self.wasm_description.to_json()}

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a buffer.

        Parameters
        ----------
        buf : buffer
            What is stored.
        out : buffer, optional
            Where to put the answer, of exactly its length.
        """
        description = self._description
        expected = None if out is None else memoryview(out).nbytes
        codec = self._codec(Layout(), engine.encoded_layout(description, Layout()), None)
        decoded = engine.decode(codec, _contiguous(buf)[0], expected, _decoded_limit(expected))
        if out is None:
            return decoded
        memoryview(out).cast("B")[:] = decoded
        return out

    def encode(self, buf: Any) -> Any:
        """Encode a buffer.

        Parameters
        ----------
        buf : buffer
            The elements, with the shape and data type that an array codec is told of.
        """
        self._require_stored()
        content, layout = _contiguous(buf)
        if self._description.kind == "bytes-bytes":
            return engine.encode(self._codec(Layout(), Layout(), None), content)
        encoded = engine.encoded_layout(self._description, layout)
        answer = engine.encode(self._codec(layout, encoded, None), content)
        if self._description.kind == "array-array":
            return np.frombuffer(answer, encoded.data_type).reshape(encoded.shape)
        return answer


_CLASSES: Final[dict[str, type[_ZarrWasmCodec]]] = {
    "bytes-bytes": BytesBytesWasmCodec,
    "array-bytes": ArrayBytesWasmCodec,
    "array-array": ArrayArrayWasmCodec,
}


def _restore(configuration: dict[str, Any], zarr_format: int, module: bytes | None) -> WasmCodec:
    """Rebuild a pickled codec."""
    description = Description.from_json(configuration)
    if module is not None:
        modules.put(module, description.module)
    return WasmCodec._make(description, zarr_format, module=module)


# --- chunks and buffers --------------------------------------------------------------------------------


def _encoded_spec(description: Description, spec: ArraySpec) -> ArraySpec:
    """Return the spec of what an array-array codec gives."""
    encoded = description.encoded or {}
    if "shape" in encoded:
        spec = replace(spec, shape=tuple(encoded["shape"]))
    if "data_type" in encoded:
        dtype = engine.zarr_dtype(encoded["data_type"])
        try:
            fill_value = dtype.cast_scalar(spec.fill_value)
        except (TypeError, ValueError, OverflowError):
            fill_value = dtype.default_scalar()
        spec = replace(spec, dtype=dtype, fill_value=fill_value)
    return spec


def _contiguous(given: Any) -> tuple[bytes, Layout]:
    """Return the bytes of a buffer in little-endian order, and its layout in memory."""
    array = np.asarray(given)
    if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous:
        array = array.T
    dtype = array.dtype.newbyteorder("<")
    return array.astype(dtype, copy=False).tobytes(), Layout(dtype.str, array.shape)


def _from_array(chunk: NDBuffer, layout: Layout) -> bytes:
    array = np.asarray(chunk.as_numpy_array())
    return np.ascontiguousarray(array.astype(layout.data_type, copy=False)).tobytes()


def _to_array(content: bytes, spec: ArraySpec) -> NDBuffer:
    dtype = spec.dtype.to_native_dtype()
    # A copy: the pipeline may write to it.
    array = np.frombuffer(bytearray(content), dtype.newbyteorder("<")).reshape(spec.shape)
    return spec.prototype.nd_buffer.from_ndarray_like(array.astype(dtype, copy=False))


def _stage_limit(spec: ArraySpec) -> int:
    """Return how many bytes a compressor may give back, where how long they should be is not known.

    Compressors of several stages see data that an earlier stage may have made longer.
    """
    dtype = spec.dtype.to_native_dtype()
    if dtype.kind in "OT":
        return int(config.get("wazarr.variable_length_limit"))
    len_bytes = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
    return 2 * len_bytes + (1 << 20)


def _decoded_limit(expected: int | None) -> int:
    return int(config.wasm_limits()["memory_bytes"]) if expected is None else expected
