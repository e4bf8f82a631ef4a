"""Installed numcodecs-wasm packages, found without importing them.

Each is a pure Python package ``numcodecs_wasm_NAME`` with a component in ``codec.wasm`` beside its
`__init__.py`. Importing one compiles the component for seconds on its own host; ours needs the file alone,
which the entry points and the import system tell without running anything.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["CODEC_IDS", "PREFIX", "Package", "find", "find_owner"]

_GROUP = "numcodecs.codecs"
PREFIX = "numcodecs_wasm_"
_FILE = "codec.wasm"

CODEC_IDS: tuple[str, ...] = (
    "asinh.rs", "bit-round.rs", "ebcc.rs", "fixed-offset-scale.rs", "fourier-network.rs", "identity.rs",
    "jpeg2000.rs", "lc.rs", "linear-quantize.rs", "log.rs", "onion.rs", "pco.rs", "qpet-sperr.rs",
    "random-projection.rs", "reinterpret.rs", "round.rs", "sperr.rs", "stochastic-rounding.rs",
    "swizzle-reshape.rs", "sz3.rs", "tthresh.rs", "uniform-noise.rs", "zfp-classic.rs", "zfp.rs", "zlib.rs",
    "zstd.rs",
)  # fmt: skip
"""Ids of the codecs that numcodecs-wasm publishes: those that open as Zarr v2 with no package installed."""


@dataclass(frozen=True)
class Package:
    """One installed package.

    Attributes
    ----------
    codec_id : str
        The id in metadata (``"zfp.rs"``).
    module, class_name : str
        Where its own class is (``"numcodecs_wasm_zfp"``, ``"Zfp"``).
    path : Path
        The component.
    """

    codec_id: str
    module: str
    class_name: str
    path: Path

    def read(self) -> tuple[str, bytes]:
        """Return the digest (``"sha256:…"``) and the bytes of the component."""
        component = self.path.read_bytes()
        return "sha256:" + hashlib.sha256(component).hexdigest(), component

    def digest(self) -> str:
        """Return the digest alone, worked out once for each state of the file."""
        state = self.path.stat()
        return _digest(self, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _digest(package: Package, modified_ns: int, len_bytes: int) -> str:
    """Return the digest of a package's component; what `stat` says of the file is part of the key."""
    return package.read()[0]


def find(codec_id: str) -> Package | None:
    """Find the installed package of a codec.

    Parameters
    ----------
    codec_id : str
        As metadata has it.

    Returns
    -------
    Package or None
        None where no package of the family has a codec of this id.
    """
    if not codec_id.endswith(".rs"):
        return None
    # Only what was found is kept: a package may be installed while the program runs.
    key = (codec_id, tuple(sys.path))
    found = _found.get(key)
    if found is None or not found.path.is_file():
        found = _look_up(codec_id)
        if found is not None:
            _found[key] = found
    return found


_found: dict[tuple[str, tuple[str, ...]], Package] = {}


def _look_up(codec_id: str) -> Package | None:
    """Go through the entry points of all installed packages."""
    for entry in importlib.metadata.entry_points(group=_GROUP, name=codec_id):
        # A name with a dot in it would be looked up by importing what is before the dot.
        if not entry.module.startswith(PREFIX) or "." in entry.module:
            continue
        specification = importlib.util.find_spec(entry.module)
        for folder in (specification and specification.submodule_search_locations) or ():
            path = Path(folder) / _FILE
            if path.is_file():
                return Package(codec_id, entry.module, entry.attr, path)
    return None


def find_owner(cls: type) -> Package | None:
    """Find the package that made a class, where the class is exactly the package's own.

    Parameters
    ----------
    cls : type
        A codec class that the program has, so its module is imported already.

    Returns
    -------
    Package or None
        None for every other class, one derived from a package's class included.
    """
    name = cls.__module__
    if not name.startswith(PREFIX) or getattr(sys.modules.get(name), cls.__name__, None) is not cls:
        return None
    package = find(str(getattr(cls, "codec_id", "")))
    if package is None or (package.module, package.class_name) != (name, cls.__name__):
        return None
    return package
