"""What every test of modules starts from: an empty cache folder of its own, and nothing allowed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import zarr

from tests.servers.fixtures import bucket, s3_server
from tests.wasm.foreign import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


__all__ = ["bucket", "s3_server"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path) -> Iterator[Path]:
    """Keep modules apart from the user's and from other tests'; what is in memory is shared."""
    folder = tmp_path / "module-cache"
    with zarr.config.set({"wazarr.wasm.cache_dir": str(folder), "wazarr.wasm.allow": []}):
        yield folder


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have the numcodecs-wasm packages on the path, as if they were installed; importing one is an error."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield FOLDER
    imported = [name for name in sys.modules if name.partition(".")[0].startswith("numcodecs_wasm")]
    assert not imported, f"imported for nothing: {imported}"
