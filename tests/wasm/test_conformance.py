"""One list of cases for every engine that runs a codec: native, Wasm core, Wasm component, Python."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BytesCodec, GzipCodec, ShardingCodec
from zarr.registry import register_codec
from zarr.storage import MemoryStore

import wazarr
from tests.wasm import guests
from tests.wasm.hostile.cases import sound
from tests.wasm.hostile.families import sound_component, sound_lists, sound_map, sound_numcodecs
from wazarr.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer


class Python(BytesBytesCodec):
    """A codec in Python that changes nothing, and refuses what is empty."""

    is_fixed_size = False

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata."""
        return {"name": "tests.conformance"}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Python:
        """Return the codec."""
        return cls()

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Return the size of an encoding."""
        return input_byte_length

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_data

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_data


register_codec("tests.conformance", Python)

ENGINES: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "native": ("native", lambda: GzipCodec(level=1)),
    "core": ("wasm", lambda: wazarr.WasmCodec(guests.assembled(sound()), codec="copy")),
    "core of any length": ("wasm", lambda: wazarr.WasmCodec(guests.trim(), codec="trim")),
    "chonkle D": ("wasm", lambda: wazarr.WasmCodec(guests.assembled(sound_map()), codec="copy")),
    "component B": ("wasm", lambda: wazarr.WasmCodec(guests.assembled(sound_component()), codec="copy")),
    "component C": ("wasm", lambda: wazarr.WasmCodec(sound_lists(), codec="copy")),
    "numcodecs": ("wasm", lambda: wazarr.WasmCodec(guests.assembled(sound_numcodecs()), codec="copy")),
    "python": ("python", Python),
}

DATA_TYPES: Final = ["bool", "u1", "<i2", ">u4", "<i8", "<f2", "<f4", "<f8", "<c16", "<M8[s]", "S5"]
SHAPES: Final = [
    ((0,), (4,)),
    ((1,), (1,)),
    ((1,), (100,)),
    ((7,), (3,)),
    ((5, 6), (2, 4)),
    ((2, 3, 4), (2, 3, 4)),
    ((1, 0, 3), (1, 2, 3)),
    ((), ()),
]

pytestmark = pytest.mark.parametrize("engine", list(ENGINES))


def create(engine: str, store: Any = None, **options: Any) -> zarr.Array[Any]:
    """Create an array whose codec runs on an engine."""
    whole = {"shape": (12, 10), "chunks": (4, 6), "dtype": "<u2", **options}
    whole.setdefault("compressors", ENGINES[engine][1]())
    return zarr.create_array({} if store is None else store, **whole)


def values(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Return values of any data type."""
    return (np.arange(int(np.prod(shape)), dtype="i8").reshape(shape) % 121).astype(dtype)


@pytest.mark.parametrize("dtype", DATA_TYPES)
def test_data_types(engine: str, dtype: str) -> None:
    with wazarr.enabled():
        array = create(engine, dtype=dtype)
        expected = values((12, 10), dtype)
        array[...] = expected
        np.testing.assert_array_equal(np.asarray(array[...]), expected)


@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
def test_shapes(engine: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    with wazarr.enabled():
        array = create(engine, shape=shape, chunks=chunks)
        expected = values(shape, "<u2")
        array[...] = expected
        np.testing.assert_array_equal(np.asarray(array[...]), expected)


def test_the_engine_is_the_one(engine: str) -> None:
    with wazarr.enabled():
        array = create(engine)
        array[...] = values((12, 10), "<u2")
        wazarr.reset_counters()
        np.testing.assert_array_equal(np.asarray(array[...]), values((12, 10), "<u2"))
        steps = wazarr.counters()["codec_steps"]
    wanted = ENGINES[engine][0]
    assert steps[wanted] > 0
    assert all(steps[other] == 0 for other in ("wasm", "python") if other != wanted)


def test_parts(engine: str) -> None:
    with wazarr.enabled():
        array, expected = create(engine), values((12, 10), "<u2")
        array[...] = expected
        array[3:7, 2:9] = 5
        expected[3:7, 2:9] = 5
        selections: list[Any] = [np.s_[3], np.s_[::5, 1:9:3], np.s_[11:, 9:], np.s_[4:4]]
        for selection in selections:
            np.testing.assert_array_equal(np.asarray(array[selection]), expected[selection])
        np.testing.assert_array_equal(
            array.oindex[np.array([1, 8]), np.array([9, 0])], expected[np.ix_([1, 8], [9, 0])]
        )
        mask = expected % 3 == 0
        np.testing.assert_array_equal(array.vindex[mask], expected[mask])


def test_chunks_that_are_missing(engine: str) -> None:
    with wazarr.enabled():
        array = create(engine, fill_value=9)
        array[:4, :6] = 1
        expected = np.full((12, 10), 9, "u2")
        expected[:4, :6] = 1
        np.testing.assert_array_equal(np.asarray(array[...]), expected)


@pytest.mark.filterwarnings("ignore:Combining a .sharding_indexed. codec")
def test_shards(engine: str) -> None:
    inner = ShardingCodec(chunk_shape=(2, 3), codecs=[BytesCodec(), ENGINES[engine][1]()])
    with wazarr.enabled():
        array, expected = create(engine, serializer=inner, compressors=None), values((12, 10), "<u2")
        array[...] = expected
        array[5, 5] = 7
        expected[5, 5] = 7
        np.testing.assert_array_equal(np.asarray(array[...]), expected)
        np.testing.assert_array_equal(np.asarray(array[3:6, 4]), expected[3:6, 4])


def test_a_chunk_that_is_cut_off_is_an_error_and_the_others_are_not(engine: str) -> None:
    content: dict[str, Any] = {}
    with wazarr.enabled():
        array, expected = create(engine, MemoryStore(content)), values((12, 10), "<u2")
        array[...] = expected
        content["c/1/0"] = content["c/1/0"][:2]
        with pytest.raises((CodecError, ValueError), match="c/1/0"):
            array[...]
        np.testing.assert_array_equal(np.asarray(array[:4]), expected[:4])
        np.testing.assert_array_equal(np.asarray(array[8:]), expected[8:])


def test_threads(engine: str) -> None:
    wrong: list[int] = []
    with wazarr.enabled():
        array, expected = create(engine), values((12, 10), "<u2")
        array[...] = expected

        def read() -> None:
            wrong.extend(
                start
                for start in range(10)
                if not np.array_equal(np.asarray(array[start : start + 2]), expected[start : start + 2])
            )

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
