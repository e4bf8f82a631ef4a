"""Which codecs of a chain are modules, and having those at hand before a batch runs.

A pipeline makes one `Steps` when it is constructed, if there are any such codecs. Every other pipeline has
none, and so nothing of this costs an array without them anything.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zarr.codecs import ShardingCodec
from zarr.codecs._v2 import V2Codec

from wazarr.errors import WasmModuleNotFoundError
from wazarr.wasm import engine, hierarchy, modules, storing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from zarr.abc.store import Store

    from wazarr.wasm.description import Description

__all__ = ["Steps", "array_path", "trailing_parts", "wasm_codecs_in"]


def wasm_codecs_in(codecs: Iterable[Any]) -> tuple[Any, ...]:
    """Return the codecs that are modules, also those inside shards and of shard indexes.

    Any object counts that has a `wasm_description`; one of numcodecs-wasm's own classes is there as ours.
    """
    return tuple(ours for _, ours in _walk(codecs))


def _walk(codecs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each codec that is a module, and what stands for it."""
    for codec in codecs:
        if hasattr(codec, "wasm_description"):
            yield codec, codec
        elif isinstance(codec, ShardingCodec):
            yield from _walk(codec.codecs)
            yield from _walk(codec.index_codecs)
        elif isinstance(codec, V2Codec):
            yield from _walk(step for step in (*(codec.filters or ()), codec.compressor) if step is not None)
        elif "numcodecs_wasm" in sys.modules:
            from wazarr.wasm.numcodecs import adopt

            ours = adopt(codec)
            if ours is not None:
                yield codec, ours


def trailing_parts(metadata: Any) -> int | None:
    """Return how many parts of a chunk's path say which chunk it is, or None where that is not known.

    Parameters
    ----------
    metadata : ArrayMetadata
        Of either format.
    """
    ndim = len(metadata.shape)
    if metadata.zarr_format == 2:
        return max(ndim, 1) if metadata.dimension_separator == "/" else 1
    encoding = metadata.chunk_key_encoding
    name, separator = getattr(encoding, "name", None), getattr(encoding, "separator", None)
    if name not in {"default", "v2"} or separator not in {".", "/"}:
        return None
    if separator == ".":
        return 1
    return 1 + ndim if name == "default" else max(ndim, 1)


def array_path(chunk_path: str, ndim: int, trailing: int | None) -> str:
    """Return the path of the array that a chunk belongs to.

    Parameters
    ----------
    chunk_path : str
        The chunk's key, with the array's path in front.
    ndim : int
        Number of axes.
    trailing : int or None
        As `trailing_parts` answers. None: it is told from the parts that look like chunk coordinates.
    """
    parts = chunk_path.split("/")
    if trailing is not None:
        return "/".join(parts[:-trailing])
    if parts[-1] == "c" and ndim == 0:
        return "/".join(parts[:-1])
    last = max(ndim, 1)
    if len(parts) >= last and all(part.isdigit() for part in parts[-last:]):
        parts = parts[:-last]
        return "/".join(parts[:-1] if parts and parts[-1] == "c" else parts)
    return "/".join(parts[:-1])


