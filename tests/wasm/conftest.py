"""What every test of modules starts from: an empty cache folder of its own, and nothing allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zarr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path) -> Iterator[Path]:
    """Keep modules apart from the user's and from other tests'; what is in memory is shared."""
    folder = tmp_path / "module-cache"
    with zarr.config.set({"wazarr.wasm.cache_dir": str(folder), "wazarr.wasm.allow": []}):
        yield folder
