"""Runs a module of this folder in a process of its own, which may die without taking the tests along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).parents[2]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start the module `script` with its output to be read from pipes."""
    return subprocess.Popen(
        command(script, arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )


def command(script: str, arguments: Sequence[object] = ()) -> list[str]:
    """Return the command line that runs the module `script`."""
    return [sys.executable, "-m", f"tests.robustness.{script}", *(str(argument) for argument in arguments)]


def run(script: str, *arguments: object, timeout_s: float = 120) -> str:
    """Run `script` to its end, which has to be a good one; answer what it printed.

    Raises
    ------
    AssertionError
        It died, failed or took longer than `timeout_s` (a hang: no measure of speed).
    """
    try:
        finished = subprocess.run(
            command(script, arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired as expired:
        raise AssertionError(f"{script} {arguments} hangs:\n{expired.stdout!r}\n{expired.stderr!r}") from None
    assert finished.returncode == 0, (
        f"{script} {arguments} ended with {finished.returncode}:\n"
        f"{finished.stdout[-4000:]}\n{finished.stderr[-8000:]}"
    )
    assert "PanicException" not in finished.stderr, finished.stderr[-8000:]
    return finished.stdout
