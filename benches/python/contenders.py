"""Who takes part: four pipelines of zarr-python and two libraries that read the same files.

The pipelines (Batched, Fused, zarrs-python, wazarr) differ in one key of `zarr.config`. tensorstore
and zarrista have interfaces of their own and open the same folder; they have no zarr-python above
them, so they are reported beside the ratio and not in it.

A contender that cannot do a case raises when it is tried; `measure.py` records what it said. Where
it can hold a value in its own way, the adapters here choose its fastest: no cache of decoded data,
no waiting for the disk (tensorstore would, the others do not).
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selections import Selection, Values

OURS = "wazarr"
REFERENCE = "Batched"
"""zarr-python's default pipeline: it makes the arrays and reads back what others wrote."""

PIPELINES = {
    "Batched": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "Fused": "zarr.core.codec_pipeline.FusedCodecPipeline",
    "zarrs-python": "zarrs.ZarrsCodecPipeline",
    "wazarr": "wazarr.CodecPipeline",
}
LIBRARIES = ("tensorstore", "zarrista")
NAMES = (*PIPELINES, *LIBRARIES)

Store = Path | MemoryStore
"""Where an array is: a folder, or zarr-python's store in memory."""


class CannotError(Exception):
    """The contender has no way to do what was asked."""


class OpenArray(Protocol):
    """An array that one contender has opened."""

    def read(self, selection: Selection) -> Any:
        """Return the selected elements as a numpy array."""

    def write(self, selection: Selection, values: Values) -> None:
        """Replace the selected elements."""


class Contender(Protocol):
    """One way to read and write Zarr arrays from Python."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def engaged(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which everything of this contender has to happen."""

    def adopt(self, store: Store) -> Any:
        """Return the place of an array in this contender's terms; copies an array in memory."""

    def open(self, place: Any) -> OpenArray:
        """Open the array at a place that `adopt` returned."""

    def give_back(self, place: Any) -> Store:
        """Return a store in which zarr-python finds what this contender wrote."""


# --- pipelines of zarr-python --------------------------------------------------------------------


@dataclass(frozen=True)
class ZarrArray:
    """An array opened by zarr-python, under whichever pipeline is engaged."""

    array: zarr.Array[Any]

    def read(self, selection: Selection) -> Any:
        """Read by the property or method that belongs to the kind of selection."""
        if selection.kind == "basic":
            return self.array[selection.index]
        if selection.kind == "oindex":
            return self.array.oindex[selection.index]
        return self.array.vindex[selection.index]

    def write(self, selection: Selection, values: Values) -> None:
        """Write by the property that belongs to the kind of selection."""
        if selection.kind == "basic":
            self.array[selection.index] = values
        elif selection.kind == "oindex":
            self.array.oindex[selection.index] = values
        else:
            self.array.vindex[selection.index] = values


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of zarr-python, by the name and the dotted path of its class."""

    name: str
    path: str

    @contextlib.contextmanager
    def engaged(self) -> Iterator[None]:
        """Set `codec_pipeline.path`: shards ask for their inner pipeline only when they are read."""
        with zarr.config.set({"codec_pipeline.path": self.path}):
            yield

    def adopt(self, store: Store) -> Store:
        """Return the store itself."""
        return store

    def open(self, place: Store) -> ZarrArray:
        """Open with zarr-python."""
        array = zarr.open_array(place, mode="r+")
        assert isinstance(array, zarr.Array)
        return ZarrArray(array)

    def give_back(self, place: Store) -> Store:
        """Return the store itself."""
        return place


# --- libraries of their own ----------------------------------------------------------------------


@dataclass(frozen=True)
class TensorstoreArray:
    """An array opened by tensorstore."""

    array: Any

    def _view(self, selection: Selection) -> Any:
        if selection.kind == "basic":
            return self.array[selection.index]
        if selection.kind == "oindex":
            return self.array.oindex[selection.index]
        return self.array.vindex[selection.index]

    def read(self, selection: Selection) -> Any:
        """Read and wait."""
        return self._view(selection).read().result()

    def write(self, selection: Selection, values: Values) -> None:
        """Write and wait until the files are there."""
        self._view(selection).write(values).result()


class Tensorstore:
    """The library tensorstore; without fsync, as the others."""

    name = "tensorstore"

    def __init__(self, threads: int | None = None) -> None:
        self._library: Any = importlib.import_module("tensorstore")
        limits = {"data_copy_concurrency": {"limit": threads}} if threads else {}
        self._context = self._library.Context(limits)
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def engaged(self) -> Iterator[None]:
        """Need nothing."""
        yield

    def adopt(self, store: Store) -> dict[str, Any]:
        """Return a specification; fill tensorstore's own memory with what a `MemoryStore` has."""
        if isinstance(store, Path):
            version = 3 if (store / "zarr.json").exists() else 2
            return _specification(version, {"driver": "file", "path": f"{store}/", "file_io_sync": False})
        entries = dict(store._store_dict)
        kvstore = {"driver": "memory", "path": f"{next(self._numbers)}/"}
        target = self._library.KvStore.open(kvstore, context=self._context).result()
        for pending in [target.write(key, buffer.to_bytes()) for key, buffer in entries.items()]:
            pending.result()
        return _specification(3 if "zarr.json" in entries else 2, kvstore)

    def open(self, place: dict[str, Any]) -> TensorstoreArray:
        """Open for reading and writing; the cache of decoded chunks is off by default."""
        return TensorstoreArray(self._library.open(place, open=True, context=self._context).result())

    def give_back(self, place: dict[str, Any]) -> Store:
        """Return the folder, or a `MemoryStore` with a copy of everything."""
        kvstore = place["kvstore"]
        if kvstore["driver"] == "file":
            return Path(kvstore["path"])
        source = self._library.KvStore.open(kvstore, context=self._context).result()
        prototype = default_buffer_prototype()
        pending = {key.decode(): source.read(key) for key in source.list().result()}
        return MemoryStore(
            {key: prototype.buffer.from_bytes(answer.result().value) for key, answer in pending.items()}
        )


