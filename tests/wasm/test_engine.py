"""What guests are told, which limits hold, and what may stand in for them."""

from __future__ import annotations

import logging
import pickle
import time
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm import guests
from tests.wasm.places import VALUES
from wazarr import _native
from wazarr.errors import CodecError, InvalidInputError, WasmLimitError, WasmTrapError
from wazarr.wasm import engine
from wazarr.wasm.description import Description
from wazarr.wasm.engine import Layout, NativeCodec

DIGEST = guests.digest_of(guests.xor())
PIPELINES = ["wazarr.CodecPipeline", ORACLE_PATH]


def array_of(module: bytes, values: Any = VALUES, **options: Any) -> zarr.Array[Any]:
    """Return an array in memory with a module as its compressor, and values in it."""
    codec = wazarr.WasmCodec(module, codec="guest", embed="inline", **options)
    return zarr.create_array(MemoryStore(), name="data", data=values, compressors=codec)


# --- failures and limits -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PIPELINES)
def test_traps_name_module_codec_and_chunk(path: str) -> None:
    with pipeline(path):
        with pytest.raises(WasmTrapError) as caught:
            array_of(guests.trap())
        error = pickle.loads(pickle.dumps(caught.value))
        assert error.module == guests.digest_of(guests.trap())
        assert error.codec == "guest"
        assert error.direction == "encode"
        if path == "wazarr.CodecPipeline":
            assert error.chunk_key == "data/c/0/0"
        # The next call lives on.
        np.testing.assert_array_equal(array_of(guests.xor())[...], VALUES)


@pytest.mark.parametrize("path", PIPELINES)
def test_guests_that_do_not_end(path: str) -> None:
    begun = time.monotonic()
    with pipeline(path), zarr.config.set({"wazarr.wasm.timeout_s": 0.2}):
        with pytest.raises(WasmLimitError, match=r"timeout_s") as caught:
            array_of(guests.loop())
        assert caught.value.module == guests.digest_of(guests.loop())
        np.testing.assert_array_equal(array_of(guests.xor())[...], VALUES)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("path", PIPELINES)
def test_guests_that_want_too_much_memory(path: str) -> None:
    values = np.ones(4 << 20, "u1")
    with pipeline(path), zarr.config.set({"wazarr.wasm.memory_limit": 1 << 20}):
        with pytest.raises((WasmLimitError, CodecError), match=r"memory|alloc"):
            array_of(guests.xor(), values)
        np.testing.assert_array_equal(array_of(guests.xor())[...], VALUES)


@pytest.mark.parametrize("path", PIPELINES)
def test_encodings_that_decode_to_more_than_the_chunk(path: str) -> None:
    with pipeline(path):
        array = array_of(guests.trim())
        store: Any = array.store
        lie = (1 << 30).to_bytes(4, "little") + b"x"
        store._store_dict["data/c/0/0"] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(lie)
        with pytest.raises(CodecError):
            array[...]


def test_a_changed_limit_holds_from_the_next_read_on() -> None:
    with wazarr.enabled():
        array = array_of(guests.xor(), np.arange(1 << 20, dtype="u1"))
        with zarr.config.set({"wazarr.wasm.memory_limit": 256 << 10}), pytest.raises(CodecError):
            array[...]
        assert array[...].shape == (1 << 20,)  # type: ignore[union-attr]


@pytest.mark.parametrize("fresh", [False, True])
def test_fresh_instances(fresh: bool) -> None:
    with wazarr.enabled():
        array = array_of(guests.xor(), fresh_instance=fresh)
        before = _native.wasm_counters()["instances"]
        for _ in range(5):
            np.testing.assert_array_equal(array[...], VALUES)
        made = _native.wasm_counters()["instances"] - before
    assert made == 5 if fresh else made <= 3


def test_trust_is_by_digest() -> None:
    assert not engine.is_trusted(DIGEST)
    with zarr.config.set({"wazarr.wasm.trusted": [DIGEST]}), wazarr.enabled():
        assert engine.is_trusted(DIGEST)
        assert "trusted" in str(wazarr.explain(array_of(guests.xor())).codecs[-1].reason)
    other = guests.digest_of(b"from a package")
    engine.trust(other)
    assert engine.is_trusted(other)
    with (
        zarr.config.set({"wazarr.wasm.trusted": ["sha256:xyz"]}),
        pytest.warns(UserWarning, match="trusted"),
    ):
        assert not engine.is_trusted(DIGEST)


# --- stand-ins -----------------------------------------------------------------------------------------


def declared(name: str = "zlib", **more: Any) -> dict[str, Any]:
    return {"wazarr.wasm.native": {DIGEST: {"name": name, **more}}}


def test_a_native_codec_stands_in_by_digest() -> None:
    # Not true of this guest: so what is stored tells which of the two ran.
    with wazarr.enabled(), zarr.config.set(declared(parameters={"strength": "level"})):
        wazarr.reset_counters()
        array = array_of(guests.xor(), parameters={"strength": 9})
        np.testing.assert_array_equal(array[...], VALUES)
        assert wazarr.counters()["codec_steps"]["wasm"] == 0
        stored: Any = array.store
        assert stored._store_dict["data/c/0/0"].to_bytes()[:2] == b"\x78\xda"  # of zlib at its highest level
        last = wazarr.explain(array).codecs[-1]
        assert (last.name, last.engine) == ("wazarr.wasm", "native")
        assert "zlib" in str(last.reason)
        assert DIGEST[:15] in str(last.reason)


