from __future__ import annotations

import pytest

from tests.wasm.built import TILE, guest
from wazarr.check import Conditions
from wazarr.errors import InvalidInputError
from wazarr.measure import measure_module
from wazarr.wasm.engine import Layout


def test_both_ways_beside_a_native_codec() -> None:
    conditions = Conditions(samples=[b"short", TILE.read_bytes()[:20_000]])
    timings = measure_module(guest("zlib"), conditions, against={"id": "zlib"}, seconds=0.05)
    contenders = ["numcodecs zlib", "wasm", "wasm, with a time limit"]
    assert [(each.direction, each.contender) for each in timings] == [
        (direction, contender) for direction in ("decode", "encode") for contender in contenders
    ]
    assert all(0 < each.best_s < 10 for each in timings)
    assert {each.len_bytes for each in timings} == {20_000}


def test_one_side_without_a_native_codec() -> None:
    conditions = Conditions(encoded_samples=[bytes(1000)])
    timings = measure_module(guest("read-only"), conditions, seconds=0.01)
    assert [each.contender for each in timings] == ["wasm", "wasm, with a time limit"]


@pytest.mark.parametrize(
    ("against", "problem"),
    [
        ({"id": "no such codec"}, "no codec"),
        ({"id": "lz4"}, "failed on what the module made"),
        ({"id": "shuffle", "elementsize": 1}, "something else than the module"),
    ],
)
def test_a_native_codec_that_is_another(against: dict[str, object], problem: str) -> None:
    conditions = Conditions(samples=[b"some bytes to be encoded"], decoded=Layout("|u1", (24,)))
    with pytest.raises(InvalidInputError, match=problem):
        measure_module(guest("zlib"), conditions, against=against, seconds=0.01)


def test_nothing_to_measure() -> None:
    with pytest.raises(InvalidInputError, match="nothing to measure"):
        measure_module(b"\0asm", Conditions())
