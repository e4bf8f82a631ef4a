"""The WebAssembly host as Python sees it: errors, threads, forks, limits of the process."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.storage

import wazarr
from tests import wasm_bytes
from wazarr import _native
from wazarr.errors import CodecError, WasmLimitError, WasmTrapError

MODULE_LIMIT = 64 << 20
CHUNK = bytes(range(200))


def put(module: bytes, cache_dir: Path | None = None, digest: str | None = None) -> str:
    folder = None if cache_dir is None else str(cache_dir)
    return _native.wasm_put(module, digest, cache_dir=folder, module_limit_bytes=MODULE_LIMIT)


def bind(
    module: bytes, *, cache_dir: Path | None = None, fresh: bool = False, **limits: Any
) -> _native.Codec:
    digest = put(module, cache_dir)
    folder = None if cache_dir is None else str(cache_dir)
    return _native.bind_wasm_codec(
        "acme",
        digest,
        json.dumps({"kind": "bytes-bytes", "parameters": {}}),
        limits=json.dumps(limits),
        cache_dir=folder,
        fresh_instance=fresh,
    )


def test_a_codec_codes() -> None:
    codec = bind(wasm_bytes.guest())
    assert (codec.name, codec.engine, codec.interface) == ("acme", "wasm", "wazarr")
    assert codec.encode(CHUNK) == CHUNK
    assert codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK
    assert codec.decode(CHUNK, None, 1000) == CHUNK
    assert codec.encoded_bound(10) is None
    with pytest.raises(CodecError, match="200 bytes where 201 were expected"):
        codec.decode(CHUNK, 201, 1000)
    # This guest does not look how much room there is.
    for expected_len, limit_bytes in ((199, 1000), (None, 199)):
        with pytest.raises(WasmTrapError, match="wrote 200 bytes into room for 199"):
            codec.decode(CHUNK, expected_len, limit_bytes)


def test_a_survey_is_json() -> None:
    module = wasm_bytes.guest()
    survey = json.loads(_native.wasm_survey(module, module_limit_bytes=MODULE_LIMIT))
    assert survey["digest"] == put(module)
    assert (survey["format"], survey["interface"], survey["len_bytes"]) == ("core", "wazarr", len(module))
    assert survey["memory"] == {"initial_pages": 64, "maximum_pages": None}
    assert survey["has_decode"]
    assert survey["has_encode"]
    assert survey["imports"] == []
    assert "decode" in survey["exports"]
    for damaged in (b"", b"no module", module[:-1]):
        with pytest.raises(CodecError):
            _native.wasm_survey(damaged, module_limit_bytes=MODULE_LIMIT)
    with pytest.raises(WasmLimitError, match=r"wazarr\.wasm\.module_limit"):
        _native.wasm_survey(module, module_limit_bytes=100)


def test_digests_are_compared() -> None:
    module = wasm_bytes.guest(name="compared")
    other = put(wasm_bytes.guest())
    with pytest.raises(CodecError, match="digest"):
        put(module, digest=other)
    with pytest.raises(CodecError, match="no digest"):
        put(module, digest="sha256:12")
    digest = put(module)
    assert _native.wasm_has(digest, cache_dir=None)
    assert _native.wasm_bytes(digest, cache_dir=None) == module
    unknown = "sha256:" + "0" * 64
    assert not _native.wasm_has(unknown, cache_dir=None)
    assert _native.wasm_bytes(unknown, cache_dir=None) is None


@pytest.mark.parametrize(
    ("decode", "error", "text"),
    [
        (wasm_bytes.UNREACHABLE, WasmTrapError, "unreachable"),
        (wasm_bytes.LIE, WasmTrapError, "wrote 201 bytes into room for 200"),
        (wasm_bytes.FAIL, CodecError, "could not decode"),
        (wasm_bytes.LOOP_FOR_EVER, WasmLimitError, "wazarr.wasm.timeout_s"),
        (wasm_bytes.GROW, WasmLimitError, "wazarr.wasm.memory_limit"),
    ],
)
def test_failures_are_exceptions(decode: bytes, error: type[CodecError], text: str) -> None:
    module = wasm_bytes.guest(decode)
    codec = bind(module, timeout_s=0.2, memory_bytes=16 << 20)
    for _ in range(2):
        with pytest.raises(error, match=text) as raised:
            codec.decode(CHUNK, len(CHUNK), 1000)
        assert type(raised.value) is error
        assert (raised.value.codec, raised.value.direction) == ("acme", "decode")
        assert put(module) in str(raised.value)
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
        # The other direction is another call.
        assert codec.encode(CHUNK) == CHUNK


def interrupt_after(delay_s: float) -> None:
    """Press Ctrl-C, as the main thread sees it."""
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(delay_s, signal.pthread_kill, (main, signal.SIGINT)).start()


def test_ctrl_c_ends_a_call() -> None:
    codec = bind(wasm_bytes.guest(wasm_bytes.LOOP_FOR_EVER), timeout_s=60)
    interrupt_after(0.3)
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        codec.decode(CHUNK, len(CHUNK), 1000)
    assert time.perf_counter() - begin < 20


def test_instances_stay_warm() -> None:
    codec = bind(wasm_bytes.guest(name="warm"))
    before = _native.wasm_counters()
    for _ in range(50):
        codec.decode(CHUNK, len(CHUNK), 1000)
    after = _native.wasm_counters()
    assert after["instances"] - before["instances"] == 1
    assert after["calls"] - before["calls"] == 50
    fresh = bind(wasm_bytes.guest(name="warm"), fresh=True)
    for _ in range(5):
        fresh.decode(CHUNK, len(CHUNK), 1000)
    assert _native.wasm_counters()["instances"] - after["instances"] == 5
    _native.wasm_drop_idle()


def test_threads_have_their_own() -> None:
    codec = bind(wasm_bytes.guest(name="threads", pages=200))
    chunks = [os.urandom(100_000) for _ in range(64)]
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda chunk: codec.decode(chunk, len(chunk), 1 << 20), chunks))
    assert decoded == chunks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("trusted", [False, True])
def test_a_forked_child_has_its_own(trusted: bool) -> None:
    module = wasm_bytes.guest(name="forked")
    codec = bind(module, trusted=trusted)
    looping = bind(wasm_bytes.guest(wasm_bytes.LOOP_FOR_EVER), timeout_s=0.1)
    assert codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK
    with pytest.raises(WasmLimitError):
        looping.decode(CHUNK, len(CHUNK), 1000)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            works = codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK and bind(module).encode(CHUNK) == CHUNK
            with pytest.raises(WasmLimitError):
                looping.decode(CHUNK, len(CHUNK), 1000)
            status = 0 if works and _native.wasm_has(put(module), cache_dir=None) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK


def run_python(program: str, *arguments: str, **keywords: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent.parent,
        **keywords,
    )
    return done.stdout


def test_compiled_code_is_found_by_the_next_process(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    program = """
        import json, sys
        from pathlib import Path
        from tests import wasm_bytes
        from tests.test_wasm_host import bind, CHUNK, _native
        codec = bind(wasm_bytes.guest(name="kept"), cache_dir=Path(sys.argv[1]))
        assert codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK
        counters = _native.wasm_counters()
        print(counters["compiled"], counters["deserialized"])
    """
    assert run_python(program, str(cache)) == "1 0\n"
    assert run_python(program, str(cache)) == "0 1\n"
    assert cache.stat().st_mode & 0o777 == 0o700
    for path in cache.glob("*.cwasm"):
        path.write_bytes(path.read_bytes()[:-100])
    assert run_python(program, str(cache)) == "1 0\n"


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="777"):
        codec = bind(wasm_bytes.guest(name="open"), cache_dir=open_to_all)
    assert codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK
    assert not list(open_to_all.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bind(wasm_bytes.guest(name="open"), cache_dir=open_to_all)


@pytest.mark.skipif(sys.platform != "linux", reason="limits addresses as Linux does")
def test_a_process_may_have_few_addresses() -> None:
    program = """
        import resource
        from tests import wasm_bytes
        from tests.test_wasm_host import bind, CHUNK
        from wazarr.errors import CodecError
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30),) * 2)
        codecs = [bind(wasm_bytes.guest(name=f"few{number}")) for number in range(8)]
        for codec in codecs:
            assert codec.decode(CHUNK, len(CHUNK), 1000) == CHUNK
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        try:
            bind(wasm_bytes.guest(name="large", pages=8000)).decode(CHUNK, len(CHUNK), 1000)
        except CodecError as error:
            print("refused")
        assert codecs[0].decode(CHUNK, len(CHUNK), 1000) == CHUNK
    """
    assert run_python(program) == "refused\n"


def array_of(module: bytes, shape: tuple[int, ...], chunks: tuple[int, ...]) -> zarr.Array[Any]:
    codec = wazarr.WasmCodec(module=module, codec="acme", kind="bytes-bytes")
    store = zarr.storage.MemoryStore()
    return zarr.create_array(store, shape=shape, chunks=chunks, dtype="u1", compressors=[codec], filters=None)


def test_many_small_chunks_need_few_instances(tmp_path: Path) -> None:
    path = "wazarr.CodecPipeline"
    settings = {"codec_pipeline.path": path, "wazarr.wasm.cache_dir": str(tmp_path / "cache")}
    with zarr.config.set({**settings, "threading.max_workers": 2}):
        array = array_of(wasm_bytes.guest(name="small"), (4096 * 256,), (256,))
        values = np.arange(array.size, dtype=np.uint64).astype("u1")
        before = _native.wasm_counters()
        array[:] = values
        assert np.array_equal(array[:], values)
    after = _native.wasm_counters()
    assert after["calls"] - before["calls"] >= 2 * 4096 - 2 * 16  # chunks of the fill value are not stored
    assert after["instances"] - before["instances"] <= 8


def test_ctrl_c_ends_a_read(tmp_path: Path) -> None:
    settings = {
        "codec_pipeline.path": "wazarr.CodecPipeline",
        "wazarr.wasm.cache_dir": str(tmp_path / "cache"),
    }
    with zarr.config.set(settings):
        array = array_of(wasm_bytes.guest(wasm_bytes.LOOP_FOR_EVER), (1000,), (100,))
        array[:] = 1
        interrupt_after(0.5)
        begin = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            array[:]
        # Nothing of it is left that would be in the way of the next request.
        with zarr.config.set({"wazarr.wasm.timeout_s": 0.2}), pytest.raises(WasmLimitError):
            zarr.open_array(array.store)[:]
        assert time.perf_counter() - begin < 20
