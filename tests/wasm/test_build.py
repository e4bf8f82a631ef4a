"""Compiling guests, and the script that keeps what it compiled."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from typing import TYPE_CHECKING

import pytest

from scripts import build_guests
from wazarr import build
from wazarr.build import BuildError, compile_module, compile_native

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = """
#include <wazarr_codec.h>
#include "answer.h"
WAZARR_DECODE(in, len, out, out_len) { (void)in, (void)len, (void)out, (void)out_len; return ANSWER; }
"""
MAGIC = b"\0asm\1\0\0\0"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.c"
    path.write_text(MINIMAL)
    (tmp_path / "answer.h").write_text("#ifndef ANSWER\n#define ANSWER 0\n#endif\n")
    return path


def test_c_becomes_a_module(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "minimal.wasm"
    compile_module(source, output)
    assert output.read_bytes()[:8] == MAGIC


def test_c_becomes_a_library(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "minimal.so"
    compile_native(source, output, flags=["-DANSWER=42"])
    library = ctypes.CDLL(str(output))
    assert library.wazarr_decode(None, 0, None, 0) == 42


def test_faults_are_shown_and_nothing_is_left(source: Path, tmp_path: Path) -> None:
    source.write_text(MINIMAL + "int faulty = ;\n")
    output = tmp_path / "minimal.wasm"
    with pytest.raises(BuildError, match=r"minimal\.c.*expected expression"):
        compile_module(source, output)
    assert not output.exists()


def test_the_suffix_tells_the_language(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"\.c, \.zig, \.rs"):
        compile_module(tmp_path / "codec.f90", tmp_path / "codec.wasm")
    with pytest.raises(BuildError, match=r"is Zig"):
        compile_module(tmp_path / "codec.zig", tmp_path / "codec.wasm", include=[tmp_path])
    with pytest.raises(BuildError, match=r"only C"):
        compile_native(tmp_path / "codec.zig", tmp_path / "codec.so")


def test_a_missing_compiler_is_an_advice(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for path in (source, tmp_path / "codec.rs"):
        with pytest.raises(BuildError, match="hint: "):
            compile_module(path, tmp_path / "minimal.wasm")
    assert build.version("C") is None
    assert build.version("Rust") is None


def test_rust_without_its_target_is_an_advice(tmp_path: Path) -> None:
    if build.version("Rust") is not None or shutil.which("rustc") is None:
        pytest.skip("this Rust has the target, or there is none")
    with pytest.raises(BuildError, match="rustup target add"):
        compile_module(tmp_path / "codec.rs", tmp_path / "codec.wasm")


def test_guests_are_built_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Path] = []

    def compile_(source: Path, output: Path, **_: object) -> None:
        compiled.append(source)
        output.write_bytes(source.read_bytes())

    monkeypatch.setattr(build, "compile_module", compile_)
    monkeypatch.setattr(build_guests, "OUTPUT", tmp_path / "output")
    monkeypatch.setattr(build_guests, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(build_guests, "sources", lambda: {"minimal": source})

    made = build_guests.build_guest("minimal")
    assert build_guests.build_guest("minimal") == made
    assert len(compiled) == 1

    shutil.rmtree(tmp_path / "output")  # a fresh clone
    assert build_guests.build_guest("minimal").read_bytes() == source.read_bytes()
    assert len(compiled) == 1

    header = source.with_name("answer.h")
    header.write_text(header.read_text() + "/* changed */\n")
    build_guests.build_guest("minimal")
    assert len(compiled) == 2

    (tmp_path / "elsewhere").mkdir()
    prelude = tmp_path / "elsewhere" / "prelude.h"
    for text in ("/* first */\n", "/* second */\n"):
        prelude.write_text(text)
        made = build_guests.build_guest("minimal", variant="other", flags=("-include", str(prelude)))
        assert made.name == "minimal.other.wasm"
    assert len(compiled) == 4

    source.write_text(MINIMAL + "/* changed */\n")
    assert build_guests.build_guest("minimal").read_bytes() == source.read_bytes()
    assert len(compiled) == 5


def test_the_cache_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_guests, "KEPT", 3)
    made = tmp_path / "made"
    for number in range(5):
        made.write_text(str(number))
        build_guests.keep(made, tmp_path / "cache" / f"{number}.wasm")
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert (tmp_path / "cache" / "4.wasm").read_text() == "4"


def test_the_header_is_part_of_the_package() -> None:
    inside = build.include_folder() / "wazarr_codec.h"
    assert inside.read_bytes() == (build_guests.ROOT / "include" / "wazarr_codec.h").read_bytes()
