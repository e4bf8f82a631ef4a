"""Modules that travel with the data: the group `wasm_codecs` beside an array or above it.

A module is a 1-D `uint8` array named by the 64 digits of its digest, so whatever copies Zarr copies the
decoder. `wazarr.wasm.storing` writes them.

What is read was written by somebody else: a module's metadata are accepted only in a narrow form, with
codecs from a short list (none of them a module itself), and bounded in size.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zarr import AsyncArray
from zarr.codecs._v2 import V2Codec
from zarr.core.array import parse_array_metadata
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, StorePath

from wazarr import config
from wazarr.errors import InvalidInputError
from wazarr.pipeline import CodecPipeline
from wazarr.wasm.description import Description, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

__all__ = [
    "GROUP",
    "Found",
    "directories",
    "find_named",
    "manifest_of",
    "outer",
    "read_group",
    "read_manifest",
    "read_module",
    "scan",
    "search",
]

GROUP: Final = "wasm_codecs"
"""Name of the group."""

_V3_CODECS: Final = frozenset({"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"})
_V2_CODECS: Final = frozenset({"gzip", "zlib", "zstd", "blosc", "lz4", "bz2", "lzma"})
_GROUP_DOCUMENTS: Final = ("zarr.json", ".zgroup")
_LONGEST_REASON: Final = 300
_MOST_CHUNKS: Final = 1024
_LARGEST_DOCUMENT: Final = 4 << 20
_MOST_FOLDERS: Final = 1000


def directories(array_path: str) -> tuple[str, ...]:
    """Return the groups in which an array's modules may be, in the order in which to look.

    Parameters
    ----------
    array_path : str
        Path of the array in its store.

    Returns
    -------
    tuple of str
        The path of the group beside the array, of those beside the groups above it, of the one at the root
        of the store, and last of the one below the array itself. That is where the modules of an array at
        the root of a store are, which has nothing beside it; and such a store may be seen from above.
    """
    if not array_path:
        return (GROUP,)
    parts = array_path.split("/")[:-1]
    above = ("/".join([*parts[:depth], GROUP]) for depth in range(len(parts), -1, -1))
    return (*above, f"{array_path}/{GROUP}")


def outer(store: object, groups: Sequence[str]) -> tuple[LocalStore, tuple[str, ...]] | None:
    """Return where to look outside of a store: in the hierarchy on disk that it is a part of.

    ``zarr.open_array("scene.zarr/B04")`` opens a store of one array, whose neighbours are outside of it.

    Parameters
    ----------
    store : object
        The array's store.
    groups : sequence of str
        As `directories` answers.

    Returns
    -------
    tuple of (LocalStore, tuple of str) or None
        The whole hierarchy, and groups in it; None where the store is all there is, or no folder.
    """
    if type(store) is not LocalStore or not groups:
        return None
    root = Path(store.root).absolute()
    top = root
    while top.parent != top and any((top.parent / name).is_file() for name in _GROUP_DOCUMENTS):
        top = top.parent
    if top == root:
        return None
    array = root.relative_to(top) / groups[-1].removesuffix(GROUP)
    return LocalStore(top, read_only=True), directories(array.as_posix())


async def search(store: Store, groups: Sequence[str], digest: str) -> Found:
    """Look for a module in the groups of an array's store, and of the hierarchy on disk around that.

    Parameters
    ----------
    store : Store
        The array's store.
    groups : sequence of str
        As `directories` answers.
    digest : str
        The module's.
    """
    found = await read_module(store, groups, digest)
    around = outer(store, groups) if found.module is None else None
    if around is not None:
        further = await read_module(*around, digest)
        found = Found(further.module, [*found.places, *further.places])
    return found


@dataclass
class Found:
    """What a search found: the module, or where it is not and why."""

    module: bytes | None = None
    places: list[str] = field(default_factory=list)


async def read_module(store: Store, groups: Sequence[str], digest: str) -> Found:
    """Look for a module in some groups.

    Parameters
    ----------
    store : Store
        The store.
    groups : sequence of str
        Paths of groups, in the order in which to look.
    digest : str
        The module's, ``"sha256:…"``.
    """
    name = digest.removeprefix("sha256:")
    found = Found()
    for group in groups:
        place = f"hierarchy: {group}/{name[:8]}… in {type(store).__name__}"
        try:
            module = await _read_array(StorePath(store, f"{group}/{name}"))
        except NotAModuleError as error:
            found.places.append(f"{place}: {error}")
            continue
        if module is None:
            found.places.append(f"{place}: not there")
        elif digest_of(module) != digest:
            found.places.append(f"{place}: holds something else ({digest_of(module)})")
        else:
            found.module = module
            break
    return found


class NotAModuleError(Exception):
    """An array that a module cannot be read from, and why."""


async def _read_array(path: StorePath) -> bytes | None:
    """Read a module's array, or return None where there is none."""
    try:
        document = await _read_json(path, "zarr.json")
        if document is None:
            document = await _read_json(path, ".zarray")
        if document is None:
            return None
        _check(document)
        metadata = parse_array_metadata({**document, "attributes": {}})
        array: AsyncArray[Any] = AsyncArray(metadata=metadata, store_path=path)
        # Ours, whatever is configured: it takes no more memory than metadata say.
        object.__setattr__(array, "codec_pipeline", _pipeline_for(metadata))
        values: Any = await array.getitem(slice(None))
        return bytes(memoryview(values).cast("B"))
    except NotAModuleError:
        raise
    except Exception as error:
        # Whatever a broken document or chunk leads to: this is not the place where the module is.
        # Whose message may hold all of it.
        raise NotAModuleError(f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}") from error


