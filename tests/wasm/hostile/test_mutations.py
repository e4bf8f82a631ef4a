"""Thousands of changed modules: refused, trapped or run, and never more than that."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tests.wasm.foreign import ROOT

MOST_RESIDENT_KIB = 1 << 20
MOST_SECONDS = 20.0


def meet(seed: int, first: int, count: int) -> dict[str, Any]:
    """Have a process meet some mutations; return what it said."""
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    process = subprocess.run(
        [sys.executable, "-m", "tests.wasm.hostile.mutations", str(seed), str(first), str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    lines = process.stdout.splitlines()
    assert process.returncode == 0, f"seed {seed}, mutation {lines[-1:]}: {process.stderr[-3000:]}"
    answer: dict[str, Any] = json.loads(lines[-1])
    print(f"seed {seed}, mutations {first} to {first + count}: {answer}")
    assert sum(answer["outcomes"].values()) == count
    assert answer["resident_kib"] < MOST_RESIDENT_KIB, answer
    assert answer["slowest"] < MOST_SECONDS, answer
    return answer


def test_some_mutations() -> None:
    answer = meet(1, 0, 300)
    # Both that many are refused and that many get as far as running.
    assert answer["outcomes"].get("CodecError", 0) > 20, answer
    assert (
        sum(answer["outcomes"].get(name, 0) for name in ("works", "changes the data", "WasmTrapError")) > 20
    )


@pytest.mark.slow
def test_ten_thousand_mutations() -> None:
    seed = int(os.environ.get("WAZARR_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"WAZARR_SEED={seed}")
    outcomes = Counter[str]()
    for first in range(0, 12_000, 1000):
        outcomes.update(meet(seed, first, 1000)["outcomes"])
    assert outcomes.total() >= 10_000
