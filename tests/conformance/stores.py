"""The stores of the table: each can be opened again and again on the same content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, WrapperStore, ZipStore

if TYPE_CHECKING:
    from pathlib import Path

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

METADATA_NAMES = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


def is_metadata(key: str) -> bool:
    """Whether `key` names a metadata document, not a chunk."""
    return key.rsplit("/", 1)[-1] in METADATA_NAMES


@dataclass
class Location:
    """Where one copy of an array lives: a folder, a dict, or an object kept by the store kind."""

    path: Path
    memory: dict[str, Buffer] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


def _inverted(value: Buffer) -> Buffer:
    return type(value).from_bytes(bytes(byte ^ 0xFF for byte in value.to_bytes()))


class InvertedLocalStore(LocalStore):
    """A user's subclass: chunks are inverted on disk, so an unused override gives wrong data."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Get and invert."""
        value = await super().get(key, prototype, byte_range)
        return value if value is None or is_metadata(key) else _inverted(value)

    async def set(self, key: str, value: Buffer) -> None:
        """Invert and set."""
        await super().set(key, value if is_metadata(key) else _inverted(value))

    @property
    def _supports_sync_io(self) -> bool:
        return False


class WitnessLocalStore(LocalStore):
    """A user's subclass that overrides only `get`, to note what was read."""

    seen: list[str]

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Note the key and get."""
        self.__dict__.setdefault("seen", []).append(key)
        return await super().get(key, prototype, byte_range)


class WitnessMemoryStore(MemoryStore):
    """A user's subclass of the memory store that overrides only `get`."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Note the key and get."""
        self.__dict__.setdefault("seen", []).append(key)
        return await super().get(key, prototype, byte_range)


Opener = Callable[[Location, bool], "Store"]


@dataclass(frozen=True)
class StoreKind:
    """One kind of store. `engine` says whose requests the counters must show."""

    name: str
    engine: Literal["native", "python", "either"]
    open: Opener
    needs: str | None = None
    is_rewritable: bool = True


def _memory(location: Location, read_only: bool) -> Store:
    return MemoryStore(location.memory, read_only=read_only)


def _local(location: Location, read_only: bool) -> Store:
    return LocalStore(location.path, read_only=read_only)


def _zip(location: Location, read_only: bool) -> Store:
    location.path.mkdir(parents=True, exist_ok=True)
    archive = location.path / "array.zip"
    return ZipStore(archive, mode="r" if read_only else "a", read_only=read_only)


def _wrapper(location: Location, read_only: bool) -> Store:
    return WrapperStore(MemoryStore(location.memory, read_only=read_only))


def _wrapped_local(location: Location, read_only: bool) -> Store:
    return WrapperStore(LocalStore(location.path, read_only=read_only))


def _logging(location: Location, read_only: bool) -> Store:
    return LoggingStore(LocalStore(location.path, read_only=read_only), log_level="CRITICAL")


def _inverted_local(location: Location, read_only: bool) -> Store:
    return InvertedLocalStore(location.path, read_only=read_only)


def _witness_local(location: Location, read_only: bool) -> Store:
    return WitnessLocalStore(location.path, read_only=read_only)


def _witness_memory(location: Location, read_only: bool) -> Store:
    return WitnessMemoryStore(location.memory, read_only=read_only)


def _obstore_memory(location: Location, read_only: bool) -> Store:
    import obstore.store
    from zarr.storage import ObjectStore

    objects = location.kept.setdefault("objects", obstore.store.MemoryStore())
    return ObjectStore(objects, read_only=read_only)


def _obstore_local(location: Location, read_only: bool) -> Store:
    import obstore.store
    from zarr.storage import ObjectStore

    location.path.mkdir(parents=True, exist_ok=True)
    return ObjectStore(obstore.store.LocalStore(prefix=location.path), read_only=read_only)


def _fsspec_memory(location: Location, read_only: bool) -> Store:
    return FsspecStore.from_url(f"memory://{location.path}", read_only=read_only)


STORE_KINDS = {
    kind.name: kind
    for kind in (
        StoreKind("memory", "native", _memory),
        StoreKind("local", "native", _local),
        StoreKind("zip", "either", _zip, is_rewritable=False),
        StoreKind("wrapper", "python", _wrapper),
        StoreKind("wrapped-local", "python", _wrapped_local),
        StoreKind("logging", "python", _logging),
        StoreKind("inverted-local", "python", _inverted_local),
        StoreKind("witness-local", "python", _witness_local),
        StoreKind("witness-memory", "python", _witness_memory),
        StoreKind("obstore-memory", "either", _obstore_memory, needs="obstore"),
        StoreKind("obstore-local", "either", _obstore_local, needs="obstore"),
        StoreKind("fsspec-memory", "native", _fsspec_memory, needs="fsspec"),
    )
}
