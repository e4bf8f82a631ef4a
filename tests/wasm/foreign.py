"""The numcodecs-wasm packages for tests: where they are, and programs that have them or have nothing."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from zarr.storage import MemoryStore

from tests.wasm.numcodecs_cases import CASES

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = Path(
    os.environ.get("WAZARR_NUMCODECS_WASM") or ROOT / "build" / "numcodecs-wasm" / "packages"
)
VECTORS: Final[dict[str, Any]] = json.loads((ROOT / "tests/data/numcodecs_wasm_vectors.json").read_text())

needs_packages = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="scripts/numcodecs_wasm.sh puts the numcodecs-wasm packages there"
)

QUICK: Final = sorted(name for name, case in CASES.items() if not case.ids & {"sz3.rs", "sperr.rs"})
"""Cases whose modules compile in less than a second or two."""


def recorded(name: str) -> tuple[MemoryStore, dict[str, Any], np.ndarray[Any, Any]]:
    """Return the store that the real packages wrote for a case, its content, and what they read from it."""
    from zarr.core.buffer import default_buffer_prototype

    make = default_buffer_prototype().buffer.from_bytes
    content: dict[str, Any] = {
        key: make(base64.b64decode(value)) for key, value in VECTORS[name]["store"].items()
    }
    case = CASES[name]
    read = np.frombuffer(base64.b64decode(VECTORS[name]["values"]), case.data_type)
    return MemoryStore(content), content, read.reshape(case.values().shape)


def run_program(text: str, *arguments: object, has_packages: bool = False, **environment: str) -> str:
    """Run a program in an interpreter of its own; return what it printed.

    Parameters
    ----------
    text : str
        The program.
    *arguments : object
        Its ``sys.argv[1:]``.
    has_packages : bool
        Whether it can import the numcodecs-wasm packages.
    **environment : str
        Further variables.
    """
    path = [str(ROOT), *([str(FOLDER)] if has_packages else []), os.environ.get("PYTHONPATH", "")]
    answer = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:wazarr", "-c", text, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()
