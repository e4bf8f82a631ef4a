"""``any-numcodecs.*`` of Zarr v3, on our host: what zarr-any-numcodecs writes and reads.

The configuration is that of a numcodecs codec with its ``id``. Where that is one of numcodecs-wasm's, or one
that only a manifest knows, a module runs; a codec that numcodecs has in Python runs in Python, as it would in
that package's own classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numcodecs.registry
import numpy as np
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.common import parse_named_configuration
from zarr.core.config import config as zarr_config
from zarr.core.dtype import get_data_type_from_native_dtype
from zarr.registry import register_codec

from wazarr.errors import InvalidInputError
from wazarr.wasm import modules, packages
from wazarr.wasm.numcodecs_modules import BYTES, Named, bind, encoded_of, layout, longest
from wazarr.wasm.threads import InThreads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.core.buffer import Buffer, NDBuffer

    from wazarr import _native
    from wazarr.wasm.description import Description
    from wazarr.wasm.engine import Layout

__all__ = ["AnyArrayArrayCodec", "AnyArrayBytesCodec", "AnyBytesBytesCodec", "AnyNumcodecsCodec"]

_OURS: Final = "wazarr.wasm.numcodecs"
"""Where our classes of Zarr v2 are."""


@dataclass(frozen=True)
class AnyNumcodecsCodec(InThreads, Named):
    """A numcodecs codec as a codec of Zarr v3.

    Parameters
    ----------
    configuration : dict
        As numcodecs has it, ``id`` included.
    """

    configuration: dict[str, Any]

    codec_name: ClassVar[str]

    is_fixed_size: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check that there is an id."""
        if not isinstance(self.configuration.get("id"), str):
            raise InvalidInputError(f"codec {self.codec_name!r} has no 'id' in its configuration")

    def __hash__(self) -> int:
        return hash((self.codec_name, json.dumps(self.configuration, sort_keys=True, default=repr)))

    @property
    def wasm_label(self) -> str:
        """The name in metadata."""
        return self.codec_name

    @property
    def wasm_name(self) -> str:
        """The codec's id, under which a manifest may have it."""
        return self.configuration["id"]  # type: ignore[no-any-return]

    @property
    def wasm_configuration(self) -> Mapping[str, Any]:
        """The configuration as numcodecs has it."""
        return self.configuration

    @property
    def wasm_description(self) -> Description | None:
        """What the engine needs to know; codecs that numcodecs has in Python do not have the attribute."""
        if _is_python(self.wasm_name):
            raise AttributeError("wasm_description")
        return super().wasm_description

    @property
    def _python(self) -> Any:
        """The codec of numcodecs, where it is one of those, or None."""
        return numcodecs.registry.get_codec(self.configuration) if _is_python(self.wasm_name) else None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the codec's entry in metadata."""
        _, configuration = parse_named_configuration(data, cls.codec_name)
        return cls(dict(configuration))

    def to_dict(self) -> dict[str, Any]:
        """Return the codec's entry in metadata."""
        return {"name": self.codec_name, "configuration": dict(self.configuration)}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise: nothing but the module knows."""
        raise NotImplementedError

    def _codec(self, chunk_spec: ArraySpec) -> _native.Codec:
        """Return the module bound to a chunk."""
        description = self._described()
        if self.kind == "bytes-bytes":
            return bind(description, BYTES, BYTES)
        decoded = _layout_of(chunk_spec)
        return bind(
            description, decoded, BYTES if self.kind == "array-bytes" else encoded_of(description, decoded)
        )

    def _encode_bytes(self, chunk: Any, chunk_spec: ArraySpec) -> bytes:
        array = np.asarray(chunk)
        python = self._python
        if python is not None:
            return np.asarray(python.encode(array)).tobytes()
        return self._codec(chunk_spec).encode(array.tobytes())

    def _decode_array(self, chunk: Any, chunk_spec: ArraySpec) -> np.ndarray[Any, Any]:
        data_type = chunk_spec.dtype.to_native_dtype()
        python = self._python
        if python is not None:
            out = np.zeros(chunk_spec.shape, data_type)
            decoded: Any = np.asarray(python.decode(np.asarray(chunk), out=out))
        else:
            len_bytes = int(np.prod(chunk_spec.shape, dtype=np.int64)) * data_type.itemsize
            content = self._codec(chunk_spec).decode(np.asarray(chunk).tobytes(), len_bytes, len_bytes)
            # A copy: the pipeline may write to it.
            decoded = np.frombuffer(bytearray(content), np.uint8)
        return decoded.view(data_type).reshape(chunk_spec.shape)  # type: ignore[no-any-return]


class AnyArrayArrayCodec(AnyNumcodecsCodec, ArrayArrayCodec):
    """``any-numcodecs.array-array``: from arrays to arrays."""

    codec_name = "any-numcodecs.array-array"
    kind = "array-array"

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        """Return the spec of what a chunk becomes.

        Where the module is not at hand, what the configuration lets expect has to do: the array can be
        opened and described all the same, and the chain is bound to what a store has told meanwhile.
        """
        python = self._python
        if python is not None:
            encoded = python.encode(np.ones(chunk_spec.shape, chunk_spec.dtype.to_native_dtype()))
            return _with_array(chunk_spec, encoded.dtype, encoded.shape)
        description = self.wasm_description
        if description is None or not modules.has(description.module):
            return _presumed(self.configuration, chunk_spec)
        return self.wasm_resolve(description, chunk_spec)

    def wasm_resolve(self, description: Description, chunk_spec: ArraySpec) -> ArraySpec:
        """Return the spec of what a chunk becomes, from a module that is at hand."""
        encoded = encoded_of(description, _layout_of(chunk_spec))
        return _with_array(chunk_spec, np.dtype(encoded.data_type), encoded.shape)

    def _decode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        decoded = self._decode_array(chunk_data.as_numpy_array(), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(decoded)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        content = self._encode_bytes(chunk_data.as_numpy_array(), chunk_spec)
        following = self.resolve_metadata(chunk_spec)
        encoded = np.frombuffer(bytearray(content), following.dtype.to_native_dtype())
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(encoded.reshape(following.shape))


class AnyArrayBytesCodec(AnyNumcodecsCodec, ArrayBytesCodec):
    """``any-numcodecs.array-bytes``: from arrays to bytes."""

    codec_name = "any-numcodecs.array-bytes"
    kind = "array-bytes"

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        decoded = self._decode_array(chunk_data.as_numpy_array(), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(decoded)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_spec.prototype.buffer.from_bytes(
            self._encode_bytes(chunk_data.as_numpy_array(), chunk_spec)
        )


class AnyBytesBytesCodec(AnyNumcodecsCodec, BytesBytesCodec):
    """``any-numcodecs.bytes-bytes``: from bytes to bytes."""

    codec_name = "any-numcodecs.bytes-bytes"
    kind = "bytes-bytes"

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        python = self._python
        if python is not None:
            decoded = np.asarray(python.decode(np.asarray(chunk_data.as_numpy_array()))).tobytes()
        else:
            decoded = self._codec(chunk_spec).decode(chunk_data.to_bytes(), None, longest())
        return chunk_spec.prototype.buffer.from_bytes(decoded)

    def _encode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_spec.prototype.buffer.from_bytes(
            self._encode_bytes(chunk_data.as_numpy_array(), chunk_spec)
        )


_CLASSES: Final = (AnyArrayArrayCodec, AnyArrayBytesCodec, AnyBytesBytesCodec)

for _cls in _CLASSES:
    register_codec(_cls.codec_name, _cls)

# zarr-any-numcodecs registers classes under the same names. Of two zarr takes any, with a warning, unless its
# configuration names one; what the user has set there stays.
zarr_config.update_defaults(
    {"codecs": {cls.codec_name: f"{cls.__module__}.{cls.__qualname__}" for cls in _CLASSES}}
)


def _is_python(codec_id: str) -> bool:
    """Return whether numcodecs has a codec, in Python, that is none of the family's and none of ours."""
    cls = numcodecs.registry.codec_registry.get(codec_id)
    if cls is None:
        entry: Any = numcodecs.registry.entries.get(codec_id)
        return entry is not None and entry.module != _OURS and not entry.module.startswith(packages.PREFIX)
    return cls.__module__ != _OURS and packages.find_owner(cls) is None