def _pipeline_for(metadata: Any) -> CodecPipeline:
    if metadata.zarr_format == 3:
        return CodecPipeline.from_codecs(metadata.codecs)
    return CodecPipeline.from_codecs([V2Codec(filters=metadata.filters, compressor=metadata.compressor)])


async def _read_json(path: StorePath, key: str) -> dict[str, Any] | None:
    buffer = await (path / key).get(prototype=default_buffer_prototype())
    if buffer is None:
        return None
    if len(buffer) > _LARGEST_DOCUMENT:
        raise NotAModuleError(f"{key} is larger than {_LARGEST_DOCUMENT} bytes")
    document = json.loads(buffer.to_bytes())
    if not isinstance(document, dict):
        raise NotAModuleError(f"{key} is not an object")
    return document


def _check(document: Mapping[str, Any]) -> None:
    """Raise unless metadata describe a module: before zarr makes a codec of them."""
    if document.get("zarr_format") == 3 and document.get("node_type") == "array":
        grid = document.get("chunk_grid")
        shape, dtype = document.get("shape"), document.get("data_type")
        is_regular = isinstance(grid, dict) and grid.get("name") == "regular"
        chunks = grid["configuration"]["chunk_shape"] if is_regular else None  # type: ignore[index]
        is_bytes = dtype == "uint8"
        if document.get("storage_transformers"):
            raise NotAModuleError("it has storage transformers")
        _check_v3_codecs(document.get("codecs"), depth=2)
    elif document.get("zarr_format") == 2:
        shape, chunks, dtype = document.get("shape"), document.get("chunks"), document.get("dtype")
        is_bytes = dtype == "|u1"
        compressor = document.get("compressor")
        if document.get("filters") or not (compressor is None or compressor.get("id") in _V2_CODECS):
            raise NotAModuleError(
                f"a module may have the compressors {', '.join(sorted(_V2_CODECS))}, no filters"
            )
    else:
        raise NotAModuleError("it is not a Zarr array")
    limit = config.wasm_module_limit()
    if not is_bytes or not _is_length(shape) or not _is_length(chunks):
        raise NotAModuleError("it is not a 1-D array of uint8 in regular chunks")
    if shape[0] > limit or chunks[0] > max(limit, 1):  # type: ignore[index]
        raise NotAModuleError(f"it is over wazarr.wasm.module_limit ({limit} bytes)")
    if -(-shape[0] // chunks[0]) > _MOST_CHUNKS:  # type: ignore[index]
        raise NotAModuleError(f"it has more than {_MOST_CHUNKS} chunks")


def _is_length(shape: object) -> bool:
    return isinstance(shape, list) and len(shape) == 1 and type(shape[0]) is int and shape[0] > 0


def _check_v3_codecs(codecs: object, *, depth: int) -> None:
    if not isinstance(codecs, list) or depth == 0:
        raise NotAModuleError("its codecs are not a list, or shards within shards")
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else codec
        if name not in _V3_CODECS:
            raise NotAModuleError(
                f"a module may have the codecs {', '.join(sorted(_V3_CODECS))}, not {name!r}"
            )
        if name == "sharding_indexed":
            configuration = codec["configuration"]
            if not _is_length(configuration.get("chunk_shape")):
                raise NotAModuleError("its shards make no sense")
            _check_v3_codecs(configuration.get("codecs"), depth=depth - 1)
            _check_v3_codecs(configuration.get("index_codecs"), depth=1)


async def scan(store: Store, digest: str) -> bytes | None:
    """Look for a module in every group of a store, as far as a bounded walk gets.

    For a codec that was met in the store before, where nothing tells any more in which array.
    """
    waiting, seen = [""], 0
    while waiting and seen < _MOST_FOLDERS:
        folder = waiting.pop(0)
        seen += 1
        found = await read_module(store, [f"{folder}/{GROUP}".lstrip("/")], digest)
        if found.module is not None:
            return found.module
        try:
            names = [name async for name in store.list_dir(folder)]
        except Exception:  # noqa: BLE001 - a store that cannot list: only the root was looked at
            return None
        # Only groups can have a group below: chunks and documents of arrays lead nowhere.
        waiting += [
            f"{folder}/{name}".lstrip("/")
            for name in names
            if name != GROUP and name != "c" and not name[:1].isdigit() and "." not in name
        ]
    return None


# --- the manifest --------------------------------------------------------------------------------------


async def read_manifest(store: Store, group: str) -> dict[str, Any]:
    """Return what a group's manifest says, by codec name; nothing where there is none.

    Parameters
    ----------
    store : Store
        The store.
    group : str
        Path of the group.
    """
    return manifest_of((await read_group(StorePath(store, group)))[1])


async def find_named(store: Store, groups: Sequence[str], name: str) -> Description | None:
    """Return the codec that the nearest manifest has under a name, or None.

    Parameters
    ----------
    store : Store
        The store.
    groups : sequence of str
        Paths of groups, in the order in which to look.
    name : str
        A codec's name, also one that other software wrote.
    """
    for group in groups:
        try:
            entry = (await read_manifest(store, group)).get(name)
        except (NotAModuleError, ValueError):
            continue
        if isinstance(entry, dict):
            known = {key: entry[key] for key in ("kind", "module", "parameters", "interface") if key in entry}
            try:
                return Description.from_json({"codec": name, "sources": ["hierarchy"], **known})
            except InvalidInputError:
                continue
    around = outer(store, groups)
    return None if around is None else await find_named(*around, name)


def manifest_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest in a group's attributes, empty where there is none."""
    ours = attributes.get("wazarr")
    codecs = ours.get("codecs") if isinstance(ours, dict) else None
    return dict(codecs) if isinstance(codecs, dict) else {}


async def read_group(path: StorePath) -> tuple[int | None, dict[str, Any]]:
    """Return the format of a group, None where there is none, and its attributes."""
    document = await _read_json(path, "zarr.json")
    if document is not None:
        if document.get("node_type") != "group":
            raise NotAModuleError(f"{path} is an array")
        return 3, dict(document.get("attributes") or {})
    if await _read_json(path, ".zgroup") is not None:
        return 2, dict(await _read_json(path, ".zattrs") or {})
    if await _read_json(path, ".zarray") is not None:
        raise NotAModuleError(f"{path} is an array")
    return None, {}
