"""Refusals, overrides, callbacks and exceptions are those that a user of zarr-python knows."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.registry import register_codec
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import wazarr
from tests.robustness.isolation import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer

VALUES = np.arange(64, dtype="i4").reshape(8, 8)


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    with wazarr.enabled():
        wazarr.reset_counters()
        yield


def _array(store: Any, **settings: Any) -> zarr.Array[Any]:
    array = zarr.create_array(store, shape=(8, 8), dtype="i4", **{"chunks": (4, 8), **settings})
    array[:] = VALUES
    return array


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"chunks": (2, 8), "shards": (4, 8)}])
def test_what_is_read_only_refuses_with_zarrs_own_error(tmp_path: Path, settings: dict[str, Any]) -> None:
    _array(tmp_path, **settings)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    memory = MemoryStore()
    _array(memory, **settings)
    stores: list[Any] = [
        LocalStore(tmp_path, read_only=True),
        memory.with_read_only(),
        WrapperStore(memory.with_read_only()),
    ]
    arrays = [zarr.open_array(tmp_path, mode="r"), *(zarr.open_array(store, mode="r") for store in stores)]
    for array in arrays:
        with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
            other = zarr.open_array(array.store, mode="r")
        for selection in (..., slice(1, 3), (2, 2)):
            with pytest.raises(ValueError, match="read") as of_zarr:
                other[selection] = 9
            with pytest.raises(ValueError, match="read") as of_ours:
                array[selection] = 9
            assert str(of_ours.value) == str(of_zarr.value)
        assert np.array_equal(np.asarray(array[:]), VALUES)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_or_a_file_in_the_way_is_a_missing_chunk(tmp_path: Path) -> None:
    array = _array(tmp_path)
    (tmp_path / "c/0/0").unlink()
    (tmp_path / "c/0/0").mkdir()
    assert (np.asarray(array[:4]) == 0).all()
    (tmp_path / "c/0/0").rmdir()
    (tmp_path / "c/0").rmdir()
    (tmp_path / "c/0").write_bytes(b"in the way")
    assert (np.asarray(array[:4]) == 0).all()
    assert np.array_equal(np.asarray(array[4:]), VALUES[4:])
    with pytest.raises(OSError, match="c/0"):
        array[0, 0] = 1


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_permission_denied_by_a_file() -> None:
    run("unprivileged")


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is allowed to root")
def test_permission_denied(tmp_path: Path) -> None:
    array = _array(tmp_path)
    (tmp_path / "c/0/0").chmod(0)
    with pytest.raises(PermissionError) as caught:
        array[:]
    assert isinstance(caught.value, wazarr.errors.StoreError)


async def test_a_store_that_moved_is_read_where_it_is(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path / "here")
    array = await zarr.api.asynchronous.create_array(store, shape=(8, 8), chunks=(4, 8), dtype="i4")
    await array.setitem(slice(None), VALUES)
    await store.move(tmp_path / "there")
    assert np.array_equal(np.asarray(await array.getitem(slice(None))), VALUES)
    await array.setitem((0, 0), 99)
    assert (tmp_path / "there/c/0/0").exists()
    assert not (tmp_path / "here").exists()


# --- stores of the user --------------------------------------------------------------------------------


class Doubled(LocalStore):
    """Stores every value twice over."""

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        value = await super().get(key, prototype=prototype)
        if value is None or key.endswith("zarr.json"):
            return value
        whole = value.to_bytes()
        assert whole[: len(whole) // 2] == whole[len(whole) // 2 :]
        return prototype.buffer.from_bytes(whole[: len(whole) // 2])

    async def set(self, key: str, value: Any) -> None:
        if not key.endswith("zarr.json"):
            value = type(value).from_bytes(value.to_bytes() * 2)
        await super().set(key, value)


def test_a_subclass_keeps_its_overrides(tmp_path: Path) -> None:
    array = _array(Doubled(tmp_path), compressors=None)
    assert np.array_equal(np.asarray(array[:]), VALUES)
    array[3:5, 1:3] = -1
    assert (np.asarray(array[3:5, 1:3]) == -1).all()
    assert len((tmp_path / "c/0/0").read_bytes()) == 2 * 4 * 8 * 4
    assert any("Doubled" in reason for reason in wazarr.counters()["fallbacks"])


def test_methods_replaced_on_an_object_are_kept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    array = _array(store)
    seen: list[str] = []
    original = store.get

    async def get(key: str, *arguments: Any, **keywords: Any) -> Any:
        seen.append(key)
        return await original(key, *arguments, **keywords)

    store.get = get  # type: ignore[method-assign]
    assert np.array_equal(np.asarray(array[:]), VALUES)
    assert sorted(seen) == ["c/0/0", "c/1/0"]


class Asking(WrapperStore[MemoryStore]):
    """Reads another array, through whatever pipeline, while it serves."""

    other: Any = None

    async def get(self, *arguments: Any, **keywords: Any) -> Any:
        if self.other is not None:
            found = await self.other.getitem(slice(None))
            assert np.array_equal(np.asarray(found), VALUES)
        return await super().get(*arguments, **keywords)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_calls_back_while_it_serves(tmp_path: Path, workers: int) -> None:
    with zarr.config.set({"threading.max_workers": workers}):
        store = Asking(MemoryStore())
        array = _array(store)
        store.other = _array(tmp_path)._async_array
        assert np.array_equal(np.asarray(array[:]), VALUES)
        array[1, 1] = 5
        assert array[1, 1] == 5


class Failing(WrapperStore[MemoryStore]):
    """Cannot be reached."""

    error: BaseException | None = None

    async def get(self, *arguments: Any, **keywords: Any) -> Any:
        if self.error is not None:
            raise self.error
        return await super().get(*arguments, **keywords)

    async def set(self, *arguments: Any, **keywords: Any) -> None:
        if self.error is not None:
            raise self.error
        await super().set(*arguments, **keywords)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyError("x"), ConnectionError("gone")])
def test_what_a_store_raises_is_what_the_caller_gets(error: Exception) -> None:
    store = Failing(MemoryStore())
    array = _array(store)
    store.error = error
    for use in (lambda: array[:], lambda: array.__setitem__(..., 1), lambda: array.__setitem__((1, 1), 1)):
        with pytest.raises(type(error)) as caught:
            use()
        # Of the store's class, for handlers that know it, and of ours with what it was about.
        assert isinstance(caught.value, wazarr.errors.StoreError)
        assert caught.value.__cause__ is error
        assert caught.value.chunk_key is not None
        assert caught.value.chunk_key in str(caught.value)
    store.error = None
    assert np.array_equal(np.asarray(array[:]), VALUES)
    array[:] = 3
    assert (np.asarray(array[:]) == 3).all()


# --- codecs of the user --------------------------------------------------------------------------------


class RefusedError(LookupError):
    """What the codec below raises."""


@dataclass(frozen=True)
class Mine(BytesBytesCodec):
    """A codec of the user's under the name of a native one: turns every bit round."""

    is_fixed_size = True
    level: int = 0

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls()

    def to_dict(self) -> dict[str, Any]:
        return {"name": "gzip", "configuration": {"level": 5}}

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        if self.fails:
            raise RefusedError("no")
        return self._turned(chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        if self.fails:
            raise RefusedError("no")
        return self._turned(chunk_data, chunk_spec)

    def _turned(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        turned = np.frombuffer(chunk_data.to_bytes(), "u1") ^ 0xFF
        return chunk_spec.prototype.buffer.from_bytes(turned.tobytes())

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        return input_byte_length

    fails = False


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Mine]]:
    register_codec("gzip", Mine)
    name = f"{Mine.__module__}.{Mine.__qualname__}"
    with zarr.config.set({"codecs": {"gzip": name}}):
        monkeypatch.setattr(Mine, "fails", False)
        yield Mine


