"""Any array and any sequence of writes, reads and resizes: equal to numpy and zarr-python."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.program import execute, generate

pytestmark = pytest.mark.filterwarnings("ignore")

REPRODUCERS = sorted((Path(__file__).parent.parent / "fuzz" / "reproducers").glob("*.json"))


@st.composite
def programs(draw: st.DrawFn, *, oracle_share: float) -> dict[str, Any]:
    """Draw an array and up to a dozen steps on it."""
    random = draw(st.randoms(use_true_random=False))
    assert isinstance(random, Random)
    steps = draw(st.integers(1, 12))
    return generate(random, steps=steps, oracle_share=oracle_share)


def _run(program: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="wazarr-property-") as folder:
        execute(program, Path(folder))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(oracle_share=0.0))
def test_array_equals_numpy(program: dict[str, Any]) -> None:
    """Reads return, bit for bit, what numpy holds after the same writes."""
    _run(program)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(oracle_share=1.0))
def test_array_equals_default_pipeline(program: dict[str, Any]) -> None:
    """Values, resizes and stored chunk keys are those of the default pipeline."""
    _run(program)


@pytest.mark.parametrize("path", REPRODUCERS, ids=lambda path: path.stem)
def test_reproducer(path: Path) -> None:
    """What the fuzzer once found stays right."""
    _run(json.loads(path.read_text())["program"])
