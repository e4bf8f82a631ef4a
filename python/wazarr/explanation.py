"""What would run where: a read explained before it happens.

zarr itself works out which chunks a selection touches: a copy of the array hands over the batch instead of
having it read. The batch is then planned as a read would be, and the plan surveyed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import zarr
from zarr import AsyncArray
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import BufferPrototype, cpu, default_buffer_prototype
from zarr.core.sync import sync

from wazarr import _native, config, stores
from wazarr.chains import is_variable_length
from wazarr.codecs import label_of
from wazarr.errors import InternalError, UnsupportedError, without_secrets
from wazarr.pipeline import CodecPipeline
from wazarr.requests import require_host_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zarr.abc.codec import Codec

    from wazarr.chains import BoundChain

__all__ = ["CodecEngine", "Explanation", "explain"]

Indexing = Literal["array", "oindex", "vindex", "blocks"]


@dataclass(frozen=True)
class CodecEngine:
    """One codec and what runs it.

    Attributes
    ----------
    name : str
        Its name in metadata; codecs inside a shard as ``sharding_indexed/NAME``, those of its index as
        ``sharding_indexed/index/NAME``.
    engine : {"native", "wasm", "python"}
        What runs it.
    reason : str or None
        Why, where something else might have run it.
    """

    name: str
    engine: str
    reason: str | None = None


@dataclass(frozen=True)
class Explanation:
    """What a read of some of an array would touch, and what would run where.

    Numbers of chunks, ranges and bytes are those of a store in which nothing is missing: whether a chunk
    is there is not known before it is asked for.

    Attributes
    ----------
    array : str
        The array's store and path.
    pipeline : str
        Class of the pipeline that the array was opened with. The rest holds for `wazarr.CodecPipeline`,
        also if this is another one: open the array again after `wazarr.enable()`.
    codecs : tuple of CodecEngine
        In the order of encoding.
    store : str
        Class of the store.
    store_engine : {"native", "python"}
        Whether the engine speaks to the store itself or through its Python methods.
    direct_io : bool
        Whether files are asked for past the page cache (`codec_pipeline.direct_io`). Which can is not known
        before they are opened: `wazarr.counters()["files"]` counts both.
    kept_handles : int
        How many files stay open from one read to the next (`codec_pipeline.file_handle_cache_size`).
    requests_in_flight : int
        How many requests to the store there may be at the same time, `wazarr.bytes_in_flight` considered.
    chunks : int
        Chunks touched. A shard is one chunk.
    inner_chunks : int
        Inner chunks touched, of shards within shards as well.
    ranges : int
        Ranges of bytes to fetch, a whole value being one; shard indexes included. Neighbours that a store
        may fetch in one request are counted one by one.
    elements : int
        Elements selected.
    bytes_selected : int or None
        What the selected elements take in memory. None for elements of variable length.
    bytes_decoded : int or None
        What comes out of the codecs for them: less where a codec can decode a part (blosc; zstd without a
        checksum), which only the stored chunk tells. None as above.
    bytes_encoded : int or None
        What has to be fetched for them. None where that cannot be known without reading, as with any
        compressor.
    holds_gil : tuple of str
        What would need the interpreter lock, and why.
    fallbacks : tuple of str
        Reasons that would be logged and counted, and raised under `codec_pipeline.strict`.
    is_refused : bool
        Whether the read would raise `UnsupportedError`: strict, with a fallback.
    """

    array: str
    pipeline: str
    codecs: tuple[CodecEngine, ...]
    store: str
    store_engine: str
    requests_in_flight: int
    chunks: int
    inner_chunks: int
    ranges: int
    elements: int
    bytes_selected: int | None
    bytes_decoded: int | None
    bytes_encoded: int | None
    holds_gil: tuple[str, ...]
    fallbacks: tuple[str, ...]
    is_refused: bool
    direct_io: bool = False
    kept_handles: int = 0

    def __str__(self) -> str:
        """Return a table for people."""
        width = max(len(codec.name) for codec in self.codecs)
        codecs = [
            f"{codec.name:{width}}  {codec.engine}" + (f": {codec.reason}" if codec.reason else "")
            for codec in self.codecs
        ]
        sizes = [
            f"{_size(self.bytes_selected)} selected",
            f"{_size(self.bytes_decoded)} decoded",
            f"{_size(self.bytes_encoded)} encoded",
        ]
        pipeline = self.pipeline
        if pipeline != _OURS:
            pipeline += f" (open the array again after wazarr.enable() for {_OURS})"
        refusal = ["codec_pipeline.strict is set: the read would raise UnsupportedError"]
        rows = {
            "array": [self.array],
            "pipeline": [pipeline],
            "codecs": codecs,
            "store": [
                f"{self.store}  {self.store_engine}, up to {self.requests_in_flight} requests in flight"
                + (", past the page cache where the disk can" if self.direct_io else "")
                + (f", {self.kept_handles} files kept open" if self.kept_handles else "")
            ],
            "touches": [
                f"chunks: {self.chunks}, inner chunks: {self.inner_chunks}, ranges of bytes: {self.ranges}",
                f"elements: {self.elements}: {', '.join(sizes)}",
            ],
            "GIL": list(self.holds_gil) or ["free during all reading and decoding"],
            "fallbacks": [*self.fallbacks, *(refusal if self.is_refused else [])] or ["none"],
        }
        return "\n".join(
            f"{label if at == 0 else '':10}{line}"
            for label, lines in rows.items()
            for at, line in enumerate(lines)
        )


_OURS = "wazarr.CodecPipeline"


def _size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return "unknown bytes"
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def explain(
    array: zarr.Array[Any] | AsyncArray[Any], selection: Any = ..., *, indexing: Indexing = "array"
) -> Explanation:
    """Print and return what a read would touch and what would run where, without reading.

    No chunk is asked for, nothing is counted in `wazarr.counters()` and nothing is logged.

    Parameters
    ----------
    array : zarr.Array or zarr.AsyncArray
        Of either format, opened with any pipeline.
    selection : object, optional
        What to read: everything that ``array[…]`` takes, with its meaning there. So a mask of the array's
        shape, or a tuple of one index array for every axis, selects coordinates. Default: everything.
    indexing : {"array", "oindex", "vindex", "blocks"}
        Whose rules `selection` follows: those of ``array[…]``, or ``array.oindex[…]`` and so on.

    Returns
    -------
    Explanation
        Also printed.

    Raises
    ------
    IndexError
        A selection that the array would not take; as zarr raises it.

    Examples
    --------
    >>> explanation = wazarr.explain(array, np.s_[0, ::4])  # doctest: +SKIP
    array     file:///data/tile.zarr
    pipeline  wazarr.CodecPipeline
    codecs    bytes  native
              zstd   native
    store     LocalStore  native, up to 8 requests in flight
    …
    """
    asynchronous = array if isinstance(array, AsyncArray) else array.async_array
    recording = _Recording.of(asynchronous)
    target: Any = zarr.Array(recording)
    if indexing != "array":
        target = getattr(target, indexing)
    target[selection]
    explanation = _explain(asynchronous, recording.codec_pipeline)
    print(explanation)  # noqa: T201 - what it is for
    return explanation


# --- what zarr would ask for ---------------------------------------------------------------------------


@dataclass
class _Recorder:
    """Stands in for a pipeline, and keeps the batch that zarr asks it to read."""

    batch: list[tuple[Any, ...]] = field(default_factory=list)
    shape: tuple[int, ...] = (0,)
    drop_axes: tuple[int, ...] = ()

    async def read(
        self, batch_info: Iterable[tuple[Any, ...]], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> tuple[Any, ...]:
        self.batch = list(batch_info)
        self.shape = out.shape
        self.drop_axes = drop_axes
        return tuple({"status": "present"} for _ in self.batch)


class _Unallocated(cpu.NDBuffer):
    """Output arrays of any shape that take the memory of one element."""

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: Any, order: Literal["C", "F"] = "C") -> Self:
        return cls(_repeated(shape, dtype))


def _repeated(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    array = np.broadcast_to(np.empty((), dtype=dtype), shape)
    array.flags.writeable = True
    return array


class _Recording(AsyncArray[Any]):
    """A copy of an array that records what would be read."""

    codec_pipeline: Any

    @classmethod
    def of(cls, array: AsyncArray[Any]) -> Self:
        copy = object.__new__(cls)
        copy.__dict__.update(array.__dict__, codec_pipeline=_Recorder())
        return copy

    async def _get_selection(self, indexer: Any, **options: Any) -> Any:
        options["prototype"] = BufferPrototype(buffer=cpu.Buffer, nd_buffer=_Unallocated)
        return await super()._get_selection(indexer, **options)


# --- what we would do with it --------------------------------------------------------------------------


def _explain(array: AsyncArray[Any], asked: _Recorder) -> Explanation:
    store = array.store_path.store
    place = stores.native_place(store, array.store_path.path)
    # A pipeline of its own: chains bound to the recording's prototype must not stay in the array's.
    pipeline = CodecPipeline.from_codecs(_codecs(array))
    batch = asked.batch
    spec = batch[0][1] if batch else _any_spec(array)
    opened = type(array.codec_pipeline)
    common: dict[str, Any] = {
        "array": without_secrets(str(array.store_path)),
        "pipeline": f"{opened.__module__}.{opened.__qualname__}",
        "store": stores.describe(store),
        "chunks": len(batch),
    }
    try:
        require_host_memory(default_buffer_prototype())
        if pipeline.wasm is not None:
            sync(pipeline.wasm.prepare_at(store, array.store_path.path))
        bound = pipeline.bound(spec)
        touched, in_flight = _survey(pipeline, bound, asked, store, place)
    except UnsupportedError as unsupported:
        return _explain_fallback(pipeline, spec, asked, unsupported.reason, common)
    inner_chunks, ranges, elements, decoded, encoded = touched
    is_in_files = place is not None and place[0] == "local"
    direct_io, kept_handles = config.file_access() if is_in_files else (False, 0)
    fallbacks = list(bound.fallbacks)
    if place is None:
        fallbacks.append(stores.reason(store))
    return Explanation(
        **common,
        codecs=_engines(bound),
        store_engine="python" if place is None else "native",
        requests_in_flight=in_flight,
        inner_chunks=inner_chunks,
        ranges=ranges,
        elements=elements,
        bytes_selected=None if bound.is_variable else elements * bound.dtype.itemsize,
        bytes_decoded=decoded,
        bytes_encoded=encoded,
        holds_gil=tuple(_holders(bound, place, store)),
        fallbacks=tuple(fallbacks),
        direct_io=direct_io,
        kept_handles=kept_handles,
        is_refused=bool(fallbacks) and config.get("codec_pipeline.strict") is True,
    )


def _survey(
    pipeline: CodecPipeline, bound: BoundChain, asked: _Recorder, store: object, place: tuple[str, Any] | None
) -> tuple[tuple[int, int, int, int | None, int | None], int]:
    """Plan the read; return what it touches (`_native.ReadJob.survey`) and the most requests in flight."""
    is_waited_for = place is None or place[0] == "remote"
    allowed = config.store_concurrency() if is_waited_for else config.max_workers()
    if not asked.batch:
        return (0, 0, 0, 0, 0), allowed
    job = _native.plan_read(
        asked.batch,
        _repeated(asked.shape, np.dtype(object) if _makes_objects(bound) else bound.dtype),
        asked.drop_axes,
        lambda spec: pipeline.bound(spec).chain,
        store=None if place is None else store,
        path_type=stores.StorePath,
        kind=stores.for_engine(place, asked.batch[0][1]),
        limits=config.limits(),
    )
    if job is None:
        raise InternalError("the chunks of one array are in different stores")
    return job.survey(), job.in_flight(allowed)


def _explain_fallback(
    pipeline: CodecPipeline, spec: ArraySpec, asked: _Recorder, reason: str, common: dict[str, Any]
) -> Explanation:
    """Explain a read that zarr-python's own pipeline would do as a whole."""
    dtype = spec.dtype.to_native_dtype()
    elements = int(np.prod(asked.shape, dtype=np.int64)) if asked.batch else 0
    return Explanation(
        **common,
        codecs=tuple(CodecEngine(label_of(codec), "python", reason) for codec in pipeline),
        store_engine="python",
        requests_in_flight=int(zarr.config.get("async.concurrency")),
        inner_chunks=0,
        ranges=len(asked.batch),
        elements=elements,
        bytes_selected=None if is_variable_length(dtype) else elements * dtype.itemsize,
        bytes_decoded=None,
        bytes_encoded=None,
        holds_gil=(f"zarr-python's own pipeline would do it all: {reason}",),
        fallbacks=(reason,),
        is_refused=config.get("codec_pipeline.strict") is True,
    )


