from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

import wazarr
from tests.wasm.built import TILE, guest_path
from wazarr.cli import main

if TYPE_CHECKING:
    from pathlib import Path

DECODER = """
#include <wazarr_codec.h>
WAZARR_DECODE(in, len, out, out_len)
{
    if (len > out_len)
        return WAZARR_OUTPUT_TOO_SMALL;
    memcpy(out, in, len);
    return (int64_t)len;
}
"""


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def hierarchy(tmp_path: Path) -> Path:
    """Make a group with one array, whose module is known to this process and nowhere else."""
    root = zarr.create_group(tmp_path / "data.zarr")
    codec = wazarr.WasmCodec(guest_path("byte-shuffle"), parameters={"elementsize": 2}, embed="never")
    array = root.create_array("a", shape=(10,), chunks=(5,), dtype="<u2", compressors=[codec])
    with zarr.config.set({"codec_pipeline.path": "wazarr.CodecPipeline"}):
        zarr.open_array(array.store_path)[...] = np.arange(10, dtype="<u2")
    return tmp_path / "data.zarr"


def test_build_makes_a_module_and_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "codec.c"
    source.write_text(DECODER)
    assert run("codec", "build", source) == 0
    output = capsys.readouterr()
    described = dict(line.split(maxsplit=1) for line in output.out.splitlines())
    assert described["interface"] == "wazarr"
    assert described["sides"] == "decode"
    assert described["imports"] == "nothing"
    assert output.err.startswith("hint: wazarr codec check")
    assert source.with_suffix(".wasm").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("int unfinished = ;", "expected expression"),
        ("int answer(void) { return 42; }", "those of no codec"),
        ("#include <wazarr_codec.h>\n", "neither decode nor encode"),
        (
            "#include <wazarr_codec.h>\n"
            '__attribute__((import_module("env"), import_name("help"))) int help(void);\n'
            "WAZARR_ENCODE(in, len, out, out_len) { return in && out && len > out_len ? 0 : help(); }\n",
            "but imports env#help",
        ),
    ],
)
def test_build_finds_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    source = tmp_path / "codec.c"
    source.write_text(text)
    assert run("codec", "build", source, "-o", tmp_path / "out.wasm") == 1
    assert problem in capsys.readouterr().err


def test_build_warns_of_system_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "codec.c"
    source.write_text("#include <stdio.h>\n" + DECODER.replace("memcpy", 'printf("%zu", len), memcpy'))
    assert run("codec", "build", source) == 0
    assert "will be answered no" in capsys.readouterr().err


def test_inspect_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("codec", "inspect", guest_path("delta")) == 0
    text = capsys.readouterr().out
    assert re.search(r"^digest +sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert re.search(r"^sides +decode, encode$", text, re.MULTILINE)
    assert re.search(r"^memory +\d+ KiB", text, re.MULTILINE)


def test_inspect_an_array(hierarchy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in (hierarchy, hierarchy / "a"):
        assert run("codec", "inspect", target) == 0
        text = capsys.readouterr().out
        assert "byte-shuffle" in text
        assert re.search(r"^  module +sha256:[0-9a-f]{64}$", text, re.MULTILINE)
        assert re.search(r"^  interface +wazarr$", text, re.MULTILINE)


def test_check_tells_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("codec", "check", guest_path("identity")) == 0
    assert capsys.readouterr().err == ""
    assert run("codec", "check", guest_path("stateful")) == 1
    output = capsys.readouterr()
    assert "failed  statelessness" in output.out
    assert "does not conform" in output.err


def test_check_under_conditions(tmp_path: Path) -> None:
    delta = ("codec", "check", guest_path("delta"), "--kind", "array-array")
    assert run(*delta, "--data-type", "<i4", "--shape", "3,4") == 0
    assert run(*delta) == 1  # without a chunk
    assert run(*delta, "--data-type", "int32", "--shape", "three") == 1
    assert run(*delta, "--data-type", "int33", "--shape", "3") == 1
    assert run(*delta, "--data-type", "f4", "--shape", "3") == 1
    quantize = ("codec", "check", guest_path("quantize"), "--kind", "array-array", "--shape", "9", "--lossy")
    assert (
        run(*quantize, "--data-type", "f4", "--encoded-data-type", "i2", "--parameters", '{"scale": 9}') == 0
    )
    sample = tmp_path / "sample"
    sample.write_bytes(b"\xff\xfe")
    assert run("codec", "check", guest_path("read-only"), "--encoded", sample) == 0
    assert run("codec", "check", guest_path("zlib"), "--decoded", sample, "--parameters", "{") == 1


def test_bench_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = tmp_path / "sample"
    sample.write_bytes(TILE.read_bytes()[:10_000])
    arguments = ("--decoded", sample, "--against", '{"id": "zlib"}', "--seconds", "0.02")
    assert run("codec", "bench", guest_path("zlib"), *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[1].split()[:3] == ["decode", "numcodecs", "zlib"]
    assert lines[1].endswith("1.00")


def test_embed_and_fetch(hierarchy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("codec", "embed", hierarchy) == 0
    output = capsys.readouterr()
    assert "byte-shuffle" in output.out
    assert "1 codecs changed" in output.err
    (digest,) = {path.name for path in (hierarchy / "wasm_codecs").iterdir() if path.is_dir()}
    assert run("codec", "embed", hierarchy) == 0
    assert capsys.readouterr().out == ""
    assert run("codec", "fetch", hierarchy / "a") == 0
    assert capsys.readouterr().out == f"sha256:{digest}\n"


@pytest.mark.parametrize("command", ["inspect", "embed", "fetch"])
def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run("codec", command, tmp_path / "nothing") == 1
    assert capsys.readouterr().err.startswith("wazarr: ")


def test_a_command_line_that_makes_no_sense() -> None:
    for arguments in ([], ["codec"], ["codec", "nonsense"], ["codec", "check"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_the_module_is_a_command_too() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "wazarr.cli", "codec", "--help"], capture_output=True, text=True, check=True
    )
    assert "inspect" in result.stdout
