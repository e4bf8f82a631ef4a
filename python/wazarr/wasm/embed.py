"""A hierarchy and its codecs: what it uses, bringing the modules along, and having them at hand.

The functions here take what `zarr.open` returns. They go through every array below a group; modules are
stored as `wazarr.wasm.hierarchy` says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import zarr
from zarr.codecs import ShardingCodec
from zarr.codecs._v2 import V2Codec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import StorePath

from wazarr.codecs import label_of
from wazarr.errors import StoreError, UnsupportedError
from wazarr.wasm import hierarchy, modules, packages, sources, storing
from wazarr.wasm.description import HIERARCHY, NAME
from wazarr.wasm.numcodecs_modules import learn
from wazarr.wasm.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zarr.abc.store import Store

    from wazarr.wasm.description import Description

__all__ = ["UsedCodec", "codecs_used", "embed_codecs", "fetch_codecs"]


@dataclass(frozen=True)
class UsedCodec:
    """One codec of one array.

    Attributes
    ----------
    array : str
        Path of the array in its store.
    name : str
        The codec's name in metadata, as `wazarr.explain` has it: codecs inside a shard as
        ``sharding_indexed/NAME``.
    engine : {"native", "wasm", "python"}
        What runs it under `wazarr.CodecPipeline`.
    codec : str or None
        What the author of a module calls it.
    module : str or None
        ``"sha256:…"`` of the module; None for a codec that is none, and for one whose module is nowhere
        and only named.
    places : tuple of str
        Where the module is: ``"hierarchy: PATH"``, ``"inline"``, ``"package: NAME"``, ``"cache"``, and
        what the metadata name besides.
    """

    array: str
    name: str
    engine: str
    codec: str | None = None
    module: str | None = None
    places: tuple[str, ...] = ()

    @property
    def is_self_contained(self) -> bool:
        """Whether readers need nothing but wazarr and the store to decode this codec's data."""
        if self.engine == "native" and self.module is None:
            return True
        return any(place == "inline" or place.startswith(f"{HIERARCHY}:") for place in self.places)


def codecs_used(node: zarr.Group | zarr.Array[Any]) -> list[UsedCodec]:
    """List every codec of an array, or of all arrays below a group.

    Nothing is fetched, and no chunk is read.

    Parameters
    ----------
    node : zarr.Group or zarr.Array
        What `zarr.open` returns.

    Returns
    -------
    list of UsedCodec
        Array by array; codecs in the order of encoding.
    """
    return [used for array in _arrays(node) for used in _used_by(array)]


def fetch_codecs(node: zarr.Group | zarr.Array[Any]) -> list[str]:
    """Put the modules of an array, or of all arrays below a group, into the cache.

    After that zarr-python's own pipelines, which give a codec no store to look into, can read the arrays
    too: in this process, and where the metadata have the digest and there is a cache on disk, in others.

    Parameters
    ----------
    node : zarr.Group or zarr.Array
        What `zarr.open` returns.

    Returns
    -------
    list of str
        The digests, ``"sha256:…"``.

    Raises
    ------
    WasmModuleNotFoundError
        A module is nowhere, or only where `wazarr.wasm.allow` does not permit to look.
    """
    digests: dict[str, None] = {}
    for array in _arrays(node):
        for codec, description in _described(array):
            sync(modules.locate(description, array.store, hierarchy.directories(array.path)))
            digests[description.module] = None
            name = getattr(codec, "wasm_name", None)
            if name is not None and packages.find(name) is None:
                learn(name, description.module)
    return list(digests)


def embed_codecs(node: zarr.Group | zarr.Array[Any]) -> list[UsedCodec]:
    """Make an array, or all arrays below a group, carry the modules of their codecs.

    Modules that are neither inline nor in a group `wasm_codecs` already are stored in one: beside the
    array, or directly in the group that was given. Metadata of the arrays, and consolidated metadata of the
    groups above, are written anew where they do not say so. Codecs of numcodecs-wasm are named in the
    manifest of the group; their metadata stay as they are.

    Parameters
    ----------
    node : zarr.Group or zarr.Array
        What `zarr.open` returns, in a store that can be written.

    Returns
    -------
    list of UsedCodec
        The codecs whose modules were stored or newly referred to. An array that was open already keeps its
        old metadata until it is opened again.

    Raises
    ------
    WasmModuleNotFoundError
        A module is nowhere, or only where `wazarr.wasm.allow` does not permit to look.
    StoreError
        The store is read-only and something has to be stored, or a group has another module under the name
        of a codec that is known only by its name.
    """
    changes: list[tuple[zarr.Array[Any], Any, Description]] = []
    for array in _arrays(node):
        for codec, description in _described(array):
            groups = hierarchy.directories(array.path)
            if description.is_inline or sync(_is_carried(array.store, groups, codec, description)):
                continue
            sync(modules.locate(description, array.store, groups))
            changes.append((array, codec, description))
    if not changes:
        return []
    if node.store.read_only:
        raise StoreError(
            f"the modules of {len(changes)} codecs have to be stored, but {node.store_path} is read-only: "
            "open the store for writing, or copy it to one that can be written"
        )
    sync(_embed(node, changes))
    touched = {(array.path, description.module) for array, _, description in changes}
    again: Any = zarr.open(store=node.store, path=node.path, mode="r+", zarr_format=node.metadata.zarr_format)
    return [used for used in codecs_used(again) if (used.array, used.module) in touched]


