"""One request: zarr's batch, the caller's array and the bound chains, ready for the native engine.

What a read and a write have in common, and how each is planned. The decision what cannot run natively as
a whole (`UnsupportedError`) falls here, before any work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from zarr.core.buffer import cpu

from wazarr import _native, config, fallback, stores
from wazarr.errors import InternalError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import BufferPrototype, NDBuffer

    from wazarr.pipeline import CodecPipeline
    from wazarr.stores import Place

__all__ = ["Batch", "ReadTarget", "WriteOrigin"]

Batch = list[tuple[Any, ...]]
"""zarr's `(byte getter, chunk spec, chunk selection, out selection, is complete)`."""

_Job = TypeVar("_Job")


def require_host_memory(prototype: BufferPrototype) -> None:
    """Raise `UnsupportedError` unless buffers of these classes are in the host's memory."""
    if not (issubclass(prototype.buffer, cpu.Buffer) and issubclass(prototype.nd_buffer, cpu.NDBuffer)):
        raise UnsupportedError(f"buffers of class {prototype.buffer.__qualname__} are not in host memory")


class Request:
    """What a read and a write have in common: one data type, and the reasons for fallbacks."""

    def __init__(self, pipeline: CodecPipeline, batch: Batch, buffer: NDBuffer) -> None:
        self._pipeline = pipeline
        self._batch = batch
        spec: ArraySpec = batch[0][1]
        require_host_memory(spec.prototype)
        array = buffer.as_ndarray_like()
        if not isinstance(array, np.ndarray):
            raise UnsupportedError(f"arrays of class {type(array).__qualname__} are not numpy's")
        self.given = array
        self.first = pipeline.bound(spec)
        # Equal string types have the same missing value: zarr's have none.
        is_text = self.first.is_text and array.dtype == self.first.dtype
        self.dtype = np.dtype(object) if self.first.is_variable and not is_text else self.first.dtype

    def bind(self, spec: ArraySpec) -> _native.Chain:
        """Bind the chain of a chunk; called once for each distinct spec."""
        return self._pipeline.bound(spec).chain

    def note_fallbacks(self, store: Any, place: Place | None) -> None:
        """Report what does not run natively."""
        for reason in self.first.fallbacks:
            fallback.note(reason, len(self._batch))
        if place is None and store is not None:
            fallback.note(stores.reason(store), len(self._batch))


class ReadTarget(Request):
    """The output array of a read, or an array of the chunks' own data type in its place."""

    def __init__(self, pipeline: CodecPipeline, batch: Batch, out: NDBuffer) -> None:
        super().__init__(pipeline, batch, out)
        self._is_direct = self.given.dtype == self.dtype
        # A caller's own `out=` of another type: converted at the end.
        self.array = (
            self.given if self._is_direct else np.empty(self.given.shape, self.dtype).view(self.dtype)
        )

    def plan(
        self, drop_axes: tuple[int, ...], store: Any, place: Place | None
    ) -> tuple[_native.ReadJob, Place | None]:
        """Plan the read. The place is None where the engine cannot be the one that speaks to the store."""

        def plan(place: Place | None) -> _native.ReadJob | None:
            return _native.plan_read(
                self._batch,
                self.array,
                drop_axes,
                self.bind,
                store=None if place is None else store,
                path_type=stores.StorePath,
                kind=stores.for_engine(place, self._batch[0][1]),
                limits=config.limits(),
            )

        return _first_plan(plan, place)

    def finish(self) -> None:
        """Convert, where the output has another data type than the chunks."""
        if not self._is_direct:
            self.given[...] = self.array


class WriteOrigin(Request):
    """The values of a write in the chunks' own data type."""

    def __init__(self, pipeline: CodecPipeline, batch: Batch, value: NDBuffer) -> None:
        super().__init__(pipeline, batch, value)
        self.array = self.given if self.given.dtype == self.dtype else _converted(value, self.dtype)

    def plan(
        self, drop_axes: tuple[int, ...], store: Any, place: Place | None
    ) -> tuple[_native.WriteJob, Place | None]:
        """Plan the write; the mirror of `ReadTarget.plan`."""

        def plan(place: Place | None) -> _native.WriteJob | None:
            return _native.plan_write(
                self._batch,
                self.array,
                drop_axes,
                self.bind,
                store=None if place is None else store,
                path_type=stores.StorePath,
                kind=stores.for_engine(place, self._batch[0][1]),
                make_buffer=self._batch[0][1].prototype.buffer.from_array_like,
                store_name=None if store is None else stores.name_of(store, place),
                limits=config.limits(),
            )

        return _first_plan(plan, place)


def _converted(value: NDBuffer, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the values in another data type, as zarr converts them."""
    return np.asarray(value.astype(dtype).as_ndarray_like())


def _first_plan(
    plan: Callable[[Place | None], _Job | None], place: Place | None
) -> tuple[_Job, Place | None]:
    """Plan for the place, or for each chunk's own byte getter where not all chunks are there."""
    job = plan(place)
    if job is None:
        place = None
        job = plan(None)
    if job is None:
        raise InternalError("a batch without a store could not be planned")
    return job, place
