"""Modules that travel with the data: the group `wasm_codecs` beside an array or above it.

A module is a 1-D `uint8` array named by the 64 digits of its digest, so whatever copies Zarr copies the
decoder. It is written before the first chunk that needs it: the group with its manifest, then the module's
only chunk, then the module's metadata, whose presence therefore says that all of it is there. Documents are
written key by key, since zarr's own functions refuse a node below an array, which is where the group of an
array at the root of a store has to be.

What is read was written by somebody else: a module's metadata are accepted only in a narrow form, with
codecs from a short list (none of them a module itself), and bounded in size.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from zarr import AsyncArray
from zarr.core.array import parse_array_metadata
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import StorePath

from wazarr import config
from wazarr.errors import InvalidInputError, StoreError
from wazarr.wasm.description import Description, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from zarr.abc.store import Store

__all__ = [
    "GROUP",
    "Entry",
    "Found",
    "directories",
    "find_named",
    "read_manifest",
    "read_module",
    "scan",
    "store_modules",
]

GROUP: Final = "wasm_codecs"
"""Name of the group."""

_V3_CODECS: Final = frozenset({"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"})
_V2_CODECS: Final = frozenset({"gzip", "zlib", "zstd", "blosc", "lz4", "bz2", "lzma"})
_LONGEST_REASON: Final = 300
_MOST_CHUNKS: Final = 1024
_LARGEST_DOCUMENT: Final = 4 << 20
_MOST_FOLDERS: Final = 1000
_ATTEMPTS: Final = 5


def directories(array_path: str) -> tuple[str, ...]:
    """Return the groups in which an array's modules may be, nearest first.

    Parameters
    ----------
    array_path : str
        Path of the array in its store.

    Returns
    -------
    tuple of str
        The path of the group beside the array, of those beside the groups above it, and of the one at the
        root, which is also the only one for an array at the root.
    """
    parts = array_path.split("/")[:-1] if array_path else []
    return tuple("/".join([*parts[:depth], GROUP]) for depth in range(len(parts), -1, -1))


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
        except _NotAModule as error:
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


class _NotAModule(Exception):
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
        values: Any = await array.getitem(slice(None))
        return bytes(memoryview(values).cast("B"))
    except _NotAModule:
        raise
    except Exception as error:
        # Whatever a broken document or chunk leads to: this is not the place where the module is.
        # Whose message may hold all of it.
        raise _NotAModule(f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}") from error


async def _read_json(path: StorePath, key: str) -> dict[str, Any] | None:
    buffer = await (path / key).get(prototype=default_buffer_prototype())
    if buffer is None:
        return None
    if len(buffer) > _LARGEST_DOCUMENT:
        raise _NotAModule(f"{key} is larger than {_LARGEST_DOCUMENT} bytes")
    document = json.loads(buffer.to_bytes())
    if not isinstance(document, dict):
        raise _NotAModule(f"{key} is not an object")
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
            raise _NotAModule("it has storage transformers")
        _check_v3_codecs(document.get("codecs"), depth=2)
    elif document.get("zarr_format") == 2:
        shape, chunks, dtype = document.get("shape"), document.get("chunks"), document.get("dtype")
        is_bytes = dtype == "|u1"
        compressor = document.get("compressor")
        if document.get("filters") or not (compressor is None or compressor.get("id") in _V2_CODECS):
            raise _NotAModule(
                f"a module may have the compressors {', '.join(sorted(_V2_CODECS))}, no filters"
            )
    else:
        raise _NotAModule("it is not a Zarr array")
    limit = config.wasm_module_limit()
    if not is_bytes or not _is_length(shape) or not _is_length(chunks):
        raise _NotAModule("it is not a 1-D array of uint8 in regular chunks")
    if shape[0] > limit or chunks[0] > max(limit, 1):  # type: ignore[index]
        raise _NotAModule(f"it is over wazarr.wasm.module_limit ({limit} bytes)")
    if -(-shape[0] // chunks[0]) > _MOST_CHUNKS:  # type: ignore[index]
        raise _NotAModule(f"it has more than {_MOST_CHUNKS} chunks")


def _is_length(shape: object) -> bool:
    return isinstance(shape, list) and len(shape) == 1 and type(shape[0]) is int and shape[0] > 0


def _check_v3_codecs(codecs: object, *, depth: int) -> None:
    if not isinstance(codecs, list) or depth == 0:
        raise _NotAModule("its codecs are not a list, or shards within shards")
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else codec
        if name not in _V3_CODECS:
            raise _NotAModule(f"a module may have the codecs {', '.join(sorted(_V3_CODECS))}, not {name!r}")
        if name == "sharding_indexed":
            configuration = codec["configuration"]
            if not _is_length(configuration.get("chunk_shape")):
                raise _NotAModule("its shards make no sense")
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
    return _manifest_of((await _read_group(StorePath(store, group)))[1])


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
        except (_NotAModule, ValueError):
            continue
        if isinstance(entry, dict):
            known = {key: entry[key] for key in ("kind", "module", "parameters", "interface") if key in entry}
            try:
                return Description.from_json({"codec": name, "sources": ["hierarchy"], **known})
            except InvalidInputError:
                continue
    return None


def _manifest_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    ours = attributes.get("wazarr")
    codecs = ours.get("codecs") if isinstance(ours, dict) else None
    return dict(codecs) if isinstance(codecs, dict) else {}


async def _read_group(path: StorePath) -> tuple[int | None, dict[str, Any]]:
    """Return the format of a group, None where there is none, and its attributes."""
    document = await _read_json(path, "zarr.json")
    if document is not None:
        if document.get("node_type") != "group":
            raise _NotAModule(f"{path} is an array")
        return 3, dict(document.get("attributes") or {})
    if await _read_json(path, ".zgroup") is not None:
        return 2, dict(await _read_json(path, ".zattrs") or {})
    if await _read_json(path, ".zarray") is not None:
        raise _NotAModule(f"{path} is an array")
    return None, {}


# --- writing -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A module to store, with what the manifest says of it.

    Parameters
    ----------
    name : str
        The codec's name.
    description : Description
        The codec.
    module : bytes
        The module.
    """

    name: str
    description: Description
    module: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's entry."""
        answer: dict[str, Any] = {
            "module": self.description.module,
            "kind": self.description.kind,
            "parameters": self.description.parameters,
        }
        if self.description.interface is not None:
            answer["interface"] = self.description.interface
        return answer


