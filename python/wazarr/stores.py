"""Which stores the native engine speaks to itself.

Only a store of exactly a known class, with nothing overridden: a subclass or a patched object keeps its
own methods, and is read through them (`wazarr.bridge`). Packages that a store comes from (fsspec, obstore)
are never imported here: who has such a store has imported its package.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, StorePath, ZipStore
from zarr.storage._fsspec import ALLOWED_EXCEPTIONS

from wazarr import _native, config

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.abc.store import Store
    from zarr.core.array_spec import ArraySpec

__all__ = [
    "Place",
    "StorePath",
    "coalescing",
    "describe",
    "for_engine",
    "forget_handles",
    "is_serial",
    "joined",
    "many_of",
    "max_waiting_bytes",
    "name_of",
    "native_place",
    "ranges_of",
    "reason",
]

Place = tuple[str, Any]
"""Kind of a native store, and where its values are."""

_METHODS = frozenset(
    {"get", "set", "delete", "get_sync", "set_sync", "delete_sync", "get_partial_values", "get_ranges"}
)


def native_place(store: Store, path: str = "", *, is_write: bool = False) -> Place | None:
    """Return the kind of native store and where its values are, or None.

    Parameters
    ----------
    store : Store
        Any zarr store.
    path : str, optional
        Key of some value in it: some stores write certain characters in their own way, and are then left
        to Python.
    is_write : bool, optional
        Whether it has to be a place to write to.

    Returns
    -------
    tuple of (str, object) or None
        ``("local", root folder)``, ``("memory", dict)``, ``("zip", open ZipFile)``,
        ``("memory files", (dict, root, function that puts a value))`` or ``("remote", handle)``.
    """
    find = _FINDERS.get(type(store))
    if find is None or not _METHODS.isdisjoint(store.__dict__):
        return None
    return find(store, _Wanted(path, is_write))


class _Wanted(NamedTuple):
    """What `native_place` was asked for."""

    path: str
    is_write: bool


def _local_place(store: Any, _wanted: _Wanted) -> Place:
    return "local", store.root


def _memory_place(store: Any, _wanted: _Wanted) -> Place:
    return "memory", store._store_dict


def _zip_place(store: Any, _wanted: _Wanted) -> Place | None:
    # One that may grow stays with Python, and so does a file object, which may be anything.
    if not (store.read_only and store._zmode == "r" and store.path is not None):
        return None
    if not store._is_open:
        with store._lock:
            if not store._is_open:
                store._sync_open()
    return "zip", store._zf


def _fsspec_place(store: Any, wanted: _Wanted) -> Place | None:
    if store.allowed_exceptions != ALLOWED_EXCEPTIONS:
        return None
    filesystem = store.fs
    if type(filesystem).__module__ == "fsspec.implementations.asyn_wrapper":
        filesystem = filesystem.sync_fs
    cls = type(filesystem)
    if not _METHODS_OF_FILESYSTEMS.isdisjoint(filesystem.__dict__):
        return None
    kind = cls.__module__, cls.__qualname__
    if kind == ("fsspec.implementations.local", "LocalFileSystem"):
        # Without `auto_mkdir` it refuses to write where there is no folder yet.
        if filesystem.auto_mkdir or not wanted.is_write:
            return "local", filesystem._strip_protocol(store.path) or "/"
    elif kind == ("fsspec.implementations.memory", "MemoryFileSystem"):
        return "memory files", (
            filesystem.store,
            filesystem._strip_protocol(store.path),
            _put_file(filesystem),
        )
    elif (
        kind == ("fsspec.implementations.http", "HTTPFileSystem")
        and not wanted.is_write
        and _PLAIN_KEY.fullmatch(wanted.path)
        and _PLAIN_ADDRESS.fullmatch(store.path)
        and _is_plain_http(filesystem)
    ):
        identity = (store.path, *config.store_patience())
        handle = _handles_by_address.get(identity)
        if handle is None:
            handle = _handles_by_address[identity] = _native.open_http(*identity)
        return "remote", handle
    return None


# Without a query, a fragment or characters that would have to be encoded.
_PLAIN_ADDRESS = re.compile(r"https?://[A-Za-z0-9_\-.~:@%\[\]/=+,]+")


def _is_plain_http(filesystem: Any) -> bool:
    """Return whether nothing is configured in an HTTP filesystem that a request would have to heed."""
    from fsspec.implementations.http import get_client

    return (
        not filesystem.kwargs
        and not filesystem.client_kwargs
        and not filesystem.encoded
        and filesystem.get_client is get_client
    )


# An asynchronous filesystem has its synchronous twins in its dict, so those do not count.
_METHODS_OF_FILESYSTEMS = frozenset({"_cat_file", "_pipe_file", "_rm", "_open"})


def _put_file(filesystem: Any) -> Callable[[str, bytes | None], None]:
    """Return a function that stores a value in an fsspec filesystem, or removes it."""

    def put(path: str, value: bytes | None) -> None:
        if value is not None:
            filesystem.pipe_file(path, value)
        elif filesystem.exists(path):
            filesystem.rm(path)

    return put


# obstore's own way to write other characters into file names is left to obstore.
_PLAIN_KEY = re.compile(r"(?:(?:^|(?<!^)/)(?!\.\.?(?:/|$))[A-Za-z0-9_\-=+,@.]+)*")


def _object_place(store: Any, wanted: _Wanted) -> Place | None:
    backend = store.store
    cls = type(backend)
    if cls.__qualname__ == "LocalStore" and cls.__module__ in {"obstore.store", "builtins"}:
        root = backend.prefix
        cleans_up = backend.__getnewargs_ex__()[1].get("automatic_cleanup", False)
        if root is not None and _PLAIN_KEY.fullmatch(wanted.path) and not (cleans_up and wanted.is_write):
            return "local", root
    elif cls.__module__ == "obstore.store" and cls.__qualname__ in _REMOTE_CLASSES:
        handle = _remote_handle(backend)
        if handle is not None:
            return "remote", handle
    return None


_REMOTE_CLASSES = frozenset({"S3Store", "GCSStore", "AzureStore", "HTTPStore"})

_handles: dict[int, tuple[weakref.ref[Any], _native.RemoteHandle | None]] = {}
"""By identity: a store's own connections are made once, and closed when obstore's object goes."""


_handles_by_address: dict[tuple[str, int, float], _native.RemoteHandle] = {}


def forget_handles() -> None:
    """Forget all connections; for a child after a fork."""
    _handles.clear()
    _handles_by_address.clear()


def _remote_handle(backend: Any) -> _native.RemoteHandle | None:
    """Return the engine's own store with the settings of obstore's, or None where it cannot have them."""
    known = _handles.get(id(backend))
    if known is not None and known[0]() is backend:
        return known[1]
    try:
        retries = (backend.retry_config or {}).get("max_retries", config.store_patience()[0])
        handle = None if _awaits_credentials(backend) else _native.open_object_store(backend, retries)
    except BaseException as error:
        # Whatever another version's settings lead to: its own methods serve. obstore panics when it is asked
        # for the settings of a store that has some of the client's among its own.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        handle = None
    identity = id(backend)
    _handles[identity] = weakref.ref(backend, lambda _: _handles.pop(identity, None)), handle
    return handle


def _awaits_credentials(backend: Any) -> bool:
    """Return whether a store's credentials come from a coroutine, which needs Python's event loop."""
    provider = getattr(backend, "credential_provider", None)
    return inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(
        getattr(provider, "__call__", None)  # noqa: B004 - whether calling it makes a coroutine
    )


_FINDERS: dict[type, Callable[[Any, _Wanted], Place | None]] = {
    LocalStore: _local_place,
    MemoryStore: _memory_place,
    ZipStore: _zip_place,
    FsspecStore: _fsspec_place,
    ObjectStore: _object_place,
}


_SHARE_THAT_MAY_WAIT = 4
_DEFAULT_MAX_GAP_BYTES = 1 << 20
_DEFAULT_MAX_BYTES = 16 << 20


def max_waiting_bytes() -> int:
    """Return how many bytes may have arrived and wait for the decoders; then fetching pauses."""
    return config.bytes_in_flight() // _SHARE_THAT_MAY_WAIT


def coalescing(spec: ArraySpec) -> tuple[int, int]:
    """Return how many bytes may lie between ranges that are fetched together, and how many that may be.

    Parameters
    ----------
    spec : ArraySpec
        Of a chunk: zarr's settings are the array's (an older zarr has none).
    """
    return (
        getattr(spec.config, "sharding_coalesce_max_gap_bytes", _DEFAULT_MAX_GAP_BYTES),
        getattr(spec.config, "sharding_coalesce_max_bytes", _DEFAULT_MAX_BYTES),
    )


def joined(ranges: list[tuple[int, int]], max_gap: int, max_bytes: int) -> list[tuple[int, int]]:
    """Join ascending ranges with at most `max_gap` bytes between them to at most `max_bytes` bytes."""
    answer: list[tuple[int, int]] = []
    for start, end in ranges:
        if answer and start <= answer[-1][1] + max_gap and end - answer[-1][0] <= max_bytes:
            answer[-1] = (answer[-1][0], max(answer[-1][1], end))
        else:
            answer.append((start, end))
    return answer


def for_engine(place: Place | None, spec: ArraySpec) -> Place | None:
    """Return a place with what the engine has to know of the configuration.

    Parameters
    ----------
    place : Place or None
        As `native_place` answers.
    spec : ArraySpec
        Of one of the chunks.
    """
    if place is None:
        return None
    if place[0] == "local":
        return "local", (place[1], *config.file_access())
    if place[0] != "remote":
        return place
    return "remote", (
        place[1],
        config.store_concurrency(),
        max_waiting_bytes(),
        *coalescing(spec),
        config.small_shard_bytes(),
    )


def name_of(store: object, place: Place | None) -> str:
    """Return what to put before a chunk's key so that the same chunk has the same name everywhere.

    Chunk locks go by it. Two stores on one folder, or on folders inside one another, agree.
    """
    if place is None:
        return f"object {id(store)}"
    kind, where = place
    if kind == "local":
        return str(os.path.abspath(where))  # noqa: PTH100 - Path.resolve touches the disk
    if kind == "memory files":
        files, root, _ = where
        return f"{kind} {id(files)}{root}"
    return f"{kind} {id(where)}"


_SMALL_CHUNK_BYTES = 64 << 10


def many_of(store: object, spec: ArraySpec) -> Callable[..., Any] | None:
    """Return a store's own way to get many small values in one request, or None.

    Only Icechunk's, which fetches them at the same time: others' `get_partial_values` may do one after the
    other. For small chunks its way to Python and back takes longer than all the rest.

    Parameters
    ----------
    store : object
        Any store.
    spec : ArraySpec
        Of a chunk.
    """
    cls = type(store)
    if (cls.__module__, cls.__qualname__) != ("icechunk.store", "IcechunkStore"):
        return None
    if not _METHODS.isdisjoint(vars(store)) or _decoded_bytes(spec) > _SMALL_CHUNK_BYTES:
        return None
    many: Callable[..., Any] | None = getattr(store, "get_partial_values", None)
    return many


def _decoded_bytes(spec: ArraySpec) -> int:
    return math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize


def is_serial(store: object) -> bool:
    """Return whether a store mixes up requests that are under way at the same time.

    fsspec's archives share one open file among all requests, and zarr sends each from a thread of its own.
    """
    filesystem = getattr(getattr(store, "fs", None), "sync_fs", None)
    return any(cls.__module__ == "fsspec.archive" for cls in type(filesystem).__mro__)


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
