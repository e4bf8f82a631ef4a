"""Modules that decode parts alone: parts against the whole, and reads made of parts against numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import ShardingCodec
from zarr.storage import LocalStore, MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm.built import MOST_BYTES, bind, guest
from wazarr.errors import CodecError

if TYPE_CHECKING:
    from pathlib import Path

    from wazarr import _native

ROW = 300
RANDOM = np.random.default_rng(11)


def parts_of(codec: _native.Codec, encoded: bytes, whole: bytes) -> None:
    """Compare parts with what the whole is cut into."""
    length = len(whole)
    places = RANDOM.integers(0, length + 1, (40, 2))
    ranges = [(int(start), int(end)) for start, end in np.sort(places, axis=1)]
    for wanted in [[one] for one in ranges] + [
        [(start, min(start + piece, length)) for start in range(0, length, piece)]
        for piece in (length // 3 + 1, 1 << 16, length)
    ]:
        parts = codec.decode_ranges(encoded, length, wanted)
        assert parts == [whole[start:end] for start, end in wanted]


@pytest.mark.parametrize("length", [16, 17, 1000, 100_003])
@pytest.mark.parametrize("element_size", [1, 2, 3, 4, 8, 16])
def test_parts_of_shuffled_bytes(element_size: int, length: int) -> None:
    codec = bind("byte-shuffle", parameters={"elementsize": element_size})
    whole = RANDOM.bytes(length)
    parts_of(codec, codec.encode(whole), whole)


@pytest.mark.parametrize("count", [1, 7, 8, 17, 4099, 100_000])
def test_parts_of_packed_bits(count: int) -> None:
    values = RANDOM.integers(0, 2, count).astype(bool)
    codec = bind("packbits", "array-bytes", decoded={"data_type": "|b1", "shape": [count]})
    parts_of(codec, codec.encode(values.tobytes()), values.tobytes())


@pytest.mark.parametrize("bytes_per_sample", [1, 2, 4, 8])
def test_parts_of_predicted_rows(bytes_per_sample: int) -> None:
    codec = bind("tiff-predictor-2", parameters={"bytes_per_sample": bytes_per_sample, "width": 37})
    whole = RANDOM.bytes(37 * bytes_per_sample * 401)
    parts_of(codec, codec.encode(whole), whole)


def test_a_module_without_ranges_is_decoded_as_a_whole() -> None:
    codec = bind("zlib")
    whole = RANDOM.bytes(1000) * 50
    parts_of(codec, codec.encode(whole), whole)


def test_ranges_outside_are_refused() -> None:
    codec = bind("byte-shuffle", parameters={"elementsize": 2})
    for wanted in ([(0, 101)], [(5, 4)]):
        with pytest.raises(ValueError, match="outside of 100 bytes"):
            codec.decode_ranges(bytes(100), 100, wanted)


def test_an_input_of_another_length_is_an_error() -> None:
    shuffle = bind("byte-shuffle", parameters={"elementsize": 2})
    bits = bind("packbits", "array-bytes", decoded={"data_type": "|b1", "shape": [80]})
    for codec, encoded, length in [
        (shuffle, bytes(99), 100),
        (shuffle, bytes(101), 100),
        (bits, bytes(10), 80),
        (bits, bytes([7]) + bytes(10), 80),
        (bits, bytes([8]) + bytes(10), 80),
        (bits, b"", 80),
    ]:
        with pytest.raises(CodecError):
            codec.decode_ranges(encoded, length, [(16, 32)])
        with pytest.raises(CodecError):
            codec.decode(encoded, length, MOST_BYTES)


# --- reads -----------------------------------------------------------------------------------------------

SHUFFLE = wazarr.WasmCodec(guest("byte-shuffle"), codec="byte-shuffle", parameters={"elementsize": 2})
SAMPLES = {"bytes_per_sample": 2, "width": ROW}
VALUES = RANDOM.integers(0, 1000, (3 * ROW, 2 * ROW)).astype("u2")

SELECTIONS: list[Any] = [
    ...,
    (slice(250, 260), slice(290, 310)),
    (slice(5, 890), slice(7, 8)),
    (7, slice(None)),
    (slice(None, None, 37), slice(3, None, 11)),
    (899, 599),
    (slice(0, 0), slice(None)),
]


def wasm(name: str, **description: Any) -> wazarr.WasmCodec:
    return wazarr.WasmCodec(guest(name), codec=name, **description)


ARRAYS: dict[str, dict[str, Any]] = {
    "shuffle": {"compressors": [SHUFFLE]},
    "one chunk": {"compressors": [SHUFFLE], "chunks": VALUES.shape},
    "after zlib": {"compressors": [wasm("tiff-predictor-2", parameters=SAMPLES), wasm("zlib")]},
    "shuffle, F order": {
        "compressors": wasm("byte-shuffle", parameters={"elementsize": 2}, zarr_format=2),
        "order": "F",
        "zarr_format": 2,
    },
    "transposed": {"compressors": [SHUFFLE], "filters": [zarr.codecs.TransposeCodec(order=(1, 0))]},
    "in a shard": {
        "serializer": ShardingCodec(chunk_shape=(ROW, ROW), codecs=[zarr.codecs.BytesCodec(), SHUFFLE]),
        "compressors": None,
        "chunks": VALUES.shape,
    },
}


@pytest.mark.parametrize("trusted", [False, True], ids=["metered", "trusted"])
@pytest.mark.parametrize("name", ARRAYS)
def test_reads_are_as_numpy_has_them(name: str, trusted: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"chunks": (ROW, ROW), "shape": VALUES.shape, "dtype": "u2"} | ARRAYS[name]
    digests = [SHUFFLE.wasm_description.module] if trusted else []
    with wazarr.enabled(codec_pipeline__strict=True), zarr.config.set({"wazarr.wasm.trusted": digests}):
        for store in (MemoryStore(), LocalStore(tmp_path)):
            array: Any = zarr.create_array(store, **options)
            array[...] = VALUES
            for selection in SELECTIONS:
                np.testing.assert_array_equal(array[selection], VALUES[selection])
            rows, columns = [0, 899, 13, 450], [599, 2, 300, 299]
            np.testing.assert_array_equal(array.oindex[rows, 100:400], VALUES[rows, 100:400])
            np.testing.assert_array_equal(array.vindex[rows, columns], VALUES[rows, columns])
            mask = VALUES == 7
            np.testing.assert_array_equal(array.vindex[mask], VALUES[mask])
            array[100:333, 299:301] = 5
            expected = VALUES.copy()
            expected[100:333, 299:301] = 5
            np.testing.assert_array_equal(array[...], expected)
    with pipeline(ORACLE_PATH):
        np.testing.assert_array_equal(zarr.open_array(tmp_path)[...], expected)


def test_a_chunk_that_is_cut_is_an_error(tmp_path: Path) -> None:
    with wazarr.enabled():
        array: Any = zarr.create_array(
            tmp_path / "a", shape=(1 << 20,), chunks=(1 << 19,), dtype="u2", compressors=[SHUFFLE]
        )
        array[...] = 3
        chunk = tmp_path / "a" / "c" / "1"
        chunk.write_bytes(chunk.read_bytes()[:-2])
        for selection in (slice(None), slice(1 << 19, (1 << 19) + 5), slice(-5, None)):
            with pytest.raises(CodecError, match="c/1"):
                array[selection]
        np.testing.assert_array_equal(array[:100], 3)