async def store_modules(store: Store, group: str, entries: Sequence[Entry], zarr_format: int) -> None:
    """Store modules in a group, which is made if it is not there.

    Parameters
    ----------
    store : Store
        A store that can be written.
    group : str
        Path of the group, which ends in `GROUP`.
    entries : sequence of Entry
        The modules. One that is there already is not written again.
    zarr_format : {2, 3}
        Format of a group that is made, and of the modules in it: the array's.

    Raises
    ------
    StoreError
        Something else is at the place of the group.
    """
    if not entries:
        return
    path = StorePath(store, group)
    try:
        found_format = await _merge_manifest(path, entries, zarr_format)
        for entry in entries:
            await _store_module(path / entry.description.hex, entry.module, found_format)
    except _NotAModule as error:
        raise StoreError(
            f"could not store modules in {path}: {error}; WasmCodec(…, embed='inline') needs no such group"
        ) from error


async def _merge_manifest(path: StorePath, entries: Iterable[Entry], zarr_format: int) -> int:
    """Add entries to a group's manifest, and return the format of the group.

    Another writer may store the same document at the same time, and then one of the two is lost: so what
    was written is read again, and merged again where something is missing.
    """
    for _ in range(_ATTEMPTS):
        found_format, attributes = await _read_group(path)
        manifest = _manifest_of(attributes)
        merged = _merged(manifest, entries)
        if found_format is not None and merged == manifest:
            return found_format
        ours = attributes.get("wazarr")
        attributes["wazarr"] = {**(ours if isinstance(ours, dict) else {}), "codecs": merged}
        await _write_group(path, attributes, found_format or zarr_format)
    return found_format or zarr_format


def _merged(manifest: Mapping[str, Any], entries: Iterable[Entry]) -> dict[str, Any]:
    """Return a manifest with entries added; a name that stands for another module keeps it."""
    merged = dict(manifest)
    for entry in entries:
        of_name = merged.get(entry.name)
        if of_name is None:
            merged[entry.name] = entry.to_json()
        elif not isinstance(of_name, dict) or of_name.get("module") != entry.description.module:
            merged.setdefault(f"{entry.name}-{entry.description.hex[:12]}", entry.to_json())
    return merged


async def _write_group(path: StorePath, attributes: dict[str, Any], zarr_format: int) -> None:
    if zarr_format == 3:
        await _write_json(
            path, "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        )
    else:
        await _write_json(path, ".zattrs", attributes)
        await _write_json(path, ".zgroup", {"zarr_format": 2})


async def _store_module(path: StorePath, module: bytes, zarr_format: int) -> None:
    """Store a module as an array of one chunk: the chunk first, then what says that it is there."""
    length, dimension = len(module), f"bytes_of_{path.path.rsplit('/', 1)[-1][:12]}"
    chunk = gzip.compress(module, compresslevel=6, mtime=0)
    if zarr_format == 3:
        await _write(path, "c/0", chunk)
        await _write_json(
            path,
            "zarr.json",
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": [length],
                "data_type": "uint8",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [length]}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": 0,
                "codecs": [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 6}}],
                "attributes": {},
                # Its own for every module: xarray gives a name that several arrays share one length.
                "dimension_names": [dimension],
            },
        )
        return
    await _write(path, "0", chunk)
    await _write_json(path, ".zattrs", {"_ARRAY_DIMENSIONS": [dimension]})
    await _write_json(
        path,
        ".zarray",
        {
            "zarr_format": 2,
            "shape": [length],
            "chunks": [length],
            "dtype": "|u1",
            "compressor": {"id": "gzip", "level": 6},
            "fill_value": 0,
            "order": "C",
            "filters": None,
            "dimension_separator": ".",
        },
    )


async def _write_json(path: StorePath, key: str, document: Mapping[str, Any]) -> None:
    await _write(path, key, json.dumps(document, indent=2).encode())


async def _write(path: StorePath, key: str, value: bytes) -> None:
    await (path / key).set(default_buffer_prototype().buffer.from_bytes(value))
