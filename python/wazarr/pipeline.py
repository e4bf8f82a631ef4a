"""`CodecPipeline`: what zarr-python calls to read and write chunks.

`read` and `write` are thin: they bind the codec chain (once for each distinct chunk spec), hand zarr's
batch to the native engine in one crossing, and decide how to wait. Short requests to native stores run
right here, without the interpreter lock but on the caller's thread; long ones run on the engine's threads
while the event loop is free; stores that only Python can speak to are fed through `wazarr.bridge`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from zarr.abc.codec import (
    ArrayArrayCodec,
    ArrayBytesCodec,
    ArrayBytesCodecPartialDecodeMixin,
    ArrayBytesCodecPartialEncodeMixin,
    BytesBytesCodec,
)
from zarr.abc.codec import CodecPipeline as ZarrCodecPipeline
from zarr.core.codec_pipeline import BatchedCodecPipeline, codecs_from_list
from zarr.core.config import config as zarr_config

from wazarr import bridge, fallback, stores
from wazarr.chain_cache import ChainCache
from wazarr.errors import UnsupportedError
from wazarr.jobs import ended, watched
from wazarr.requests import ReadTarget, WriteOrigin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zarr.abc.codec import Codec
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

    from wazarr.chains import BoundChain
    from wazarr.requests import Batch
    from wazarr.stores import Place
    from wazarr.wasm.steps import Steps

__all__ = ["CodecPipeline"]

_PRESENT = {"status": "present"}
_MISSING = {"status": "missing"}


@dataclass(frozen=True)
class CodecPipeline(ZarrCodecPipeline):
    """A codec pipeline that runs in Rust.

    Select it with ``zarr.config.set({"codec_pipeline.path": "wazarr.CodecPipeline"})``.

    Parameters
    ----------
    array_array_codecs : tuple of ArrayArrayCodec
        Filters, in the order of encoding.
    array_bytes_codec : ArrayBytesCodec
        The serializer.
    bytes_bytes_codecs : tuple of BytesBytesCodec
        Compressors and checksums, in the order of encoding.
    """

    array_array_codecs: tuple[ArrayArrayCodec, ...]
    array_bytes_codec: ArrayBytesCodec
    bytes_bytes_codecs: tuple[BytesBytesCodec, ...]

    __module__ = "wazarr"

    def __post_init__(self) -> None:
        """Make the cache of bound chains and what goes with modules: no part of the value."""
        self._begin(None)

    def _begin(self, trailing_parts: int | None) -> None:
        object.__setattr__(self, "_chains", ChainCache())
        object.__setattr__(self, "_wasm", _wasm_steps(self, trailing_parts))

    @property
    def wasm(self) -> Steps | None:
        """The codecs that are WebAssembly modules, or None if there are none."""
        steps: Steps | None = self._wasm  # type: ignore[attr-defined]
        return steps

    # --- construction, identity ------------------------------------------------------------------------

    @classmethod
    def from_codecs(cls, codecs: Iterable[Codec]) -> Self:
        """Make a pipeline from codecs in the order of encoding.

        Parameters
        ----------
        codecs : iterable of Codec
            Array→array codecs, one array→bytes codec, bytes→bytes codecs.

        Raises
        ------
        TypeError, ValueError
            As zarr-python's pipelines: codecs in a wrong order, no or several array→bytes codecs.
        """
        return cls(*codecs_from_list(list(codecs)))

    @classmethod
    def from_array_metadata_and_store(cls, array_metadata: Any, store: Any) -> Self:
        """Make a pipeline for an array, as zarr would without this method.

        Where codecs are modules, they learn of the store, and the pipeline how to tell the array's path
        from a chunk's: modules are looked for in the groups above.

        Parameters
        ----------
        array_metadata : ArrayMetadata
            Of either format.
        store : Store
            The array's store.

        Raises
        ------
        NotImplementedError
            Zarr has to do it: there are no such codecs.
        """
        if not _may_have_modules():
            raise NotImplementedError
        from zarr.core.array import create_codec_pipeline

        pipeline = create_codec_pipeline(array_metadata)
        if type(pipeline) is not cls:
            raise NotImplementedError
        if pipeline.wasm is not None:
            from wazarr.wasm.steps import trailing_parts

            pipeline._begin(trailing_parts(array_metadata))
            pipeline.wasm.remember(store)
        return pipeline

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Fill in what codecs take from the array, each from the spec that it will see.

        Parameters
        ----------
        array_spec : ArraySpec
            The decoded chunk.
        """
        evolved = []
        for codec in self:
            evolved.append(codec.evolve_from_array_spec(array_spec=array_spec))
            array_spec = evolved[-1].resolve_metadata(array_spec)
        arrays = len(self.array_array_codecs)
        return type(self)(tuple(evolved[:arrays]), evolved[arrays], tuple(evolved[arrays + 1 :]))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Codec]:
        """Iterate over the codecs in the order of encoding."""
        yield from self.array_array_codecs
        yield self.array_bytes_codec
        yield from self.bytes_bytes_codecs

    def __hash__(self) -> int:
        """Hash by the codecs; equal pipelines have equal hashes."""
        try:
            return hash((self.array_array_codecs, self.array_bytes_codec, self.bytes_bytes_codecs))
        except TypeError:
            return hash(tuple(type(codec) for codec in self))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the codecs alone: chains are bound again in the process that unpickles."""
        state = {name: value for name, value in self.__dict__.items() if name not in {"_chains", "_wasm"}}
        wasm = self.wasm
        return state if wasm is None else {**state, "_trailing": wasm.trailing}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` gave."""
        trailing = state.pop("_trailing", None)
        self.__dict__.update(state)
        self._begin(trailing)

    # --- metadata --------------------------------------------------------------------------------------

    @property
    def supports_partial_decode(self) -> bool:
        """Whether zarr may ask the array→bytes codec for parts: nothing else stands in the chain."""
        return self._is_alone and isinstance(self.array_bytes_codec, ArrayBytesCodecPartialDecodeMixin)

    @property
    def supports_partial_encode(self) -> bool:
        """The mirror of `supports_partial_decode`."""
        return self._is_alone and isinstance(self.array_bytes_codec, ArrayBytesCodecPartialEncodeMixin)

    @property
    def _is_alone(self) -> bool:
        return not self.array_array_codecs and not self.bytes_bytes_codecs

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Let every codec check that it fits the array.

        Parameters
        ----------
        shape : tuple of int
            Shape of the array.
        dtype : ZDType
            Its data type.
        chunk_grid : ChunkGridMetadata
            Its chunk grid.
        """
        for codec in self:
            codec.validate(shape=shape, dtype=dtype, chunk_grid=chunk_grid)

    def compute_encoded_size(self, byte_length: int, array_spec: ArraySpec) -> int:
        """Return the encoded size of a chunk in bytes, where it is fixed.

        Raises
        ------
        NotImplementedError
            A codec's output has no fixed size.
        """
        for codec in self:
            byte_length = codec.compute_encoded_size(byte_length, array_spec)
            array_spec = codec.resolve_metadata(array_spec)
        return byte_length

    # --- chunks at hand --------------------------------------------------------------------------------

    async def decode(
        self, chunk_bytes_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]
    ) -> Iterable[NDBuffer | None]:
        """Decode chunks; None stays None.

        Parameters
        ----------
        chunk_bytes_and_specs : iterable of (Buffer or None, ArraySpec)
            Encoded chunks with what they decode to.

        Returns
        -------
        list of NDBuffer or None
            In the same order.
        """
        return await asyncio.gather(
            *(self._decode_one(buffer, spec) for buffer, spec in list(chunk_bytes_and_specs))
        )

    async def _decode_one(self, buffer: Buffer | None, spec: ArraySpec) -> NDBuffer | None:
        if buffer is None:
            return None
        dtype = spec.dtype.to_native_dtype()
        out = spec.prototype.nd_buffer.empty(shape=spec.shape, dtype=dtype, order=spec.order)
        whole = tuple(slice(0, length) for length in spec.shape)
        await self.read([(_Given(buffer), spec, whole, whole, True)], out)
        return out

    async def encode(
        self, chunk_arrays_and_specs: Iterable[tuple[NDBuffer | None, ArraySpec]]
    ) -> Iterable[Buffer | None]:
        """Encode chunks; None stays None.

        Parameters
        ----------
        chunk_arrays_and_specs : iterable of (NDBuffer or None, ArraySpec)
            Decoded chunks with their specs.

        Returns
        -------
        list of Buffer or None
            In the same order; None also for a shard of which no inner chunk is stored.
        """
        return await asyncio.gather(
            *(self._encode_one(chunk, spec) for chunk, spec in list(chunk_arrays_and_specs))
        )

    async def _encode_one(self, chunk: NDBuffer | None, spec: ArraySpec) -> Buffer | None:
        if chunk is None:
            return None
        if self._writes_even_empty:
            spec = replace(spec, config=replace(spec.config, write_empty_chunks=True))
        taker = _Taken()
        whole = tuple(slice(0, length) for length in spec.shape)
        await self.write([(taker, spec, whole, whole, True)], chunk)
        return taker.buffer

    @property
    def _writes_even_empty(self) -> bool:
        """Whether `encode` gives bytes for a chunk of fill values; a shard leaves such inner chunks out."""
        return not isinstance(self.array_bytes_codec, ArrayBytesCodecPartialEncodeMixin)

    # --- reading and writing ---------------------------------------------------------------------------

    async def read(
        self,
        batch_info: Iterable[tuple[Any, ArraySpec, Any, Any, bool]],
        out: NDBuffer,
        drop_axes: tuple[int, ...] = (),
    ) -> tuple[Any, ...]:
        """Read chunks into an output array.

        Parameters
        ----------
        batch_info : iterable of (ByteGetter, ArraySpec, chunk_selection, out_selection, is_complete)
            The chunks.
        out : NDBuffer
            Every element that an `out_selection` names is written.
        drop_axes : tuple of int
            Axes of the chunk selection's result that the output does not have.

        Returns
        -------
        tuple of GetResult
            One for every chunk: whether it was there.
        """
        batch = batch_info if type(batch_info) is list else list(batch_info)
        if not batch:
            return ()
        store, place = await _open_store(batch)
        wasm = self.wasm
        if wasm is not None:
            await wasm.prepare(batch, is_write=False)
        try:
            target = ReadTarget(self, batch, out)
            job, place = target.plan(drop_axes, store, place)
        except UnsupportedError as unsupported:
            fallback.note(unsupported.reason, len(batch))
            return await _whole_fallback(self).read(batch, out, drop_axes) or ()
        target.note_fallbacks(store, place)
        with nullcontext() if wasm is None else wasm.logged():
            if place is None:
                await watched(job, "read", bridge.read(job, batch))
            elif job.is_short:
                job.run()
            else:
                await watched(job, "read", ended(job, job.start))
        target.finish()
        return job.statuses(_PRESENT, _MISSING)

    async def write(
        self,
        batch_info: Iterable[tuple[Any, ArraySpec, Any, Any, bool]],
        value: NDBuffer,
        drop_axes: tuple[int, ...] = (),
    ) -> None:
        """Write values to chunks, merging with what is stored where a chunk is written in part.

        Parameters
        ----------
        batch_info : iterable of (ByteSetter, ArraySpec, chunk_selection, out_selection, is_complete)
            The chunks.
        value : NDBuffer
            The values; a 0-d one goes everywhere.
        drop_axes : tuple of int
            Axes of the chunk selection's result that `value` does not have.
        """
        batch = batch_info if type(batch_info) is list else list(batch_info)
        if not batch:
            return
        store, place = await _open_store(batch, is_write=True)
        if place is not None:
            store._check_writable()
        wasm = self.wasm
        if wasm is not None:
            await wasm.prepare(batch, is_write=True)
        try:
            origin = WriteOrigin(self, batch, value)
            job, place = origin.plan(drop_axes, store, place)
        except UnsupportedError as unsupported:
            fallback.note(unsupported.reason, len(batch))
            with nullcontext() if wasm is None else wasm.stored():
                await _whole_fallback(self).write(batch, value, drop_axes)
            return
        origin.note_fallbacks(store, place)
        with nullcontext() if wasm is None else wasm.logged():
            if place is None:
                await watched(job, "write", bridge.write(job, batch))
            elif not (job.is_short and job.run()):
                await watched(job, "write", ended(job, job.start))

    # --- binding ---------------------------------------------------------------------------------------

    def bound(self, spec: ArraySpec) -> BoundChain:
        """Return the chain bound to a chunk spec, from the cache where it is there.

        Parameters
        ----------
        spec : ArraySpec
            The decoded chunk.

        Raises
        ------
        UnsupportedError
            The chain cannot run here as a whole.
        """
        chains: ChainCache = self._chains  # type: ignore[attr-defined]
        return chains.bound(self, spec, self.wasm)


def _may_have_modules() -> bool:
    """Return whether anybody has made a codec that is a module, ours or one of numcodecs-wasm's."""
    return "wazarr.wasm" in sys.modules or "numcodecs_wasm" in sys.modules


