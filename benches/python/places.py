"""The stores that `stores.py` reads through, each with an array in it.

*Near* ones are on this machine: in memory, in files, in a zip. *Far* ones are behind `link.py`.
"""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import fields
import numpy as np
import zarr
from cases import cube
from contenders import REFERENCE, contender
from link import served
from zarr.codecs import ZstdCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, WrapperStore, ZipStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from selections import Values
    from zarr.abc.store import Store

NAME = "array"
PACKAGES = ("obstore", "fsspec", "icechunk")
DELAY_S = 0.05
BYTES_PER_S = 100e6


@dataclass(frozen=True)
class StoreCase:
    """An array in a store, and what is read of it."""

    name: str
    operation: str
    open_store: Callable[[], Store]
    values: Values
    chunk_shape: tuple[int, ...]
    selection: Any = ...
    is_sharded: bool = False
    far: dict[str, str] | None = None
    """Over the network: what `open_far` takes."""

    def keys(self) -> list[str]:
        """Return the keys of all chunks."""
        counts = [-(-a // b) for a, b in zip(self.values.shape, self.chunk_shape, strict=True)]
        indices = itertools.product(*(range(count) for count in counts))
        return [f"{NAME}/c/{'/'.join(map(str, index))}" for index in indices]


# --- near ----------------------------------------------------------------------------------------


def create(store: Store, values: Values, chunks: int, shards: int | None = None) -> None:
    """Write an array with zarr-python's default pipeline."""
    with contender(REFERENCE).engaged():
        zarr.create_array(
            store,
            name=NAME,
            data=values,
            chunks=cube(chunks),
            shards=cube(shards) if shards else None,
            compressors=ZstdCodec(level=1),
            fill_value=0,
        )


def near_stores(folder: Path, fill: Callable[[Store], None]) -> dict[str, Callable[[], Store]]:
    """Make one store of each kind, filled; return how each is opened for reading."""
    memory = MemoryStore()
    fill(memory)
    fill(LocalStore(folder / "local"))
    with ZipStore(folder / "array.zip", mode="w") as archive:
        fill(archive)
    openers: dict[str, Callable[[], Store]] = {
        "memory": lambda: memory,
        "zip": lambda: ZipStore(folder / "array.zip", mode="r"),
        "WrapperStore over local": lambda: WrapperStore(LocalStore(folder / "local", read_only=True)),
    }
    if is_there("obstore"):
        from obstore.store import LocalStore as ObjectsInFiles
        from obstore.store import MemoryStore as ObjectsInMemory

        objects = ObjectsInMemory()
        fill(ObjectStore(objects))
        openers["obstore local"] = lambda: ObjectStore(ObjectsInFiles(folder / "local"), read_only=True)
        openers["obstore memory"] = lambda: ObjectStore(objects, read_only=True)
    if is_there("fsspec"):
        url = f"memory://{folder.name}"
        fill(FsspecStore.from_url(url))
        openers["fsspec memory"] = partial(FsspecStore.from_url, url, read_only=True)
    if is_there("icechunk"):
        import icechunk

        repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(folder / "icechunk")))
        session = repository.writable_session("main")
        fill(session.store)
        session.commit("an array")
        openers["Icechunk local"] = lambda: repository.readonly_session("main").store
    return openers


def is_there(package: str) -> bool:
    """Tell whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def near_cases(folder: Path, *, is_quick: bool) -> list[StoreCase]:
    """Return the cases on this machine."""
    cases = []
    for size, side, chunk in (("big", 160 if is_quick else 320, 80), ("small", 128, 16)):
        values = fields.field(cube(side))
        place = folder / f"{folder.name}-{size}"
        place.mkdir()
        openers = near_stores(place, partial(create, values=values, chunks=chunk))
        cases += [StoreCase(name, size, opener, values, cube(chunk)) for name, opener in openers.items()]
    return sorted(cases, key=lambda case: case.name)


# --- far -----------------------------------------------------------------------------------------


def open_far(kind: str, url: str) -> Store:
    """Open what an address serves, through obstore or fsspec."""
    if kind == "fsspec HTTP":
        return FsspecStore.from_url(url, read_only=True)
    from obstore.store import HTTPStore

    return ObjectStore(HTTPStore(f"{url}/", client_options={"allow_http": True}), read_only=True)


def far_cases(folder: Path, links: ExitStack, *, is_quick: bool) -> list[StoreCase]:
    """Return the cases over HTTP; their servers run until `links` is closed."""
    small = fields.field(cube(64))
    create(LocalStore(folder / "many"), small, 16)
    create(LocalStore(folder / "shard"), small, 8, 64)
    some = np.s_[:40, :8, :]  # 5 x 1 x 8 inner chunks
    delayed = links.enter_context(served(folder, delay_s=DELAY_S))
    cases = []
    for kind in (kind for kind in ("obstore HTTP", "fsspec HTTP") if is_there(kind.split()[0])):
        for part, operation, selection, chunk in (
            ("many", "64 chunks", ..., 16),
            ("shard", "40 inner chunks of one shard", some, 64),
        ):
            far = {"kind": kind, "url": f"{delayed}/{part}"}
            opener = partial(open_far, **far)
            name = f"{kind}, {DELAY_S * 1e3:.0f} ms a request"
            case = StoreCase(name, operation, opener, small, cube(chunk), selection, part == "shard", far)
            cases.append(case)
    large = np.tile(fields.field(cube(256)), (1, 1, 1) if is_quick else (2, 2, 2))
    create(LocalStore(folder / "large"), large, 128)
    far = {
        "kind": "obstore HTTP",
        "url": f"{links.enter_context(served(folder, bytes_per_s=BYTES_PER_S))}/large",
    }
    if is_there("obstore"):
        name = f"obstore HTTP, {BYTES_PER_S / 1e6:.0f} MB/s"
        operation = f"{(large.shape[0] // 128) ** 3} chunks of 4 MiB"
        cases.append(StoreCase(name, operation, partial(open_far, **far), large, cube(128), far=far))
    return cases