def _specification(version: int, kvstore: dict[str, Any]) -> dict[str, Any]:
    return {"driver": "zarr3" if version == 3 else "zarr", "kvstore": kvstore}


@dataclass(frozen=True)
class ZarristaArray:
    """An array opened by zarrista."""

    array: Any

    def read(self, selection: Selection) -> Any:
        """Read a box; an axis selected by a number is taken away, as numpy does."""
        if selection.kind != "basic":
            raise CannotError(f"no selection by {selection.kind}")
        answer = self.array.retrieve_array_subset(selection.index).to_numpy()
        numbered = _numbered_axes(selection)
        return answer.squeeze(axis=numbered) if numbered else answer

    def write(self, selection: Selection, values: Values) -> None:
        """Write a box; data types that DLPack does not know go as bytes."""
        if selection.kind != "basic":
            raise CannotError(f"no selection by {selection.kind}")
        numbered = _numbered_axes(selection)
        data: Any = np.expand_dims(np.ascontiguousarray(values), numbered)
        data = data.astype(data.dtype.newbyteorder("="), copy=False)
        if data.dtype.kind in "cMS":
            data = memoryview(data.ravel().view(np.uint8))
        self.array.store_array_subset(selection.index, data)


def _numbered_axes(selection: Selection) -> tuple[int, ...]:
    """Return the axes that are selected by a number, so that numpy takes them away."""
    index = selection.index if isinstance(selection.index, tuple) else (selection.index,)
    return tuple(axis for axis, chosen in enumerate(index) if isinstance(chosen, int))


class Zarrista:
    """The library zarrista. It chooses its own number of threads (`RAYON_NUM_THREADS`)."""

    name = "zarrista"

    def __init__(self) -> None:
        self._library: Any = importlib.import_module("zarrista")
        self._stores: Any = importlib.import_module("zarrista.store")

    @contextlib.contextmanager
    def engaged(self) -> Iterator[None]:
        """Need nothing."""
        yield

    def adopt(self, store: Store) -> Any:
        """Return the folder, or fill a store of zarrista's own with the values of the array."""
        if isinstance(store, Path):
            return store
        entries = dict(store._store_dict)
        if "zarr.json" not in entries:
            raise CannotError("takes Zarr v2 from folders only")
        metadata = json.loads(entries["zarr.json"].to_bytes())
        array = self._library.Array.from_metadata(metadata, self._stores.MemoryStore())
        if len(entries) > 1:
            with zarr.config.set({"codec_pipeline.path": PIPELINES[REFERENCE]}):
                values = zarr.open_array(store, mode="r")[...]
            array.store_array_subset(..., np.ascontiguousarray(values))
        return array

    def open(self, place: Any) -> ZarristaArray:
        """Open a folder; an array in memory stays as `adopt` made it."""
        if isinstance(place, Path):
            place = self._library.Array.open(self._stores.FilesystemStore(place))
        return ZarristaArray(place)

    def give_back(self, place: Any) -> Store:
        """Return the folder."""
        if isinstance(place, Path):
            return place
        raise CannotError("what it writes to its memory store cannot be read back by zarr-python")


# --- choosing ------------------------------------------------------------------------------------


def is_installed(path: str) -> bool:
    """Tell whether the class at a dotted path can be imported."""
    module, _, name = path.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def contender(name: str, threads: int | None = None) -> Contender:
    """Return a contender by its name.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    threads : int, optional
        Only tensorstore needs to be told here; see `thread_settings` for the others.

    Raises
    ------
    CannotError
        It is not installed.
    """
    if name in PIPELINES:
        if not is_installed(PIPELINES[name]):
            raise CannotError(f"not installed, or not part of zarr {zarr.__version__}")
        return Pipeline(name, PIPELINES[name])
    try:
        return Tensorstore(threads) if name == "tensorstore" else Zarrista()
    except ImportError as error:
        raise CannotError(f"not installed: {error}") from error


def available(names: list[str]) -> tuple[list[Contender], dict[str, str]]:
    """Return who can take part, and of the others why they cannot."""
    present, absent = [], {}
    for name in names:
        try:
            present.append(contender(name))
        except CannotError as error:
            absent[name] = str(error)
    return present, absent


def thread_settings(threads: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the configuration and the environment that hold every contender to so many threads.

    Both have to be there before the first read: zarr-python and zarrs-python size their pools once.
    """
    configuration = {"threading.max_workers": threads, "codec_pipeline.max_workers": threads}
    return configuration, {"RAYON_NUM_THREADS": str(threads), "ZARR_THREADING__MAX_WORKERS": str(threads)}
