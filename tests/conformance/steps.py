"""The steps that an operation of the table is made of.

A step acts on an open array and returns a value to compare, or raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from zarr.core.buffer.cpu import NDBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

    import zarr
    from zarr.abc.store import Store

SelectionKind = Literal["basic", "orthogonal", "coordinates", "mask", "blocks", "getitem"]


@dataclass
class Scene:
    """What a step acts on: the open array and its store, and how to open either again."""

    array: zarr.Array[Any]
    store: Store
    open_store: Callable[[bool], Store]
    open_array: Callable[[Store, str], zarr.Array[Any]]


def read(array: zarr.Array[Any], kind: SelectionKind, selection: Any) -> Any:
    """Read `selection` by the accessor of its kind."""
    match kind:
        case "getitem":
            return array[selection]
        case "basic":
            return array.get_basic_selection(selection)
        case "orthogonal":
            return array.oindex[selection]
        case "coordinates":
            return array.vindex[selection]
        case "mask":
            return array.get_mask_selection(selection)
        case "blocks":
            return array.blocks[selection]


def write(array: zarr.Array[Any], kind: SelectionKind, selection: Any, value: Any) -> None:
    """Write `value` to `selection` by the accessor of its kind."""
    match kind:
        case "getitem":
            array[selection] = value
        case "basic":
            array.set_basic_selection(selection, value)
        case "orthogonal":
            array.oindex[selection] = value
        case "coordinates":
            array.vindex[selection] = value
        case "mask":
            array.set_mask_selection(selection, value)
        case "blocks":
            array.blocks[selection] = value


@dataclass(frozen=True)
class Read:
    """Read a selection."""

    selection: Any = ...
    kind: SelectionKind = "getitem"

    def run(self, scene: Scene) -> Any:
        """Return what was read."""
        return read(scene.array, self.kind, self.selection)


@dataclass(frozen=True)
class Write:
    """Write a value (scalar, array, anything) to a selection."""

    selection: Any
    value: Any
    kind: SelectionKind = "getitem"

    def run(self, scene: Scene) -> Any:
        """Return nothing."""
        return write(scene.array, self.kind, self.selection, self.value)


OutLayout = Literal["c", "fortran", "strided", "reversed", "transposed", "inside", "wide-type"]


def out_buffer(layout: OutLayout, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Return (whole memory, the view into it to read into), filled with a pattern."""
    match layout:
        case "c":
            memory = np.zeros(shape, dtype)
            return memory, memory
        case "fortran":
            memory = np.zeros(shape, dtype, order="F")
            return memory, memory
        case "strided":
            memory = np.ones(tuple(2 * extent for extent in shape), dtype)
            return memory, memory[tuple(slice(None, None, 2) for _ in shape)]
        case "reversed":
            memory = np.ones(shape, dtype)
            return memory, memory[tuple(slice(None, None, -1) for _ in shape)]
        case "transposed":
            memory = np.ones(shape[::-1], dtype)
            return memory, memory.T
        case "inside":
            memory = np.ones(tuple(extent + 5 for extent in shape), dtype)
            return memory, memory[tuple(slice(2, 2 + extent) for extent in shape)]
        case "wide-type":
            memory = np.ones(shape, np.float64)
            return memory, memory


@dataclass(frozen=True)
class ReadInto:
    """Read into a buffer of the caller's; the whole of its memory is compared."""

    layout: OutLayout
    out_shape: tuple[int, ...]
    selection: Any = ...
    kind: SelectionKind = "basic"

    def run(self, scene: Scene) -> Any:
        """Return the memory that the buffer lies in, gaps included."""
        memory, view = out_buffer(self.layout, self.out_shape, scene.array.dtype)
        out = NDBuffer.from_numpy_array(view)
        array = scene.array
        match self.kind:
            case "basic" | "getitem":
                array.get_basic_selection(self.selection, out=out)
            case "orthogonal":
                array.get_orthogonal_selection(self.selection, out=out)
            case "coordinates":
                array.get_coordinate_selection(self.selection, out=out)
            case "mask":
                array.get_mask_selection(self.selection, out=out)
            case "blocks":
                array.get_block_selection(self.selection, out=out)
        return np.ascontiguousarray(memory)


@dataclass(frozen=True)
class Resize:
    """Change the array's shape."""

    array_shape: tuple[int, ...]

    def run(self, scene: Scene) -> Any:
        """Return the new shape."""
        scene.array.resize(self.array_shape)
        return scene.array.shape


@dataclass(frozen=True)
class Append:
    """Append along an axis."""

    value: Any
    axis: int = 0

    def run(self, scene: Scene) -> Any:
        """Return the new shape."""
        return scene.array.append(self.value, axis=self.axis)


@dataclass(frozen=True)
class Reopen:
    """Open store and array anew."""

    mode: str = "r+"
    is_store_read_only: bool = False

    def run(self, scene: Scene) -> Any:
        """Return the shape found."""
        scene.store = scene.open_store(self.is_store_read_only)
        scene.array = scene.open_array(scene.store, self.mode)
        return scene.array.shape


@dataclass(frozen=True)
class Call:
    """Any function of the scene, for what the other steps do not say."""

    function: Callable[[Scene], Any]

    def run(self, scene: Scene) -> Any:
        """Return the function's result."""
        return self.function(scene)


Step = Read | Write | ReadInto | Resize | Append | Reopen | Call
