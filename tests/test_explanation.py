"""`wazarr.explain`: numbers against what a read really does, and every kind of answer."""

from __future__ import annotations

import logging
import sys
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.codecs.numcodecs import Zlib
from zarr.core.buffer import Buffer, BufferPrototype, NDBuffer
from zarr.core.dtype import VariableLengthBytes
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from wazarr.explanation import CodecEngine, Explanation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("subject_pipeline")

SHAPE = (20, 30)
MASK = np.eye(20, 30) > 0

SELECTIONS: dict[str, tuple[Any, str, int]] = {
    # name: selection, indexing, chunks of shape (5, 10) that it touches
    "everything": (..., "array", 12),
    "a window": (np.s_[3:7, 5:15], "array", 4),
    "steps": (np.s_[::6, -1], "array", 4),
    "a row": (7, "array", 3),
    "a list and a slice": (([0, 19], slice(0, 4)), "array", 2),
    "an index array and a slice": ((np.array([0, 1, 2]), slice(None)), "array", 3),
    "a mask": (MASK, "array", 4),
    "coordinates": (([0, 6, 19], [0, 0, 29]), "array", 3),
    "coordinates by vindex": (([0, 6, 19], [0, 0, 29]), "vindex", 3),
    "a product by oindex": (([0, 6, 19], [0, 29]), "oindex", 6),
    "a block": ((1, 2), "blocks", 1),
    "nothing": (np.s_[4:4], "array", 0),
}


def make(store: Any, **options: Any) -> zarr.Array[Any]:
    """Make an array of `SHAPE` in which nothing is missing."""
    options = {"chunks": (5, 10), "dtype": "<i4", "compressors": None, **options}
    array = zarr.create_array(store, shape=SHAPE, **options)
    array[...] = np.arange(1, 601, dtype="i4").reshape(SHAPE).astype(array.dtype)
    return array


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_numbers_are_those_of_the_read(name: str, zarr_format: int) -> None:
    selection, indexing, chunks = SELECTIONS[name]
    array = make(MemoryStore(), zarr_format=zarr_format, compressors="auto")
    explanation = wazarr.explain(array, selection, indexing=indexing)  # type: ignore[arg-type]

    wazarr.reset_counters()
    target: Any = array if indexing == "array" else getattr(array, indexing)
    values = target[selection]
    counted = wazarr.counters()
    assert explanation.chunks == counted["read"]["chunks"] == chunks
    assert explanation.ranges == counted["store_requests"]["native"]
    assert explanation.bytes_selected == counted["read"]["bytes_decoded"] == values.nbytes
    assert explanation.elements == values.size
    assert explanation.bytes_decoded == chunks * 200
    assert explanation.bytes_encoded == (0 if chunks == 0 else None)
    assert explanation.inner_chunks == 0


@pytest.mark.parametrize(
    ("selection", "decoded"),
    [
        pytest.param(np.s_[0, 3], 4, id="one element"),
        pytest.param(np.s_[0:2, 0:3], (10 + 3) * 4, id="from the first byte to the last"),
        pytest.param(np.s_[...], 2400, id="everything"),
    ],
)
def test_uncompressed_chunks_are_fetched_in_part(selection: Any, decoded: int) -> None:
    explanation = wazarr.explain(make(MemoryStore()), selection)
    assert explanation.bytes_decoded == explanation.bytes_encoded == decoded
    through_python = wazarr.explain(make(WrapperStore(MemoryStore())), selection)
    assert through_python.bytes_encoded == through_python.chunks * 200


INDEX_BYTES = 4 * 16 + 4
SHARDED = {"shards": (10, 20), "chunks": (5, 10)}


