"""A writer that is killed leaves every chunk whole, old or new, and nothing that is taken for a chunk."""

from __future__ import annotations

import itertools
import os
import random
import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

import wazarr
from tests.robustness.isolation import start
from tests.robustness.overwriter import NAMES, SHAPE, make, open_arrays

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = re.compile(rf"({'|'.join(NAMES)})/c/\d+/\d+")
_CHUNK_SHAPES = {"plain": (16, 64), "compressed": (16, 64), "sharded": (32, 64), "many": (8, 8)}


def _kill_and_look(folder: Path, first_number: int, chance: random.Random, *, is_slow: bool) -> None:
    writer = start("overwriter", folder, first_number, int(is_slow))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    time.sleep(chance.random() * 0.15)
    writer.kill()
    writer.communicate()
    for path in folder.rglob("*"):
        key = path.relative_to(folder).as_posix()
        is_temporary = path.name.startswith(".") and path.name.endswith(".partial")
        assert path.is_dir() or path.name == "zarr.json" or _CHUNK.fullmatch(key) or is_temporary, key
    store = zarr.storage.LocalStore(folder)
    for pipeline in ("wazarr.CodecPipeline", "zarr.core.codec_pipeline.BatchedCodecPipeline"):
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            for name in NAMES:
                array = zarr.open_array(store, path=name, mode="r")
                assert array.nchunks_initialized == array.nchunks
                values = np.asarray(array[:])
                rows, columns = _CHUNK_SHAPES[name]
                corners = itertools.product(range(0, SHAPE[0], rows), range(0, SHAPE[1], columns))
                for row, column in corners:
                    chunk = values[row : row + rows, column : column + columns]
                    # One number all over, or the next one in the middle: never anything torn.
                    assert np.ptp(chunk) <= 1, (name, chunk)
            assert set(dict(zarr.open_group(store, mode="r").members())) == set(NAMES)


def _rounds(folder: Path, count: int, seed: int, *, is_slow: bool) -> None:
    make(folder)
    zarr.open_group(zarr.storage.LocalStore(folder), mode="a")
    chance = random.Random(seed)
    for number in range(count):
        _kill_and_look(folder, 1 + number * 1_000_000, chance, is_slow=is_slow)
        # The next writer starts from one number all over.
        with wazarr.enabled():
            for array in open_arrays(folder):
                array[:] = 0


@pytest.mark.serial
@pytest.mark.parametrize("is_slow", [False, True], ids=["", "files made elsewhere"])
def test_kills_leave_whole_chunks(is_slow: bool, tmp_path: Path) -> None:
    _rounds(tmp_path, 10, 1 + is_slow, is_slow=is_slow)


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("seed", range(3, 7))
def test_many_kills_leave_whole_chunks(tmp_path: Path, seed: int) -> None:
    _rounds(tmp_path, 50, seed, is_slow=seed % 2 == 1)


def test_what_a_killed_process_of_the_same_number_left_is_passed_over(tmp_path: Path) -> None:
    with wazarr.enabled():
        array = zarr.create_array(tmp_path, shape=(4,), chunks=(4,), dtype="u4")
        array[:] = 1
        for number in range(3000):
            (tmp_path / "c" / f".0.{os.getpid()}-{number}.partial").write_bytes(b"left")
        array[:] = 2
        assert np.asarray(array[:]).tolist() == [2] * 4
