"""The exception tree: as drawn, as raised by the native side, and through pickle."""

from __future__ import annotations

import asyncio
import copy
import errno
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs.numcodecs import Zlib
from zarr.storage import LocalStore, MemoryStore

from wazarr import _native, errors

TREE = {
    # class: its parent in the tree, builtins it also is
    "UnsupportedError": ("WazarrError", ()),
    "InvalidInputError": ("WazarrError", (ValueError,)),
    "ChunkIndexError": ("InvalidInputError", (ValueError, IndexError)),
    "CodecError": ("WazarrError", (ValueError, RuntimeError)),
    "ChecksumError": ("CodecError", (ValueError, RuntimeError)),
    "WasmTrapError": ("CodecError", (ValueError, RuntimeError)),
    "WasmLimitError": ("CodecError", (ValueError, RuntimeError)),
    "WasmModuleNotFoundError": ("CodecError", (ValueError, RuntimeError)),
    "PythonCodecError": ("CodecError", (ValueError, RuntimeError)),
    "StoreError": ("WazarrError", (OSError,)),
    "InternalError": ("WazarrError", (RuntimeError,)),
}


@pytest.mark.parametrize("name", TREE)
def test_classes_are_as_in_the_tree(name: str) -> None:
    parent, builtins = TREE[name]
    cls = getattr(errors, name)
    assert issubclass(cls, getattr(errors, parent))
    for builtin in (ValueError, IndexError, RuntimeError, OSError, NotImplementedError):
        assert issubclass(cls, builtin) == (builtin in builtins), builtin


def test_the_drawing_shows_every_class_and_no_other() -> None:
    drawing = (errors.__doc__ or "").partition("::")[2].partition("`UnsupportedError`")[0]
    drawn = set(re.findall(r"\b[A-Z]\w*Error\b", drawing)) - {
        "ValueError",
        "IndexError",
        "RuntimeError",
        "OSError",
    }
    defined = {
        name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, Exception)
    }
    assert drawn == defined == {*TREE, "WazarrError"} == set(errors.__all__)


# --- made by the native side ---------------------------------------------------------------------------

NATIVE_SOURCE = Path(__file__).parent.parent / "src" / "bindings" / "errors.rs"


@pytest.mark.skipif(not NATIVE_SOURCE.exists(), reason="the Rust sources are not here")
def test_the_native_side_calls_exactly_the_makers_there_are() -> None:
    called = set(re.findall(r'"(make_\w+)"', NATIVE_SOURCE.read_text()))
    assert called == {name for name in vars(errors) if name.startswith("make_")}


def codec_error(
    kind: str = "codec", cause: BaseException | None = None, module: str | None = None
) -> errors.CodecError:
    """Make an error as the native side does."""
    return errors.make_codec_error(
        message="chunk 'a/c/0': it broke",
        kind=kind,
        codec="zstd",
        direction="decode",
        chunk_key="a/c/0",
        cause=cause,
        module=module,
    )


NOT_FOUND = errors.WasmModuleNotFoundError("it is nowhere", module="sha256:00", places=("here", "there"))


