"""Chunks large enough to be read in rows, slabs, blocks, prefixes and by several threads, against numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr import codecs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("subject_pipeline")

SHAPE = (150, 170, 130)
CHAINS: dict[str, dict[str, Any]] = {
    "plain": {"compressors": None},
    "plain, big endian": {"compressors": None, "serializer": codecs.BytesCodec(endian="big")},
    "transposed": {"compressors": None, "filters": codecs.TransposeCodec(order=(2, 0, 1))},
    "zstd": {"compressors": codecs.ZstdCodec(level=1)},
    "zstd with a checksum": {"compressors": codecs.ZstdCodec(level=1, checksum=True)},
    "transposed zstd": {"compressors": codecs.ZstdCodec(), "filters": codecs.TransposeCodec(order=(2, 1, 0))},
    "zstd and crc32c": {"compressors": [codecs.ZstdCodec(level=1), codecs.Crc32cCodec()]},
    "blosc lz4": {"compressors": codecs.BloscCodec(cname="lz4", shuffle="shuffle")},
    "blosc zstd": {"compressors": codecs.BloscCodec(cname="zstd", shuffle="bitshuffle")},
    "blosc, other elements": {"compressors": codecs.BloscCodec(cname="lz4", typesize=16)},
    "blosc, small blocks": {"compressors": codecs.BloscCodec(cname="lz4", clevel=1, blocksize=4096)},
    "gzip": {"compressors": codecs.GzipCodec(level=1)},
}
GRIDS: dict[str, dict[str, Any]] = {
    "one chunk": {"chunks": SHAPE},
    "some": {"chunks": (100, 120, 110)},
    "long ones": {"chunks": (7, 170, 130)},
    "shards": {"chunks": (50, 60, 55), "shards": (100, 120, 110)},
    "shards of small chunks": {"chunks": (10, 12, 11), "shards": (100, 120, 110)},
}


def _some_slice(rng: np.random.Generator, length: int) -> slice:
    start, stop = sorted(int(bound) for bound in rng.integers(0, length + 1, 2))
    match int(rng.integers(0, 4)):
        case 0:
            return slice(None)
        case 1:
            return slice(start, start + 1 + int(rng.integers(0, 12)))
        case 2:
            return slice(start, stop, int(rng.integers(1, 40)))
        case _:
            return slice(start, stop)


def _check_reads(array: zarr.Array[Any], values: np.ndarray[Any, Any], rng: np.random.Generator) -> None:
    for _ in range(6):
        basic: tuple[Any, ...] = tuple(_some_slice(rng, length) for length in SHAPE)
        assert np.array_equal(np.asarray(array[basic]), values[basic]), basic
        dropped = (int(rng.integers(0, SHAPE[0])), *basic[1:])
        assert np.array_equal(np.asarray(array[dropped]), values[dropped]), dropped
        lists = [np.sort(rng.integers(0, length, int(rng.integers(1, 9)))) for length in SHAPE]
        orthogonal: tuple[Any, ...] = (lists[0], basic[1], lists[2])
        expected = values[lists[0]][:, basic[1]][:, :, lists[2]]
        assert np.array_equal(np.asarray(array.oindex[orthogonal]), expected), orthogonal
        points = tuple(rng.integers(0, length, 20) for length in SHAPE)
        assert np.array_equal(np.asarray(array.vindex[points]), values[points]), points


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("chain", CHAINS)
def test_parts_of_large_chunks(tmp_path: Path, chain: str, grid: str, workers: int) -> None:
    rng = np.random.default_rng(len(chain) * 100 + len(grid))
    # Noise over a ramp: it shrinks, but not to nothing.
    values = (np.arange(np.prod(SHAPE)).reshape(SHAPE) // 50 + rng.integers(0, 9, SHAPE)).astype("u4")
    with zarr.config.set({"threading.max_workers": workers}):
        for store in (zarr.storage.LocalStore(tmp_path), zarr.storage.MemoryStore()):
            array = zarr.create_array(
                store, shape=SHAPE, dtype="u4", fill_value=0, **GRIDS[grid], **CHAINS[chain]
            )
            array[:] = values
            assert np.array_equal(np.asarray(array[:]), values)
            _check_reads(array, values, rng)
            # And in place of other memory orders.
            with zarr.config.set({"array.order": "F"}):
                again = zarr.open_array(store, mode="r+")
                assert np.array_equal(np.asarray(again[3:140, :, 5:9]), values[3:140, :, 5:9])
            window = tuple(_some_slice(rng, length) for length in SHAPE)
            array[window] = values[window] + 1
            changed = values.copy()
            changed[window] += 1
            assert np.array_equal(np.asarray(array[:]), changed), window