# --- looking -------------------------------------------------------------------------------------------


def _arrays(node: zarr.Group | zarr.Array[Any]) -> Iterator[zarr.Array[Any]]:
    """Yield the arrays at or below a node, without the modules themselves."""
    if isinstance(node, zarr.Array):
        yield node
        return
    if not isinstance(node, zarr.Group):
        raise TypeError(f"a zarr.Group or zarr.Array is needed, not {type(node).__name__}")
    for path, member in sorted(node.members(max_depth=None)):
        if isinstance(member, zarr.Array) and hierarchy.GROUP not in path.split("/"):
            yield member


def _codecs(array: zarr.Array[Any]) -> tuple[Any, ...]:
    """Return the codecs of an array as its metadata have them."""
    metadata: Any = array.metadata
    if metadata.zarr_format == 2:
        return (V2Codec(filters=metadata.filters, compressor=metadata.compressor),)
    return tuple(metadata.codecs)


def _described(array: zarr.Array[Any]) -> Iterator[tuple[Any, Description]]:
    """Yield the codecs of an array that are modules, with what is known of them.

    Raises
    ------
    WasmModuleNotFoundError
        Of one only the name is known.
    """
    steps = Steps.of(_codecs(array))
    groups = hierarchy.directories(array.path)
    for codec in () if steps is None else steps.codecs:
        description = sync(_describe(codec, array.store, groups))
        if description is None:
            raise modules.not_described(codec)
        yield codec, description


async def _describe(codec: Any, store: Store, groups: tuple[str, ...]) -> Description | None:
    description: Description | None = codec.wasm_description
    if description is None:
        description = await codec.wasm_locate(store, groups)
    return description


async def _is_carried(store: Store, groups: tuple[str, ...], codec: Any, description: Description) -> bool:
    """Return whether readers of an array find a module in its store."""
    if hasattr(codec, "wasm_name"):
        named = await hierarchy.find_named(store, groups, codec.wasm_name)
        if named is None or named.module != description.module:
            return False
    elif not description.is_in_hierarchy:
        return False
    return (await hierarchy.read_module(store, groups, description.module)).module is not None


def _used_by(array: zarr.Array[Any]) -> Iterator[UsedCodec]:
    """Yield what is to say of each codec of an array."""
    codecs = _codecs(array)
    steps = Steps.of(codecs)
    engines = _engines(array)
    groups = hierarchy.directories(array.path)
    for at, (name, codec) in enumerate(_named(codecs)):
        engine = engines[at][1] if at < len(engines) and engines[at][0] == name else "python"
        ours = None if steps is None else steps.own(codec)
        if ours is None:
            yield UsedCodec(array.path, name, engine)
            continue
        description = sync(_describe(ours, array.store, groups))
        if description is None:
            yield UsedCodec(array.path, name, engine, ours.wasm_name)
            continue
        places = tuple(sync(_places(array.store, groups, ours, description)))
        yield UsedCodec(array.path, name, engine, description.codec, description.module, places)


def _engines(array: zarr.Array[Any]) -> list[tuple[str, str]]:
    """Return name and engine of every codec, in the order of encoding."""
    from wazarr.explanation import _any_spec
    from wazarr.pipeline import CodecPipeline

    spec = _any_spec(array._async_array)
    pipeline = CodecPipeline.from_codecs(_codecs(array)).evolve_from_array_spec(spec)
    try:
        if pipeline._wasm is not None:  # type: ignore[attr-defined]
            sync(pipeline._wasm.prepare_at(array.store, array.path))  # type: ignore[attr-defined]
        engines = list(pipeline.bound(spec).engines)
    except UnsupportedError:
        return []
    # In Zarr v2 elements become bytes without a codec that says so.
    return engines[1:] if array.metadata.zarr_format == 2 and engines[0][0] == "bytes" else engines


