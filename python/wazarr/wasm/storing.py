"""Storing modules beside the data (`wazarr.wasm.hierarchy`).

A module is written before the first chunk that needs it: the group with its manifest, then the module's
metadata, then its only chunk (some stores take chunks only of arrays that they know). One without its chunk,
or with another, does not have the digest: to readers it is not there, and the next writer stores it again.
Documents are written key by key, since zarr's own functions refuse a node below an array, which is where
the group of an array at the root of a store has to be.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zarr.core.buffer import default_buffer_prototype
from zarr.storage import StorePath

from wazarr.errors import StoreError
from wazarr.wasm.hierarchy import NotAModuleError, manifest_of, read_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from zarr.abc.store import Store

    from wazarr.wasm.description import Description

__all__ = ["Entry", "store_modules"]

_ATTEMPTS: Final = 5


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
    except NotAModuleError as error:
        raise StoreError(
            f"could not store modules in {path}: {error}; WasmCodec(…, embed='inline') needs no such group"
        ) from error


async def _merge_manifest(path: StorePath, entries: Iterable[Entry], zarr_format: int) -> int:
    """Add entries to a group's manifest, and return the format of the group.

    Another writer may store the same document at the same time, and then one of the two is lost: so what
    was written is read again, and merged again where something is missing.
    """
    for _ in range(_ATTEMPTS):
        found_format, attributes = await read_group(path)
        manifest = manifest_of(attributes)
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
    """Store a module as an array of one chunk."""
    length, dimension = len(module), f"bytes_of_{path.path.rsplit('/', 1)[-1][:12]}"
    chunk = gzip.compress(module, compresslevel=6, mtime=0)
    if zarr_format == 3:
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
        await _write(path, "c/0", chunk)
        return
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
    await _write(path, "0", chunk)


async def _write_json(path: StorePath, key: str, document: Mapping[str, Any]) -> None:
    await _write(path, key, json.dumps(document, indent=2).encode())


async def _write(path: StorePath, key: str, value: bytes) -> None:
    await (path / key).set(default_buffer_prototype().buffer.from_bytes(value))