def _codecs(array: AsyncArray[Any]) -> tuple[Codec, ...]:
    """Return the codecs that the array was opened with."""
    try:
        return tuple(array.codec_pipeline)  # type: ignore[arg-type]
    except TypeError:
        # A pipeline that does not tell: as the metadata has them.
        from zarr.core.array import create_codec_pipeline

        with zarr.config.set({"codec_pipeline.path": _OURS}):
            ours: Any = create_codec_pipeline(metadata=array.metadata, store=array.store_path.store)
        return tuple(ours)


def _any_spec(array: AsyncArray[Any]) -> ArraySpec:
    """Return the spec of some chunk of an array of which nothing was selected."""
    try:
        chunk_shape = array.shards or array.chunks
    except NotImplementedError:  # a rectilinear grid has no such thing
        chunk_shape = (1,) * array.ndim
    return ArraySpec(
        shape=chunk_shape,
        dtype=array._zdtype,
        fill_value=array.metadata.fill_value,
        config=array.config,
        prototype=default_buffer_prototype(),
    )


def _engines(bound: BoundChain) -> tuple[CodecEngine, ...]:
    """Pair codecs with the reasons."""
    return tuple(
        CodecEngine(name, engine, reason)
        for (name, engine), reason in zip(bound.engines, bound.reasons, strict=True)
    )


def _holders(bound: BoundChain, place: tuple[str, Any] | None, store: object) -> Iterator[str]:
    """Say what needs the interpreter lock during a read."""
    for name, engine in bound.engines:
        if engine == "python":
            yield f"codec {name!r}: each call of its Python class, which runs for every chunk or inner chunk"
    if place is None:
        yield f"store {stores.describe(store)}: its Python methods, which bring the bytes"
    elif place[0] in {"memory", "memory files", "zip"}:
        yield f"store {stores.describe(store)}: one look into its dict per chunk, before the rest"
    if _makes_objects(bound):
        yield "elements of variable length: made into Python objects, chunk by chunk"
        if bound.dtype.kind != "O":
            yield f"{bound.dtype!r}: converted from those objects at the end"


def _makes_objects(bound: BoundChain) -> bool:
    """Whether elements become Python objects."""
    return bound.is_variable and not bound.is_text
