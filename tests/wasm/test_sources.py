"""Modules from outside the store: inline, files and HTTP, with everything that a hostile source can do."""

from __future__ import annotations

import gzip
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import zarr

from tests.wasm import guests
from tests.wasm.servers import Handler, send, serving
from wazarr.wasm import sources
from wazarr.wasm.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = guests.xor()


def allowing(*prefixes: str, **settings: Any) -> Any:
    return zarr.config.set({"wazarr.wasm.allow": list(prefixes), **settings})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


# --- inline --------------------------------------------------------------------------------------------


def test_inline_modules_come_back() -> None:
    assert sources.fetch(sources.inline(MODULE)) == MODULE
    assert sources.inline(b"\x00asm").startswith("data:application/wasm;base64,")


@pytest.mark.parametrize(
    "source",
    [
        "data:application/wasm;base64,AGFzbQEAAAA",
        "data:application/wasm;base64,AGFz bQEAAAA=",
        "data:application/wasm;base64,\u00e4",
        "data:application/wasm,abc",
        "data:text/plain;base64,AGFzbQEAAAA=",
        "data:",
        "DATA:application/wasm;base64,AGFzbQEAAAA=",
        "hierarchy ",
        "module.wasm",
        "",
    ],
)
def test_what_is_no_source(source: str) -> None:
    with pytest.raises(SourceError):
        sources.fetch(source)


def test_an_inline_module_over_the_limit_is_not_decoded() -> None:
    with allowing(**{"wazarr.wasm.module_limit": 100}), pytest.raises(SourceError, match="module_limit"):
        sources.fetch(sources.inline(bytes(200)))


def test_messages_are_short_and_keep_secrets() -> None:
    for source in ("x" * 10_000, "https://me:secret@good.org/a", "https://good.org/a?token=secret"):
        with pytest.raises(SourceError) as caught:
            sources.fetch(source)
        assert len(str(caught.value)) < 500
        assert "secret" not in str(caught.value)


# --- files ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "codecs"
    (made / "inner folder").mkdir(parents=True)
    (made / "a.wasm").write_bytes(MODULE)
    (made / "inner folder" / "b.wasm").write_bytes(MODULE)
    (tmp_path / "secret.wasm").write_bytes(MODULE)
    return made


def test_files_below_an_allowed_folder(folder: Path) -> None:
    with allowing(folder.as_uri()):
        assert sources.fetch((folder / "a.wasm").as_uri()) == MODULE
        assert sources.fetch((folder / "inner folder" / "b.wasm").as_uri()) == MODULE
    with allowing((folder / "a.wasm").as_uri()):
        assert sources.fetch((folder / "a.wasm").as_uri()) == MODULE
        with pytest.raises(SourceError, match="not allowed"):
            sources.fetch((folder / "inner folder" / "b.wasm").as_uri())


def test_files_need_permission_unless_the_program_names_them(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"wazarr\.wasm\.allow"):
        sources.fetch((folder / "a.wasm").as_uri())
    assert sources.fetch((folder / "a.wasm").as_uri(), is_own=True) == MODULE


def test_links_are_not_followed_below_what_is_allowed(folder: Path, tmp_path: Path) -> None:
    (folder / "file-link.wasm").symlink_to(tmp_path / "secret.wasm")
    (folder / "folder-link").symlink_to(tmp_path)
    (folder / "sibling-link.wasm").symlink_to("a.wasm")
    with allowing(folder.as_uri()):
        for name in ("file-link.wasm", "folder-link/secret.wasm", "sibling-link.wasm"):
            with pytest.raises(SourceError):
                sources.fetch((folder / name).as_uri())


def test_links_in_what_the_user_wrote_are_the_users_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with allowing((tmp_path / "link").as_uri()):
        assert sources.fetch((tmp_path / "link" / "a.wasm").as_uri()) == MODULE


