"""Chunks large enough to be read in rows, slabs, blocks, prefixes and by several threads, against numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr import codecs

from tests.pipelines import ORACLE_PATH, pipeline

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


BLOSC: dict[str, dict[str, Any]] = {
    "lz4": {"cname": "lz4", "clevel": 5},
    "zstd": {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle"},
    "blosclz": {"cname": "blosclz", "clevel": 1, "shuffle": "shuffle"},
    "stored": {"cname": "lz4", "clevel": 0},
    "odd blocks": {"cname": "zlib", "clevel": 1, "typesize": 3, "blocksize": 100_000},
}


def _ramp(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) // 50 + rng.integers(0, 9, SHAPE)).astype("u4")


@pytest.mark.parametrize("kind", ["ramp", "noise"])
@pytest.mark.parametrize("name", BLOSC)
def test_blosc_chunks_of_several_threads_are_those_of_one(tmp_path: Path, name: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 1 << 32, SHAPE, dtype="u4") if kind == "noise" else _ramp(rng)
    stored = []
    for workers in (1, 3):
        path = tmp_path / str(workers)
        with zarr.config.set({"threading.max_workers": workers}):
            array = zarr.create_array(
                path, shape=SHAPE, chunks=SHAPE, dtype="u4", compressors=codecs.BloscCodec(**BLOSC[name])
            )
            array[:] = values
            array[40:90, 3:, ::2] = values[40:90, 3:, ::2] + 1
        stored.append((path / "c/0/0/0").read_bytes())
    values[40:90, 3:, ::2] += 1
    assert len(stored[1]) <= 1.02 * len(stored[0])
    if kind == "ramp":
        assert stored[0] == stored[1]
    with pipeline(ORACLE_PATH):
        again = zarr.open_array(tmp_path / "3", mode="r")
        assert np.array_equal(np.asarray(again[:]), values)


@pytest.mark.parametrize("compressor", ["blosc", "zstd", "zstd with a checksum"])
def test_damaged_large_chunks(tmp_path: Path, compressor: str) -> None:
    rng = np.random.default_rng(6)
    values = _ramp(rng)
    made = {
        "blosc": codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        "zstd": codecs.ZstdCodec(level=1),
        "zstd with a checksum": codecs.ZstdCodec(level=1, checksum=True),
    }
    with zarr.config.set({"threading.max_workers": 3}):
        array = zarr.create_array(
            tmp_path, shape=SHAPE, chunks=SHAPE, dtype="u4", compressors=made[compressor]
        )
        array[:] = values
        file = tmp_path / "c/0/0/0"
        sound = file.read_bytes()
        damaged = [sound[:cut] for cut in (0, 7, 15, 16, 40, 1000, len(sound) // 2, len(sound) - 1)]
        for at in (*range(0, 40, 3), *(int(at) for at in rng.integers(40, len(sound), 12))):
            words = (b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f")
            damaged.extend(sound[:at] + word + sound[at + 4 :] for word in words)
        for case, stored in enumerate(damaged):
            file.write_bytes(stored)
            for window in ((slice(None),) * 3, (slice(60, 90), slice(5, 160), slice(3, 9))):
                try:
                    answer = np.asarray(array[window])
                except (ValueError, RuntimeError, OSError):
                    continue
                # Damage that no decoder can see gives other values, a lost end or a checksum does not.
                assert answer.shape == values[window].shape
                is_seen = "checksum" in compressor or (case < 8 and window[0] == slice(None))
                assert not is_seen or np.array_equal(answer, values[window])
        file.write_bytes(sound)
        assert np.array_equal(np.asarray(array[:]), values)
