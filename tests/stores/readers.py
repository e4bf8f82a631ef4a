"""Stores that read from the HTTP server, and what they read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import zarr
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from tests.pipelines import ORACLE_PATH, SUBJECT_PATH, pipeline
from tests.servers.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from zarr.abc.store import Store

    from tests.servers.files import FileServer

__all__ = ["READERS", "RETRIES", "move_chunks", "open_subject", "serve"]

RETRIES: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(milliseconds=2),
        "max_backoff": timedelta(milliseconds=10),
        "base": 2,
    },
}


def _obstore(url: str, headers: dict[str, str] | None = None) -> Store:
    from obstore.store import HTTPStore

    options: Any = {"allow_http": True, "timeout": timedelta(seconds=30)}
    if headers:
        options["default_headers"] = headers
    return ObjectStore(HTTPStore.from_url(url, client_options=options, retry_config=RETRIES), read_only=True)


def _fsspec(url: str, headers: dict[str, str] | None = None) -> Store:
    options: dict[str, Any] = {"headers": headers} if headers else {}
    return FsspecStore.from_url(url, storage_options=options, read_only=True)


READERS: dict[str, Callable[..., Store]] = {"obstore": _obstore, "fsspec": _fsspec}
"""Each opens a URL, with `headers` to send along if any are given."""


def serve(
    server: FileServer, folder: Path, values: np.ndarray[Any, Any], name: str = "array", **options: Any
) -> str:
    """Write an array to a folder with zarr-python's default pipeline, and serve it; return its URL."""
    with pipeline(ORACLE_PATH):
        array = zarr.create_array(
            LocalStore(folder / name), shape=values.shape, dtype=values.dtype, **options
        )
        array[...] = values
    server.serve_folder(folder)
    server.forget()
    return server.url(name)


def open_subject(store: Store, **config: Any) -> zarr.Array[Any]:
    """Open the array at a store's root with our pipeline."""
    with pipeline(SUBJECT_PATH, **config):
        return zarr.open_array(store, mode="r")


def move_chunks(server: FileServer, host: str = "127.0.0.1") -> None:
    """Move all chunks to keys below ``moved/``, and have the server redirect there, by one of its names."""
    for key in [key for key in server.files if "/c/" in key]:
        server.files[f"moved/{key}"] = server.files.pop(key)
    server.schedule = lambda request: (
        None
        if request.is_metadata or request.key.startswith("moved")
        else Fault("status", 302, {"Location": server.url(f"moved/{request.key}", host)})
    )
    server.forget()
