"""The kinds of stores that can be written again and again, each opened on a place of its own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, ObjectStore, WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from zarr.abc.store import Store

    from tests.servers.emulators import AzureContainer, GoogleBucket
    from tests.servers.files import FileServer
    from tests.servers.s3 import Bucket

__all__ = ["KINDS", "Place"]


@dataclass
class Place:
    """Where one copy of an array lives, whatever the kind of store."""

    request: pytest.FixtureRequest
    path: Path
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    memory: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def server(self) -> FileServer:
        """The HTTP server, started if need be."""
        server: FileServer = self.request.getfixturevalue("file_server")
        return server

    @property
    def bucket(self) -> Bucket:
        """A bucket, the same one for all of a test."""
        bucket: Bucket = self.request.getfixturevalue("bucket")
        return bucket

    def cloud(self, kind: str) -> AzureContainer | GoogleBucket:
        """A container of Azure's or a bucket of Google's, the same one for all of a test."""
        fixture = {"azure": "azure_container", "gcs": "google_bucket"}[kind]
        container: AzureContainer | GoogleBucket = self.request.getfixturevalue(fixture)
        return container


def _logging(place: Place, read_only: bool) -> Store:
    return LoggingStore(LocalStore(place.path, read_only=read_only), log_level="CRITICAL")


def _latency(place: Place, read_only: bool) -> Store:
    from zarr.testing.store import LatencyStore

    return LatencyStore(
        MemoryStore(place.memory, read_only=read_only), get_latency=0.0005, set_latency=0.0005
    )


def _cache(place: Place, read_only: bool) -> Store:
    from zarr.experimental.cache_store import CacheStore

    # Each opened anew: what one caches, another may have changed.
    return CacheStore(
        MemoryStore(place.memory, read_only=read_only), cache_store=MemoryStore(), max_size=1 << 20
    )


def _obstore_memory(place: Place, read_only: bool) -> Store:
    from obstore.store import MemoryStore

    return ObjectStore(place.kept.setdefault("objects", MemoryStore()), read_only=read_only)


def _obstore_local(place: Place, read_only: bool) -> Store:
    from obstore.store import LocalStore

    return ObjectStore(LocalStore(prefix=place.path, mkdir=True), read_only=read_only)


def _obstore_http(place: Place, read_only: bool) -> Store:
    from obstore.store import HTTPStore

    url = place.server.url(f"{place.name}/a folder+%41")
    return ObjectStore(HTTPStore(url, client_options={"allow_http": True}), read_only=read_only)


def _obstore_s3(place: Place, read_only: bool) -> Store:
    return ObjectStore(place.bucket.obstore(), read_only=read_only)


def _obstore_s3_prefix(place: Place, read_only: bool) -> Store:
    return ObjectStore(place.bucket.obstore("a folder/100%+ä"), read_only=read_only)


def _obstore_azure(place: Place, read_only: bool) -> Store:
    return ObjectStore(place.cloud("azure").obstore(), read_only=read_only)


def _obstore_azure_prefix(place: Place, read_only: bool) -> Store:
    return ObjectStore(place.cloud("azure").obstore("a folder/100%+ä"), read_only=read_only)


def _obstore_gcs(place: Place, read_only: bool) -> Store:
    return ObjectStore(place.cloud("gcs").obstore(), read_only=read_only)


def _obstore_gcs_prefix(place: Place, read_only: bool) -> Store:
    return ObjectStore(place.cloud("gcs").obstore("a folder/100%+ä"), read_only=read_only)


def _fsspec_memory(place: Place, read_only: bool) -> Store:
    return FsspecStore.from_url(f"memory://{place.name}", read_only=read_only)


def _fsspec_local(place: Place, read_only: bool) -> Store:
    return FsspecStore.from_url(
        place.path.as_uri(), storage_options={"auto_mkdir": True}, read_only=read_only
    )


def _fsspec_s3(place: Place, read_only: bool) -> Store:
    url = f"s3://{place.bucket.name}/a folder"
    return FsspecStore.from_url(url, storage_options=place.bucket.s3fs_options(), read_only=read_only)


KINDS: dict[str, Callable[[Place, bool], Store]] = {
    "local": lambda place, read_only: LocalStore(place.path, read_only=read_only),
    "memory": lambda place, read_only: MemoryStore(place.memory, read_only=read_only),
    "wrapper": lambda place, read_only: WrapperStore(MemoryStore(place.memory, read_only=read_only)),
    "wrapped twice": lambda place, read_only: WrapperStore(
        WrapperStore(LocalStore(place.path, read_only=read_only))
    ),
    "logging": _logging,
    "latency": _latency,
    "cache": _cache,
    "obstore memory": _obstore_memory,
    "obstore local": _obstore_local,
    "obstore http": _obstore_http,
    "obstore s3": _obstore_s3,
    "obstore s3, prefix": _obstore_s3_prefix,
    "obstore azure": _obstore_azure,
    "obstore azure, prefix": _obstore_azure_prefix,
    "obstore gcs": _obstore_gcs,
    "obstore gcs, prefix": _obstore_gcs_prefix,
    "fsspec memory": _fsspec_memory,
    "fsspec local": _fsspec_local,
    "fsspec s3": _fsspec_s3,
}
"""Each opens a place, given whether read-only."""