def test_a_codec_that_the_user_registered_wins(tmp_path: Path, mine: type[Mine]) -> None:
    array = _array(tmp_path, compressors=mine())
    array = zarr.open_array(tmp_path, mode="r+")
    assert np.array_equal(np.asarray(array[:]), VALUES)
    stored = np.frombuffer((tmp_path / "c/0/0").read_bytes(), "u1") ^ 0xFF
    assert np.array_equal(stored.view("i4").reshape(4, 8), VALUES[:4])
    steps = wazarr.counters()["codec_steps"]
    assert steps["python"] == 4
    assert steps["native"] == 4


@pytest.mark.parametrize("shards", [None, (4, 8)])
def test_what_a_codec_raises_is_a_codec_error_and_itself(
    tmp_path: Path, mine: type[Mine], monkeypatch: pytest.MonkeyPatch, shards: Any
) -> None:
    array = _array(tmp_path, compressors=mine(), shards=shards)
    monkeypatch.setattr(mine, "fails", True)
    for direction, use in (
        ("decode", lambda: array[:]),
        ("decode", lambda: array.__setitem__((1, 1), 1)),
        ("encode", lambda: array.__setitem__(..., 1)),
    ):
        with pytest.raises(wazarr.errors.PythonCodecError, match="c/0/0") as caught:
            use()
        assert isinstance(caught.value, RefusedError)
        assert isinstance(caught.value.__cause__, RefusedError)
        assert caught.value.direction == direction
        again = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(again, RefusedError)
        assert isinstance(again, wazarr.errors.PythonCodecError)
        assert (again.codec, again.direction, again.chunk_key) == ("gzip", direction, "c/0/0")
        assert str(again) == str(caught.value)
    monkeypatch.setattr(mine, "fails", False)
    assert np.array_equal(np.asarray(array[:]), VALUES)