def test_the_name_of_a_codec_stands_for_nothing() -> None:
    with wazarr.enabled(), zarr.config.set(declared()):
        codec = wazarr.WasmCodec(guests.trim(), codec="zlib")
        array = zarr.create_array(MemoryStore(), name="data", data=VALUES, compressors=codec)
        assert wazarr.explain(array).codecs[-1].engine == "wasm"


def test_the_preference_turns_it_round() -> None:
    with wazarr.enabled(), zarr.config.set(declared()):
        with zarr.config.set({"wazarr.wasm.prefer": "wasm"}):
            array = array_of(guests.xor())
            last = wazarr.explain(array).codecs[-1]
        assert last.engine == "wasm"
        with zarr.config.set({"wazarr.wasm.prefer": "neither"}), pytest.warns(UserWarning, match="prefer"):
            assert engine.native_equivalent(Description("x", "bytes-bytes", DIGEST)) is not None


def test_a_stand_in_that_cannot_leaves_it_to_the_module() -> None:
    with wazarr.enabled(), zarr.config.set(declared("no-such-codec")):
        array = array_of(guests.xor())
        np.testing.assert_array_equal(array[...], VALUES)
        last = wazarr.explain(array).codecs[-1]
        assert last.engine == "wasm"
        assert "no-such-codec" in str(last.reason)


@pytest.mark.parametrize(
    "wrong", ["zlib", 7, {}, {"name": 7}, {"name": "zlib", "level": 1}, {"name": "zlib", "configuration": []}]
)
def test_declarations_that_make_no_sense(wrong: Any) -> None:
    with (
        zarr.config.set({"wazarr.wasm.native": {DIGEST: wrong}}),
        pytest.raises(InvalidInputError, match=r"wazarr\.wasm\.native"),
    ):
        engine.native_equivalent(Description("x", "bytes-bytes", DIGEST))


def test_parameters_become_configuration() -> None:
    native = NativeCodec("zlib", {"level": 1, "x": 2}, {"strength": "level"})
    assert native.configured({}) == {"level": 1, "x": 2}
    assert native.configured({"strength": 7, "other": 3}) == {"level": 7, "x": 2}


# --- what guests are told ------------------------------------------------------------------------------


def test_layouts() -> None:
    assert Layout().is_bytes
    assert Layout().len_bytes is None
    assert Layout("<u2", (3, 4)).len_bytes == 24
    assert Layout("|u1", ()).len_bytes == 1
    assert not Layout("|u1", ()).is_bytes
    description = Description("x", "array-array", DIGEST, encoded={"data_type": "uint8", "shape": [2]})
    assert engine.encoded_layout(description, Layout("<u2", (1,))) == Layout("|u1", (2,))
    plain = Description("x", "array-array", DIGEST)
    assert engine.encoded_layout(plain, Layout("<u2", (1,))) == Layout("<u2", (1,))
    assert engine.encoded_layout(Description("x", "array-bytes", DIGEST), Layout("<u2", (1,))).is_bytes


def test_lengths() -> None:
    fixed = Description("x", "bytes-bytes", DIGEST, encoded={"overhead_bytes": 4})
    assert engine.encoded_length(fixed, 10) == 14
    assert engine.encoded_length(fixed, None) is None
    assert engine.encoded_length(Description("x", "bytes-bytes", DIGEST), 10) is None


@pytest.mark.parametrize("name", ["no type", "", "object"])
def test_data_types_that_are_none(name: str) -> None:
    codec = wazarr.WasmCodec(guests.xor(), kind="array-array", encoded={"data_type": name})
    with wazarr.enabled(), pytest.raises((InvalidInputError, CodecError, ValueError, TypeError)):
        zarr.create_array(MemoryStore(), data=VALUES, filters=codec)


@pytest.mark.parametrize("path", PIPELINES)
def test_what_guests_write_is_logged(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with pipeline(path), caplog.at_level(logging.WARNING, "wazarr.wasm.guest"):
        array = array_of(guests.talk())
        assert caplog.records
        caplog.clear()
        np.testing.assert_array_equal(array[...], VALUES)
    (record,) = caplog.records
    assert record.name == "wazarr.wasm.guest"
    assert record.getMessage().endswith(": hello")
    assert guests.digest_of(guests.talk())[:15] in record.getMessage()


def test_limits_of_the_process_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def configure(*, cache_limit_bytes: int, compiled_modules_limit: int) -> None:
        told.append(compiled_modules_limit)

    with wazarr.enabled():
        array = array_of(guests.xor())
        np.testing.assert_array_equal(array[...], VALUES)
        monkeypatch.setattr(_native, "wasm_configure", configure)
        for limit in (5, 6):
            with zarr.config.set({"wazarr.wasm.compiled_modules_limit": limit}):
                np.testing.assert_array_equal(zarr.open_array(array.store, path="data")[...], VALUES)
        # The codec of these settings is bound already, and the limits are set again all the same.
        np.testing.assert_array_equal(zarr.open_array(array.store, path="data")[...], VALUES)
    usual = zarr.config.get("wazarr.wasm.compiled_modules_limit", told[-1])
    assert told == [5, 6, usual]