def _layout_of(spec: ArraySpec) -> Layout:
    return layout(spec.dtype.to_native_dtype(), spec.shape)


def _with_array(spec: ArraySpec, data_type: np.dtype[Any], array_shape: tuple[int, ...]) -> ArraySpec:
    zdtype = get_data_type_from_native_dtype(data_type)
    return ArraySpec(array_shape, zdtype, zdtype.default_scalar(), spec.config, spec.prototype)


def _presumed(configuration: Mapping[str, Any], spec: ArraySpec) -> ArraySpec:
    """Return what the configuration of a published codec lets expect of the encoded side.

    The data type matters most: zarr's own `bytes` codec will not open an array of which it does not fit.
    """
    data_type, array_shape = spec.dtype.to_native_dtype(), spec.shape
    match configuration:
        case {"id": "linear-quantize.rs", "bits": int(bits)} if 0 < bits <= 64:
            return _with_array(spec, np.dtype(f"u{max(8, 1 << (bits - 1).bit_length()) // 8}"), array_shape)
        case {"id": "reinterpret.rs", "encode_dtype": "u8" | "uint8"} if array_shape:
            return _with_array(
                spec, np.dtype("u1"), (*array_shape[:-1], array_shape[-1] * data_type.itemsize)
            )
        case {"id": "reinterpret.rs", "encode_dtype": str(name)} if name[1:].isdigit():
            return _with_array(spec, np.dtype(f"{name[0]}{int(name[1:]) // 8}"), array_shape)
        case {"id": "reinterpret.rs", "encode_dtype": str(name)}:
            return _with_array(spec, np.dtype(name), array_shape)
    return spec
