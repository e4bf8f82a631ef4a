"""Build the Wasm guests of the examples and the tests into ``build/guests``.

``build_guests.py [NAME ...]`` builds those named, else all; what cannot be built here is named on stderr
(Rust without its Wasm target, a library whose crate cargo has not fetched) and is an error only when it
was asked for by name. A guest is compiled again when its sources, flags or compiler change; results are
also kept in the user's cache folder, so that a fresh clone compiles nothing twice.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wazarr import build

ROOT: Final = Path(__file__).resolve().parent.parent
OUTPUT: Final = ROOT / "build" / "guests"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wazarr" / "guests"
KEPT: Final = 400
"""How many results the cache keeps."""


@dataclass(frozen=True)
class Library:
    """C sources inside a crate that we depend on; paths are relative to the crate."""

    crate: str
    include: tuple[str, ...]
    sources: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    wasm_flags: tuple[str, ...] = ()


C: Final = ROOT / "examples" / "guests" / "c"
LIBRARIES: Final = {
    "zlib": Library("libdeflate-sys", ("libdeflate",)),
    "lz4": Library("lz4-sys", ("liblz4/lib",), wasm_flags=("-DLZ4_FAST_DEC_LOOP=1",)),
    "zstd": Library(
        "zstd-sys",
        ("zstd/lib", "zstd/lib/common"),
        ("zstd/lib/common/*.c", "zstd/lib/decompress/*.c", "zstd/lib/compress/*.c"),
        ("-DZSTD_DISABLE_ASM",),
        ("-include", str(C / "wide_size.h")),
    ),
}
"""By the name of the guest that wraps it."""


class UnavailableError(Exception):
    """A guest that cannot be built on this machine."""


def sources() -> dict[str, Path]:
    """Return the source of each guest by its name: that of the file, `-` for `_`."""
    folders = (C, ROOT / "examples/guests/zig", ROOT / "examples/guests/rust", ROOT / "tests/guests")
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix in build.SUFFIXES:
                name = path.stem.replace("_", "-")
                if name in found:
                    sys.exit(f"two guests are called {name}: {found[name]} and {path}")
                found[name] = path
    return found


@functools.cache
def packages() -> dict[str, Path]:
    """Return where cargo keeps the sources of each of our dependencies."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--offline"]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(
            "cargo does not tell where its crates are (`cargo fetch` gets them)"
        ) from error
    metadata: dict[str, Any] = json.loads(result.stdout)
    return {each["name"]: Path(each["manifest_path"]).parent for each in metadata["packages"]}


@functools.cache
def compiler(language: str) -> str:
    """Return the version of a language's compiler."""
    found = build.version(language)
    if found is None:
        raise UnavailableError(f"no compiler of {language} to Wasm")
    return found


@dataclass(frozen=True)
class Plan:
    """What compiling one guest takes."""

    source: Path
    further_sources: tuple[Path, ...]
    flags: tuple[str, ...]
    is_native: bool

    def key(self) -> str:
        """Return a digest of everything that decides about the result."""
        folder = self.source.parent
        files = [self.source, *folder.glob("*.h"), *build.include_folder().glob("*.h"), Path(build.__file__)]
        named = [Path(flag) for flag in self.flags if not flag.startswith("-")]
        files += [path for path in named if path.is_file()]
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        # A crate's version is in its folder's name, and its files do not change.
        words = [str(each) for each in self.further_sources]
        flags = [each.replace(str(ROOT), "") for each in self.flags]
        language = build.SUFFIXES[self.source.suffix]
        digest.update(json.dumps([words, flags, compiler(language), self.is_native]).encode())
        return digest.hexdigest()


def plan(name: str, source: Path, *, is_native: bool, flags: tuple[str, ...] = ()) -> Plan:
    """Look up what a guest is made of."""
    library = LIBRARIES.get(name)
    if library is None:
        return Plan(source, (), flags, is_native)
    folder = packages().get(library.crate)
    if folder is None:
        raise UnavailableError(f"the crate {library.crate} is not among the dependencies")
    further = tuple(path for pattern in library.sources for path in sorted(folder.glob(pattern)))
    # As a system's: what a compiler thinks of a library's own style is not for us to see.
    include = tuple(word for each in library.include for word in ("-isystem", str(folder / each)))
    of_target = () if is_native else library.wasm_flags
    return Plan(source, further, include + library.flags + of_target + flags, is_native)


def build_guest(
    name: str, *, is_native: bool = False, variant: str = "", flags: tuple[str, ...] = ()
) -> Path:
    """Build one guest where that is needed.

    Parameters
    ----------
    name : str
        As `sources` has it.
    is_native : bool
        A shared library of this machine instead of a Wasm module.
    variant : str
        Part of the file's name, for one that is compiled with other flags.
    flags : tuple of str
        For the compiler, besides what the guest needs.

    Returns
    -------
    Path
        The module, or the library.

    Raises
    ------
    UnavailableError
        It cannot be built on this machine.
    wazarr.build.BuildError
        It does not compile.
    """
    wanted = plan(name, sources()[name], is_native=is_native, flags=flags)
    stem = f"{name}.{variant}" if variant else name
    output = OUTPUT / (f"native/{stem}.so" if is_native else f"{stem}.wasm")
    key = wanted.key()
    stamp = output.with_suffix(output.suffix + ".key")
    if output.exists() and stamp.exists() and stamp.read_text() == key:
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = CACHE / f"{key}{output.suffix}"
    # Written beside and moved into place: several test processes may build at the same time.
    fresh = output.with_name(f".{output.name}.{os.getpid()}")
    if kept.exists():
        shutil.copyfile(kept, fresh)
    else:
        compile_ = build.compile_native if is_native else build.compile_module
        compile_(
            wanted.source,
            fresh,
            further_sources=wanted.further_sources,
            flags=wanted.flags,
        )
        keep(fresh, kept)
    fresh.replace(output)
    stamp.write_text(key)
    return output


def keep(made: Path, kept: Path) -> None:
    """Put a result into the cache, and drop the oldest where there are too many."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_name(f".{kept.name}.{os.getpid()}")
    shutil.copyfile(made, beside)
    beside.replace(kept)
    ages = []
    for path in kept.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process has moved or dropped it
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[: -KEPT or None]:
        path.unlink(missing_ok=True)


def build_guests(names: list[str] | None = None, *, is_native: bool = False) -> dict[str, Path]:
    """Build several guests, two at a time; those that cannot be built here are left out.

    Parameters
    ----------
    names : list of str, optional
        All when omitted. One that was named and cannot be built is an error.
    is_native : bool
        Shared libraries of this machine instead of Wasm modules.
    """

    def attempt(name: str) -> Path | UnavailableError:
        try:
            return build_guest(name, is_native=is_native)
        except UnavailableError as error:
            return error

    wanted = list(sources()) if names is None else names
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(wanted, pool.map(attempt, wanted), strict=True))
    built: dict[str, Path] = {}
    for name, result in results.items():
        if isinstance(result, Path):
            built[name] = result
        elif names is None:
            print(f"not built: {name}: {result}", file=sys.stderr)
        else:
            raise result
    return built


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="guests (all)")
    parser.add_argument("--native", action="store_true", help="shared libraries, to compare speeds with")
    options = parser.parse_args()
    if unknown := set(options.names) - set(sources()):
        parser.error(f"no such guest: {', '.join(sorted(unknown))}")
    try:
        built = build_guests(options.names or None, is_native=options.native)
    except (UnavailableError, build.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in built.values():
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
