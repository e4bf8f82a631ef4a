"""The servers as fixtures."""

import wazarr  # noqa: F401 - makes the pipeline known to zarr even where the package is not installed
from tests.servers.fixtures import bucket, file_server, http_server, s3_server

__all__ = ["bucket", "file_server", "http_server", "s3_server"]
