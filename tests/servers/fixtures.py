"""pytest fixtures: import the names into the `conftest.py` that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.emulators import AzureContainer, AzureServer, GoogleBucket, GoogleServer
from tests.servers.files import FileServer
from tests.servers.s3 import Bucket, S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "azure_container",
    "azure_server",
    "bucket",
    "file_server",
    "google_bucket",
    "google_server",
    "http_server",
    "s3_server",
]


@pytest.fixture(scope="session")
def http_server() -> Iterator[FileServer]:
    """Run one HTTP server for all tests; take `file_server` instead."""
    with FileServer() as server:
        yield server


@pytest.fixture
def file_server(http_server: FileServer) -> Iterator[FileServer]:
    """An HTTP server that serves nothing yet, behaves, and remembers nothing."""
    http_server.behave()
    http_server.files.clear()
    http_server.forget()
    yield http_server
    http_server.behave()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Run moto's S3 for all tests; take `bucket` instead."""
    pytest.importorskip("moto", reason="needs moto[server]")
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    """An empty bucket of its own."""
    return s3_server.bucket()


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    """Run Azurite for all tests; take `azure_container` instead."""
    with AzureServer() as server:
        yield server


@pytest.fixture
def azure_container(azure_server: AzureServer) -> AzureContainer:
    """An empty container of its own."""
    return azure_server.container()


@pytest.fixture(scope="session")
def google_server() -> Iterator[GoogleServer]:
    """Run fake-gcs-server for all tests; take `google_bucket` instead."""
    with GoogleServer() as server:
        yield server


@pytest.fixture
def google_bucket(google_server: GoogleServer) -> GoogleBucket:
    """An empty bucket of its own."""
    return google_server.bucket()
