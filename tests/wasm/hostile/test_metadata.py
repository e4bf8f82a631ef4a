"""Metadata and sources that were written to do harm: where they lead, how long, and what they select."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import wazarr
from tests.wasm import guests
from tests.wasm.hostile import victim
from tests.wasm.servers import Handler, send, serving
from wazarr.errors import (
    CodecError,
    InvalidInputError,
    UnsupportedError,
    WasmLimitError,
    WasmModuleNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUSALS = (CodecError, InvalidInputError, UnsupportedError)
UNKNOWN = "sha256:" + "ab" * 32


def buffer(content: bytes) -> Any:
    """Return bytes as stores hold them."""
    return default_buffer_prototype().buffer.from_bytes(content)


def store_of(path: str = "", **configuration: Any) -> dict[str, Any]:
    """Return a store with an array whose codec is an identity, with changes to its configuration."""
    document = victim.document(guests.xor(0), configuration, is_in_front=False)
    prefix = f"{path}/" if path else ""
    content = {
        f"{prefix}c/{number}": buffer(victim.chunk(number).tobytes()) for number in range(victim.COUNT)
    }
    return {f"{prefix}zarr.json": buffer(json.dumps(document).encode()), **content}


def read(content: dict[str, Any], path: str = "") -> Any:
    """Read the array of a store."""
    return zarr.open_array(MemoryStore(content), path=path, mode="r")[...]


@contextlib.contextmanager
def refused(*classes: type[Exception], within_s: float = 5.0, match: str | None = None) -> Iterator[None]:
    """Expect an error of ours, soon."""
    started = time.monotonic()
    with wazarr.enabled(), pytest.raises(classes or REFUSALS, match=match) as caught:
        yield
    assert time.monotonic() - started < within_s
    assert len(str(caught.value)) < 8000


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every connection fail the test."""

    def connect(*_: object, **__: object) -> None:
        pytest.fail("something connects")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def test_the_array_itself_is_sound() -> None:
    with wazarr.enabled():
        expected = np.concatenate([victim.chunk(number) for number in range(victim.COUNT)])
        np.testing.assert_array_equal(read(store_of()), expected)


# --- sources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allow", [[], ["file:///"]])
@pytest.mark.parametrize(
    "source",
    ["/dev/zero", "/dev/random", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "/", "/nowhere"],
)
def test_devices_and_folders(source: str, allow: list[str]) -> None:
    with zarr.config.set({"wazarr.wasm.allow": allow}), refused(WasmModuleNotFoundError):
        read(store_of(module=UNKNOWN, sources=[f"file://{source}"]))


def test_a_pipe_and_links(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    module = tmp_path / "module.wasm"
    module.write_bytes(guests.xor(0x33))
    (tmp_path / "link").symlink_to(module)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    digest = guests.digest_of(guests.xor(0x33))
    with zarr.config.set({"wazarr.wasm.allow": [tmp_path.as_uri()]}):
        for name in ("pipe", "link", "circle"):
            with refused(WasmModuleNotFoundError):
                read(store_of(module=digest, sources=[(tmp_path / name).as_uri()]))
        with wazarr.enabled():
            read(store_of(module=digest, sources=[module.as_uri()]))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "source",
    [
        "https://good.org.evil/a.wasm",
        "https://good.org@evil.org/a.wasm",
        "https://good.org:443@evil.org/a.wasm",
        "https://evil.org/https://good.org/a.wasm",
        "https://evil.org\\@good.org/a.wasm",
        "https://evil.org#@good.org/",
        "https://evil.org?good.org/codecs/",
        "https://good.org:444/codecs/a.wasm",
        "https://good.org/codecs/../secret/a.wasm",
        "https://good.org/codecs/%2e%2e/secret/a.wasm",
        "https://good.org/codecs%2f..%2fsecret",
        "https://good.org/codecsx/a.wasm",
        "http://good.org/codecs/a.wasm",
        "HTTPS://GOOD.ORG.EVIL/codecs/a.wasm",
        "https://good.org\t.evil/codecs/a.wasm",
        "https://good\u3002org/codecs/a.wasm",
        "https://xn--/codecs/a.wasm",
        "https://0x7f.1/codecs/a.wasm",
        "https://[::1]/codecs/a.wasm",
        "oci://good.org/codecs/a",
        "ftp://good.org/codecs/a.wasm",
        "s3://good.org/codecs/a.wasm",
        "javascript:alert(1)",
        "",
        "x" * 1_000_000,
        "https://good.org/codecs/" + "../" * 100_000,
    ],
)
def test_tricks_with_addresses(source: str) -> None:
    with (
        zarr.config.set({"wazarr.wasm.allow": ["https://good.org/codecs/"]}),
        refused(WasmModuleNotFoundError),
    ):
        read(store_of(module=UNKNOWN, sources=[source]))