def test_only_regular_files_are_read(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    begun = time.monotonic()
    with allowing("file:///"):
        for path in (folder / "fifo", folder / "socket", folder / "inner folder", folder / "nothing"):
            with pytest.raises(SourceError):
                sources.fetch(path.as_uri())
        for device in ("zero", "null", "random", "stdin", "fd/0", "tty"):
            with pytest.raises(SourceError):
                sources.fetch(f"file:///dev/{device}")
        with pytest.raises(SourceError):
            sources.fetch("file:///")
    with allowing((folder / "fifo").as_uri()), pytest.raises(SourceError, match="regular"):
        sources.fetch((folder / "fifo").as_uri())
    listening.close()
    assert time.monotonic() - begun < 5


def test_files_of_any_size(folder: Path) -> None:
    with (folder / "huge").open("wb") as file:
        file.truncate(10 << 30)
    with allowing(folder.as_uri(), **{"wazarr.wasm.module_limit": len(MODULE)}):
        assert sources.fetch((folder / "a.wasm").as_uri()) == MODULE
        with pytest.raises(SourceError, match="module_limit"):
            sources.fetch((folder / "huge").as_uri())
    with allowing(folder.as_uri(), **{"wazarr.wasm.module_limit": len(MODULE) - 1}):
        with pytest.raises(SourceError, match="module_limit"):
            sources.fetch((folder / "a.wasm").as_uri())
        with pytest.raises(SourceError, match="module_limit"):
            sources.read_own_file(folder / "a.wasm")


def test_files_whose_size_says_nothing() -> None:
    # Regular, and of length 0 as far as one can tell before reading.
    with allowing("file:///proc"), pytest.raises(SourceError):
        sources.fetch("file:///proc/self/../etc/passwd")
    with allowing("file:///proc", **{"wazarr.wasm.module_limit": 10}), pytest.raises(SourceError):
        sources.fetch("file:///proc/cpuinfo")


# --- HTTP ----------------------------------------------------------------------------------------------


def _give(handler: Handler) -> None:
    send(handler, MODULE)


@pytest.fixture
def good() -> Iterator[tuple[str, list[str]]]:
    with serving(_give) as server:
        yield server


def test_http_on_this_machine(good: tuple[str, list[str]]) -> None:
    address, asked = good
    with allowing(address):
        assert sources.fetch(f"{address}/codecs/a.wasm") == MODULE
    assert asked == ["/codecs/a.wasm"]


def test_nothing_is_asked_of_a_server_that_is_not_allowed(good: tuple[str, list[str]]) -> None:
    address, asked = good
    for prefix in ("https://127.0.0.1", f"{address}/codecs", "http://127.0.0.1:1"):
        with allowing(prefix), pytest.raises(SourceError, match="not allowed"):
            sources.fetch(f"{address}/a.wasm")
    assert not asked


def test_plain_http_stays_on_this_machine() -> None:
    with allowing("http://example.org"), pytest.raises(SourceError, match="https"):
        sources.fetch("http://example.org/a.wasm")
    with pytest.raises(SourceError, match="https"):
        sources.fetch("http://example.org/a.wasm", is_own=True)


def test_redirects_stay_in_the_list() -> None:
    with serving(_give) as (elsewhere, asked):

        def redirect(handler: Handler) -> None:
            targets = {
                "/relative": "/module",
                "/elsewhere": f"{elsewhere}/a.wasm?signature=x",
                "/file": "file:///etc/passwd",
                "/plain": "http://example.org/a.wasm",
                "/tricky": f"{elsewhere}@127.0.0.1/a",
                "/loop": "/loop",
            }
            if handler.path == "/nowhere":
                send(handler, b"", status=302)
            elif handler.path in targets:
                send(handler, b"x" * 100, status=302, headers={"Location": targets[handler.path]})
            else:
                send(handler, MODULE)

        with serving(redirect) as (address, _):
            with allowing(address):
                assert sources.fetch(f"{address}/relative") == MODULE
                for path in ("elsewhere", "file", "plain", "tricky", "loop", "nowhere"):
                    with pytest.raises(SourceError):
                        sources.fetch(f"{address}/{path}")
                assert not asked
            with allowing(address, elsewhere):
                assert sources.fetch(f"{address}/elsewhere") == MODULE
            for path in ("file", "plain"):
                with pytest.raises(SourceError):
                    sources.fetch(f"{address}/{path}", is_own=True)


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_other_answers_are_no_module(status: int) -> None:
    with (
        serving(lambda handler: send(handler, MODULE, status=status)) as (address, _),
        allowing(address),
        pytest.raises(SourceError, match=str(status)),
    ):
        sources.fetch(f"{address}/a.wasm")


def _endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 20))


def _announced(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10 << 30))
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 20))


def _chunked(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")


def _bomb(handler: Handler) -> None:
    send(handler, gzip.compress(bytes(20 << 20)), headers={"Content-Encoding": "gzip"})


def _short(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(MODULE) + 1))
    handler.end_headers()
    handler.wfile.write(MODULE)


def _nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00" * 100)


@pytest.mark.parametrize("answer", [_endless, _announced, _chunked, _bomb, _short, _nonsense])
def test_hostile_answers(answer: Any) -> None:
    begun = time.monotonic()
    with (
        serving(answer) as (address, _),
        allowing(address, **{"wazarr.wasm.module_limit": 1 << 20}),
        pytest.raises(SourceError),
    ):
        sources.fetch(f"{address}/a.wasm")
    assert time.monotonic() - begun < 10


def _drip_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def _drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for at in range(1000):
        handler.wfile.write(b"X" if at % 8 else b"X: y\r\n")
        time.sleep(0.05)


def _silence(handler: Handler) -> None:
    time.sleep(10)


@pytest.mark.parametrize("answer", [_drip_body, _drip_headers, _silence])
def test_slow_answers_are_given_up(answer: Any) -> None:
    begun = time.monotonic()
    with (
        serving(answer) as (address, _),
        allowing(address, **{"wazarr.wasm.fetch_timeout_s": 0.4}),
        pytest.raises(SourceError, match="fetch_timeout_s"),
    ):
        sources.fetch(f"{address}/a.wasm")
    assert 0.3 < time.monotonic() - begun < 5


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with allowing(address), pytest.raises(SourceError):
        sources.fetch(f"{address}/a.wasm")
    with allowing("https://nowhere.invalid"), pytest.raises(SourceError):
        sources.fetch("https://nowhere.invalid/a.wasm")


def test_https_wants_a_certificate(good: tuple[str, list[str]]) -> None:
    address = good[0].replace("http://", "https://")
    with allowing(address), pytest.raises(SourceError, match=r"(?i)ssl|tls"):
        sources.fetch(f"{address}/a.wasm")


def test_no_threads_are_left(good: tuple[str, list[str]]) -> None:
    address, _ = good
    with allowing(address):
        sources.fetch(f"{address}/a.wasm")
        before = threading.active_count()
        for _ in range(5):
            sources.fetch(f"{address}/a.wasm")
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() <= before
