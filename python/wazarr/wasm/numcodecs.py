"""numcodecs-wasm's codecs as zarr-python and numcodecs see them, run on our host.

Two spellings exist in metadata: Zarr v3's ``any-numcodecs.array-array | array-bytes | bytes-bytes`` with the
numcodecs configuration inside (the package zarr-any-numcodecs), and Zarr v2's plain numcodecs ids
(``zfp.rs``). The classes here read and write both with neither that package nor numcodecs-wasm's own host
imported. The module is that of the installed package (`wazarr.wasm.packages`), else the one that the
manifest of a group `wasm_codecs` names (`wazarr.wasm.hierarchy`).

Where a program has the packages' own classes, `adopt` recognises exactly those.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numcodecs.abc
import numcodecs.registry
import numpy as np
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.common import parse_named_configuration
from zarr.core.config import config as zarr_config
from zarr.core.dtype import get_data_type_from_native_dtype
from zarr.registry import register_codec

from wazarr.errors import InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm import packages
from wazarr.wasm.numcodecs_modules import BYTES, bind, describe_module, encoded_of, layout, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.core.buffer import Buffer, NDBuffer

    from wazarr import _native
    from wazarr.wasm.description import Description, Kind

__all__ = ["AnyArrayArrayCodec", "AnyArrayBytesCodec", "AnyBytesBytesCodec", "NumcodecsWasmCodec", "adopt"]


def _description(codec: NumcodecsWasmCodec | _AnyNumcodecsCodec) -> Description:
    description = codec.wasm_description
    if description is None:
        raise not_found(codec.wasm_name or "")
    return description


# --- Zarr v3 -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _AnyNumcodecsCodec:
    """A numcodecs codec as a codec of Zarr v3.

    Parameters
    ----------
    configuration : dict
        As numcodecs has it, ``id`` included.
    """

    configuration: dict[str, Any]

    name: ClassVar[str]
    kind: ClassVar[Kind]

    is_fixed_size: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check that there is an id."""
        if not isinstance(self.configuration.get("id"), str):
            raise InvalidInputError(f"codec {self.name!r} has no 'id' in its configuration")

    def __hash__(self) -> int:
        """Hash by the configuration."""
        return hash((self.name, json.dumps(self.configuration, sort_keys=True, default=repr)))

    @property
    def wasm_label(self) -> str:
        """The name in metadata."""
        return self.name

    @property
    def wasm_name(self) -> str | None:
        """The id of a codec that is a module; None for one that numcodecs has in Python."""
        codec_id: str = self.configuration["id"]
        return None if _is_python(codec_id) else codec_id

    @property
    def wasm_description(self) -> Description | None:
        """What the engine needs to know, where no store has to be asked."""
        name = self.wasm_name
        return None if name is None else describe_module(name, self.kind, self.configuration)

    @property
    def _python(self) -> Any:
        """The codec of numcodecs, where it is one of those."""
        return None if self.wasm_name is not None else numcodecs.registry.get_codec(self.configuration)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the codec's entry in metadata."""
        _, configuration = parse_named_configuration(data, cls.name)
        return cls(dict(configuration))

    def to_dict(self) -> dict[str, Any]:
        """Return the codec's entry in metadata."""
        return {"name": self.name, "configuration": dict(self.configuration)}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise: nothing but the module knows."""
        raise NotImplementedError

    def _native(self, chunk_spec: ArraySpec) -> _native.Codec:
        description = _description(self)
        if self.kind == "bytes-bytes":
            return bind(description, BYTES, BYTES)
        decoded = layout(chunk_spec.dtype.to_native_dtype(), chunk_spec.shape)
        if self.kind == "array-bytes":
            return bind(description, decoded, BYTES)
        return bind(description, decoded, layout(*self._encoded(chunk_spec)))

    def _encoded(self, chunk_spec: ArraySpec) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return data type and shape of the encoded side of an array→array codec."""
        data_type = chunk_spec.dtype.to_native_dtype()
        python = self._python
        if python is not None:
            answer = python.encode(np.ones(chunk_spec.shape, data_type))
            return answer.dtype, answer.shape
        return encoded_of(_description(self), data_type, chunk_spec.shape)

    def _encode_bytes(self, chunk: np.ndarray[Any, Any], chunk_spec: ArraySpec) -> Any:
        python = self._python
        if python is not None:
            return np.ascontiguousarray(python.encode(chunk))
        return self._native(chunk_spec).encode(np.ascontiguousarray(chunk).reshape(-1).view(np.uint8))

    def _decode_array(self, chunk: np.ndarray[Any, Any], chunk_spec: ArraySpec) -> np.ndarray[Any, Any]:
        data_type = chunk_spec.dtype.to_native_dtype()
        python = self._python
        if python is not None:
            out = np.zeros(chunk_spec.shape, data_type)
            answer: Any = np.asarray(python.decode(chunk, out=out))
        else:
            len_bytes = int(np.prod(chunk_spec.shape, dtype=np.int64)) * data_type.itemsize
            encoded = np.ascontiguousarray(chunk).reshape(-1).view(np.uint8)
            answer = np.frombuffer(
                bytearray(self._native(chunk_spec).decode(encoded, len_bytes, len_bytes)), np.uint8
            )
        return answer.view(data_type).reshape(chunk_spec.shape)  # type: ignore[no-any-return]

    async def _decode_single(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    def _decode_sync(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        raise NotImplementedError

    def _encode_sync(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        raise NotImplementedError


class AnyArrayArrayCodec(_AnyNumcodecsCodec, ArrayArrayCodec):
    """``any-numcodecs.array-array``: from arrays to arrays."""

    name = "any-numcodecs.array-array"
    kind = "array-array"

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        """Return the spec of what a chunk becomes.

        Where the module is not at hand the configuration has to do, so that the array can be opened and
        described all the same.
        """
        try:
            data_type, encoded_shape = self._encoded(chunk_spec)
        except WasmModuleNotFoundError:
            data_type, encoded_shape = _presumed(self.configuration, chunk_spec), chunk_spec.shape
        zdtype = get_data_type_from_native_dtype(data_type)
        return ArraySpec(encoded_shape, zdtype, 0, chunk_spec.config, chunk_spec.prototype)

    def _decode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        answer = self._decode_array(np.asarray(chunk_data.as_numpy_array()), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(answer)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        encoded = self._encode_bytes(np.asarray(chunk_data.as_numpy_array()), chunk_spec)
        data_type, encoded_shape = self._encoded(chunk_spec)
        array = np.frombuffer(bytearray(encoded), data_type).reshape(encoded_shape)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(array)


class AnyArrayBytesCodec(_AnyNumcodecsCodec, ArrayBytesCodec):
    """``any-numcodecs.array-bytes``: from arrays to bytes."""

    name = "any-numcodecs.array-bytes"
    kind = "array-bytes"

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        answer = self._decode_array(np.asarray(chunk_data.as_numpy_array()), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(answer)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        encoded = self._encode_bytes(np.asarray(chunk_data.as_numpy_array()), chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(bytes(encoded))


class AnyBytesBytesCodec(_AnyNumcodecsCodec, BytesBytesCodec):
    """``any-numcodecs.bytes-bytes``: from bytes to bytes."""

    name = "any-numcodecs.bytes-bytes"
    kind = "bytes-bytes"

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        encoded = np.asarray(chunk_data.as_numpy_array())
        python = self._python
        if python is not None:
            answer = python.decode(encoded)
        else:
            answer = self._native(chunk_spec).decode(encoded, None, engine.longest_result())
        return chunk_spec.prototype.buffer.from_bytes(bytes(answer))

    def _encode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        encoded = self._encode_bytes(np.asarray(chunk_data.as_numpy_array()), chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(bytes(encoded))


for _cls in (AnyArrayArrayCodec, AnyArrayBytesCodec, AnyBytesBytesCodec):
    register_codec(_cls.name, _cls)

# zarr-any-numcodecs registers classes of the same names; zarr warns of two and takes any, unless it is told.
zarr_config.update_defaults(
    {
        "codecs": {
            cls.name: f"{cls.__module__}.{cls.__qualname__}"
            for cls in (AnyArrayArrayCodec, AnyArrayBytesCodec, AnyBytesBytesCodec)
        }
    }
)


def _is_python(codec_id: str) -> bool:
    """Return whether numcodecs has a codec, in Python, that is none of the family's and none of ours."""
    cls = numcodecs.registry.codec_registry.get(codec_id)
    if cls is None:
        entry: Any = numcodecs.registry.entries.get(codec_id)
        return entry is not None and entry.module != __name__ and not entry.module.startswith(packages.PREFIX)
    return not issubclass(cls, NumcodecsWasmCodec) and packages.find_owner(cls) is None


def _presumed(configuration: Mapping[str, Any], chunk_spec: ArraySpec) -> np.dtype[Any]:
    """Return the encoded data type as the configuration of a published codec lets expect it."""
    data_type = chunk_spec.dtype.to_native_dtype()
    match configuration:
        case {"id": "linear-quantize.rs", "bits": int(bits)} if 0 < bits <= 64:
            return np.dtype(f"u{max(8, 1 << (bits - 1).bit_length()) // 8}")
        case {"id": "reinterpret.rs", "encode_dtype": str(name)}:
            short = {"u": "uint", "i": "int", "f": "float"}.get(name[:1], "")
            return np.dtype(short + name[1:] if name[1:].isdigit() else name)
    return data_type


# --- Zarr v2 -------------------------------------------------------------------------------------------


class NumcodecsWasmCodec(numcodecs.abc.Codec):
    """A codec of Zarr v2 that is a module, under its numcodecs id.

    Parameters
    ----------
    **configuration
        The codec's own parameters.
    """

    codec_id: ClassVar[str]

    def __init__(self, **configuration: Any) -> None:
        self.configuration = configuration

    @property
    def wasm_label(self) -> str:
        """The name in metadata."""
        return self.codec_id

    @property
    def wasm_name(self) -> str:
        """The id."""
        return self.codec_id

    @property
    def wasm_description(self) -> Description | None:
        """What the engine needs to know, where no store has to be asked."""
        return describe_module(self.codec_id, "bytes-bytes", self.configuration)

    def get_config(self) -> dict[str, Any]:
        """Return the codec's entry in metadata."""
        return {"id": self.codec_id, **self.configuration}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the codec's entry in metadata, without its id."""
        return cls(**config)

    def encode(self, buf: Any) -> np.ndarray[Any, Any]:
        """Encode an array; what comes is one as well.

        Parameters
        ----------
        buf : array_like
            Its data type and shape are the codec's to see.
        """
        array = np.asarray(buf)
        codec = bind(_description(self), layout(array.dtype, array.shape), BYTES)
        encoded, (data_type, shape) = codec.encode_array(
            np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        )
        return np.frombuffer(bytearray(encoded), data_type).reshape(shape)

    def decode(self, buf: Any, out: Any = None) -> np.ndarray[Any, Any]:
        """Decode an array; what comes is one as well.

        Parameters
        ----------
        buf : array_like
            What `encode` gave.
        out : ndarray, optional
            Where it goes: an array of the very shape and data type that was encoded.
        """
        # numpy makes text of bytes.
        array = np.frombuffer(buf, np.uint8) if isinstance(buf, bytes | bytearray) else np.asarray(buf)
        codec = bind(_description(self), BYTES, layout(array.dtype, array.shape))
        decoded, (data_type, shape) = codec.decode_array(
            np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        )
        answer = np.frombuffer(bytearray(decoded), data_type).reshape(shape)
        if out is None:
            return answer
        np.copyto(np.asarray(out).view(answer.dtype).reshape(answer.shape), answer)
        return out  # type: ignore[no-any-return]


def class_of(codec_id: str) -> type[NumcodecsWasmCodec]:
    """Return our class of a codec, made on first use."""
    name = codec_id.replace("-", "_").replace(".", "_")
    found = globals().get(name)
    if found is None:
        body = {
            "codec_id": codec_id,
            "__module__": __name__,
            "__doc__": f"The codec `{codec_id}` of Zarr v2.",
        }
        found = globals().setdefault(name, type(name, (NumcodecsWasmCodec,), body))
    return found  # type: ignore[no-any-return]


def __getattr__(name: str) -> type[NumcodecsWasmCodec]:
    """Make the class of a published codec: ``zfp_rs`` for ``zfp.rs``; entry points and pickles ask for it."""
    codec_id = name.removesuffix("_rs").replace("_", "-") + ".rs"
    if codec_id not in packages.CODEC_IDS or not name.endswith("_rs"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return class_of(codec_id)


# --- the packages' own classes -------------------------------------------------------------------------

_OURS: Final[dict[str, type[AnyArrayArrayCodec | AnyArrayBytesCodec | AnyBytesBytesCodec]]] = {
    "AnyNumcodecsArrayArrayCodec": AnyArrayArrayCodec,
    "AnyNumcodecsArrayBytesCodec": AnyArrayBytesCodec,
    "AnyNumcodecsBytesBytesCodec": AnyBytesBytesCodec,
}


def adopt(
    codec: Any,
) -> AnyArrayArrayCodec | AnyArrayBytesCodec | AnyBytesBytesCodec | NumcodecsWasmCodec | None:
    """Return ours in place of a codec of the packages' own classes.

    Parameters
    ----------
    codec : object
        A codec of a chain, of either format.

    Returns
    -------
    codec or None
        None where it is of any other class, a derived one included, or wraps one that is.
    """
    cls = type(codec)
    if cls.__module__ == "zarr_any_numcodecs":
        ours = _OURS.get(cls.__name__)
        is_theirs = getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls
        if ours is None or not is_theirs or packages.find_owner(type(codec.codec)) is None:
            return None
        return ours(dict(codec.codec.get_config()))
    if packages.find_owner(cls) is None:
        return None
    configuration = dict(codec.get_config())
    return class_of(configuration.pop("id")).from_config(configuration)
