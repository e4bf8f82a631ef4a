"""Every key: its default, what `None` means, and what it does together with the others."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.config import config as zarr_config
from zarr.storage import MemoryStore, WrapperStore

import wazarr
from tests.pipelines import ZARR_VERSION
from wazarr import config

CPUS = 6
MISSING = object()

# Defaults and meanings of None are zarrs-python's for the keys that are its own.
DEFAULTS: dict[str, Any] = {
    "codec_pipeline.chunk_concurrent_maximum": None,
    "codec_pipeline.chunk_concurrent_minimum": 4,
    "codec_pipeline.validate_checksums": True,
    "codec_pipeline.strict": False,
    "codec_pipeline.direct_io": False,
    "codec_pipeline.file_handle_cache_size": None,
    "wazarr.store_concurrency": None,
    "wazarr.store_retries": 4,
    "wazarr.store_timeout_s": 60.0,
    "wazarr.small_shard_bytes": 256 * 1024,
    "wazarr.bytes_in_flight": 256 * 1024 * 1024,
    "wazarr.variable_length_limit": 512 * 1024 * 1024,
    "wazarr.progress": False,
    "wazarr.allow_unsafe_pickle_decode": False,
    "wazarr.wasm.memory_limit": 1024**3,
    "wazarr.wasm.total_memory_limit": 4 * 1024**3,
    "wazarr.wasm.timeout_s": 60.0,
    "wazarr.wasm.module_limit": 64 * 1024**2,
    "wazarr.wasm.compiled_modules_limit": 64,
    "wazarr.wasm.cache_dir": None,
    "wazarr.wasm.cache_limit": 1024**3,
    "wazarr.wasm.inline_limit": 32 * 1024,
    "wazarr.wasm.fetch_timeout_s": 60.0,
    "wazarr.wasm.allow": (),
    "wazarr.wasm.trusted": (),
    "wazarr.wasm.prefer": "native",
    "wazarr.wasm.native": {},
}


@pytest.fixture(autouse=True)
def six_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_cpu_count", lambda: CPUS)


def test_defaults() -> None:
    assert config.DEFAULTS == DEFAULTS
    for key, default in DEFAULTS.items():
        assert config.get(key) == default, key
    assert config.limits() == (CPUS, CPUS, 256 << 20)
    assert config.store_concurrency() == 64
    assert not config.allows_pickle()


@pytest.mark.parametrize("key", DEFAULTS)
def test_keys_are_looked_up_as_zarr_does(key: str) -> None:
    for value in (7, None, "text"):
        with zarr_config.set({key: value}):
            assert config.get(key) == zarr_config.get(key) == value
            assert config.get(key, "default") == value
    assert config.get(f"{key}.nothing", "default") == "default"
    assert config.get("nowhere.at_all") is None


# threading.max_workers, codec_pipeline.max_workers, chunk_concurrent_maximum, chunk_concurrent_minimum,
# then: threads at most, chunks at the same time.
LIMITS = [
    (None, MISSING, None, 4, CPUS, CPUS),
    (None, None, None, None, CPUS, CPUS),
    (2, MISSING, None, 4, 2, 2),
    (None, 3, None, 4, 3, 3),
    (2, 3, None, 4, 2, 2),
    (5, 3, None, 4, 3, 3),
    (16, MISSING, None, 4, 16, 16),
    (None, MISSING, 2, 4, CPUS, 2),
    (None, MISSING, 1, None, CPUS, 1),
    (None, MISSING, 5, 6, CPUS, 5),
    (None, MISSING, 100, 1, CPUS, CPUS),
    (3, MISSING, 100, 50, 3, 3),
    (None, MISSING, None, 100, CPUS, CPUS),
    (1, MISSING, 2, 2, 1, 1),
    (0, MISSING, 0, 0, 1, 1),
    (-1, MISSING, -1, -1, 1, 1),
    ("4", MISSING, "2", "1", 4, 2),
]


@pytest.mark.parametrize(("threads", "workers", "maximum", "minimum", "expected_threads", "chunks"), LIMITS)
def test_limits(
    threads: Any, workers: Any, maximum: Any, minimum: Any, expected_threads: int, chunks: int
) -> None:
    keys = {
        "threading.max_workers": threads,
        "codec_pipeline.max_workers": workers,
        "codec_pipeline.chunk_concurrent_maximum": maximum,
        "codec_pipeline.chunk_concurrent_minimum": minimum,
    }
    with zarr_config.set({key: value for key, value in keys.items() if value is not MISSING}):
        assert config.limits() == (expected_threads, chunks, 256 << 20)


# wazarr.store_concurrency, async.concurrency: then requests in flight.
CONCURRENCY = [
    (None, 10, 64),  # zarr's default: nobody chose it
    (None, None, 64),
    (None, 3, 3),
    (None, 200, 200),
    (5, 10, 5),
    (5, 200, 5),
    (10, 200, 10),
    (0, 10, 1),
]


@pytest.mark.parametrize(("own", "zarrs", "expected"), CONCURRENCY)
def test_requests_in_flight(own: int | None, zarrs: int | None, expected: int) -> None:
    with zarr_config.set({"wazarr.store_concurrency": own, "async.concurrency": zarrs}):
        assert config.store_concurrency() == expected


def test_the_default_that_is_ignored_is_zarrs() -> None:
    # Packages that other tests import may have added theirs.
    defaults = zarr_config.defaults[0]
    assert defaults["async"]["concurrency"] == config.DEFAULT_ASYNC_CONCURRENCY


@pytest.mark.parametrize("value", ["many", [], 2.5j])
def test_nonsense_is_reported_and_ignored(value: Any) -> None:
    with (
        zarr_config.set({"threading.max_workers": value}),
        pytest.warns(UserWarning, match=r"threading\.max_workers"),
    ):
        assert config.limits() == (CPUS, CPUS, 256 << 20)


PICKLE_KEY = (
    "array.allow_unsafe_pickle_decode" if ZARR_VERSION >= (3, 4) else "wazarr.allow_unsafe_pickle_decode"
)


@pytest.mark.parametrize(
    ("value", "allowed"), [(True, True), (False, False), (None, False), ("True", False), (1, False)]
)
def test_nothing_but_true_allows_pickle(value: object, *, allowed: bool) -> None:
    with zarr_config.set({PICKLE_KEY: value}):
        assert config.allows_pickle() is allowed


@pytest.mark.skipif(ZARR_VERSION < (3, 4), reason="this zarr has no such key")
def test_where_zarr_has_a_gate_for_pickle_ours_is_no_way_around_it() -> None:
    with zarr_config.set({"wazarr.allow_unsafe_pickle_decode": True}):
        assert not config.allows_pickle()


@pytest.mark.parametrize(("value", "validates"), [(True, True), (None, True), (False, False)])
def test_validate_checksums(value: object, *, validates: bool, subject_pipeline: str) -> None:
    store = MemoryStore()
    array = zarr.create_array(
        store, shape=(4,), dtype="i4", compressors=[zarr.codecs.Crc32cCodec()], filters=None
    )
    array[:] = np.arange(4)
    damaged = bytearray(store._store_dict["c/0"].to_bytes())
    damaged[-1] ^= 1
    store._store_dict["c/0"] = zarr.core.buffer.cpu.Buffer.from_bytes(bytes(damaged))
    with zarr_config.set({"codec_pipeline.validate_checksums": value}):
        if validates:
            with pytest.raises(wazarr.errors.ChecksumError):
                array[:]
        else:
            assert np.array_equal(array[:], np.arange(4))


def test_the_variable_length_limit_names_itself(subject_pipeline: str) -> None:
    array = zarr.create_array(MemoryStore(), shape=(4,), dtype=str)
    array[:] = np.array(["x" * 1000] * 4, dtype=object)
    with (
        zarr_config.set({"wazarr.variable_length_limit": 1000}),
        pytest.raises(wazarr.errors.CodecError, match=r"wazarr\.variable_length_limit"),
    ):
        array[:]
    assert array[3] == "x" * 1000


@pytest.mark.parametrize("store", ["memory", "python"])
@pytest.mark.parametrize(("allowed", "most"), [(1, 1), (4 * 2048, 2), (1 << 30, 16)])
async def test_the_bytes_in_flight_are_bounded(store: str, allowed: int, most: int) -> None:
    in_flight = most_seen = 0

    class Slow(WrapperStore[MemoryStore]):
        async def get(self, *arguments: Any, **keywords: Any) -> Any:
            nonlocal in_flight, most_seen
            in_flight += 1
            most_seen = max(most_seen, in_flight)
            await asyncio.sleep(0.02)  # so long that all are asked for that may be
            in_flight -= 1
            return await super().get(*arguments, **keywords)

    values = np.arange(16 * 1024, dtype="u2")
    with wazarr.enabled(wazarr__bytes_in_flight=allowed):
        at: Any = MemoryStore() if store == "memory" else Slow(MemoryStore())
        array = await zarr.api.asynchronous.create_array(at, shape=values.shape, chunks=(1024,), dtype="u2")
        await array.setitem(slice(None), values)
        most_seen = 0
        assert np.array_equal(np.asarray(await array.getitem(slice(None))), values)
        # A chunk of 2 KiB counts twice: as stored and as decoded.
        assert most_seen == (most if store == "python" else 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (False, 0)),
        ({"codec_pipeline.direct_io": True}, (True, 0)),
        ({"codec_pipeline.direct_io": "yes"}, (False, 0)),
        ({"codec_pipeline.file_handle_cache_size": 7}, (False, 7)),
        ({"codec_pipeline.file_handle_cache_size": "7"}, (False, 7)),
        ({"codec_pipeline.file_handle_cache_size": -7}, (False, 0)),
        ({"codec_pipeline.direct_io": True, "codec_pipeline.file_handle_cache_size": 1}, (True, 1)),
    ],
)
def test_how_files_are_used(settings: dict[str, Any], expected: tuple[bool, int]) -> None:
    with zarr_config.set(settings):
        assert config.file_access() == expected


def test_nonsense_about_files_is_reported() -> None:
    with (
        zarr_config.set({"codec_pipeline.file_handle_cache_size": "many"}),
        pytest.warns(UserWarning, match="file_handle_cache_size='many'"),
    ):
        assert config.file_access() == (False, 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"wazarr.store_concurrency": 64}, 64),
        ({"async.concurrency": 12}, 12),
        ({"async.concurrency": 10}, None),
    ],
)
def test_whether_anybody_said_how_many_requests(settings: dict[str, Any], expected: int | None) -> None:
    with zarr_config.set(settings):
        assert config.wanted_concurrency() == expected
        assert config.store_concurrency() == (expected or 64)


# --- Wasm ----------------------------------------------------------------------------------------------

WASM_NUMBERS = {
    "memory_limit": "memory_bytes",
    "total_memory_limit": "total_memory_bytes",
    "module_limit": "module_bytes",
    "compiled_modules_limit": "compiled_modules",
    "cache_limit": "cache_bytes",
    "timeout_s": "timeout_s",
}


@pytest.mark.parametrize(("key", "name"), WASM_NUMBERS.items())
def test_limits_of_modules(key: str, name: str) -> None:
    default = DEFAULTS[f"wazarr.wasm.{key}"]
    assert config.wasm_limits()[name] == default
    for value, expected in ((7, 7), ("7", 7), (1, 1)):
        with zarr_config.set({f"wazarr.wasm.{key}": value}):
            assert config.wasm_limits()[name] == expected
    senseless: list[Any] = [None, "much", [1], {}]
    for nonsense in senseless:
        with (
            zarr_config.set({f"wazarr.wasm.{key}": nonsense}),
            pytest.warns(UserWarning, match=f"ignoring wazarr.wasm.{key}="),
        ):
            assert config.wasm_limits()[name] == default


@pytest.mark.parametrize("seconds", [0, -1, "inf", "nan", None, "soon"])
@pytest.mark.parametrize("key", ["timeout_s", "fetch_timeout_s"])
def test_seconds_that_are_none(key: str, seconds: Any) -> None:
    with (
        zarr_config.set({f"wazarr.wasm.{key}": seconds}),
        pytest.warns(UserWarning, match=f"ignoring wazarr.wasm.{key}="),
    ):
        value = config.wasm_limits()["timeout_s"] if key == "timeout_s" else config.wasm_fetch_timeout()
    assert value == 60


def test_the_inline_limit_may_be_nothing() -> None:
    for value, expected in ((0, 0), (-1, 0), (10, 10)):
        with zarr_config.set({"wazarr.wasm.inline_limit": value}):
            assert config.wasm_inline_limit() == expected
    with (
        zarr_config.set({"wazarr.wasm.inline_limit": "small"}),
        pytest.warns(UserWarning, match="inline_limit"),
    ):
        assert config.wasm_inline_limit() == 32 << 10


def test_the_folder_for_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert config.wasm_cache_dir() == "/home/somebody/.cache/wazarr/wasm"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert config.wasm_cache_dir() == "/cache/wazarr/wasm"
    # As the specification of that variable says: what is not absolute does not count.
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert config.wasm_cache_dir() == "/home/somebody/.cache/wazarr/wasm"
    for value, expected in (("/x/y", "/x/y"), ("~/z", "/home/somebody/z"), ("", None), (False, None)):
        with zarr_config.set({"wazarr.wasm.cache_dir": value}):
            assert config.wasm_cache_dir() == expected
    with zarr_config.set({"wazarr.wasm.cache_dir": 7}), pytest.warns(UserWarning, match="cache_dir"):
        assert config.wasm_cache_dir() is None


@pytest.mark.parametrize("key", ["allow", "trusted"])
def test_lists_of_texts(key: str) -> None:
    read: Any = getattr(config, f"wasm_{key}")
    digest = "sha256:" + "0" * 64
    assert not read()
    for value in ([digest], (digest,), {digest}, digest):
        with zarr_config.set({f"wazarr.wasm.{key}": value}):
            assert list(read()) == [digest]
    with zarr_config.set({f"wazarr.wasm.{key}": None}):
        assert not read()
    for nonsense in (7, [7], {"a": 1}, True):
        with zarr_config.set({f"wazarr.wasm.{key}": nonsense}), pytest.warns(UserWarning, match=key):
            assert not read()


def test_preference_and_stand_ins() -> None:
    assert config.wasm_prefers_native()
    with zarr_config.set({"wazarr.wasm.prefer": "wasm"}):
        assert not config.wasm_prefers_native()
    neither: list[Any] = ["neither", None, 7, ["wasm"]]
    for nonsense in neither:
        with zarr_config.set({"wazarr.wasm.prefer": nonsense}), pytest.warns(UserWarning, match="prefer"):
            assert config.wasm_prefers_native()
    assert config.wasm_native() == {}
    with zarr_config.set({"wazarr.wasm.native": {"sha256:x": {"name": "zlib"}}}):
        assert config.wasm_native() == {"sha256:x": {"name": "zlib"}}
    for table in (7, ["zlib"], "zlib"):
        with zarr_config.set({"wazarr.wasm.native": table}), pytest.warns(UserWarning, match="native"):
            assert config.wasm_native() == {}
