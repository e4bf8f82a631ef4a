"""The servers as fixtures."""

from collections.abc import Iterator

import pytest
import zarr

import wazarr  # noqa: F401 - makes the pipeline known to zarr even where the package is not installed
from tests.servers.fixtures import *  # noqa: F403 - fixtures, by their names


@pytest.fixture
def no_small_shards() -> Iterator[None]:
    """Have parts of shards fetched as such, however small the shards are."""
    with zarr.config.set({"wazarr.small_shard_bytes": 0}):
        yield
