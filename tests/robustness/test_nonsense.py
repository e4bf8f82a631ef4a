# ruff: noqa: PT017 - an exception is allowed here, not demanded
"""Requests that make no sense, straight to the pipeline: an exception, never a panic, never a stray write."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import cpu
from zarr.storage import LocalStore, MemoryStore, StorePath, WrapperStore

import wazarr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUES = np.arange(12 * 10, dtype="i4").reshape(12, 10)


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    with wazarr.enabled():
        yield


def _array(store: Any, **settings: Any) -> zarr.Array[Any]:
    array = zarr.create_array(store, shape=(12, 10), dtype="i4", **{"chunks": (6, 5), **settings})
    array[:] = VALUES
    return array


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"compressors": None},
    "compressed": {},
    "shards": {"shards": (6, 10), "chunks": (3, 5)},
    "turned": {"filters": [zarr.codecs.TransposeCodec(order=(1, 0))]},
}
STORES: dict[str, Callable[[Path], Any]] = {
    "files": LocalStore,
    "memory": lambda _: MemoryStore(),
    "python store": lambda _: WrapperStore(MemoryStore()),
}


def _entry(array: zarr.Array[Any], chunk_selection: Any, out_selection: Any, *, key: str = "c/0/0") -> Any:
    inner = array._async_array
    shape = array.shards or array.chunks
    spec = zarr.core.array_spec.ArraySpec(
        shape=shape,
        dtype=inner._zdtype,
        fill_value=array.fill_value,
        config=getattr(inner, "config", None) or inner._config,
        prototype=cpu.buffer_prototype,
    )
    path = StorePath(array.store, key)
    return (path, spec, chunk_selection, out_selection, False)


def _pipeline(array: zarr.Array[Any]) -> Any:
    return array._async_array.codec_pipeline


def _read(array: zarr.Array[Any], batch: Any, out: Any, drop_axes: Any = ()) -> None:
    asyncio.run(_pipeline(array).read(batch, cpu.NDBuffer(out), drop_axes))


def _write(array: zarr.Array[Any], batch: Any, value: Any, drop_axes: Any = ()) -> None:
    asyncio.run(_pipeline(array).write(batch, cpu.NDBuffer(value), drop_axes))


def _selections(rng: random.Random) -> Iterator[Any]:
    indices = [-(2**63), -(2**31), -7, -1, 0, 3, 5, 6, 100, 2**31, 2**62, 2**63 - 1]
    while True:
        entries: list[Any] = []
        for _ in range(rng.choice([0, 1, 2, 2, 2, 2, 3, 5])):
            kind = rng.randrange(9)
            length = rng.choice([0, 1, 2, 5, 6])
            entries.append(
                [
                    rng.choice(indices),
                    slice(
                        rng.choice(indices), rng.choice(indices), rng.choice([1, 2, -1, -3, 2**62, -(2**63)])
                    ),
                    slice(None),
                    slice(0, rng.choice([0, 1, 5, 6])),
                    np.array([rng.choice(indices) for _ in range(length)], dtype="i8"),
                    np.array([[rng.randrange(5)] for _ in range(length)], dtype="i8").reshape(length, 1),
                    np.array([[rng.randrange(5) for _ in range(length)]], dtype="i8"),
                    np.array([rng.random() < 0.5 for _ in range(rng.choice([5, 6, 7]))]),
                    rng.choice(
                        [..., None, True, 1.5, "x", np.float64(1), np.uint64(2**64 - 1), [1, 2], [[0]]]
                    ),
                ][kind]
            )
        yield entries[0] if len(entries) == 1 and rng.random() < 0.5 else tuple(entries)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("store", STORES)
def test_senseless_selections(tmp_path: Path, store: str, layout: str) -> None:
    array = _array(STORES[store](tmp_path), **LAYOUTS[layout])
    rng = random.Random(f"{store} {layout}")
    selections = _selections(rng)
    guarded = np.full((20, 20), 77, "i4")
    internal: list[str] = []
    for _ in range(300):
        count = rng.choice([1, 1, 2])
        batch = [_entry(array, next(selections), next(selections)) for _ in range(count)]
        drop_axes = rng.choice([(), (), (0,), (1,), (0, 1), (7,), (2**62,)])
        out = guarded[4 : 4 + rng.choice([0, 1, 5, 6]), 4 : 4 + rng.choice([0, 1, 5, 10])]
        if rng.random() < 0.2:
            out = out.T[::-1]
        for use in (_read, _write):
            try:
                use(array, batch, out, drop_axes)
            except wazarr.errors.InternalError as error:
                internal.append(f"{use.__name__} {batch[0][2:4]} {drop_axes} {out.shape}: {error}")
            except Exception as error:  # noqa: BLE001 - any but a panic
                assert "anic" not in f"{type(error)}{error}", error
        around = guarded.copy()
        around[4:14, 4:14] = 77
        assert (around == 77).all(), "something was written beside the output"
        guarded[:] = 77
    # A panic that was caught is a bug all the same.
    assert not [text for text in internal if "panic" in text], internal
    array[:] = VALUES
    assert np.array_equal(np.asarray(array[:]), VALUES)


def _read_only() -> Any:
    out = np.zeros((6, 5), "i4")
    out.flags.writeable = False
    return out


OUTPUTS: dict[str, Callable[[], Any]] = {
    "read-only": _read_only,
    "too small": lambda: np.zeros((5, 5), "i4"),
    "of one axis": lambda: np.zeros(30, "i4"),
    "of three axes": lambda: np.zeros((6, 5, 1), "i4"),
    "without axes": lambda: np.zeros((), "i4"),
    "repeated": lambda: np.broadcast_to(np.zeros(1, "i4"), (6, 5)),
    "empty": lambda: np.zeros((0, 5), "i4"),
    "of structs": lambda: np.zeros((6, 5), "i4,i4"),
    "of objects": lambda: np.zeros((6, 5), object),
    "of strings": lambda: np.zeros((6, 5), "U3"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_senseless_outputs(output: str, layout: str) -> None:
    array = _array(MemoryStore(), **LAYOUTS[layout])
    out = OUTPUTS[output]()
    whole = (slice(0, 6), slice(0, 5))
    try:
        _read(array, [_entry(array, whole, whole)], out)
    except (ValueError, TypeError, IndexError, wazarr.errors.UnsupportedError) as error:
        assert not isinstance(error, wazarr.errors.InternalError)
    else:
        assert output.startswith("of "), "taken"


def test_elements_that_share_memory() -> None:
    array = _array(MemoryStore())
    base = np.zeros(12, "i4")
    out = np.lib.stride_tricks.as_strided(base, (6, 5), (8, 0), writeable=True)
    whole = (slice(0, 6), slice(0, 5))
    entries = [_entry(array, whole, whole, key=f"c/{row}/{column}") for row in (0, 1) for column in (0, 1)]
    _read(array, entries * 8, out)
    assert (base[1::2] == 0).all()


def test_the_same_chunk_many_times(tmp_path: Path) -> None:
    array = _array(tmp_path)
    whole = (slice(0, 6), slice(0, 5))
    out = np.zeros((6 * 40, 5), "i4")
    batch = [_entry(array, whole, (slice(6 * at, 6 * at + 6), slice(0, 5))) for at in range(40)]
    _read(array, batch, out)
    assert (out.reshape(40, 6, 5) == VALUES[:6, :5]).all()
    values = np.arange(40 * 5, dtype="i4").reshape(40, 5)
    batch = [
        _entry(array, (slice(at % 6, at % 6 + 1), slice(0, 5)), (slice(at, at + 1), slice(0, 5)))
        for at in range(40)
    ]
    _write(array, batch, values)
    expected = np.empty((6, 5), "i4")
    for at in range(40):
        expected[at % 6] = values[at]
    assert np.array_equal(np.asarray(array[:6, :5]), expected)


SHAPES: dict[str, dict[str, Any]] = {
    "no elements": {"shape": (0, 5), "chunks": (1, 5)},
    "no elements in shards": {"shape": (0, 6), "chunks": (1, 3), "shards": (2, 6)},
    "one huge chunk": {"shape": (1 << 46,), "chunks": (1 << 46,)},
    "more than memory addresses": {"shape": (1 << 62, 1 << 62), "chunks": (1 << 62, 1 << 62)},
    "huge and empty": {"shape": (1 << 62, 1 << 62, 0), "chunks": (1 << 62, 1 << 62, 1)},
    "a huge grid": {"shape": (1 << 62, 1 << 40), "chunks": (1, 1)},
    "a huge shard": {"shape": (1 << 50,), "chunks": (1,), "shards": (1 << 45,)},
    "no axes": {"shape": (), "chunks": ()},
}


@pytest.mark.parametrize("compressors", [None, "auto"])
@pytest.mark.parametrize("shape", SHAPES)
def test_extreme_shapes(tmp_path: Path, shape: str, compressors: Any) -> None:
    array = zarr.create_array(tmp_path, dtype="u1", fill_value=7, compressors=compressors, **SHAPES[shape])
    corner = tuple(slice(0, 2) for _ in array.shape)
    for use in (lambda: array[corner], lambda: array.__setitem__(corner, 1), lambda: array[corner]):
        try:
            use()
        except (MemoryError, ValueError) as error:
            assert "huge" in shape or "memory" in shape, error
            assert not isinstance(error, wazarr.errors.InternalError)
    for key in ("c/0", "c/0/0"):
        path = tmp_path / key
        if path.parent.is_dir() and not path.exists():
            path.write_bytes(b"damage")
    try:
        array[corner]
    except (MemoryError, ValueError) as error:
        assert not isinstance(error, wazarr.errors.InternalError)


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk_shape": (0, 5)},
        {"chunk_shape": (4, 5)},
        {"chunk_shape": (6,)},
        {"chunk_shape": (6, 5, 1)},
    ],
)
def test_inner_chunks_that_do_not_fit(settings: dict[str, Any]) -> None:
    """Metadata that zarr itself may not check: read from a store that somebody else filled."""
    from zarr.codecs import BytesCodec, ShardingCodec

    array = _array(MemoryStore())
    try:
        pipeline = wazarr.CodecPipeline.from_codecs([ShardingCodec(codecs=[BytesCodec()], **settings)])
    except (ValueError, TypeError):
        return
    whole = (slice(0, 6), slice(0, 5))
    entry = _entry(array, whole, whole)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any of zarr's
        asyncio.run(pipeline.read([entry], cpu.NDBuffer(np.zeros((6, 5), "i4"))))
    assert isinstance(caught.value, Exception)
    assert not isinstance(caught.value, wazarr.errors.InternalError)