@pytest.mark.parametrize("codec", ["reading", "sharding", "nested sharding"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_codec_that_waits_for_our_own_work(codec: str, workers: int) -> None:
    run("nested", codec, workers, timeout_s=60)


# --- fallbacks -----------------------------------------------------------------------------------------


def test_strict_refuses_every_fallback(tmp_path: Path, mine: type[Mine]) -> None:
    wrapped = _array(WrapperStore(MemoryStore()))
    filtered = _array(tmp_path / "codec", compressors=mine())
    overridden = _array(Doubled(tmp_path / "store"))
    with zarr.config.set({"codec_pipeline.strict": True}):
        for array in (wrapped, filtered, overridden):
            with pytest.raises(wazarr.errors.UnsupportedError, match="strict") as caught:
                array[:]
            assert caught.value.reason
            with pytest.raises(wazarr.errors.UnsupportedError):
                array[0, 0] = 1
        native = zarr.create_array(tmp_path / "native", shape=(8, 8), chunks=(4, 8), dtype="i4")
        native[:] = VALUES
        assert np.array_equal(np.asarray(native.oindex[::2, np.array([1, 3])]), VALUES[::2, [1, 3]])
    for array in (wrapped, filtered, overridden):
        assert np.array_equal(np.asarray(array[:]), VALUES)


def test_one_warning_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    kind = type("Unheard", (WrapperStore,), {})
    with caplog.at_level(logging.WARNING, logger="wazarr"):
        array = _array(kind(MemoryStore()))
        for _ in range(3):
            array[:]
            array[1] = 2
    warnings = [record for record in caplog.records if "Unheard" in record.getMessage()]
    assert [record.levelname for record in warnings] == ["WARNING"]
    assert warnings[0].name == "wazarr"
    counts = [count for reason, count in wazarr.counters()["fallbacks"].items() if "Unheard" in reason]
    assert counts == [2 + 3 * (2 + 1)]


# --- exceptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", wazarr.errors.__all__)
def test_exceptions_pickle(name: str) -> None:
    cls = getattr(wazarr.errors, name)
    error = cls("what happened")
    if issubclass(cls, wazarr.errors.CodecError):
        error = cls("what happened", codec="gzip", direction="decode", chunk_key="c/0")
    error.__cause__ = KeyError("why") if issubclass(cls, wazarr.errors.PythonCodecError) else None
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert again.args == error.args
    assert str(again) == str(error)
    for attribute in ("codec", "direction", "chunk_key", "reason"):
        assert getattr(again, attribute, None) == getattr(error, attribute, None)
    assert repr(again.__cause__) == repr(error.__cause__)


def test_what_damage_raises_pickles(tmp_path: Path) -> None:
    array = _array(tmp_path)
    (tmp_path / "c/0/0").write_bytes(b"damage")
    with pytest.raises(wazarr.errors.CodecError) as caught:
        array[:]
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.chunk_key == "c/0/0"


def test_a_failed_write_lets_go_of_its_locks(tmp_path: Path) -> None:
    array = _array(tmp_path)
    (tmp_path / "c/0/0").write_bytes(b"damage")
    for _ in range(3):
        with pytest.raises(wazarr.errors.CodecError):
            array[1, 1] = 4
    done = threading.Event()

    def repair() -> None:
        array[:4] = VALUES[:4]
        done.set()

    threading.Thread(target=repair, daemon=True).start()
    assert done.wait(30)
    assert np.array_equal(np.asarray(array[:]), VALUES)
