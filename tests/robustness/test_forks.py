"""Processes made in every way work, whatever their parent was doing; ending one in the middle is clean."""

from __future__ import annotations

import pytest

from tests.robustness.isolation import run


@pytest.mark.parametrize("kind", ["plain", "pools", "loader"])
def test_children_read_and_write(kind: str) -> None:
    run("forks", kind, timeout_s=240)


def test_forks_while_other_threads_are_busy() -> None:
    run("forks", "busy", 8, timeout_s=240)


@pytest.mark.slow
@pytest.mark.serial
def test_many_forks_while_other_threads_are_busy() -> None:
    run("forks", "busy", 200, timeout_s=1200)


def test_a_process_ends_while_threads_read() -> None:
    for _ in range(3):
        run("forks", "exits", timeout_s=120)
