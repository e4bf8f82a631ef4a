"""What the conformance check says of good guests, and which check each bad one fails."""

from __future__ import annotations

from typing import Any

import pytest
import zarr

from tests.wasm.built import TILE, guest
from wazarr.check import Conditions, Finding, check_module
from wazarr.wasm.engine import Layout

CHECKS = [
    "module",
    "configuration",
    "samples",
    "round trip",
    "determinism",
    "statelessness",
    "ranges",
    "bad input",
    "output bounds",
    "limits",
]


def failed(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.detail for finding in findings if finding.outcome == "failed"}


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("identity", {}),
    ("growing", {}),
    ("curious", {}),
    ("byte-shuffle", {"parameters": {"elementsize": 8}}),
    ("zlib", {"parameters": {"level": 1}}),
    ("lz4", {}),
    ("zstd", {}),
    ("delta", {"kind": "array-array", "decoded": Layout("<i4", (5, 7))}),
    ("packbits", {"kind": "array-bytes", "decoded": Layout("|b1", (3, 5))}),
    ("big-endian", {"kind": "array-bytes", "decoded": Layout("<f8", (4, 4))}),
    (
        "tiff-predictor-2",
        {"parameters": {"bytes_per_sample": 2, "width": 9}, "decoded": Layout("<u2", (4, 9))},
    ),
    (
        "quantize",
        {
            "kind": "array-array",
            "decoded": Layout("<f4", (50,)),
            "encoded": Layout("<i2", (50,)),
            "parameters": {"scale": 100},
            "is_lossy": True,
        },
    ),
    (
        "bit-round",
        {
            "kind": "array-array",
            "decoded": Layout("<f8", (50,)),
            "parameters": {"keepbits": 5},
            "is_lossy": True,
        },
    ),
]


@pytest.mark.parametrize(("name", "conditions"), GOOD, ids=[name for name, _ in GOOD])
def test_good_guests_conform(name: str, conditions: dict[str, Any]) -> None:
    findings = check_module(guest(name), Conditions(**conditions))
    assert [finding.name for finding in findings] == CHECKS
    assert failed(findings) == {}


BAD: list[tuple[str, dict[str, Any], set[str], str]] = [
    ("stateful", {}, {"determinism", "statelessness"}, "fresh_instance"),
    ("misbehaving", {"how": "trap"}, {"configuration"}, "trap"),
    ("misbehaving", {"how": "refuse"}, {"samples"}, "configured to refuse"),
    ("misbehaving", {"how": "fail"}, {"round trip"}, "told to fail"),
    ("misbehaving", {"how": "say too much"}, {"configuration"}, "says that it wrote"),
    ("misbehaving", {"how": "say too little"}, {"round trip"}, ""),
    ("misbehaving", {"how": "loop"}, {"configuration"}, "timeout_s"),
    ("misbehaving", {"how": "decode another range"}, {"ranges"}, "are not what decode makes of them"),
]


@pytest.mark.parametrize(
    ("name", "parameters", "checks", "detail"),
    BAD,
    ids=[f"{name} {next(iter(parameters.values()), '')}" for name, parameters, _, _ in BAD],
)
def test_bad_guests_are_found_out(
    name: str, parameters: dict[str, str], checks: set[str], detail: str
) -> None:
    with zarr.config.set({"wazarr.wasm.timeout_s": 0.3}):
        findings = failed(check_module(guest(name), Conditions(parameters=parameters)))
    assert checks <= set(findings)
    assert any(detail in text for text in findings.values())


def test_a_lossy_codec_is_named_as_such() -> None:
    conditions = {
        "kind": "array-array",
        "decoded": Layout("<f4", (50,)),
        "parameters": {"keepbits": 5},
    }
    findings = failed(check_module(guest("bit-round"), Conditions(**conditions)))  # type: ignore[arg-type]
    assert set(findings) == {"round trip"}
    assert "--lossy" in findings["round trip"]


def test_a_codec_that_only_reads() -> None:
    findings = failed(check_module(guest("read-only")))
    assert "--encoded" in findings["samples"]
    conditions = Conditions(encoded_samples=[b"\x00\xff", bytes(100)])
    findings_of_it = check_module(guest("read-only"), conditions)
    assert failed(findings_of_it) == {}
    skipped = [finding.name for finding in findings_of_it if finding.outcome == "skipped"]
    assert skipped == ["round trip", "ranges"]


def test_samples_that_it_is_not_for() -> None:
    conditions = Conditions(parameters={"bytes_per_sample": 2, "width": 1000}, decoded=Layout("|u1", (7,)))
    findings = failed(check_module(guest("tiff-predictor-2"), conditions))
    assert "whole number of rows" in findings["samples"]


def test_samples_of_the_caller() -> None:
    conditions = Conditions(samples=[TILE.read_bytes()[:1000], b"", b"abc"])
    findings = check_module(guest("zlib"), conditions)
    assert failed(findings) == {}
    assert findings[2].detail == "3 of 3 encoded"


@pytest.mark.parametrize("module", [b"", b"\0asm", b"\0asm\1\0\0\0", b"not a module at all"])
def test_what_is_no_codec(module: bytes) -> None:
    findings = check_module(module)
    assert list(failed(findings)) == ["module"]
    assert len(findings) == 1