def test_redirects_out_of_the_list() -> None:
    def elsewhere(handler: Handler) -> None:
        send(handler, guests.xor(0x34))

    with serving(elsewhere) as (other, asked):

        def redirect(handler: Handler) -> None:
            send(handler, b"", status=302, headers={"Location": f"{other}/a.wasm"})

        with serving(redirect) as (address, _), zarr.config.set({"wazarr.wasm.allow": [address]}), refused():
            read(store_of(module=guests.digest_of(guests.xor(0x34)), sources=[f"{address}/a.wasm"]))
        assert not asked


def _claims(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10 << 30))
    handler.end_headers()
    handler.wfile.write(bytes(1 << 16))


def _streams(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(10 << 10):
        handler.wfile.write(bytes(1 << 20))


def _drips(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"\0")
        handler.wfile.flush()
        time.sleep(0.05)


def _drips_headers(handler: Handler) -> None:
    for _ in range(1000):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n"[:1])
        handler.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [_claims, _streams, _drips, _drips_headers])
def test_answers_that_are_huge_or_slow(answer: Any) -> None:
    options = {"wazarr.wasm.module_limit": 8 << 20, "wazarr.wasm.fetch_timeout_s": 1.0}
    with (
        serving(answer) as (address, _),
        zarr.config.set({**options, "wazarr.wasm.allow": [address]}),
        refused(WasmModuleNotFoundError, within_s=4.0),
    ):
        read(store_of(module=UNKNOWN, sources=[f"{address}/a.wasm"]))


def test_an_inline_module_of_very_many_bytes() -> None:
    inline = "data:application/wasm;base64," + "A" * (200 << 20)
    with refused(WasmModuleNotFoundError, within_s=30.0, match="module_limit"):
        read(store_of(module=UNKNOWN, sources=[inline]))


@pytest.mark.parametrize(
    "form",
    [
        "data:,abc",
        "data:application/wasm,abc",
        "data:text/html;base64,AGFzbQ==",
        "data:application/wasm;base64,A",
        "data:application/wasm;base64,A GFzb",
        "data:application/wasm;base64,é",
    ],
)
def test_inline_modules_in_other_forms(form: str) -> None:
    with refused(WasmModuleNotFoundError):
        read(store_of(module=UNKNOWN, sources=[form]))


def test_sources_whose_bytes_are_others() -> None:
    inline = "data:application/wasm;base64," + base64.b64encode(guests.xor(0x35)).decode()
    with refused(WasmModuleNotFoundError, match="something else"):
        read(store_of(module=UNKNOWN, sources=[inline]))


# --- hierarchies ---------------------------------------------------------------------------------------


def _module_array(module: bytes, **changed: Any) -> dict[str, Any]:
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [len(module)],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [len(module)]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {},
    }
    return {**document, **changed}


def _hierarchy(module: bytes, **changed: Any) -> tuple[dict[str, Any], str]:
    """Return a store with an array, and its module in a group beside it."""
    digest = guests.digest_of(module)
    content = store_of("data", module=digest, sources=["hierarchy"])
    place = f"wasm_codecs/{digest.removeprefix('sha256:')}"
    content["zarr.json"] = content["wasm_codecs/zarr.json"] = buffer(
        b'{"zarr_format":3,"node_type":"group","attributes":{}}'
    )
    content[f"{place}/zarr.json"] = buffer(json.dumps(_module_array(module, **changed)).encode())
    content[f"{place}/c/0"] = buffer(module)
    return content, digest


