"""Which stores the native engine speaks to itself.

Only a store of exactly a known class, with nothing overridden: a subclass or a patched object keeps its
own methods, and is read through them (`wazarr.bridge`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore, MemoryStore, StorePath

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.abc.store import Store

__all__ = ["StorePath", "describe", "name_of", "native_place", "ranges_of", "reason"]

_METHODS = frozenset(
    {"get", "set", "delete", "get_sync", "set_sync", "delete_sync", "get_partial_values", "get_ranges"}
)


def native_place(store: Store) -> tuple[str, Any] | None:
    """Return the kind of native store and where its values are, or None.

    Parameters
    ----------
    store : Store
        Any zarr store.

    Returns
    -------
    tuple of (str, object) or None
        ``("local", root folder)`` or ``("memory", dict)``.
    """
    cls = type(store)
    if cls is LocalStore:
        if _METHODS.isdisjoint(store.__dict__):
            return "local", store.root  # type: ignore[attr-defined]
    elif cls is MemoryStore and _METHODS.isdisjoint(store.__dict__):
        return "memory", store._store_dict  # type: ignore[attr-defined]
    return None


def name_of(store: object, place: tuple[str, Any] | None) -> str:
    """Return what to put before a chunk's key so that the same chunk has the same name everywhere.

    Chunk locks go by it. Two stores on one folder, or on folders inside one another, agree.
    """
    if place is None:
        return f"object {id(store)}"
    kind, where = place
    return os.path.abspath(where) if kind == "local" else f"{kind} {id(where)}"  # noqa: PTH100 - Path.resolve touches the disk


def describe(store: object) -> str:
    """Return the class of a store, for messages; zarr's own without their module."""
    cls = type(store)
    is_zarrs = cls.__module__.startswith("zarr.storage.")
    return cls.__qualname__ if is_zarrs else f"{cls.__module__}.{cls.__qualname__}"


def reason(store: object) -> str:
    """Return why a store counts as a fallback."""
    return f"store {describe(store)} is reached through its Python methods"


def ranges_of(store: object) -> Callable[..., Any] | None:
    """Return the store's `get_ranges`, if it can stand for its `get`.

    It can where it is defined at least as close to the store's class: else somebody overrode `get` and did
    not know of the other.
    """
    if "get" in vars(store):
        return None
    for cls in type(store).__mro__:
        if "get_ranges" in vars(cls):
            ranges: Callable[..., Any] | None = getattr(store, "get_ranges", None)
            return ranges
        if "get" in vars(cls):
            return None
    # An object that stands for a store without being one (a mock, a proxy) finds both the same way.
    return getattr(store, "get_ranges", None)
