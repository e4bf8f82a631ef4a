"""Which stores the engine speaks to itself: exactly the known classes, with nothing overridden."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, LoggingStore, MemoryStore, StorePath, WrapperStore, ZipStore

import wazarr
from tests.pipelines import ZARR_VERSION
from wazarr import stores

if TYPE_CHECKING:
    from collections.abc import Callable


class OwnLocal(LocalStore):
    """Overrides nothing; that it is a subclass is enough."""


class OwnMemory(MemoryStore):
    """As above."""


async def _get(*args: Any, **kwargs: Any) -> None:
    return None


def patched(name: str) -> Callable[[Path], Any]:
    def make(path: Path) -> Any:
        store = LocalStore(path)
        setattr(store, name, _get)
        return store

    return make


# kind of place, or None, of each
STORES: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "local": (LocalStore, "local"),
    "local, read-only": (lambda path: LocalStore(path, read_only=True), "local"),
    "memory": (lambda _: MemoryStore(), "memory"),
    "memory, own dict": (lambda _: MemoryStore({}), "memory"),
    "subclass of local": (OwnLocal, None),
    "subclass of memory": (lambda _: OwnMemory(), None),
    "wrapper": (lambda path: WrapperStore(LocalStore(path)), None),
    "logging": (lambda path: LoggingStore(LocalStore(path)), None),
    "zip": (lambda path: ZipStore(path / "a.zip", mode="w"), None),
    **{
        f"local, patched {name}": (patched(name), None)
        for name in ("get", "set", "delete", "get_sync", "set_sync", "delete_sync", "get_partial_values")
    },
}


@pytest.mark.parametrize("name", STORES)
def test_native_place(name: str, tmp_path: Path) -> None:
    make, kind = STORES[name]
    store = make(tmp_path)
    place = stores.native_place(store)
    assert (place and place[0]) == kind
    if place is not None:
        assert place[1] is (store.root if kind == "local" else store._store_dict)


def test_names_are_shared_by_stores_that_hold_the_same_values(tmp_path: Path) -> None:
    def name(store: Any) -> str:
        return stores.name_of(store, stores.native_place(store))

    values: dict[str, Any] = {}
    assert name(LocalStore(tmp_path)) == name(LocalStore(str(tmp_path)))
    assert name(LocalStore(tmp_path)) != name(LocalStore(tmp_path / "other"))
    assert name(MemoryStore(values)) == name(MemoryStore(values))
    assert name(MemoryStore()) != name(MemoryStore(values))
    first, second = OwnLocal(tmp_path), OwnLocal(tmp_path)
    assert name(first) == name(first) != name(second)


class Asked(WrapperStore[Any]):
    """Overrides `get` alone."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        return await super().get(key, prototype, byte_range)


class AskedForRanges(Asked):
    """Overrides the other as well."""

    def get_ranges(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def test_ranges_are_asked_for_where_that_overrides_nothing() -> None:
    assert stores.ranges_of(Asked(MemoryStore())) is None
    store = AskedForRanges(MemoryStore())
    assert stores.ranges_of(store) == store.get_ranges
    assert stores.ranges_of(patched("get")(Path())) is None
    assert (stores.ranges_of(WrapperStore(MemoryStore())) is None) == (ZARR_VERSION < (3, 4))


def test_descriptions_are_short_for_zarrs_own() -> None:
    assert stores.describe(MemoryStore()) == "MemoryStore"
    assert stores.describe(OwnMemory()) == "tests.test_stores.OwnMemory"
    assert "tests.test_stores.OwnMemory" in stores.reason(OwnMemory())


def test_overridden_methods_are_called(subject_pipeline: str, tmp_path: Path) -> None:
    class Doubling(LocalStore):
        """Sees every request."""

        seen: list[tuple[str, str]]

        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(("get", key))
            return await super().get(key, *args, **kwargs)

        async def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
            self.seen.append(("set", key))
            await super().set(key, value, *args, **kwargs)

        async def delete(self, key: str) -> None:
            self.seen.append(("delete", key))
            await super().delete(key)

    store = Doubling(tmp_path)
    store.seen = []
    array = zarr.create_array(store, shape=(4,), chunks=(2,), dtype="i4")
    store.seen.clear()
    array[:] = [1, 2, 0, 0]
    assert np.array_equal(array[:], [1, 2, 0, 0])
    array[0:1] = 5
    assert sorted(store.seen) == [
        ("delete", "c/1"),
        ("get", "c/0"),
        ("get", "c/0"),
        ("get", "c/1"),
        ("set", "c/0"),
        ("set", "c/0"),
    ]


def test_a_subclass_of_the_path_is_asked_itself(subject_pipeline: str) -> None:
    class OwnPath(StorePath):
        """Answers for itself."""

        async def get(self, *args: Any, **kwargs: Any) -> Any:
            return zarr.core.buffer.cpu.Buffer.from_bytes(np.array([7, 8], "<i4").tobytes())

        def __truediv__(self, other: str) -> StorePath:
            return OwnPath(self.store, f"{self.path}/{other}".strip("/"))

    array = zarr.create_array(MemoryStore(), shape=(4,), chunks=(2,), dtype="<i4", compressors=None)
    object.__setattr__(array.async_array, "store_path", OwnPath(array.store, ""))
    wazarr.reset_counters()
    assert np.array_equal(array[:], [7, 8, 7, 8])
    assert wazarr.counters()["store_requests"] == {
        "native": 0,
        "python": 2,
        "bytes_fetched": 0,
        "bytes_wasted": 0,
    }


def test_read_only_stores_refuse_as_zarr_does(subject_pipeline: str, tmp_path: Path) -> None:
    zarr.create_array(LocalStore(tmp_path), shape=(4,), chunks=(2,), dtype="i4")
    array = zarr.open_array(LocalStore(tmp_path, read_only=True), mode="r")
    with pytest.raises(ValueError, match="read-only"):
        array[:] = 1
    assert not (tmp_path / "c").exists()
