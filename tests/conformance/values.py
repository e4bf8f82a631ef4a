"""Array contents for the table: small, deterministic, and rich in odd bit patterns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

WORDS = ("", "a", "zarr", "Zürich", "日本語", "🦓🦓", "nul\0inside", "a longer text of many bytes")


def counting(*array_shape: int, dtype: str = "int32", start: int = 1) -> np.ndarray[Any, Any]:
    """Return 1, 2, 3, … in C order, cast to `dtype`."""
    size = math.prod(array_shape)
    return np.arange(start, start + size).astype(dtype).reshape(array_shape)


def smooth(*array_shape: int, dtype: str = "float64") -> np.ndarray[Any, Any]:
    """Return a slow wave, as a measurement has it: compressible, and safe to scale."""
    size = math.prod(array_shape)
    wave = 50 + 40 * np.sin(np.arange(size) / 9.0)
    return wave.astype(dtype).reshape(array_shape)


def bits(*array_shape: int, dtype: str, seed: int = 7) -> np.ndarray[Any, Any]:
    """Return random bits of any `dtype` of fixed size: NaN payloads, NaT and subnormals included.

    Booleans are 0 or 1 and text is made of valid code points, as numpy demands.
    """
    generator = np.random.default_rng(seed)
    element = np.dtype(dtype)
    size = math.prod(array_shape)
    if element.kind == "b":
        return generator.integers(0, 2, size).astype(bool).reshape(array_shape)
    if element.kind == "U":
        length = element.itemsize // 4
        texts = [WORDS[index][:length] for index in generator.integers(0, len(WORDS), size)]
        return np.array(texts, dtype=element).reshape(array_shape)
    raw = generator.integers(0, 256, size * element.itemsize, dtype=np.uint8)
    raw[: element.itemsize * 2] = 0
    return np.frombuffer(raw.tobytes(), dtype=element).reshape(array_shape).copy()


def records(*array_shape: int, dtype: np.dtype[Any], seed: int = 3) -> np.ndarray[Any, Any]:
    """Return random bits for each field of a structured `dtype`, however deep."""
    result = np.zeros(array_shape, dtype=dtype)
    for offset, name in enumerate(dtype.names or ()):
        field = dtype[name]
        if field.names is None:
            result[name] = bits(*array_shape, dtype=field.str, seed=seed + offset)
        else:
            result[name] = records(*array_shape, dtype=field, seed=seed + 10 * (offset + 1))
    return result


def texts(*array_shape: int, seed: int = 5) -> np.ndarray[Any, Any]:
    """Return variable-length text as numpy's `StringDType`."""
    generator = np.random.default_rng(seed)
    words = [WORDS[index] for index in generator.integers(0, len(WORDS), math.prod(array_shape))]
    return np.array(words, dtype=np.dtypes.StringDType()).reshape(array_shape)


def blobs(*array_shape: int, seed: int = 5) -> np.ndarray[Any, Any]:
    """Return variable-length `bytes` objects, the empty one among them."""
    generator = np.random.default_rng(seed)
    size = math.prod(array_shape)
    result = np.empty(size, dtype=object)
    for index, length in enumerate(generator.integers(0, 12, size)):
        result[index] = generator.bytes(int(length))
    return result.reshape(array_shape)
