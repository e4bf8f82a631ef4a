"""Arrays of different layouts in a store, and what is read from and written to them.

What is read is compared bit for bit with numpy, and with what zarr-python's default pipeline reads from the
same store; what is written, with what that pipeline reads afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, ShardingCodec

from tests.conformance.comparison import same_bits
from tests.pipelines import ORACLE_PATH, SUBJECT_PATH, pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.abc.store import Store

    Opener = Callable[[bool], Store]
    """Opens a store on the same content again, read-only or not."""

__all__ = ["LAYOUTS", "READS", "check_reads", "check_round_trip", "create", "values", "write_all"]

ARRAY_SHAPE = (23, 17)
FILL_VALUE = -7


@dataclass(frozen=True)
class Layout:
    """How an array is stored; arguments of `zarr.create_array`."""

    options: dict[str, Any] = field(default_factory=dict)


_INDEX_AT_START = ShardingCodec(chunk_shape=(4, 6), codecs=[BytesCodec()], index_location="start")

LAYOUTS = {
    "v3": Layout({"chunks": (6, 5)}),
    "v3, uncompressed": Layout({"chunks": (6, 5), "compressors": None}),
    "v3, sharded": Layout({"chunks": (4, 3), "shards": (12, 6)}),
    "v3, index at the start": Layout(
        {"chunks": (12, 12), "compressors": None, "serializer": _INDEX_AT_START}
    ),
    "v2": Layout({"chunks": (6, 5), "zarr_format": 2}),
    "v2, keys with slashes, order F": Layout(
        {
            "chunks": (6, 5),
            "zarr_format": 2,
            "order": "F",
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    ),
}

_MASK = np.arange(23 * 17).reshape(ARRAY_SHAPE) % 5 == 0

READS: dict[str, Callable[[Any], Any]] = {
    "all": lambda array: array[...],
    "window": lambda array: array[3:14, 4:11],
    "steps": lambda array: array[1::5, ::3],
    "one element": lambda array: array[20, 16],
    "one row": lambda array: array[7],
    "nothing": lambda array: array[5:5, :],
    "mask": lambda array: array[_MASK],
    "index arrays": lambda array: orthogonal(array, [0, 5, 6, 22], [16, 1]),
    "coordinates": lambda array: coordinates(array, [0, 22, 11, 11], [16, 0, 3, 3]),
}


def orthogonal(array: Any, rows: list[int], columns: list[int]) -> Any:
    """Return the rows' and columns' crossings, of a numpy or zarr array."""
    if isinstance(array, np.ndarray):
        return array[np.ix_(rows, columns)]
    return array.oindex[rows, columns]


def coordinates(array: Any, rows: list[int], columns: list[int]) -> Any:
    """Return single elements, of a numpy or zarr array."""
    return array[rows, columns] if isinstance(array, np.ndarray) else array.vindex[rows, columns]


def values() -> np.ndarray[Any, Any]:
    """Return what is stored: whole chunks of the fill value in the middle, so that they are missing."""
    stored = np.arange(1, 23 * 17 + 1, dtype="i4").reshape(ARRAY_SHAPE)
    stored[6:18, 5:12] = FILL_VALUE
    return stored


def create(store: Store, layout: str, name: str = "") -> zarr.Array[Any]:
    """Make an empty array with the pipeline that is configured."""
    return zarr.create_array(
        store,
        name=name or None,
        shape=ARRAY_SHAPE,
        dtype="i4",
        fill_value=FILL_VALUE,
        **LAYOUTS[layout].options,
    )


def write_all(store: Store, layout: str, name: str = "") -> np.ndarray[Any, Any]:
    """Make an array with zarr-python's default pipeline; return what is in it."""
    with pipeline(ORACLE_PATH):
        create(store, layout, name)[...] = values()
    return values()


def check_reads(open_store: Opener, expected: np.ndarray[Any, Any], name: str = "", **config: Any) -> None:
    """Read in every way, and compare.

    Parameters
    ----------
    open_store : callable
        Opens the store, given whether read-only.
    expected : ndarray
        What is in the array.
    name : str
        The array's path; by default the store's root.
    **config
        Configuration for our pipeline.
    """
    with pipeline(SUBJECT_PATH, **config):
        subject = zarr.open_array(open_store(True), path=name, mode="r")
        actual = {read: np.asarray(act(subject)) for read, act in READS.items()}
    with pipeline(ORACLE_PATH):
        oracle = zarr.open_array(open_store(True), path=name, mode="r")
        for read, act in READS.items():
            assert same_bits(np.asarray(act(expected)), actual[read]), f"{read} differs from numpy"
            assert same_bits(np.asarray(act(oracle)), actual[read]), (
                f"{read} differs from the default pipeline"
            )


def check_round_trip(open_store: Opener, layout: str, name: str = "") -> None:
    """Write everything, then parts, once over what is there; read after each with both pipelines."""
    expected = np.full(ARRAY_SHAPE, FILL_VALUE, "i4")
    with pipeline(SUBJECT_PATH):
        create(open_store(False), layout, name)
    check_reads(open_store, expected, name)
    with pipeline(SUBJECT_PATH):
        zarr.open_array(open_store(False), path=name, mode="r+")[...] = values()
    expected[...] = values()
    check_reads(open_store, expected, name)
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(open_store(False), path=name, mode="r+")
        array[2:15, 3:9] = part = np.arange(13 * 6, dtype="i4").reshape(13, 6)
        expected[2:15, 3:9] = part
        array[::7, -1] = expected[::7, -1] = 5
        array.set_orthogonal_selection(
            (np.array([0, 21]), np.array([2, 3])), np.array([[1, 2], [3, 4]], "i4")
        )
        expected[np.ix_(np.array([0, 21]), np.array([2, 3]))] = [[1, 2], [3, 4]]
        array[18:, :] = expected[18:, :] = FILL_VALUE  # chunks that go
    check_reads(open_store, expected, name)
