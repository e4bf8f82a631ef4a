"""Becomes a user without rights and looks at files that it may not read or write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

import wazarr

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Do it."""
    wazarr.enable()
    folder = Path(tempfile.mkdtemp())
    array = zarr.create_array(folder, shape=(8,), chunks=(4,), dtype="i4")
    array[:] = 1
    for path in folder.rglob("*"):
        path.chmod(0o755)
    folder.chmod(0o755)
    (folder / "c/0").chmod(0)
    os.setgid(65534)
    os.setuid(65534)

    def refused(use: Callable[[], object]) -> None:
        with pytest.raises(PermissionError, match="c/") as caught:
            use()
        assert isinstance(caught.value, wazarr.errors.StoreError)
        assert caught.value.chunk_key is not None

    refused(lambda: array[:])
    refused(lambda: array.__setitem__(0, 2))
    refused(lambda: array.__setitem__(slice(None), 2))
    refused(lambda: array.__setitem__(slice(None), 0))
    assert np.asarray(array[4:]).tolist() == [1] * 4


if __name__ == "__main__":
    main()
