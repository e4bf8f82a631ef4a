"""Make a Zarr array out of a tile of a cloud-optimised GeoTIFF without touching the tile's bytes.

``write.py TILE STORE PREDICTOR.wasm ZLIB.wasm``. The tile is a zlib stream over TIFF's predictor 2, as it
lies in the file. The array's only chunk is exactly those bytes; what decodes them, two WebAssembly modules,
lies in the hierarchy beside the array.
"""

from __future__ import annotations

import sys
from pathlib import Path

import zarr

import wazarr

NAME = "B04"
WIDTH = 1024


def write(tile: Path, store: Path, predictor: Path, zlib: Path, *, tiles: int = 1) -> None:
    """Write the hierarchy.

    Parameters
    ----------
    tile : Path
        The encoded tile, 1024 x 1024 uint16.
    store : Path
        A folder that does not exist yet.
    predictor, zlib : Path
        The modules.
    tiles : int
        How often the tile stands in the array, one below the other.
    """
    root = zarr.create_group(store)
    root.create_array(
        NAME,
        shape=(tiles * WIDTH, WIDTH),
        chunks=(WIDTH, WIDTH),
        dtype="uint16",
        fill_value=0,
        compressors=[
            wazarr.WasmCodec(
                predictor,
                codec="tiff-predictor-2",
                kind="bytes-bytes",
                parameters={"bytes_per_sample": 2, "width": WIDTH},
                embed="hierarchy",
            ),
            wazarr.WasmCodec(zlib, codec="zlib", kind="bytes-bytes", embed="hierarchy"),
        ],
    )
    # The modules, since no chunk is written through zarr: the tile is put where the chunk belongs.
    wazarr.embed_codecs(root)
    for number in range(tiles):
        chunk = store / NAME / "c" / str(number) / "0"
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(tile.read_bytes())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    write(*map(Path, sys.argv[1:]))
