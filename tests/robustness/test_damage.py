"""Damaged and hostile chunks are refused as such: no abort, no panic, no other exception, little memory."""

from __future__ import annotations

import pytest

from tests.robustness.isolation import run

GROUPS = ["compressors-v3", "compressors-v2", "filters", "shards", "strings"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_damaged_chunk_is_refused_or_read(group: str) -> None:
    run("damage_victim", group, 6, 1, timeout_s=240)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("group", GROUPS)
def test_many_more(group: str, seed: int) -> None:
    run("damage_victim", group, 400, seed, timeout_s=900)