def _wasm_steps(codecs: Iterable[Codec], trailing_parts: int | None) -> Steps | None:
    """Return the codecs of a chain that are modules, or None if there are none."""
    if not _may_have_modules():
        return None
    from wazarr.wasm.steps import Steps

    return Steps.of(codecs, trailing_parts)


class _Given:
    """A byte getter that has its bytes."""

    path = "(given)"

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    async def get(self, prototype: Any = None, byte_range: Any = None) -> Buffer:
        return self._buffer


class _Taken:
    """A byte setter that keeps what it is given."""

    path = "(given)"
    buffer: Buffer | None = None

    async def get(self, prototype: Any = None, byte_range: Any = None) -> None:
        return None

    async def set(self, value: Buffer) -> None:
        self.buffer = value

    async def delete(self) -> None:
        self.buffer = None


def _whole_fallback(pipeline: CodecPipeline) -> BatchedCodecPipeline:
    """zarr-python's default pipeline with the same codecs."""
    return BatchedCodecPipeline(
        array_array_codecs=pipeline.array_array_codecs,
        array_bytes_codec=pipeline.array_bytes_codec,
        bytes_bytes_codecs=pipeline.bytes_bytes_codecs,
        batch_size=zarr_config.get("codec_pipeline.batch_size"),
    )


async def _open_store(batch: Batch, *, is_write: bool = False) -> tuple[Any, Place | None]:
    """Return the store of a batch and, if the engine speaks to it itself, where its values are."""
    getter = batch[0][0]
    if type(getter) is not stores.StorePath:
        return None, None
    store = getter.store
    place = stores.native_place(store, getter.path, is_write=is_write)
    if place is not None and not store._is_open:
        await store._ensure_open()
    return store, place
