"""Compile a codec's source, in C, Zig or Rust, to a Wasm module.

``wazarr codec build`` and the script that builds this project's own guests call it. The compiler of C and
Zig is the PyPI package ``ziglang`` (the extra ``wazarr[build]``), or a ``zig`` on the path; that of Rust
is ``rustc`` with the target ``wasm32-unknown-unknown``. What a module has to offer a host is not known
here: `wazarr.check` looks at that.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wazarr.errors import WazarrError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BuildError", "compile_module", "compile_native", "include_folder", "version"]

SUFFIXES: Final = {".c": "C", ".zig": "Zig", ".rs": "Rust"}

_RUST_TARGET: Final = "wasm32-unknown-unknown"
_C_TARGET: Final = ("-target", "wasm32-wasi", "-mexec-model=reactor", "-mcpu=generic+bulk_memory+simd128")
_C_FLAGS: Final = ("-O3", "-s", "-Wall", "-Wextra")
_ZIG_FLAGS: Final = (
    "-target",
    "wasm32-freestanding",
    "-mcpu=generic+bulk_memory+simd128",
    "-O",
    "ReleaseFast",
    "-fno-entry",
    "-rdynamic",
    "-fstrip",
)
_RUST_FLAGS: Final = (
    "--edition=2021",
    "--crate-type=cdylib",
    f"--target={_RUST_TARGET}",
    "-Copt-level=3",
    "-Cpanic=abort",
    "-Cstrip=symbols",
    "-Ctarget-feature=+bulk-memory,+simd128",
)


class BuildError(WazarrError):
    """A codec's source was not compiled: no compiler, or one that found faults."""


def include_folder() -> Path:
    """Return the folder of ``wazarr_codec.h``."""
    return Path(__file__).parent / "include"


def compile_module(
    source: Path,
    output: Path,
    *,
    further_sources: Sequence[Path] = (),
    include: Sequence[Path] = (),
    flags: Sequence[str] = (),
) -> None:
    """Compile one codec to a Wasm module.

    Parameters
    ----------
    source : Path
        A file in C, Zig or Rust, told apart by its suffix.
    output : Path
        The module. Written only when compiling succeeded.
    further_sources : sequence of Path, optional
        More files in C that belong to the codec, such as a library's.
    include : sequence of Path, optional
        Folders of headers besides that of ``wazarr_codec.h``; C only.
    flags : sequence of str, optional
        For the compiler, after ours.

    Raises
    ------
    BuildError
        There is no such compiler, it does not make Wasm modules, or it found faults. Its messages are
        in the error's text.
    """
    language = _language(source)
    if language != "C" and (further_sources or include):
        raise BuildError(f"further sources and include folders are for C, and {source.name} is {language}")
    with tempfile.TemporaryDirectory(prefix="wazarr-build-") as folder:
        made = Path(folder) / "module.wasm"
        if language == "C":
            headers = [f"-I{each}" for each in (*include, include_folder())]
            sources = [str(each) for each in (source, *further_sources)]
            command = [*_zig(), "cc", *_C_TARGET, *_C_FLAGS, *headers, *flags, *sources, "-o", str(made)]
        elif language == "Zig":
            command = [*_zig(), "build-exe", str(source), *_ZIG_FLAGS, *flags, f"-femit-bin={made}"]
        else:
            command = [*_rustc(), *_RUST_FLAGS, *flags, str(source), "-o", str(made)]
        _run(command, source)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, output)


def compile_native(
    source: Path,
    output: Path,
    *,
    further_sources: Sequence[Path] = (),
    include: Sequence[Path] = (),
    flags: Sequence[str] = (),
) -> None:
    """Compile a codec in C to a shared library of this machine, to compare speeds or to debug.

    Its functions are named as in ``wazarr_codec.h``: ``wazarr_decode``, ``wazarr_encode``,
    ``wazarr_configure``. Parameters and errors are those of `compile_module`.
    """
    if _language(source) != "C":
        raise BuildError(f"only C is compiled natively, and {source.name} is {_language(source)}")
    headers = [f"-I{each}" for each in (*include, include_folder())]
    sources = [str(each) for each in (source, *further_sources)]
    output.parent.mkdir(parents=True, exist_ok=True)
    _run([*_zig(), "cc", "-shared", "-fPIC", "-O3", *headers, *flags, *sources, "-o", str(output)], source)


def version(language: str) -> str | None:
    """Return the version of the compiler of C, Zig or Rust; None where it is missing."""
    try:
        command = [*_rustc(), "--version"] if language == "Rust" else [*_zig(), "version"]
    except BuildError:
        return None
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _language(source: Path) -> str:
    try:
        return SUFFIXES[source.suffix]
    except KeyError:
        known = ", ".join(SUFFIXES)
        raise BuildError(
            f"the language of {source.name!r} is unknown: its suffix is none of {known}"
        ) from None


def _zig() -> list[str]:
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    if (zig := shutil.which("zig")) is not None:
        return [zig]
    raise BuildError("no compiler for C and Zig was found\nhint: pip install 'wazarr[build]'")


def _rustc() -> list[str]:
    rustc = shutil.which("rustc")
    if rustc is None:
        raise BuildError(
            "rustc was not found\nhint: install Rust, then `rustup target add " + _RUST_TARGET + "`"
        )
    root = subprocess.run(
        [rustc, "--print=target-libdir", f"--target={_RUST_TARGET}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if root.returncode or not Path(root.stdout.strip()).is_dir():
        raise BuildError(f"this rustc makes no Wasm modules\nhint: rustup target add {_RUST_TARGET}")
    return [rustc]


def _run(command: Sequence[str], source: Path) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"{source} was not compiled:\n{result.stderr.strip()}")
    if result.stderr.strip():
        print(result.stderr.strip(), file=sys.stderr)  # noqa: T201 - the compiler's warnings
