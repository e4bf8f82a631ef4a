"""Becomes a user without rights and looks at files that it may not read or write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import zarr

import wazarr


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

    def refused(use: object) -> None:
        try:
            use()  # type: ignore[operator]
        except PermissionError as error:
            assert isinstance(error, wazarr.errors.StoreError), type(error)
            assert isinstance(error, OSError)
            assert "c/" in str(error)
            assert error.chunk_key is not None
        else:
            raise AssertionError("not refused")

    refused(lambda: array[:])
    refused(lambda: array.__setitem__(0, 2))
    refused(lambda: array.__setitem__(slice(None), 2))
    refused(lambda: array.__setitem__(slice(None), 0))
    assert list(array[4:]) == [1] * 4


if __name__ == "__main__":
    main()
