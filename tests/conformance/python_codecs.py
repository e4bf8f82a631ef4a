"""Codecs that only Python knows, as a user would write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numcodecs
import numcodecs.abc
import numpy as np
from numcodecs.compat import ensure_bytes, ndarray_copy
from zarr.abc.codec import ArrayArrayCodec, BytesBytesCodec
from zarr.registry import register_codec

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer


def _complement(value: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in value)


@dataclass(frozen=True)
class Complement(BytesBytesCodec):
    """A user's bytes-to-bytes codec: every bit inverted."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the metadata; there is nothing to configure."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Name the codec."""
        return {"name": "wazarr_test.complement", "configuration": {}}

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Return the same size."""
        return input_byte_length

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_spec.prototype.buffer.from_bytes(_complement(chunk_data.to_bytes()))

    def _encode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_spec.prototype.buffer.from_bytes(_complement(chunk_data.to_bytes()))

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return self._decode_sync(chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return self._encode_sync(chunk_data, chunk_spec)


@dataclass(frozen=True)
class Negate(ArrayArrayCodec):
    """A user's array-to-array codec: changes the sign."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the metadata; there is nothing to configure."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Name the codec."""
        return {"name": "wazarr_test.negate", "configuration": {}}

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Return the same size."""
        return input_byte_length

    def _negated(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        array = np.negative(chunk_data.as_numpy_array())
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(array)

    def _decode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._negated(chunk_data, chunk_spec)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._negated(chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._negated(chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._negated(chunk_data, chunk_spec)


@dataclass(frozen=True)
class UserGzip(Complement):
    """A class that a user puts in the place of `gzip`: must win over a native one."""

    def to_dict(self) -> dict[str, Any]:
        """Take the name of the standard codec."""
        return {"name": "gzip", "configuration": {"level": 1}}


class ComplementV2(numcodecs.abc.Codec):  # type: ignore[misc]  # numcodecs has no types
    """A user's numcodecs codec: every bit inverted."""

    codec_id = "wazarr_test_complement"

    def encode(self, buf: Any) -> bytes:
        """Invert every bit."""
        return _complement(ensure_bytes(buf))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Invert every bit."""
        return ndarray_copy(_complement(ensure_bytes(buf)), out)


def register() -> None:
    """Make the codecs known to zarr and to numcodecs."""
    register_codec("wazarr_test.complement", Complement)
    register_codec("wazarr_test.negate", Negate)
    register_codec("gzip", UserGzip)
    numcodecs.register_codec(ComplementV2)
