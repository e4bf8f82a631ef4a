"""Codecs that run in Python, as pairs of functions from bytes to bytes.

The native engine calls these one chunk at a time, with the interpreter lock, from its own threads; the
codecs around them stay native. What the codec gets is its own: it may keep or change it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs.compat import ensure_ndarray_like
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec

from wazarr import _native, config

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from zarr.core.array_spec import ArraySpec

__all__ = ["adapt_v2", "adapt_v3"]

_idle_loops: list[asyncio.AbstractEventLoop] = []
"""Event loops for codecs that only have asynchronous methods; as many as ever ran at the same time.

Not one for each thread: a thread of the engine's is a new one to Python every time it calls.
"""


def _wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on this thread, which has no running event loop."""
    try:
        loop = _idle_loops.pop()
    except IndexError:
        loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        _idle_loops.append(loop)


def _close_loops() -> None:
    while _idle_loops:
        loop = _idle_loops.pop()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


atexit.register(_close_loops)

_inherited_loops: list[asyncio.AbstractEventLoop] = []


def _after_fork_in_child() -> None:
    """Let go of the parent's loops, but keep them: closing one would change the selector that both share."""
    _inherited_loops.extend(_idle_loops)
    _idle_loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _depth(cls: type, name: str) -> int:
    """Return how far from the class a method is defined; a large number where it is not."""
    for depth, base in enumerate(cls.__mro__):
        if name in base.__dict__:
            return depth
    return len(cls.__mro__)


def _runner(codec: Any, direction: str) -> Callable[[Any, ArraySpec], Any]:
    """Return the codec's own way to run one chunk.

    A synchronous method serves only where it is defined at least as close to the class as the
    asynchronous ones: else it is somebody else's.
    """
    cls = type(codec)
    depths = {name: _depth(cls, name) for name in (f"_{direction}_sync", f"_{direction}_single", direction)}
    closest = min(depths.values())
    if depths[f"_{direction}_sync"] == closest and closest < len(cls.__mro__):
        return getattr(codec, f"_{direction}_sync")  # type: ignore[no-any-return]
    if depths[f"_{direction}_single"] == closest:
        single = getattr(codec, f"_{direction}_single")
        return lambda chunk, spec: _wait(single(chunk, spec))
    batch = getattr(codec, direction)

    def run(chunk: Any, spec: ArraySpec) -> Any:
        (answer,) = _wait(batch([(chunk, spec)]))
        return answer

    return run


def _array(data: bytes, spec: ArraySpec) -> np.ndarray[Any, Any]:
    """Return an array of the spec over a copy of the bytes."""
    dtype = spec.dtype.to_native_dtype()
    return np.frombuffer(bytearray(data), dtype=dtype).reshape(spec.shape)


def _array_bytes(chunk: Any, spec: ArraySpec) -> np.ndarray[Any, Any]:
    """Return the elements of a buffer in C order, as bytes."""
    array = np.asarray(chunk.as_numpy_array())
    dtype = spec.dtype.to_native_dtype()
    if array.dtype != dtype:
        array = array.astype(dtype)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _buffer_bytes(chunk: Any) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(chunk.as_numpy_array()).reshape(-1).view(np.uint8)


def _absent(label: str) -> ValueError:
    return ValueError(f"codec {label!r} gave no data")


def adapt_v3(codec: Any, label: str, spec: ArraySpec, following: ArraySpec) -> _native.Codec:
    """Make a native step of a zarr codec object.

    Parameters
    ----------
    codec : zarr.abc.codec.Codec
        Any object that follows zarr's interface.
    label : str
        Its name, for errors.
    spec, following : ArraySpec
        What it encodes, and what that becomes.

    Returns
    -------
    _native.Codec
    """
    prototype = spec.prototype
    decode_chunk = _runner(codec, "decode")
    encode_chunk = _runner(codec, "encode")
    takes_arrays = isinstance(codec, ArrayArrayCodec | ArrayBytesCodec)
    gives_arrays = isinstance(codec, ArrayArrayCodec)

    def decode(data: bytes) -> np.ndarray[Any, Any]:
        if gives_arrays:
            chunk: Any = prototype.nd_buffer.from_ndarray_like(_array(data, following))
        else:
            chunk = prototype.buffer.from_bytes(data)
        answer = decode_chunk(chunk, spec)
        if answer is None:
            raise _absent(label)
        return _array_bytes(answer, spec) if takes_arrays else _buffer_bytes(answer)

    def encode(data: bytes) -> np.ndarray[Any, Any] | None:
        if takes_arrays:
            chunk: Any = prototype.nd_buffer.from_ndarray_like(_array(data, spec))
        else:
            chunk = prototype.buffer.from_bytes(data)
        answer = encode_chunk(chunk, spec)
        if answer is None:
            # The codec leaves the chunk out of the store.
            return None
        return _array_bytes(answer, following) if gives_arrays else _buffer_bytes(answer)

    encoded_len = None
    if gives_arrays:
        dtype = following.dtype.to_native_dtype()
        encoded_len = int(np.prod(following.shape, dtype=np.int64)) * dtype.itemsize
    elif takes_arrays and getattr(codec, "is_fixed_size", False):
        dtype = spec.dtype.to_native_dtype()
        encoded_len = codec.compute_encoded_size(
            int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize, spec
        )
    return _native.python_codec(label, decode, encode, encoded_len=encoded_len)


def adapt_v2(codec: Any, label: str, shape: tuple[int, ...], dtype: str) -> _native.Codec:
    """Make a native step of a numcodecs codec.

    Parameters
    ----------
    codec : numcodecs.abc.Codec
        Any object that follows numcodecs' interface.
    label : str
        Its id, for errors.
    shape : tuple of int
        Elements along each axis of what it encodes, as stored; ``(0,)`` for bytes of any length.
    dtype : str
        Data type of what it encodes, as numpy's `dtype.str`.

    Returns
    -------
    _native.Codec
    """
    is_pickle = label == "pickle"

    def decode(data: bytes) -> np.ndarray[Any, Any]:
        if is_pickle:
            _check_pickle()
        answer = ensure_ndarray_like(codec.decode(data))
        if answer.dtype == object:
            raise TypeError(f"codec {label!r} decodes to Python objects")
        return np.ascontiguousarray(answer).reshape(-1).view(np.uint8)

    def encode(data: bytes) -> np.ndarray[Any, Any]:
        array = np.frombuffer(bytearray(data), dtype=np.dtype(dtype))
        if shape != (0,):
            array = array.reshape(shape)
        answer = ensure_ndarray_like(codec.encode(array))
        if answer.dtype == object:
            raise RuntimeError("cannot write object array without object codec")
        return np.ascontiguousarray(answer).reshape(-1).view(np.uint8)

    return _native.python_codec(label, decode, encode, encoded_len=None)


def _check_pickle() -> None:
    """Refuse to decode pickles, which can run code, unless the user allowed it."""
    if config.allows_pickle():
        return
    try:
        from zarr.errors import PickleCodecDisabledError
    except ImportError:
        error: type[Exception] = ValueError
        key = "wazarr.allow_unsafe_pickle_decode"
    else:
        error = PickleCodecDisabledError
        key = "array.allow_unsafe_pickle_decode"
    raise error(
        "data encoded with the 'pickle' codec can run any code when it is decoded; if you trust it, "
        f"set {key} to True in zarr.config (numcodecs has an opt-in of its own beside it, "
        "NUMCODECS_ALLOW_UNSAFE_PICKLE_DECODE)"
    )
