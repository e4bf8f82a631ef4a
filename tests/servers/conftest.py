"""The servers as fixtures."""

from tests.servers.fixtures import bucket, file_server, http_server, s3_server

__all__ = ["bucket", "file_server", "http_server", "s3_server"]