def _named(codecs: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the codecs with their names, those inside a shard after it."""
    for codec in codecs:
        if isinstance(codec, V2Codec):
            for step in (*(codec.filters or ()), codec.compressor):
                if step is not None:
                    yield str(getattr(step, "codec_id", type(step).__name__)), step
            continue
        name = prefix + label_of(codec)
        yield name, codec
        if isinstance(codec, ShardingCodec):
            yield from _named(codec.codecs, f"{name}/")
            yield from _named(codec.index_codecs, f"{name}/index/")


async def _places(store: Store, groups: tuple[str, ...], codec: Any, description: Description) -> list[str]:
    """Return where a module is, the places that travel with the data first."""
    places = [
        f"{HIERARCHY}: {group}/{description.hex}"
        for group in groups
        if (await hierarchy.read_module(store, [group], description.module)).module is not None
    ]
    if description.is_inline:
        places.append("inline")
    name = getattr(codec, "wasm_name", None)
    package = None if name is None else packages.find(name)
    if package is not None:
        places.append(f"package: {package.module}")
    if modules.has(description.module):
        places.append("cache")
    return places + [source for source in description.sources if sources.is_remote(source)]


# --- storing -------------------------------------------------------------------------------------------


_Change = tuple[zarr.Array[Any], Any, "Description"]
"""An array, one of its codecs, and what is known of that."""


async def _embed(node: zarr.Group | zarr.Array[Any], changes: list[_Change]) -> None:
    """Store modules, and then say so in the metadata of the arrays."""
    # An array has the group beside it, a group inside.
    inside = f"{node.path}/{hierarchy.GROUP}".lstrip("/")
    group = hierarchy.directories(node.path)[0] if isinstance(node, zarr.Array) else inside
    for array, codec, description in changes:
        if hasattr(codec, "wasm_name"):
            await _require_free(array, codec.wasm_name, description, group)
    entries = {
        description.module: storing.Entry(description.codec, _as_entry(codec, description), module)
        for _, codec, description in changes
        if (module := modules.get_bytes(description.module)) is not None
    }
    await storing.store_modules(node.store, group, list(entries.values()), node.metadata.zarr_format)
    digests = {description.module for _, codec, description in changes if not hasattr(codec, "wasm_name")}
    if not digests:
        return
    for path in {array.path for array, _, _ in changes}:
        await _rewrite(StorePath(node.store, path), digests)
    for path in {above for array, _, _ in changes for above in _above(array.path)}:
        await _rewrite_consolidated(StorePath(node.store, path), digests)


async def _require_free(array: zarr.Array[Any], name: str, description: Description, group: str) -> None:
    """Raise where a manifest that readers come to first has another module under a codec's name."""
    groups = hierarchy.directories(array.path)
    named = await hierarchy.find_named(array.store, groups[: groups.index(group) + 1], name)
    if named is not None and named.module != description.module:
        raise StoreError(
            f"codec {name!r} of {array.path or 'the array'} is known only by its name, under which the "
            f"manifest of a group {hierarchy.GROUP!r} has {named.module}, not {description.module}"
        )


def _as_entry(codec: Any, description: Description) -> Description:
    """Return what a manifest says of a module: of one that is named there, nothing of this very array."""
    return replace(description, parameters={}) if hasattr(codec, "wasm_name") else description


def _above(path: str) -> Iterator[str]:
    """Yield the paths of the groups above a node."""
    parts = path.split("/")[:-1] if path else []
    for depth in range(len(parts) + 1):
        yield "/".join(parts[:depth])


async def _rewrite(path: StorePath, digests: set[str]) -> None:
    """Have an array's metadata say that modules are in the hierarchy."""
    for key in ("zarr.json", ".zarray"):
        document = await _read(path / key)
        if document is not None and _refer(document, digests):
            await _write(path / key, document)


async def _rewrite_consolidated(path: StorePath, digests: set[str]) -> None:
    """Do the same in the copies of metadata that a group above holds."""
    for key in ("zarr.json", ".zmetadata"):
        document = await _read(path / key)
        if document is None:
            continue
        copies = document if key == ".zmetadata" else document.get("consolidated_metadata")
        copies = copies.get("metadata") if isinstance(copies, dict) else None
        if isinstance(copies, dict) and _refer(list(copies.values()), digests):
            await _write(path / key, document)


def _refer(document: Any, digests: set[str]) -> bool:
    """Put the hierarchy among the sources of modules, wherever a codec stands; return whether it was not."""
    if isinstance(document, list):
        # Every entry, not only up to the first that changes.
        changed = [_refer(entry, digests) for entry in document]
        return any(changed)
    if not isinstance(document, dict):
        return False
    configuration = document.get("configuration") if document.get("name") == NAME else document
    if NAME in (document.get("name"), document.get("id")) and isinstance(configuration, dict):
        sources_of = configuration.get("sources", [])
        if configuration.get("module") not in digests or HIERARCHY in sources_of:
            return False
        configuration["sources"] = [HIERARCHY, *sources_of]
        return True
    inner = ("codecs", "index_codecs", "filters", "compressor", "configuration")
    return _refer([document.get(key) for key in inner], digests)


async def _read(path: StorePath) -> Any:
    buffer = await path.get(prototype=default_buffer_prototype())
    return None if buffer is None else json.loads(buffer.to_bytes())


async def _write(path: StorePath, document: Any) -> None:
    content = json.dumps(document, indent=2).encode()
    await path.set(default_buffer_prototype().buffer.from_bytes(content))
