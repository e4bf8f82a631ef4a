"""What part of an array an operation touches, in terms that every contender can translate.

Used by `cases.py` to say what is measured, by `contenders.py` to do it, by `measure.py` to know the
right answer, which numpy gives.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Kind = Literal["basic", "oindex", "vindex", "mask"]


@dataclass(frozen=True)
class Selection:
    """A part of an array: `index` as numpy, zarr's `oindex` or zarr's `vindex` would take it.

    A mask is a boolean array of the array's own shape.
    """

    index: Any
    kind: Kind = "basic"

    def of(self, values: Values) -> Values:
        """Return the selected elements of an array in memory: the right answer of a read."""
        if self.kind != "oindex":
            return np.asarray(values[self.index])
        selected = values
        for axis, chosen in enumerate(self.index):
            selected = selected[(slice(None),) * axis + (chosen,)]
        return selected

    def assign(self, target: Values, values: Values) -> None:
        """Put values into the selected elements of an array in memory."""
        if self.kind != "oindex":
            target[self.index] = values
            return
        axes = zip(self.index, target.shape, strict=True)
        target[np.ix_(*(np.arange(length)[chosen] for chosen, length in axes))] = values


EVERYTHING = Selection(...)


def window(*bounds: tuple[int, int]) -> Selection:
    """Return a box, from its first and one past its last coordinate along each axis."""
    return Selection(tuple(slice(first, stop) for first, stop in bounds))


def boxes(array_shape: tuple[int, ...], chunk_shape: tuple[int, ...]) -> tuple[Selection, ...]:
    """Return the box of every chunk, in C order."""
    starts = [range(0, length, step) for length, step in zip(array_shape, chunk_shape, strict=True)]
    return tuple(
        Selection(tuple(slice(first, first + step) for first, step in zip(corner, chunk_shape, strict=True)))
        for corner in itertools.product(*starts)
    )


def points(array_shape: tuple[int, ...], count: int) -> Selection:
    """Return `count` single elements in no order, the same ones in every run."""
    random = np.random.default_rng(3)
    return Selection(tuple(random.integers(0, length, count) for length in array_shape), "vindex")


def indices(array_shape: tuple[int, ...], count: int) -> Selection:
    """Return `count` sorted coordinates of each axis, each at most once; their grid is selected."""
    random = np.random.default_rng(4)
    chosen = (np.sort(random.choice(length, min(count, length), replace=False)) for length in array_shape)
    return Selection(tuple(chosen), "oindex")


def mask(array_shape: tuple[int, ...], share: float) -> Selection:
    """Return a mask that selects a share of the elements, spread all over."""
    return Selection(np.random.default_rng(5).random(array_shape) < share, "mask")
