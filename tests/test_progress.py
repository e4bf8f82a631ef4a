"""How far long reads and writes are: who hears of it, what is shown where, and that nothing depends on it."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore, WrapperStore

from tests.pipelines import SUBJECT_PATH, pipeline
from wazarr import progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = np.arange(20, dtype="i4")


class Slow(WrapperStore[Any]):
    """Waits with every chunk until the test lets one pass."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.passes = threading.Semaphore(0)
        self.is_open = False

    async def _pass(self, key: str) -> None:
        if not key.endswith("zarr.json") and not self.is_open:
            await asyncio.to_thread(self.passes.acquire)

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        await self._pass(key)
        return await super().get(key, *args, **kwargs)

    async def set(self, key: str, value: Any) -> None:
        await self._pass(key)
        await super().set(key, value)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 0.01)
    monkeypatch.setattr(progress, "_INTERVAL_S", 0.01)


def slow_array() -> tuple[Slow, zarr.Array[Any]]:
    store = Slow(MemoryStore())
    store.is_open = True
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(store, shape=(20,), chunks=(5,), dtype="i4")
        array[...] = VALUES
    store.is_open = False
    return store, array


def let_pass_one_by_one(store: Slow, heard: Callable[[], bool]) -> threading.Thread:
    """Let a chunk pass whenever somebody heard of the one before."""

    def run() -> None:
        for number in range(4):
            for _ in range(3000):
                if heard():
                    break
                threading.Event().wait(0.01)
            store.passes.release()
            threading.Event().wait(0.02 * (number + 1))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("operation", ["read", "write"])
def test_a_function_is_told_how_many_chunks_are_done(operation: str) -> None:
    store, array = slow_array()
    told: list[tuple[int, int]] = []
    with zarr.config.set({"wazarr.progress": lambda done, total: told.append((done, total))}):
        thread = let_pass_one_by_one(store, lambda: bool(told))
        if operation == "read":
            assert np.array_equal(np.asarray(array[...]), VALUES)
        else:
            array[...] = -VALUES
    thread.join()
    assert told[0] == (0, 4)
    assert told[-1] == (4, 4)
    assert told == sorted(told)
    store.is_open = True
    assert np.array_equal(np.asarray(array[...]), VALUES if operation == "read" else -VALUES)


@pytest.mark.parametrize("setting", [False, None])
def test_nobody_looks_where_nobody_wants_to_know(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_Following", None)
    store, array = slow_array()
    store.is_open = True
    with zarr.config.set({"wazarr.progress": setting}):
        assert np.array_equal(np.asarray(array[...]), VALUES)


def test_what_is_done_soon_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 60)
    store, array = slow_array()
    store.is_open = True
    told: list[int] = []
    with zarr.config.set({"wazarr.progress": lambda done, _: told.append(done)}):
        array[...] = VALUES
        array[...]
    assert not told


@pytest.mark.parametrize("operation", ["read", "write"])
def test_a_function_that_fails_is_reported_once_and_changes_nothing(
    operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, array = slow_array()
    told: list[int] = []

    def fail(done: int, _: int) -> None:
        told.append(done)
        raise ZeroDivisionError("no progress")

    with zarr.config.set({"wazarr.progress": fail}), caplog.at_level(logging.WARNING, "wazarr"):
        thread = let_pass_one_by_one(store, lambda: bool(told))
        if operation == "read":
            assert np.array_equal(np.asarray(array[...]), VALUES)
        else:
            array[...] = -VALUES
    thread.join()
    assert len(told) == 1
    messages = [record for record in caplog.records if "wazarr.progress" in record.message]
    assert len(messages) == 1
    assert messages[0].exc_info is not None
    store.is_open = True
    assert np.array_equal(np.asarray(array[...]), VALUES if operation == "read" else -VALUES)


def test_what_fails_is_not_told_as_done() -> None:
    store, array = slow_array()
    told: list[int] = []
    store._store._store_dict.pop("c/2")

    class Failing(Exception):
        pass

    async def fail(key: str) -> None:
        while not told:
            await asyncio.sleep(0.01)
        raise Failing(key)

    store._pass = fail  # type: ignore[method-assign]
    with (
        zarr.config.set({"wazarr.progress": lambda done, _: told.append(done)}),
        pytest.raises(Failing),
    ):
        array[...]
    assert set(told) == {0}


def test_nonsense_is_reported() -> None:
    store, array = slow_array()
    store.is_open = True
    with (
        zarr.config.set({"wazarr.progress": "please"}),
        pytest.warns(UserWarning, match="wazarr.progress='please'"),
    ):
        assert np.array_equal(np.asarray(array[...]), VALUES)


def test_a_native_store_counts_too(tmp_path: Path) -> None:
    """Chunks of native stores are counted by the engine."""
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(tmp_path / "a", shape=(400, 400), chunks=(10, 10), dtype="i4")
        jobs: list[Any] = []
        follow = progress.follow

        def keep(loop: Any, job: Any, label: str) -> Any:
            jobs.append((label, job))
            return follow(loop, job, label)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(progress, "follow", keep)
            array[...] = 7
            array[...]
    assert [(label, job.done(), len(job)) for label, job in jobs] == [
        ("write", 1600, 1600),
        ("read", 1600, 1600),
    ]


class Terminal(io.StringIO):
    """A terminal, or not."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def read_with_a_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> str:
    store, array = slow_array()
    is_shown = terminal.is_terminal or "IPython" in sys.modules
    monkeypatch.setattr(sys, "stderr", terminal)
    looks: list[int] = []
    show = progress._Following._show

    def counted(self: Any, done: int) -> bool:
        looks.append(done)
        return show(self, done)

    monkeypatch.setattr(progress._Following, "_show", counted)
    with zarr.config.set({"wazarr.progress": True}):
        thread = let_pass_one_by_one(store, lambda: bool(looks) or not is_shown)
        assert np.array_equal(np.asarray(array[...]), VALUES)
    thread.join()
    return terminal.getvalue()


def test_tqdm_draws_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    shown = read_with_a_bar(Terminal(is_terminal=True), monkeypatch)
    assert "read:   0%" in shown
    assert "0/4" in shown


def test_a_line_does_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    shown = read_with_a_bar(Terminal(is_terminal=True), monkeypatch)
    assert "\rread: 0 of 4 chunks" in shown
    assert "\n" not in shown
    # Nothing of it stays.
    assert shown.endswith("\r")
    assert not shown.split("\r")[-2].strip()


def test_a_file_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert read_with_a_bar(Terminal(is_terminal=False), monkeypatch) == ""


def test_a_notebook_is_no_terminal_and_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
    notebook = types.SimpleNamespace(get_ipython=lambda: kernel)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert "\rread: 0 of 4 chunks" in read_with_a_bar(Terminal(is_terminal=False), monkeypatch)
