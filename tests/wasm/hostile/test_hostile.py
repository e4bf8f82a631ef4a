"""Every module of the corpus, met in another process: it lives, nothing is wrong, and errors say whose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.wasm.foreign import ROOT
from tests.wasm.hostile.corpus import corpus

if TYPE_CHECKING:
    from tests.wasm.hostile.cases import Case

CORPUS: Final = corpus()
PER_PROCESS: Final = 40
MOST_RESIDENT_KIB: Final = 1 << 20
"""Of a process: the guests' own limit is 96 MiB each, the compiler and everything else has the rest."""
MOST_SECONDS: Final = 20.0

_SLICES: Final = [
    list(CORPUS)[start :: -(-len(CORPUS) // PER_PROCESS)] for start in range(-(-len(CORPUS) // PER_PROCESS))
]


def meet(names: list[str], *, address_limit: int | None = None) -> dict[str, dict[str, Any]]:
    """Have a process meet some cases; return what it said of each.

    Parameters
    ----------
    names : list of str
        Names of cases.
    address_limit : int or None
        Bytes of addresses that the process may have.
    """
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    process = subprocess.run(
        [sys.executable, "-m", "tests.wasm.hostile.victim"],
        input=json.dumps({"names": names, "address_limit": address_limit}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    begun = [line["begin"] for line in lines if "begin" in line]
    assert process.returncode == 0, f"died of {begun[-1:]}: {process.returncode} {process.stderr[-2000:]}"
    return {line["end"]: line["answer"] for line in lines if "end" in line}


def complaints(case: Case, answer: dict[str, Any]) -> list[str]:
    """Return everything that did not go as it should."""
    found = [f"wrong: {wrong}" for wrong in answer["wrong"] if not _is_own_doing(case, wrong)]
    if answer["open"] is not None:
        found.append(f"does not open: {answer['open']}")
    for mode in ("read", "write"):
        for number, error in answer[mode]:
            is_marked = number == 1
            fails = case.fails(is_read=mode == "read", is_marked=is_marked)
            if fails != (error is not None):
                found.append(f"{mode} of chunk {number}: {error or 'did not fail'}")
            elif error is not None:
                found += [
                    f"{mode} of chunk {number}: {what}: {error}"
                    for what in _amiss(case, answer, number, error)
                ]
    canary = answer["canary"]
    failed = [error for mode in ("read", "write") for _, error in canary[mode] if error is not None]
    if canary["wrong"] or canary["open"] or canary["all"] or failed:
        found.append(f"a sound module afterwards: {canary}")
    if answer["seconds"] > MOST_SECONDS:
        found.append(f"took {answer['seconds']:.1f} s")
    if answer["resident_kib"] > MOST_RESIDENT_KIB:
        found.append(f"took {answer['resident_kib']} KiB of memory")
    return found


def _is_own_doing(case: Case, wrong: str) -> bool:
    # A guest that says it encodes to something else may: it is only found out when that is decoded.
    return case.where == "decode" and wrong == "chunk 1 written"


def _amiss(case: Case, answer: dict[str, Any], number: int, error: dict[str, Any]) -> list[str]:
    """Return what is wrong with an error."""
    text = error["text"]
    # Data of another length are the data's fault as well: there the chunk is named and not the module.
    is_length = "bytes where" in text
    checks = {
        "another class": error["classes"][0] in case.errors,
        "no codec": "victim" in text and error["codec"] == "victim",
        "no module": is_length or answer["digest"] in text,
        "no chunk": case.where == "always" or (error["chunk_key"] == f"c/{number}" and f"c/{number}" in text),
        "too long": len(text) < 6000,
        "control characters": all(character >= " " or character == "\n" for character in text),
    }
    return [what for what, is_right in checks.items() if not is_right]


def _check(names: list[str], answers: dict[str, dict[str, Any]]) -> None:
    found = {name: complaints(CORPUS[name], answers[name]) for name in names}
    found = {name: list for name, list in found.items() if list}
    assert not found, json.dumps(found, indent=1)[:8000]


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 200
    assert len({case.module for case in CORPUS.values()}) >= 195


@pytest.mark.parametrize(
    "slice_", [0, 1, *(pytest.param(slice_, marks=pytest.mark.slow) for slice_ in range(2, len(_SLICES)))]
)
def test_hostile_modules(slice_: int) -> None:
    names = _SLICES[slice_]
    _check(names, meet(names))


@pytest.mark.slow
def test_hostile_modules_where_addresses_are_few() -> None:
    names = list(CORPUS)
    _check(names, meet(names, address_limit=6 << 30))
