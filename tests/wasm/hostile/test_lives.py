"""Processes in which a guest runs: they can be interrupted, forked and ended, and their caches attacked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.wasm.foreign import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def start(action: str, folder: Path) -> subprocess.Popen[str]:
    """Start a process."""
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.wasm.hostile.lives", action, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(action: str, folder: Path) -> str:
    """Run a process to its end; return what it printed."""
    process = start(action, folder)
    try:
        out, problems = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, f"{process.returncode}: {problems[-3000:]}"
    return out


def counters(folder: Path) -> dict[str, Any]:
    """Read with a cache folder in a process; return its counters."""
    answer: dict[str, Any] = json.loads(run("cached", folder).partition("cached ")[2])
    return answer


@pytest.mark.serial
def test_an_endless_loop_is_interrupted_within_a_second(tmp_path: Path) -> None:
    assert float(run("interrupted", tmp_path).partition("after")[2]) < 1.0


@pytest.mark.parametrize("action", ["ended", "exited"])
def test_a_process_ends_while_a_guest_runs(action: str, tmp_path: Path) -> None:
    started = time.monotonic()
    assert run(action, tmp_path) == "ready\n"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "action", ["forked", "shared", "full", pytest.param("greedy", marks=pytest.mark.slow)]
)
def test_processes(action: str, tmp_path: Path) -> None:
    assert run(action, tmp_path) == f"{action}\n"


def test_a_cache_is_used_by_the_next_process(tmp_path: Path) -> None:
    assert counters(tmp_path)["compiled"] == 1
    again = counters(tmp_path)
    assert (again["compiled"], again["deserialized"]) == (0, 1)


@pytest.mark.slow
def test_damaged_files_are_made_anew(tmp_path: Path) -> None:
    counters(tmp_path)
    for damage in (
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda _: b"",
    ):
        for path in (tmp_path / "cache").iterdir():
            path.write_bytes(damage(path.read_bytes()))
        assert counters(tmp_path)["compiled"] == 1
        assert counters(tmp_path)["deserialized"] == 1


@pytest.mark.parametrize("mode", [0o770, pytest.param(0o702, marks=pytest.mark.slow)])
def test_a_folder_that_others_have_rights_to_is_not_used(mode: int, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert counters(tmp_path)["compiled"] == 1
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_behind_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    assert counters(tmp_path)["compiled"] == 1
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_files_of_another_user_are_not_used(tmp_path: Path) -> None:
    counters(tmp_path)
    for path in (tmp_path / "cache").iterdir():
        os.chown(path, 65534, 65534)
    assert counters(tmp_path)["deserialized"] == 0
    os.chown(tmp_path / "cache", 65534, 65534)
    assert counters(tmp_path)["deserialized"] == 0


@pytest.mark.slow
def test_many_processes_at_once(tmp_path: Path) -> None:
    processes = [start("cached", tmp_path) for _ in range(4)]
    for process in processes:
        out, problems = process.communicate(timeout=90)
        assert process.returncode == 0, problems[-2000:]
        assert out.startswith("cached")
    assert counters(tmp_path)["deserialized"] == 1
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]