def test_a_hierarchy_that_is_sound() -> None:
    content, _ = _hierarchy(guests.padded(guests.xor(0), 1000, seed=1))
    with wazarr.enabled():
        read(content, "data")


def test_a_module_that_names_itself_as_its_codec() -> None:
    module = guests.padded(guests.xor(0), 1000, seed=2)
    digest = guests.digest_of(module)
    own = {
        "codec": "self",
        "kind": "bytes-bytes",
        "module": digest,
        "sources": ["hierarchy"],
        "parameters": {},
    }
    for codecs in (
        [{"name": "bytes"}, {"name": "wazarr.wasm", "configuration": own}],
        [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [len(module)],
                    "codecs": [{"name": "bytes"}, {"name": "wazarr.wasm", "configuration": own}],
                    "index_codecs": [{"name": "bytes"}],
                },
            }
        ],
        [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [len(module)],
                    "codecs": [{"name": "bytes"}],
                    "index_codecs": [{"name": "bytes"}, {"name": "wazarr.wasm", "configuration": own}],
                },
            }
        ],
    ):
        content, _ = _hierarchy(module, codecs=codecs)
        with refused(WasmModuleNotFoundError):
            read(content, "data")


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [1 << 40]},
        {"shape": [10**30]},
        {"shape": [-1]},
        {"shape": []},
        {"shape": "all"},
        {"shape": [1e300]},
        {"data_type": "float64"},
        {"data_type": {"name": "struct"}},
        {"codecs": [{"name": "python.pickle"}]},
        {"codecs": "bytes"},
        {"codecs": [[]]},
        {"codecs": [{"name": ["bytes"]}]},
        {"codecs": [{"name": "bytes"}] * 10_000},
        {"chunk_grid": None},
        {"chunk_grid": {"name": "regular"}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0]}}},
        {"storage_transformers": [{"name": "anything"}]},
        {"fill_value": "x" * 1_000_000},
        {"zarr_format": 4},
        {"node_type": "group"},
    ],
)
def test_module_arrays_that_lie(changed: dict[str, Any]) -> None:
    # Longer than the chunks that zarr may be asked for, so that a chunk of one byte means very many.
    content, _ = _hierarchy(guests.padded(guests.xor(0), 3000, seed=hash(str(changed)) % 10_000), **changed)
    with refused(WasmModuleNotFoundError):
        read(content, "data")


def test_a_group_with_wrong_digests() -> None:
    module = guests.padded(guests.xor(0), 1000, seed=4)
    content, digest = _hierarchy(module)
    content[f"wasm_codecs/{digest.removeprefix('sha256:')}/c/0"] = buffer(bytes(len(module)))
    with refused(WasmModuleNotFoundError, match="something else"):
        read(content, "data")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b"[" * 1_000_000,
        b'{"zarr_format":' + b"9" * 10_000 + b"}",
        b'{"a":"' + b"x" * (5 << 20) + b'"}',
    ],
)
def test_documents_that_are_none(document: bytes) -> None:
    module = guests.padded(guests.xor(0), 1000, seed=5 + len(document))
    content, digest = _hierarchy(module)
    content[f"wasm_codecs/{digest.removeprefix('sha256:')}/zarr.json"] = buffer(document)
    with refused(WasmModuleNotFoundError):
        read(content, "data")


# --- configurations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "configuration",
    [
        {"sources": "hierarchy"},
        {"sources": {"hierarchy": 1}},
        {"sources": 7},
        {"sources": [7]},
        {"sources": [["hierarchy"]]},
        {"sources": ["hierarchy"] * 100_000},
        {"module": "sha256:" + "AB" * 32},
        {"module": "sha256:../../../../etc/passwd"},
        {"module": "sha256:" + "ab" * 31},
        {"module": "md5:" + "ab" * 16},
        {"module": 7},
        {"module": "x" * 1_000_000},
        {"kind": "anything"},
        {"kind": None},
        {"kind": ["bytes-bytes"]},
        {"codec": ""},
        {"codec": 7},
        {"codec": "x" * 1_000_000},
        {"parameters": []},
        {"parameters": "all"},
        {"fresh_instance": "yes"},
        {"interface": 7},
        {"interface": "python"},
        {"interface": "x" * 1_000_000},
        {"encoded": []},
        {"encoded": {"overhead_bytes": -1}},
        {"encoded": {"overhead_bytes": 1e300}},
        {"encoded": {"data_type": "O"}},
        {"trusted": True},
        {"prefer": "native"},
        {"engine": "python"},
        {"python": "os.system"},
        {"timeout_s": 1e9},
        {"memory_limit": 1 << 40},
        {"native": {"name": "zstd"}},
    ],
)
def test_configurations_that_make_no_sense(configuration: dict[str, Any]) -> None:
    with refused():
        read(store_of(**configuration))