@pytest.mark.parametrize(
    ("selection", "chunks", "inner_chunks", "is_joined"),
    [
        pytest.param(np.s_[0, 0], 1, 1, False, id="one element"),
        pytest.param(np.s_[0:6, 0:11], 1, 4, True, id="a whole shard"),
        pytest.param(np.s_[9:11, 5], 2, 2, False, id="two shards"),
    ],
)
def test_inner_chunks_are_ranges(selection: Any, chunks: int, inner_chunks: int, *, is_joined: bool) -> None:
    native = wazarr.explain(make(MemoryStore(), **SHARDED, compressors=ZstdCodec()), selection)
    assert (native.chunks, native.inner_chunks, native.ranges) == (
        chunks,
        inner_chunks,
        chunks + inner_chunks,
    )
    assert (native.bytes_decoded, native.bytes_encoded) == (inner_chunks * 200, None)

    python = wazarr.explain(make(WrapperStore(MemoryStore()), **SHARDED), selection)
    assert (python.chunks, python.inner_chunks) == (chunks, inner_chunks)
    assert python.ranges == (chunks if is_joined else chunks + inner_chunks)
    assert python.bytes_encoded == (None if is_joined else chunks * INDEX_BYTES + inner_chunks * 200)


def test_shards_within_shards_count_at_every_level() -> None:
    inner = zarr.codecs.ShardingCodec(chunk_shape=(5, 5))
    array = make(MemoryStore(), chunks=(20, 30), serializer=zarr.codecs.ShardingCodec(
        chunk_shape=(10, 10), codecs=[inner],
    ))  # fmt: skip
    explanation = wazarr.explain(array, np.s_[0:6, 0])
    # One chunk, one shard in it, two chunks in that one; an index for each of the shards.
    assert (explanation.chunks, explanation.inner_chunks, explanation.ranges) == (1, 3, 4)
    # Of the first, five rows up to the one element of the last; of the second, one element.
    assert explanation.bytes_encoded == (6 * 16 + 4) + INDEX_BYTES + (4 * 5 + 1) * 4 + 4
    assert [codec.name for codec in explanation.codecs][:3] == [
        "sharding_indexed",
        "sharding_indexed/sharding_indexed",
        "sharding_indexed/sharding_indexed/bytes",
    ]


class Shouting(Zlib):
    """Some user's codec."""


def test_python_codecs_have_a_reason_wherever_they_stand() -> None:
    array = make(MemoryStore(), **SHARDED, compressors=[Shouting(level=1), BloscCodec()])
    explanation = wazarr.explain(array)
    assert [codec.engine for codec in explanation.codecs] == ["native"] * 2 + ["python"] + ["native"] * 3
    (shouting,) = (codec for codec in explanation.codecs if codec.engine == "python")
    assert shouting.name == "sharding_indexed/numcodecs.zlib"
    assert shouting.reason is not None
    assert "Shouting" in shouting.reason
    assert explanation.fallbacks == (shouting.reason,)
    assert any("numcodecs.zlib" in line for line in explanation.holds_gil)
    assert not explanation.is_refused
    with zarr.config.set({"codec_pipeline.strict": True}):
        assert wazarr.explain(array).is_refused


def test_stores(tmp_path: Path) -> None:
    class Own(LocalStore):
        """Some user's store."""

    with zarr.config.set({"threading.max_workers": 3, "wazarr.store_concurrency": 17}):
        local = wazarr.explain(make(LocalStore(tmp_path / "local")))
        own = wazarr.explain(make(Own(tmp_path / "own")))
    assert (local.store, local.store_engine, local.requests_in_flight) == ("LocalStore", "native", 3)
    assert (local.fallbacks, local.holds_gil) == ((), ())
    assert own.store.endswith("Own")
    assert (own.store_engine, own.requests_in_flight) == ("python", 17)
    assert own.store in own.fallbacks[0]
    assert own.store in own.holds_gil[0]
    with zarr.config.set({"threading.max_workers": 3, "wazarr.bytes_in_flight": 1}):
        assert wazarr.explain(make(LocalStore(tmp_path / "other"))).requests_in_flight == 1
        assert wazarr.explain(make(Own(tmp_path / "own"), overwrite=True)).requests_in_flight == 1


def test_variable_length() -> None:
    array = zarr.create_array(MemoryStore(), shape=(10,), chunks=(4,), dtype=str)
    explanation = wazarr.explain(array, np.s_[2:5])
    assert (explanation.chunks, explanation.elements) == (2, 3)
    assert (explanation.bytes_selected, explanation.bytes_decoded, explanation.bytes_encoded) == (None,) * 3
    assert not any("Python objects" in line for line in explanation.holds_gil)
    of_bytes = zarr.create_array(MemoryStore(), shape=(10,), chunks=(4,), dtype=VariableLengthBytes())
    assert any("Python objects" in line for line in wazarr.explain(of_bytes).holds_gil)


