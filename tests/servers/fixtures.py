"""pytest fixtures: import the names into the `conftest.py` that needs them.

Azurite (npm) and fake-gcs-server (Go) are not here yet: they need a download and a build, and no test may
depend on those. Azure and GCS are therefore not exercised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.files import FileServer
from tests.servers.s3 import Bucket, S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bucket", "file_server", "http_server", "s3_server"]


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