class Picky(Exception):
    """Somebody's exception that needs two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first, second)


MADE: dict[str, tuple[BaseException, tuple[type[BaseException], ...]]] = {
    "codec": (codec_error(), (errors.CodecError,)),
    "checksum": (codec_error("checksum"), (errors.ChecksumError,)),
    "python, TypeError": (codec_error("python", TypeError("no")), (errors.PythonCodecError, TypeError)),
    "python, ValueError": (codec_error("python", ValueError("no")), (errors.PythonCodecError,)),
    "python, KeyError": (codec_error("python", KeyError("no")), (errors.PythonCodecError, KeyError)),
    "python, MemoryError": (codec_error("python", MemoryError()), (errors.PythonCodecError, MemoryError)),
    "python, picky": (codec_error("python", Picky("1", "2")), (errors.PythonCodecError, Picky)),
    "python, unicode": (
        codec_error("python", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")),
        (errors.PythonCodecError,),
    ),
    "python, OSError": (codec_error("python", OSError(5, "no")), (errors.PythonCodecError,)),
    "store": (
        errors.make_store_error(message="it broke", errno=0, chunk_key="a/c/0", location="/a/c/0"),
        (errors.StoreError,),
    ),
    "store, EACCES": (
        errors.make_store_error(message="no", errno=errno.EACCES, chunk_key="a/c/0", location="/a/c/0"),
        (errors.StoreError, PermissionError),
    ),
    "store, EIO": (
        errors.make_store_error(message="no", errno=errno.EIO, chunk_key="a/c/0", location="/a/c/0"),
        (errors.StoreError,),
    ),
    "internal": (errors.make_internal_error(message="it broke"), (errors.InternalError,)),
    "invalid input": (errors.make_invalid_input_error(message="it broke"), (errors.InvalidInputError,)),
    "unsupported": (errors.make_unsupported_error(reason="no engine"), (errors.UnsupportedError,)),
    "plain classes": (errors.ChunkIndexError("outside"), (errors.ChunkIndexError,)),
    "wasm trap": (errors.WasmTrapError("it broke", codec="x", direction="encode"), (errors.WasmTrapError,)),
    "wasm limit": (errors.WasmLimitError("it broke", chunk_key="c/0"), (errors.WasmLimitError,)),
    "wasm trap in a chunk": (codec_error("wasm-trap", module="sha256:00"), (errors.WasmTrapError,)),
    "wasm limit in a chunk": (codec_error("wasm-limit", module="sha256:00"), (errors.WasmLimitError,)),
    "module": (
        errors.make_module_error(message="it is none", kind="wasm-limit", module="sha256:00"),
        (errors.WasmLimitError,),
    ),
    "module not found": (NOT_FOUND, (errors.WasmModuleNotFoundError,)),
    "module of a chunk not found": (codec_error("python", NOT_FOUND), (errors.WasmModuleNotFoundError,)),
}


ATTRIBUTES = ("codec", "direction", "chunk_key", "module", "places")


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_errors_are_what_they_should_be_and_survive_pickle(name: str, copied: Any) -> None:
    error, classes = MADE[name]
    for version in (error, copied(error)):
        for cls in classes:
            assert isinstance(version, cls)
        assert type(version).__name__ == type(error).__name__ == classes[0].__name__
        assert (str(version), version.args) == (str(error), error.args)
        assert type(version) is type(error)
        for attribute in (*ATTRIBUTES, "reason", "errno", "filename"):
            assert getattr(version, attribute, None) == getattr(error, attribute, None), attribute
        assert repr(version.__cause__) == repr(error.__cause__)


def test_attributes_say_where() -> None:
    error, _ = MADE["python, TypeError"]
    assert isinstance(error, errors.CodecError)
    assert (error.codec, error.direction, error.chunk_key) == ("zstd", "decode", "a/c/0")
    assert isinstance(error.__cause__, TypeError)
    for name in ("wasm trap in a chunk", "wasm limit in a chunk", "module of a chunk not found"):
        of_chunk, _ = MADE[name]
        assert isinstance(of_chunk, errors.CodecError)
        assert getattr(of_chunk, "module") == "sha256:00"  # noqa: B009 - of three classes
        assert of_chunk.chunk_key == "a/c/0"
    assert getattr(of_chunk, "places") == ("here", "there")  # noqa: B009 - the last one's
    store_error, _ = MADE["store, EACCES"]
    assert isinstance(store_error, errors.StoreError)
    assert (store_error.errno, store_error.filename) == (errno.EACCES, "/a/c/0")
    assert store_error.chunk_key == "a/c/0"
    assert errors.UnsupportedError("no engine").reason == "no engine"


def test_combined_classes_are_made_once() -> None:
    assert type(codec_error("python", TypeError("a"))) is type(codec_error("python", TypeError("b")))


def test_cancellation_is_asyncios() -> None:
    assert isinstance(errors.make_cancelled_error(), asyncio.CancelledError)


# --- raised by the native side -------------------------------------------------------------------------


@pytest.fixture
def array(subject_pipeline: str) -> zarr.Array[Any]:
    """Return an array of four chunks with a checksum."""
    array = zarr.create_array(
        MemoryStore(), name="a", shape=(8,), chunks=(2,), dtype="i4",
        compressors=[zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()], overwrite=True,
    )  # fmt: skip
    array[:] = np.arange(8)
    return array


def damage(array: zarr.Array[Any], key: str, change: Any) -> None:
    """Change a stored value."""
    values: Any = array.store._store_dict  # type: ignore[attr-defined]
    prototype = zarr.core.buffer.default_buffer_prototype()
    values[key] = prototype.buffer.from_bytes(change(values[key].to_bytes()))


@pytest.mark.parametrize(
    ("change", "cls", "codec"),
    [
        pytest.param(
            lambda data: data[:-1] + bytes([data[-1] ^ 1]), errors.ChecksumError, "crc32c", id="checksum"
        ),
        pytest.param(lambda data: data[:2], errors.CodecError, "crc32c", id="short"),
    ],
)
def test_damaged_chunks_name_chunk_codec_and_direction(
    array: zarr.Array[Any], change: Any, cls: type[errors.CodecError], codec: str
) -> None:
    damage(array, "a/c/1", change)
    with pytest.raises(cls, match=r"a/c/1.*crc32c.*decode") as caught:
        array[:]
    assert (caught.value.codec, caught.value.direction, caught.value.chunk_key) == (codec, "decode", "a/c/1")
    assert np.array_equal(array[4:], np.arange(4, 8))


class Broken(Zlib):
    """Encodes, but raises an exception of its own when it decodes."""

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        raise Picky("first", "second")


def test_a_python_codecs_own_exception_is_the_cause(subject_pipeline: str) -> None:
    array = zarr.create_array(MemoryStore(), shape=(4,), chunks=(2,), dtype="i4", compressors=Broken(level=1))
    array[:] = 1
    with pytest.raises(Picky) as caught:
        array[:]
    assert isinstance(caught.value, errors.PythonCodecError)
    assert type(caught.value.__cause__) is Picky
    assert caught.value.__cause__.args == ("first", "second")


def test_store_failures_have_pythons_narrower_class(tmp_path: Path, subject_pipeline: str) -> None:
    array = zarr.create_array(LocalStore(tmp_path), shape=(4,), chunks=(2,), dtype="i4", compressors=None)
    array[:] = 1
    chunk = tmp_path / "c" / "0"
    chunk.unlink()
    chunk.symlink_to(chunk)
    with pytest.raises(errors.StoreError, match="c/0") as caught:
        array[:]
    assert caught.value.errno == errno.ELOOP
    assert caught.value.chunk_key == "c/0"


def test_invalid_configurations_are_invalid_input() -> None:
    with pytest.raises(ValueError, match="configuration"):
        _native.bind_codec("zstd", "{", (2,), "<i4", validate_checksums=True)
    with pytest.raises(errors.UnsupportedError, match="no native engine"):
        _native.bind_codec("none such", "{}", (2,), "<i4", validate_checksums=True)
