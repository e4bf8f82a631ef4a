"""The predictor of the examples behind chonkle's interfaces, built with `tests/guests/chonkle.h`."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final, Literal

from tests.guests.componentize import componentize, sign
from wazarr import build

ROOT: Final = Path(__file__).parents[2]
HEADER: Final = ROOT / "tests" / "guests" / "chonkle.h"
SOURCE: Final = ROOT / "examples" / "guests" / "c" / "tiff_predictor_2.c"

Interface = Literal["C", "D", "E core", "E"]
INTERFACES: Final[tuple[Interface, ...]] = ("C", "D", "E core", "E")

_PORTS: Final[dict[str, Any]] = {
    "bytes": {"type": "bytes", "required": True},
    "bytes_per_sample": {"type": "int", "required": False, "default": 2},
    "width": {"type": "int", "required": True},
}
_OUTPUTS: Final = {"bytes": {"type": "bytes"}}


def signature(interface: Interface) -> dict[str, Any]:
    """Return the predictor's signature: the width is required, the size of a sample has a default."""
    common = {"codec_id": "tiff-predictor-2", "implementation": "wazarr"}
    if not interface.startswith("E"):
        return {**common, "inputs": _PORTS, "outputs": _OUTPUTS}
    ports = {name: {key: port[key] for key in port if key != "required"} for name, port in _PORTS.items()}
    side = {"inputs": ports, "outputs": _OUTPUTS}
    return {**common, "encode": side, "decode": side}


def predictor(interface: Interface, *, is_signed: bool = True) -> bytes:
    """Return the predictor as a module of one of the interfaces."""
    text = json.dumps(signature(interface), separators=(",", ":"))
    flags = ["-include", str(HEADER)]
    if interface in ("C", "E"):
        flags.append("-DCHONKLE_COMPONENT")
    if interface.startswith("E"):
        escaped = text.replace('"', '\\"')
        flags.append(f'-DCHONKLE_SIGNATURE="{escaped}"')
    core = _built(flags)
    letter: Any = interface[0]
    module = componentize(core, letter) if interface in ("C", "E") else core
    return sign(module, signature(interface), letter) if is_signed else module


def _built(flags: list[str]) -> bytes:
    """Compile once for each state of the sources."""
    files = [SOURCE, HEADER, *SOURCE.parent.glob("*.h"), build.include_folder() / "wazarr_codec.h"]
    digest = hashlib.sha256(json.dumps(flags).encode() + b"".join(path.read_bytes() for path in files))
    path = ROOT / "build" / "guests" / f"chonkle-{digest.hexdigest()[:16]}.wasm"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{os.getpid()}-{path.name}")
        build.compile_module(SOURCE, fresh, flags=flags)
        fresh.replace(path)
    return path.read_bytes()
