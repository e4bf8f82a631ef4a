"""The servers as fixtures."""

from tests.servers.fixtures import (
    azure_container,
    azure_server,
    bucket,
    file_server,
    google_bucket,
    google_server,
    http_server,
    s3_server,
)

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
