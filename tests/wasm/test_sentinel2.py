"""The example of a satellite image that carries its own decoder."""

from __future__ import annotations

import subprocess
import sys

from tests.wasm.built import ROOT, guest_path


def test_the_demonstration_reads_the_tile_elsewhere() -> None:
    for name in ("tiff-predictor-2", "zlib"):
        guest_path(name)
    script = str(ROOT / "examples" / "sentinel2" / "demo.py")
    command = [sys.executable, script, "--quick", "--rounds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "1448479 bytes, unchanged: True" in result.stdout
    assert result.stdout.count("from hierarchy: wasm_codecs/") == 2
    assert "sha256 793e95ed73d0 (checked)" in result.stdout