@dataclass
class Steps:
    """The modules of one pipeline.

    Parameters
    ----------
    codecs : tuple
        Codec objects.
    zarr_format : {2, 3}
        The array's.
    trailing : int or None
        As `trailing_parts` answers.
    """

    codecs: tuple[Any, ...]
    zarr_format: int
    trailing: int | None = None
    adopted: dict[int, Any] = field(default_factory=dict)
    """By the identity of a codec of numcodecs-wasm's own classes: ours in its place."""
    located: dict[int, Description] = field(default_factory=dict)
    """By the identity of a codec: what a manifest says of one that metadata only name."""
    missing: dict[str, WasmModuleNotFoundError] = field(default_factory=dict)
    """By digest: where a module was looked for in vain."""
    _at_hand: set[str] = field(default_factory=set)
    _stored: set[tuple[int, str, str]] = field(default_factory=set)
    _is_ready: bool = False

    @classmethod
    def of(cls, codecs: Iterable[Any], trailing: int | None = None) -> Steps | None:
        """Return the modules of a chain, or None if it has none."""
        codecs = tuple(codecs)
        found = list(_walk(codecs))
        if not found:
            return None
        adopted = {id(codec): ours for codec, ours in found if ours is not codec}
        zarr_format = 2 if isinstance(codecs[0], V2Codec) else 3
        return cls(tuple(ours for _, ours in found), zarr_format, trailing, adopted)

    def own(self, codec: Any) -> Any:
        """Return what stands for a codec that is a module, most often itself; None for any other."""
        return codec if hasattr(codec, "wasm_description") else self.adopted.get(id(codec))

    def settings(self) -> tuple[Any, ...]:
        """Return everything that bound codecs depend on beside the chunk, to be compared."""
        return (*engine.settings(), len(self.located))

    def stored(self) -> AbstractContextManager[None]:
        """Return a block in which zarr-python's own pipelines may encode: the modules are in the store."""
        from wazarr.wasm.codec import modules_are_stored

        return modules_are_stored()

    def description_of(self, codec: Any) -> Description | None:
        """Return what is known of a codec, or None if only its name is."""
        return codec.wasm_description or self.located.get(id(codec))

    def at_hand(self, codec: Any) -> Description | None:
        """Return the description of a codec whose module can run now, or None."""
        return self.description_of(codec) if self.absence_of(codec) is None else None

    async def prepare(self, batch: list[tuple[Any, ...]], *, is_write: bool) -> None:
        """Have the modules at hand for a batch, and stored where they travel with the array.

        Parameters
        ----------
        batch : list of tuple
            zarr's batch.
        is_write : bool
            Whether chunks are to be stored.

        Raises
        ------
        WasmModuleNotFoundError
            A module is nowhere, and chunks are to be encoded with it. A read goes on: chunks may be
            missing as well.
        """
        if not is_write and self._is_ready:
            return
        getter, spec = batch[0][0], batch[0][1]
        store: Store | None = getattr(getter, "store", None)
        path = None if store is None else array_path(getter.path, len(spec.shape), self.trailing)
        await self.prepare_at(store, path, is_write=is_write)

    async def prepare_at(self, store: Store | None, path: str | None, *, is_write: bool = False) -> None:
        """Do what `prepare` does, for an array at a path of a store."""
        groups = () if path is None else hierarchy.directories(path)
        for codec in self.codecs:
            description = await self._describe(codec, store, groups)
            if description is None or description.module in self._at_hand:
                continue
            try:
                await modules.locate(description, store, groups, origins=getattr(codec, "wasm_origins", ()))
            except WasmModuleNotFoundError as error:
                if is_write:
                    raise
                self.missing[description.module] = error
            else:
                self.missing.pop(description.module, None)
                self._at_hand.add(description.module)
        self._is_ready = all(
            (description := self.description_of(codec)) is not None and description.module in self._at_hand
            for codec in self.codecs
        )
        if is_write and store is not None and groups:
            await self._store(store, groups)

    async def _describe(self, codec: Any, store: Store | None, groups: tuple[str, ...]) -> Description | None:
        description = self.description_of(codec)
        if description is None and store is not None:
            locate = getattr(codec, "wasm_locate", None)
            description = None if locate is None else await locate(store, groups)
            if description is not None:
                self.located[id(codec)] = description
        return description

    async def _store(self, store: Store, groups: tuple[str, ...]) -> None:
        """Store the modules that travel with the array, unless a group beside or above it has them."""
        entries = {}
        new = set()
        for codec in self.codecs:
            description = self.description_of(codec)
            if description is None or not description.is_in_hierarchy:
                continue
            key = id(store), groups[0], description.module
            if key in self._stored or key in new:
                continue
            new.add(key)
            if (await hierarchy.search(store, groups, description.module)).module is None:
                module = modules.get_bytes(description.module)
                if module is None:
                    raise modules.not_found(description, ["it was at hand, and is no more"])
                entries[description.module] = storing.Entry(description.codec, description, module)
        await storing.store_modules(store, groups[0], list(entries.values()), self.zarr_format)
        # Only now: another thread that writes a chunk meanwhile must not take them for stored.
        self._stored |= new

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Hand to the logger what guests write in a block."""
        try:
            yield
        finally:
            engine.forward_guest_log()

    def absence_of(self, codec: Any) -> WasmModuleNotFoundError | None:
        """Return why a codec's module is not at hand, or None if it is."""
        description = self.description_of(codec)
        if description is None:
            return None
        error = self.missing.get(description.module)
        if error is None and not modules.has(description.module):
            # Never looked for, or dropped by the caches since: the next request looks again.
            self._at_hand.discard(description.module)
            self._is_ready = False
            error = modules.not_found(description, ["this process", "the cache on disk"])
        return error

    def remember(self, store: Store) -> None:
        """Have the codecs know a store that they were met in."""
        for codec in self.codecs:
            origins = getattr(codec, "wasm_origins", None)
            if origins is not None and not any(origin is store for origin in origins):
                origins.append(store)