@pytest.mark.parametrize("overhead", [1 << 40, 1 << 62, 1 << 70, 10**400])
def test_an_overhead_beyond_everything(overhead: int) -> None:
    with refused():
        read(store_of(encoded={"overhead_bytes": overhead}))


@pytest.mark.parametrize(
    "parameters",
    [
        {"a": float("nan")},
        {"a": 10**400},
        {"a": -(1 << 64)},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"": None},
        {"a\0b": "c\0d"},
        {f"k{number}": number for number in range(20_000)},
    ],
)
def test_parameters_that_no_guest_takes(parameters: dict[str, Any]) -> None:
    with refused():
        read(store_of(parameters=parameters))


def test_parameters_inside_one_another() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    with refused():
        read(store_of(parameters={"a": deep}))


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "\x1b[2J", "zstd\n\nall is well"])
def test_names_of_odd_characters(name: str) -> None:
    content = store_of(codec=name, module=UNKNOWN, sources=[])
    with refused():
        read(content)
    trapping = guests.trap()
    inline = "data:application/wasm;base64," + base64.b64encode(trapping).decode()
    with refused():
        read(store_of(codec=name, module=guests.digest_of(trapping), sources=[inline]))


@pytest.mark.slow
def test_very_many_bytes_of_parameters() -> None:
    with refused(within_s=60.0):
        read(store_of(parameters={"a": "x" * (100 << 20)}))


@pytest.mark.parametrize(
    "name",
    [
        "zstd",
        "bytes",
        "blosc",
        "gzip",
        "crc32c",
        "sharding_indexed",
        "numcodecs.zlib",
        "pickle",
        "wazarr.wasm",
    ],
)
def test_a_name_selects_nothing(name: str) -> None:
    content = store_of(codec=name)
    with wazarr.enabled():
        wazarr.reset_counters()
        array = zarr.open_array(MemoryStore(content), mode="r")
        np.testing.assert_array_equal(array[: victim.CHUNK], victim.chunk(0))
        assert wazarr.counters()["codec_steps"]["wasm"] > 0
        assert wazarr.counters()["codec_steps"]["python"] == 0


def test_parameters_and_attributes_select_no_trust() -> None:
    loop = guests.loop()
    inline = "data:application/wasm;base64," + base64.b64encode(loop).decode()
    content = store_of(module=guests.digest_of(loop), sources=[inline])
    document = json.loads(content["zarr.json"].to_bytes())
    document["attributes"] = {
        "wazarr": {"wasm": {"trusted": [guests.digest_of(loop)], "allow": ["file:///"]}},
        "trusted": True,
    }
    content["zarr.json"] = buffer(json.dumps(document).encode())
    with zarr.config.set({"wazarr.wasm.timeout_s": 0.2}), refused(WasmLimitError):
        read(content)


def test_huge_metadata() -> None:
    content = store_of()
    document = json.loads(content["zarr.json"].to_bytes())
    document["attributes"] = {f"a{number}": "x" * 100 for number in range(50_000)}
    content["zarr.json"] = buffer(json.dumps(document).encode())
    with wazarr.enabled():
        read(content)
    document["codecs"] *= 2000
    content["zarr.json"] = buffer(json.dumps(document).encode())
    with refused(Exception, within_s=20.0):
        read(content)


def test_digests_are_of_the_bytes() -> None:
    assert guests.digest_of(b"") == "sha256:" + hashlib.sha256(b"").hexdigest()
