"""Variable-length text in numpy's `StringDType`, which the engine fills and reads without Python objects."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer.cpu import Buffer, NDBuffer
from zarr.core.dtype import VariableLengthBytes
from zarr.storage import MemoryStore

from tests.pipelines import ORACLE_PATH, pipeline

pytestmark = pytest.mark.usefixtures("subject_pipeline")

LAYOUTS: dict[str, dict[str, Any]] = {
    "v3": {"chunks": (16, 33)},
    "v3, one chunk": {"chunks": (60, 100)},
    "v3, in shards": {"chunks": (8, 11), "shards": (16, 33)},
    "v2": {"chunks": (16, 33), "zarr_format": 2},
    "v2, F order": {"chunks": (16, 33), "zarr_format": 2, "order": "F"},
}
SHAPE = (60, 100)
STRING = np.dtypes.StringDType


def words() -> np.ndarray[Any, Any]:
    """Return text of all the lengths that numpy stores differently, not all of it ASCII."""
    texts = [f"{'ä' * (at % 3)}wo\0rt{'-' * (at % 37)}{at}" for at in range(SHAPE[0] * SHAPE[1])]
    texts[7], texts[11], texts[13], texts[17] = "", "x" * 100_000, "\0", "\U0001f600"
    return np.array(texts, dtype=STRING()).reshape(SHAPE)


def create(**layout: Any) -> zarr.Array[Any]:
    return zarr.create_array(MemoryStore(), shape=SHAPE, dtype=str, fill_value="leer ä", **layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_comes_back(layout: str) -> None:
    array, values = create(**LAYOUTS[layout]), words()
    assert np.all(array[:] == "leer ä")
    array[:] = values
    with pipeline(ORACLE_PATH):
        assert np.array_equal(np.asarray(zarr.open_array(array.store)[:]), values)
    read = np.asarray(array[:])
    assert read.dtype == STRING()
    assert np.array_equal(read, values)
    assert np.array_equal(np.asarray(array[5:50:3, 7:90]), values[5:50:3, 7:90])
    assert np.array_equal(np.asarray(array[17]), values[17])
    rows, columns = np.array([5, 1, 59]), np.array([9, 2, 99])
    assert np.array_equal(np.asarray(array.oindex[rows, columns]), values[np.ix_(rows, columns)])
    assert np.array_equal(np.asarray(array.vindex[rows, columns]), values[rows, columns])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_are_merged(layout: str) -> None:
    array, values = create(**LAYOUTS[layout]), words()
    array[:] = values
    array[3:20, 5:9] = "überall"
    values[3:20, 5:9] = "überall"
    array[::7, 1::5] = values[::-1][::7, 1::5]
    values[::7, 1::5] = values[::-1][::7, 1::5].copy()
    array[58] = np.array([f"object {at}" for at in range(100)], dtype=object)
    values[58] = [f"object {at}" for at in range(100)]
    array.vindex[[1, 2], [3, 4]] = np.array(["one", "two" * 20], dtype=STRING())
    values[[1, 2], [3, 4]] = ["one", "two" * 20]
    assert np.array_equal(np.asarray(array[:]), values)
    with pipeline(ORACLE_PATH):
        assert np.array_equal(np.asarray(zarr.open_array(array.store)[:]), values)


@pytest.mark.parametrize(
    "dtype",
    [object, STRING(), STRING(na_object=None), STRING(na_object=np.nan), STRING(coerce=False), "U100"],
    ids=["object", "string", "missing None", "missing NaN", "no coercion", "fixed length"],
)
def test_outputs_of_other_types(dtype: Any) -> None:
    array = create(chunks=(16, 33))
    # What fits a fixed length, and does not end as numpy pads that.
    fitting = [text.replace("\0", "0")[:90] for text in words().ravel()]
    values = np.array(fitting, dtype=STRING()).reshape(SHAPE)
    array[:] = values
    out = np.full((120, 200), "before", dtype=dtype)
    array.get_basic_selection(..., out=NDBuffer(out[::2, ::-2]))
    assert np.array_equal(out[::2, ::-2].astype(STRING()), values)
    assert np.all(out[1::2].astype(STRING()) == "before")


def test_a_missing_value_is_no_text() -> None:
    values: Any = np.full(SHAPE, "text", dtype=STRING(na_object=None))
    values[3, 3] = None
    array = create(chunks=SHAPE)
    array[:] = values
    with pipeline(ORACLE_PATH):
        oracle = create(chunks=SHAPE)
        oracle[:] = values
    values[3, 3] = ""
    for target in (array, oracle):
        assert np.asarray(target[:]).tolist() == values.tolist()


def test_invalid_utf8_is_an_error() -> None:
    array = create(chunks=SHAPE, compressors=None)
    array[:] = words()
    store: Any = array.store
    key = next(key for key in store._store_dict if key.endswith("c/0/0"))
    stored = bytearray(store._store_dict[key].to_bytes())
    stored[stored.index(b"wo")] = 0xFF
    store._store_dict[key] = Buffer.from_bytes(bytes(stored))
    with pytest.raises(ValueError, match="is not valid UTF-8"):
        array[:]


def test_threads_share_an_array_in_memory() -> None:
    """Several requests pack into, and read from, the strings of one array, while Python looks at them too."""
    values = np.tile(words(), (1, 4))
    array = zarr.create_array(MemoryStore(), shape=values.shape, chunks=(4, 100), dtype=str)
    array[:] = values
    out: Any = np.full(values.shape, "y" * 40, dtype=STRING())
    is_done = threading.Event()

    def look() -> None:
        while not is_done.is_set():
            assert all(isinstance(text, str) for text in out[0, :50])
            assert np.strings.str_len(out[::7, ::9]).min() >= 0

    def read(row: int) -> None:
        part = NDBuffer(out[row : row + 12])
        for _ in range(5):
            array.get_basic_selection(slice(row, row + 12), out=part)
            array[row : row + 12] = out[row : row + 12]

    with ThreadPoolExecutor(6) as threads:
        looking = threads.submit(look)
        try:
            list(threads.map(read, range(0, 60, 12)))
        finally:
            is_done.set()
        looking.result()
    assert np.array_equal(out, values)
    assert np.array_equal(np.asarray(array[:]), values)


def test_under_a_tracer_of_memory() -> None:
    """A tracer wants the interpreter lock whenever memory is allocated, in the threads that pack too."""
    array, values = create(chunks=(16, 33)), words()
    array[:] = values
    tracemalloc.start()
    try:
        for _ in range(3):
            assert np.array_equal(np.asarray(array[:]), values)
            array[:] = values
    finally:
        tracemalloc.stop()
    gc.collect()


def test_bytes_of_variable_length() -> None:
    values = np.array([b"", b"\xff\0", b"x" * 3000] * 7, dtype=object)
    array = zarr.create_array(
        MemoryStore(), shape=(21,), chunks=(4,), dtype=VariableLengthBytes(), fill_value=b"leer"
    )
    first: Any = np.asarray(array[:])
    assert first.tolist() == [b"leer"] * 21
    array[:] = values
    assert np.asarray(array[:]).tolist() == values.tolist()
