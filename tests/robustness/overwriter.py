"""Overwrites arrays for ever, to be killed; prints a line once at it.

Usage: overwriter FOLDER NUMBER IS_SLOW, the last 1 where making files is to count as slow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import wazarr
from wazarr import _native

SHAPE = (64, 64)
NAMES = ("plain", "compressed", "sharded", "many")


def make(folder: Path) -> None:
    """Make the arrays, full of zeros that are stored."""
    settings: dict[str, dict[str, Any]] = {
        "plain": {"chunks": (16, 64), "compressors": None},
        "compressed": {"chunks": (16, 64), "compressors": zarr.codecs.GzipCodec(level=1)},
        "sharded": {"chunks": (8, 16), "shards": (32, 64), "compressors": zarr.codecs.ZstdCodec()},
        # As many as have their temporary files in a folder of their own where making files is slow.
        "many": {"chunks": (8, 8), "compressors": None},
    }
    for name, each in settings.items():
        array = zarr.create_array(
            zarr.storage.LocalStore(folder),
            name=name,
            shape=SHAPE,
            dtype="u4",
            # Never written, so no chunk is ever deleted.
            fill_value=2**32 - 1,
            **each,
        )
        array[:] = 0


def open_arrays(folder: Path) -> list[zarr.Array[Any]]:
    """Open them for writing."""
    return [zarr.open_array(zarr.storage.LocalStore(folder), path=name, mode="r+") for name in NAMES]


def main() -> None:
    """Write rounds of one number each, until killed."""
    wazarr.enable()
    arrays = open_arrays(Path(sys.argv[1]))
    number = int(sys.argv[2])
    _native.count_files_as_slow(sys.argv[3] == "1")
    sys.stdout.write("writing\n")
    sys.stdout.flush()
    while True:
        for array in arrays:
            # Whole chunks of one number, then the next one in parts of them.
            array[:] = np.full(SHAPE, number, "u4")
            array[3:40, 5:60] = number + 1
        number += 2


if __name__ == "__main__":
    main()
