"""The values that the arrays hold: smooth fields with noise, the same ones in every run.

The noise decides how far they compress. The usual data keeps about nine tenths under gzip and zstd,
as raw sensor data does; the quiet one about a quarter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from selections import Values

SEED = 20240607
NOISE = 200.0
QUIET_NOISE = 2.0


def field(array_shape: tuple[int, ...], noise: float = NOISE) -> Values:
    """Return a smooth field of `uint16` in up to three dimensions, with normal noise."""
    axes = np.meshgrid(
        *(np.linspace(0, 2 * math.pi, length) for length in array_shape), indexing="ij", sparse=True
    )
    smooth = 30000 + 9000 * np.sin(axes[0]) * np.cos(axes[1 % len(axes)]) + 4000 * np.sin(2 * axes[-1])
    random = np.random.default_rng(SEED).normal(0, noise, size=array_shape)
    return np.asarray((smooth + random).astype(np.uint16))


def quiet_field(array_shape: tuple[int, ...]) -> Values:
    """Return a field that compresses well."""
    return field(array_shape, QUIET_NOISE)


def typed_field(array_shape: tuple[int, ...], dtype: str) -> Values:
    """Return the field as another data type; times are seconds, text is decimal numbers."""
    values = field(array_shape)
    if dtype == "u1":
        return (values >> 8).astype(np.uint8)
    if dtype == "c16":
        return np.asarray(values + 1j * values[::-1])
    if dtype.startswith("M8"):
        return np.asarray(values.astype("i8") * 3600).astype(dtype)
    return values.astype(np.dtype(dtype))


def records(array_shape: tuple[int, ...]) -> Values:
    """Return a structured array of a number and a measurement."""
    values = np.zeros(array_shape, dtype=[("count", "i4"), ("value", "f8")])
    values["count"] = field(array_shape)
    values["value"] = values["count"] / 7
    return values


def words(array_shape: tuple[int, ...]) -> Values:
    """Return variable-length text of 4 to 19 characters, of which some are not ASCII."""
    texts = [f"{'ä' * (value % 3)}wort{'-' * (value % 11)}{value}" for value in field(array_shape).ravel()]
    return np.array(texts, dtype=np.dtypes.StringDType()).reshape(array_shape)


def following(values: Values) -> Values:
    """Return other values of the same kind: a write that did nothing would be noticed."""
    return np.ascontiguousarray(np.roll(values, 1, axis=-1))
