"""Object stores of the three clouds: over servers that act like them, and over one that does as told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zarr.storage import ObjectStore

from tests.servers.emulators import AzureContainer, GoogleBucket
from tests.stores.readers import RETRIES

if TYPE_CHECKING:
    import pytest
    from zarr.abc.store import Store

    from tests.servers.files import FileServer
    from tests.servers.s3 import Bucket

    Container = Bucket | AzureContainer | GoogleBucket

__all__ = ["CLOUDS", "SECRET", "container", "no_container", "over_files", "prefix_of"]

_FIXTURES = {"s3": "bucket", "azure": "azure_container", "gcs": "google_bucket"}
CLOUDS = list(_FIXTURES)

SECRET = "c2VjcmV0LXRoYXQtbm9ib2R5LXNoYWxsLXNlZQ=="
"""Of all containers over a file server; in base64, as Azure wants it."""


def container(request: pytest.FixtureRequest, cloud: str) -> Container:
    """Return an empty container of a server that acts like a cloud."""
    found: Container = request.getfixturevalue(_FIXTURES[cloud])
    return found


def no_container(known: Container) -> Container:
    """Return one that is not there."""
    return replace(known, name="no-such-container")


def prefix_of(cloud: str) -> str:
    """Return what the keys of `over_files` begin with on the server."""
    return "testaccount/files/" if cloud == "azure" else "files/"


def over_files(
    cloud: str,
    server: FileServer,
    path: str = "array",
    *,
    read_only: bool = True,
) -> Store:
    """Return a cloud's store of what the file server has below `prefix_of`.

    It never looks at signatures, and can fail in more ways than a cloud's own server.
    """
    endpoint = server.url().rstrip("/")
    if cloud == "s3":
        from obstore.store import S3Store

        store: Any = S3Store(
            "files",
            prefix=path,
            endpoint=endpoint,
            region="us-east-1",
            access_key_id="AKIAIOSFODNN7EXAMPLE",
            secret_access_key=SECRET,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config=RETRIES,
        )
        return ObjectStore(store, read_only=read_only)
    cls = AzureContainer if cloud == "azure" else GoogleBucket
    return ObjectStore(
        cls(endpoint, "files", SECRET).obstore(path, retry_config=RETRIES), read_only=read_only
    )
