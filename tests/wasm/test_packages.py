"""Installed numcodecs-wasm packages, found without importing them."""

from __future__ import annotations

import hashlib
import sys
import textwrap
from typing import TYPE_CHECKING

import numcodecs
import pytest

from tests.wasm.foreign import FOLDER, needs_packages, run_program
from tests.wasm.numcodecs_cases import CASES
from wazarr.wasm import packages

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_packages

IDS = sorted({codec_id for case in CASES.values() for codec_id in case.ids})


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.usefixtures("installed")
def test_finds_an_installed_package(codec_id: str) -> None:
    package = packages.find(codec_id)
    assert package is not None
    assert package.module == "numcodecs_wasm_" + codec_id.removesuffix(".rs").replace("-", "_")
    assert package.path == FOLDER / package.module / "codec.wasm"
    content = package.path.read_bytes()
    assert package.read() == (package.digest(), content)
    assert package.digest() == "sha256:" + hashlib.sha256(content).hexdigest()


def test_finds_nothing_where_nothing_is_installed() -> None:
    assert packages.find("zfp.rs") is None


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("codec_id", ["zlib", "zfp", "wazarr.wasm", "nobody.rs", "", "../zfp.rs"])
def test_finds_only_the_family(codec_id: str) -> None:
    assert packages.find(codec_id) is None


def test_notices_what_is_installed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.find("pco.rs") is None
    monkeypatch.syspath_prepend(str(FOLDER))
    assert packages.find("pco.rs") is not None


def test_digest_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "codec.wasm"
    path.write_bytes(b"one")
    package = packages.Package("zfp.rs", "numcodecs_wasm_zfp", "Zfp", path)
    first = package.digest()
    path.write_bytes(b"three")
    assert package.digest() == "sha256:" + hashlib.sha256(b"three").hexdigest() != first


def test_entry_point_with_a_dot_is_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a submodule would import what is above it."""
    (tmp_path / "numcodecs_wasm_evil").mkdir()
    (tmp_path / "numcodecs_wasm_evil" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "numcodecs_wasm_evil-1.dist-info").mkdir()
    (tmp_path / "numcodecs_wasm_evil-1.dist-info" / "entry_points.txt").write_text(
        "[numcodecs.codecs]\nevil.rs = numcodecs_wasm_evil.inner:Evil\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packages.find("evil.rs") is None


def test_knows_every_published_id() -> None:
    assert len(packages.CODEC_IDS) == len(set(packages.CODEC_IDS)) == 26
    assert set(IDS) <= set(packages.CODEC_IDS)


def test_owner_of_classes_that_are_none_of_theirs() -> None:
    class Zlib(numcodecs.Zlib):  # type: ignore[misc] # numcodecs has no types
        __module__ = "numcodecs_wasm_zlib"
        codec_id = "zlib.rs"

    assert packages.find_owner(numcodecs.Zlib) is None
    assert packages.find_owner(Zlib) is None
    assert "numcodecs_wasm_zlib" not in sys.modules


@pytest.mark.slow
def test_owner_of_their_own_classes() -> None:
    program = textwrap.dedent("""
        import numcodecs_wasm_round
        from wazarr.wasm import packages

        owner = packages.find_owner(numcodecs_wasm_round.Round)
        assert owner == packages.find("round.rs") is not None

        class Derived(numcodecs_wasm_round.Round):
            pass

        class Round(numcodecs_wasm_round.Round):
            __module__ = "numcodecs_wasm_round"

        assert packages.find_owner(Derived) is packages.find_owner(Round) is None
        print("done")
    """)
    assert run_program(program, has_packages=True) == "done"
