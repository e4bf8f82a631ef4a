"""The codec in arrays: every place, both formats, our pipeline and zarr-python's; and how one is made."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec
from zarr.codecs import BytesCodec, ShardingCodec
from zarr.storage import MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, ZARR_VERSION, pipeline
from tests.wasm import guests
from tests.wasm.places import BYTE_VALUES, PLACES, VALUES, create
from wazarr.errors import CodecError
from wazarr.wasm import modules

if TYPE_CHECKING:
    from pathlib import Path

OTHER_PIPELINES = [ORACLE_PATH]
if ZARR_VERSION >= (3, 4):
    OTHER_PIPELINES.append("zarr.core.codec_pipeline.FusedCodecPipeline")


# --- round trips ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Combining a .sharding_indexed. codec")
@pytest.mark.parametrize("embed", ["inline", "hierarchy", "never"])
@pytest.mark.parametrize(("zarr_format", "place"), PLACES)
def test_values_come_back(zarr_format: int, place: str, embed: str) -> None:
    store = MemoryStore()
    with wazarr.enabled(codec_pipeline__strict=True):
        array = create(store, zarr_format, place, embed=embed)
        array[...] = VALUES
        array[3:5, 2:9] = VALUES[3:5, 2:9] + 1
        expected = VALUES.copy()
        expected[3:5, 2:9] += 1
        wazarr.reset_counters()
        again = zarr.open_array(store, path="data", mode="r")
        np.testing.assert_array_equal(again[...], expected)
        np.testing.assert_array_equal(again[::3, 5], expected[::3, 5])
        steps = wazarr.counters()["codec_steps"]
        engines = {codec.name.rpartition("/")[2]: codec.engine for codec in wazarr.explain(again).codecs}
    assert engines["wazarr.wasm"] == "wasm"
    assert steps["wasm"] > 0 or place == "index of a shard"  # where steps are not counted
    assert steps["python"] == 0


@pytest.mark.parametrize("other", OTHER_PIPELINES)
@pytest.mark.parametrize(("zarr_format", "place"), PLACES)
def test_zarr_pythons_own_pipelines_read_the_same_values(zarr_format: int, place: str, other: str) -> None:
    store = MemoryStore()
    with wazarr.enabled():
        create(store, zarr_format, place)[...] = VALUES
    with pipeline(other):
        np.testing.assert_array_equal(zarr.open_array(store, path="data", mode="r")[...], VALUES)


@pytest.mark.parametrize("other", OTHER_PIPELINES)
@pytest.mark.parametrize(("zarr_format", "place"), PLACES)
def test_zarr_pythons_own_pipelines_write_the_same_bytes(zarr_format: int, place: str, other: str) -> None:
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    with wazarr.enabled():
        create(MemoryStore(ours), zarr_format, place, embed="inline")[...] = VALUES
    with pipeline(other):
        create(MemoryStore(theirs), zarr_format, place, embed="inline")[...] = VALUES
    assert set(ours) == set(theirs)
    assert {key: ours[key].to_bytes() for key in ours} == {key: theirs[key].to_bytes() for key in theirs}


@pytest.mark.parametrize("dtype", ["u1", "<i8", "<f8", "bool", "<c16", "<M8[s]", "S7"])
@pytest.mark.parametrize("place", ["filter", "serializer", "compressor"])
def test_data_types(dtype: str, place: str) -> None:
    store, values = MemoryStore(), VALUES.astype("<i8").astype(dtype)
    with wazarr.enabled(codec_pipeline__strict=True):
        create(store, 3, place, dtype=dtype)[...] = values
        np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)
    with pipeline(ORACLE_PATH):
        np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)


@pytest.mark.parametrize("place", ["filter", "both", "compressor"])
def test_big_endian_elements_of_zarr_v2(place: str) -> None:
    store, values = MemoryStore(), VALUES.astype(">u2")
    with wazarr.enabled(codec_pipeline__strict=True):
        create(store, 2, place, dtype=">u2")[...] = values
        np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)
    with pipeline(ORACLE_PATH):
        np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)


def test_guests_see_little_endian_elements_whatever_the_array_has() -> None:
    stored = {}
    for order in "<>":
        content: dict[str, Any] = {}
        with wazarr.enabled(codec_pipeline__strict=True):
            array = zarr.create_array(
                MemoryStore(content),
                name="data",
                shape=VALUES.shape,
                chunks=VALUES.shape,
                dtype=f"{order}u2",
                zarr_format=2,
                filters=[wazarr.WasmCodec(guests.xor(), kind="array-bytes", zarr_format=2)],
                compressors=None,
            )
            array[...] = VALUES
            np.testing.assert_array_equal(zarr.open_array(MemoryStore(content), path="data")[...], VALUES)
        stored[order] = content["data/0.0"].to_bytes()
    assert stored["<"] == stored[">"] == bytes(byte ^ 0x55 for byte in VALUES.astype("<u2").tobytes())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_memory_orders(order: Any, zarr_format: Any) -> None:
    store = MemoryStore()
    options: dict[str, Any] = {"order": order} if zarr_format == 2 else {"config": {"order": order}}
    with wazarr.enabled(codec_pipeline__strict=True):
        array = zarr.create_array(
            store,
            name="data",
            shape=VALUES.shape,
            chunks=(4, 6),
            dtype="u2",
            zarr_format=zarr_format,
            compressors=wazarr.WasmCodec(guests.trim(), zarr_format=zarr_format),
            **options,
        )
        array[...] = VALUES
    for path in ("wazarr.CodecPipeline", ORACLE_PATH):
        with pipeline(path):
            np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], VALUES)


@pytest.mark.parametrize("name", ["uint16", "<u2"])
def test_an_array_codec_may_change_the_data_type(name: str) -> None:
    store = MemoryStore()
    codec = wazarr.WasmCodec(guests.widen(), kind="array-array", encoded={"data_type": name})
    with wazarr.enabled(codec_pipeline__strict=True):
        array = zarr.create_array(
            store,
            name="data",
            data=BYTE_VALUES,
            chunks=(4, 6),
            filters=codec,
            serializer=BytesCodec(endian="little"),
            compressors=None,
        )
        array[1:3] = BYTE_VALUES[1:3]
    # zarr 3.1 gives the bytes codec the array's data type instead of the filter's.
    others = [ORACLE_PATH] if ZARR_VERSION >= (3, 4) else []
    for path in ("wazarr.CodecPipeline", *others):
        with pipeline(path):
            np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], BYTE_VALUES)
    (chunk,) = {len(store._store_dict[f"data/c/{i}/{j}"]) for i in range(2) for j in range(2)}
    assert chunk == 2 * 4 * 6


def test_an_array_codec_may_change_the_shape() -> None:
    store = MemoryStore()
    codec = wazarr.WasmCodec(
        guests.widen(), kind="array-array", encoded={"data_type": "uint8", "shape": [4, 12]}
    )
    for path in ("wazarr.CodecPipeline", ORACLE_PATH):
        with pipeline(path):
            array = zarr.create_array(
                store, data=BYTE_VALUES, chunks=(4, 6), filters=codec, compressors=None, overwrite=True
            )
            np.testing.assert_array_equal(array[...], BYTE_VALUES)


def test_text_behind_its_own_serializer() -> None:
    values = np.array(["", "ä", "long " * 20, "x"], dtype=object)
    store = MemoryStore()
    with wazarr.enabled():
        array = zarr.create_array(
            store, name="data", shape=4, chunks=2, dtype=str, compressors=wazarr.WasmCodec(guests.xor())
        )
        array[...] = values
        np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)
    with pipeline(ORACLE_PATH):
        np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)


def test_array_codecs_refuse_text_when_the_array_is_made() -> None:
    with wazarr.enabled(), pytest.raises(ValueError, match=r"variable length|string dtype"):
        zarr.create_array(
            MemoryStore(), shape=4, dtype=str, serializer=wazarr.WasmCodec(guests.xor(), kind="array-bytes")
        )


def test_an_index_needs_a_codec_of_fixed_size() -> None:
    index_codecs: list[Any] = [BytesCodec(), wazarr.WasmCodec(guests.trim())]

    def write_and_read() -> None:
        array = zarr.create_array(
            MemoryStore(),
            data=VALUES,
            chunks=(4, 6),
            serializer=ShardingCodec(chunk_shape=(2, 3), index_codecs=index_codecs),
            compressors=None,
        )
        array[0, 0]

    for path in ("wazarr.CodecPipeline", ORACLE_PATH):
        with pipeline(path), pytest.raises((ValueError, NotImplementedError), match=r"(?i)size|length"):
            write_and_read()


def test_chunks_that_are_not_stored_need_no_module() -> None:
    store = MemoryStore()
    unknown = guests.padded(guests.xor(), 100, seed=1)
    with wazarr.enabled():
        array = create(store, 3, "compressor", embed="never")
        metadata = array.metadata.to_dict()
    document = store._store_dict["data/zarr.json"].to_bytes().decode()
    assert metadata
    known = guests.digest_of(guests.xor())
    buffer = zarr.core.buffer.default_buffer_prototype().buffer
    store._store_dict["data/zarr.json"] = buffer.from_bytes(
        document.replace(known, guests.digest_of(unknown)).encode()
    )
    for path in ("wazarr.CodecPipeline", ORACLE_PATH):
        with pipeline(path):
            np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], np.zeros_like(VALUES))


# --- how one is made -----------------------------------------------------------------------------------


def test_kinds_have_classes() -> None:
    kinds: dict[Any, type] = {
        "bytes-bytes": BytesBytesCodec,
        "array-bytes": ArrayBytesCodec,
        "array-array": ArrayArrayCodec,
    }
    for kind, cls in kinds.items():
        codec = wazarr.WasmCodec(guests.xor(), kind=kind)
        assert isinstance(codec, cls)
        assert isinstance(codec, wazarr.WasmCodec)
        assert type(codec).from_dict(codec.to_dict()) == codec
        old = wazarr.WasmCodec(guests.xor(), kind=kind, zarr_format=2)
        assert isinstance(old, numcodecs.abc.Codec)
        assert numcodecs.get_codec(old.get_config()) == old


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_pipeline_that_cannot_store_the_module_does_not_store_the_chunk(zarr_format: Any) -> None:
    store = MemoryStore()
    with pipeline(ORACLE_PATH):
        array = create(store, zarr_format, "compressor", embed="hierarchy")
        with pytest.raises(CodecError, match=r"wazarr\.enable"):
            array[...] = VALUES
    assert not [key for key in store._store_dict if key.rpartition("/")[2][:1].isdigit()]


def test_entries_of_metadata_make_codecs() -> None:
    entry = wazarr.WasmCodec(guests.xor()).to_dict()
    with wazarr.enabled():
        array = zarr.create_array(MemoryStore(), data=VALUES, compressors=[entry])
        np.testing.assert_array_equal(array[...], VALUES)


def test_codecs_compare_by_what_metadata_say() -> None:
    codec = wazarr.WasmCodec(guests.xor(), parameters={"a": [1, {"b": 2}]})
    same = wazarr.WasmCodec(guests.xor(), parameters={"a": [1, {"b": 2}]})
    other = wazarr.WasmCodec(guests.xor(), parameters={"a": 2})
    assert codec == same
    assert hash(codec) == hash(same)
    assert codec != other
    assert codec != wazarr.WasmCodec(guests.xor(), parameters={"a": [1, {"b": 2}]}, zarr_format=2)
    assert "guest" not in repr(codec)
    assert guests.digest_of(guests.xor()) in repr(codec)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("embed", ["inline", "hierarchy", "never"])
def test_pickles_and_copies(zarr_format: Any, embed: Any) -> None:
    codec = wazarr.WasmCodec(guests.xor(), embed=embed, zarr_format=zarr_format)
    for again in (pickle.loads(pickle.dumps(codec)), copy.copy(codec), copy.deepcopy(codec)):
        assert again == codec
        assert type(again) is type(codec)
    # A process that knows nothing gets the module along, unless the metadata hold it.
    carried = guests.xor() in pickle.dumps(codec)
    assert carried == (embed != "inline")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_pickle(zarr_format: Any) -> None:
    store = MemoryStore()
    with wazarr.enabled():
        array = create(store, zarr_format, "compressor", embed="hierarchy")
        array[...] = VALUES
        again = pickle.loads(pickle.dumps(array))
        np.testing.assert_array_equal(again[...], VALUES)


# --- numcodecs' interface ------------------------------------------------------------------------------


def test_numcodecs_buffers() -> None:
    codec = wazarr.WasmCodec(guests.trim(), zarr_format=2)
    for values in (
        VALUES,
        VALUES.T,
        VALUES.tobytes(),
        bytearray(VALUES.tobytes()),
        memoryview(VALUES.tobytes()),
    ):
        expected = np.asarray(values).tobytes(order="A")
        encoded = codec.encode(values)
        assert bytes(codec.decode(encoded)) == expected
        out = np.zeros(len(expected), "u1")
        assert codec.decode(encoded, out) is out
        assert out.tobytes() == expected
    with pytest.raises((ValueError, CodecError)):
        codec.decode(codec.encode(VALUES), np.zeros(3, "u1"))


# --- threads -------------------------------------------------------------------------------------------


def test_many_threads_and_loops() -> None:
    store = MemoryStore()
    failures: list[BaseException] = []
    with wazarr.enabled():
        create(store, 3, "two compressors", embed="hierarchy")[...] = VALUES

        def read() -> None:
            try:
                for _ in range(5):
                    np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], VALUES)
                    assert np.array_equal(asyncio.run(read_async()), VALUES)
            except BaseException as error:  # noqa: BLE001 - for the main thread to see
                failures.append(error)

        async def read_async() -> Any:
            array = await zarr.api.asynchronous.open_array(store=store, path="data")
            return await array.getitem(...)

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_modules_are_found_again_when_the_caches_drop_them(own_cache: Path) -> None:
    store = MemoryStore()
    module = guests.padded(guests.xor(), 100, seed=3)
    with wazarr.enabled():
        array = zarr.create_array(
            store, name="data", data=VALUES, compressors=wazarr.WasmCodec(module, embed="hierarchy")
        )
        assert modules.has(guests.digest_of(module))
        np.testing.assert_array_equal(array[...], VALUES)
    assert own_cache.is_dir()
