"""The guests of `tests/guests` and `examples/guests`, built when a test first wants one."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest

from scripts.build_guests import ROOT, UnavailableError, build_guest, sources
from wazarr import _native, config
from wazarr.wasm import modules

if TYPE_CHECKING:
    from pathlib import Path

BYTES = {"data_type": "|u1", "shape": [0]}
MOST_BYTES = 1 << 26
TILE = ROOT / "examples" / "data" / "sentinel-2-b04-tile.zz"

__all__ = ["BYTES", "MOST_BYTES", "ROOT", "TILE", "bind", "guest", "guest_path", "sources"]


@functools.cache
def _built(name: str) -> Path | str:
    try:
        return build_guest(name)
    except UnavailableError as error:
        return str(error)


def guest_path(name: str) -> Path:
    """Return a guest's module, or skip the test where it cannot be built."""
    built = _built(name)
    if isinstance(built, str):
        pytest.skip(f"guest {name}: {built}")
    return built


def guest(name: str) -> bytes:
    """Return a guest's bytes."""
    return guest_path(name).read_bytes()


def bind(
    name: str,
    kind: str = "bytes-bytes",
    *,
    parameters: dict[str, Any] | None = None,
    decoded: dict[str, Any] | None = None,
    encoded: dict[str, Any] | None = None,
    is_trusted: bool = False,
    **limits: float,
) -> _native.Codec:
    """Bind a guest; `limits` replace those of the configuration."""
    decoded = decoded or BYTES
    encoded = encoded or (decoded if kind == "array-array" else BYTES)
    setup = {"kind": kind, "parameters": parameters or {}, "decoded": decoded, "encoded": encoded}
    digest = modules.put(guest(name))
    return _native.bind_wasm_codec(
        name,
        digest,
        json.dumps(setup),
        limits=json.dumps(config.wasm_limits() | limits | {"trusted": is_trusted}),
        cache_dir=config.wasm_cache_dir(),
        fresh_instance=False,
    )
