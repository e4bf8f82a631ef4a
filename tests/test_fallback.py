"""Fallbacks: counted every time, logged once, raised under `codec_pipeline.strict`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs.numcodecs import Zlib
from zarr.core.buffer import BufferPrototype, cpu
from zarr.storage import MemoryStore, WrapperStore

import wazarr
from wazarr import fallback

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, subject_pipeline: str) -> Iterator[None]:
    """Forget what was counted and logged before, and after."""
    monkeypatch.setattr(fallback, "_logged", set())
    wazarr.reset_counters()
    yield
    wazarr.reset_counters()


class Own(Zlib):
    """A codec class of a user's."""


def own_codec() -> zarr.Array[Any]:
    return make(MemoryStore(), Own(level=1))


def own_store() -> zarr.Array[Any]:
    return make(WrapperStore(MemoryStore()), None)


def make(store: Any, compressor: Any) -> zarr.Array[Any]:
    return zarr.create_array(store, shape=(8,), chunks=(2,), dtype="i2", compressors=compressor)


CASES = {
    "a codec": (
        own_codec,
        "codec 'numcodecs.zlib' runs in Python: tests.test_fallback.Own has no native engine",
    ),
    "a store": (own_store, "store WrapperStore is reached through its Python methods"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fallback_is_counted_always_and_logged_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make_array, reason = CASES[name]
    array = make_array()
    with caplog.at_level(logging.WARNING, "wazarr"):
        array[:] = np.arange(8)
        assert np.array_equal(array[2:6], np.arange(2, 6))
        assert array[0] == 0
    assert wazarr.counters()["fallbacks"] == {reason: 4 + 2 + 1}
    assert [(record.name, record.levelname) for record in caplog.records] == [("wazarr", "WARNING")]
    assert reason in caplog.records[0].getMessage()
    wazarr.reset_counters()
    assert wazarr.counters()["fallbacks"] == {}


@pytest.mark.parametrize("name", CASES)
def test_strict_raises_before_any_work(name: str) -> None:
    make_array, reason = CASES[name]
    array = make_array()
    array[:] = 1
    wazarr.reset_counters()
    with zarr.config.set({"codec_pipeline.strict": True}):
        with pytest.raises(wazarr.errors.UnsupportedError) as caught:
            array[:] = 2
        assert reason in caught.value.reason
        assert "codec_pipeline.strict" in str(caught.value)
        with pytest.raises(wazarr.errors.UnsupportedError):
            array[:]
    assert wazarr.counters()["fallbacks"] == {}
    assert wazarr.counters()["write"]["chunks"] == 0
    assert np.array_equal(array[:], np.ones(8))


@pytest.mark.parametrize("value", [False, None, "True", 1])
def test_nothing_but_true_is_strict(value: object) -> None:
    with zarr.config.set({"codec_pipeline.strict": value}):
        fallback.note("some reason", 3)
    assert fallback.counts() == {"some reason": 3}


def test_memory_elsewhere_goes_to_zarrs_own_pipeline_as_a_whole() -> None:
    array = make(MemoryStore(), "auto")
    array[:] = np.arange(8)
    wazarr.reset_counters()

    class Buffer(zarr.core.buffer.core.Buffer):
        """Not a buffer of the host's memory, for all that is known."""

        create_zero_length = classmethod(lambda cls: cls(np.empty(0, "u1")))
        from_buffer = classmethod(lambda cls, buffer: cls(buffer.as_numpy_array()))
        from_bytes = classmethod(lambda cls, bytes_like: cls(np.frombuffer(bytes_like, "u1")))
        combine = cpu.Buffer.combine
        as_numpy_array = cpu.Buffer.as_numpy_array

    prototype = BufferPrototype(buffer=Buffer, nd_buffer=cpu.NDBuffer)
    out = array.get_basic_selection(slice(1, 5), prototype=prototype)
    assert np.array_equal(np.asarray(out), np.arange(1, 5))
    (reason,) = wazarr.counters()["fallbacks"]
    assert "Buffer" in reason
    assert wazarr.counters()["fallbacks"][reason] == 3
    assert wazarr.counters()["read"]["chunks"] == 0


def test_native_arrays_take_none() -> None:
    array = make(MemoryStore(), "auto")
    with zarr.config.set({"codec_pipeline.strict": True}):
        array[:] = np.arange(8)
        assert np.array_equal(array[:], np.arange(8))
    assert fallback.counts() == {}
