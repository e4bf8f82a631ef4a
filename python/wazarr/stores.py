"""Which stores the native engine speaks to itself.

Only a store of exactly a known class, with nothing overridden: a subclass or a patched object keeps its
own methods, and is read through them (`wazarr.bridge`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore, MemoryStore, StorePath

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["StorePath", "describe", "name_of", "native_place"]

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
    """Return a name that two stores share if and only if they hold the same values, as far as we know.

    Chunk locks go by it.
    """
    if place is None:
        return f"object {id(store)}"
    kind, where = place
    return f"{kind} {where}" if kind == "local" else f"{kind} {id(where)}"


def describe(store: object) -> str:
    """Return the class of a store, for messages."""
    cls = type(store)
    return f"{cls.__module__.removeprefix('zarr.storage.')}.{cls.__qualname__}".removeprefix("builtins.")