def test_no_axes_and_no_elements() -> None:
    zero_dimensional = zarr.create_array(MemoryStore(), shape=(), dtype="f8", compressors=None)
    explanation = wazarr.explain(zero_dimensional, ())
    assert (explanation.chunks, explanation.bytes_decoded) == (1, 8)
    empty = zarr.create_array(MemoryStore(), shape=(0, 3), chunks=(1, 3), dtype="f8")
    assert (wazarr.explain(empty).chunks, wazarr.explain(empty).bytes_decoded) == (0, 0)


def test_huge_arrays_take_no_memory() -> None:
    length = 1 << 24
    array = zarr.create_array(
        MemoryStore(), shape=(length, length), chunks=(1 << 20, 1 << 20), dtype="f8", compressors=None
    )
    assert wazarr.explain(array).bytes_decoded == length * length * 8


def test_buffers_elsewhere_are_a_fallback_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    array = make(MemoryStore())
    elsewhere: Any = BufferPrototype(buffer=Buffer, nd_buffer=NDBuffer)  # type: ignore[type-abstract]
    monkeypatch.setattr(sys.modules["wazarr.explanation"], "default_buffer_prototype", lambda: elsewhere)
    explanation = wazarr.explain(array, np.s_[0])
    assert [codec.engine for codec in explanation.codecs] == ["python"]
    assert "not in host memory" in explanation.fallbacks[0]
    assert (explanation.chunks, explanation.bytes_selected, explanation.bytes_decoded) == (3, 120, None)


async def test_asynchronous_arrays() -> None:
    array = await zarr.api.asynchronous.create_array(MemoryStore(), shape=(8,), chunks=(2,), dtype="i2")
    assert wazarr.explain(array, np.s_[3:5]).chunks == 2


def test_arrays_of_another_pipeline_are_explained_as_ours() -> None:
    with pipeline(ORACLE_PATH):
        array = make(MemoryStore(), compressors=ZstdCodec())
    explanation = wazarr.explain(array)
    assert explanation.pipeline == ORACLE_PATH
    assert {codec.engine for codec in explanation.codecs} == {"native"}
    assert "wazarr.enable()" in str(explanation)


def test_nothing_is_read_counted_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(WrapperStore[Any]):
        """Refuses to be read."""

        async def get(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("explain asked for a chunk")

    array = make(MemoryStore(), compressors=Shouting(level=1))
    object.__setattr__(array.async_array.store_path, "store", Deaf(array.store))
    wazarr.reset_counters()
    before = wazarr.counters()
    caplog.clear()  # what writing the array said, if it was the first to say it
    with caplog.at_level(logging.DEBUG, "wazarr"):
        explanation = wazarr.explain(array)
    assert len(explanation.fallbacks) == 2
    assert wazarr.counters() == before
    assert not caplog.records


def test_it_is_printed_and_a_plain_value(capsys: pytest.CaptureFixture[str]) -> None:
    explanation = wazarr.explain(make(MemoryStore(), compressors=ZstdCodec()), np.s_[0:5])
    assert capsys.readouterr().out == f"{explanation}\n"
    assert str(explanation).splitlines() == [
        f"array     {explanation.array}",
        "pipeline  wazarr.CodecPipeline",
        "codecs    bytes  native",
        "          zstd   native",
        f"store     MemoryStore  native, up to {explanation.requests_in_flight} requests in flight",
        "touches   chunks: 3, inner chunks: 0, ranges of bytes: 3",
        "          elements: 150: 600 bytes selected, 600 bytes decoded, unknown bytes encoded",
        "GIL       store MemoryStore: one look into its dict per chunk, before the rest",
        "fallbacks none",
    ]
    assert isinstance(explanation, Explanation)
    assert explanation.codecs[1] == CodecEngine("zstd", "native")
    with pytest.raises(FrozenInstanceError):
        explanation.chunks = 0  # type: ignore[misc]


def test_selections_that_zarr_refuses_are_refused() -> None:
    array = make(MemoryStore())
    with pytest.raises(IndexError):
        wazarr.explain(array, 20)
    with pytest.raises(IndexError):
        wazarr.explain(array, (0, 0, 0))
