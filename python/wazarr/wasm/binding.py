"""Codecs that are modules, as steps of a native chain; loaded by `wazarr.codecs` where a chain has any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec

from wazarr import _native
from wazarr.codecs import following_spec
from wazarr.errors import UnsupportedError
from wazarr.wasm import engine, modules

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec

    from wazarr.chains import Build
    from wazarr.wasm.description import Description
    from wazarr.wasm.engine import Layout
    from wazarr.wasm.steps import Steps

__all__ = ["add_v2", "add_v3"]


def add_v3(build: Build, steps: Steps, codec: Any, spec: ArraySpec) -> None:
    """Add a codec of Zarr v3 to a chain.

    Parameters
    ----------
    build : Build
        The chain so far.
    steps : Steps
        The modules of the chain.
    codec : Codec
        One of them.
    spec : ArraySpec
        What it encodes.
    """
    decoded = encoded = engine.Layout()
    following = spec
    if isinstance(codec, ArrayArrayCodec | ArrayBytesCodec):
        decoded = engine.layout_of(spec)
    if isinstance(codec, ArrayArrayCodec):
        following = following_spec(steps, codec, spec)
        encoded = engine.layout_of(following)
    description = steps.description_of(codec)
    _add(build, steps, codec, decoded, encoded, engine.fill_value_of(spec), description)
    # What follows expects its elements in the order of the data type's own.
    dtype = following.dtype.to_native_dtype()
    if not encoded.is_bytes and dtype.newbyteorder("<") != dtype:
        build.shape = encoded.shape
        build.swap(dtype.newbyteorder("<"))


def _add(
    build: Build,
    steps: Steps,
    codec: Any,
    decoded: Layout,
    encoded: Layout,
    fill_value: Any,
    description: Description | None,
) -> None:
    """Add a codec that is a module, or the native codec that its digest stands for."""
    label = codec.wasm_label
    missing = steps.absence_of(codec)
    if description is None or missing is not None:
        build.lacks_module = True
        error = missing or modules.not_described(codec)
        # What a codec that is known by its name gives, only its module tells.
        encoded_len = None if hasattr(codec, "wasm_name") else encoded.len_bytes
        if description is not None and encoded_len is None:
            encoded_len = engine.encoded_length(description, build.len_bytes)
        build.module(label, _absent(label, error, encoded_len), str(error).partition("\n")[0])
        return
    dtype = np.dtype(build.dtype) if not decoded.is_bytes else np.dtype("u1")
    if dtype.newbyteorder("<") != dtype:
        build.swap(dtype)
    refusal = ""
    native = engine.native_equivalent(description)
    if native is not None:
        try:
            build.native(
                native.name,
                native.configured(description.parameters),
                label=label,
                reason=engine.reason(description, native),
            )
        except UnsupportedError as unsupported:
            refusal = f"; the native codec {native.name!r} cannot stand in: {unsupported.reason}"
        else:
            return
    bound = engine.bind(description, decoded, encoded, fill_value=fill_value, decoded_len=build.len_bytes)
    build.module(label, bound, engine.reason(description) + refusal)


def _absent(label: str, error: Exception, encoded_len: int | None) -> _native.Codec:
    """Return a codec that every chunk fails with: those that are not stored need no module."""

    def fail(_: bytes) -> Any:
        raise error

    return _native.python_codec(label, fail, fail, encoded_len=encoded_len)


def add_v2(build: Build, steps: Steps, step: Any, spec: ArraySpec) -> None:
    """Add a filter or the compressor of Zarr v2 to a chain; the parameters are those of `add_v3`."""
    decoded = encoded = engine.Layout()
    description = steps.description_of(step)
    if hasattr(step, "wasm_arrange") and steps.at_hand(step) is not None:
        # Such a codec sees arrays, and its module alone knows what they become.
        decoded = engine.Layout(np.dtype(build.dtype).newbyteorder("<").str, build.shape)
        description, encoded = step.wasm_arrange(description, decoded)
    elif description is not None and description.kind != "bytes-bytes" and build.dtype != "|O":
        decoded = engine.Layout(np.dtype(build.dtype).newbyteorder("<").str, build.shape)
        encoded = engine.encoded_layout(description, decoded)
    _add(build, steps, step, decoded, encoded, engine.fill_value_of(spec), description)
    build.shape, build.dtype = encoded.shape, encoded.data_type
