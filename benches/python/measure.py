"""Timing of one case: every contender in turn, in every round, each answer checked.

In every round each contender does the same operation once, in an order that rotates, so that a slow
moment of the machine hits all alike. One turn before the rounds is not timed: it starts the thread
pools and tells who can do the operation at all. Reads are all of the same files, which zarr-python's
default pipeline wrote; for writes each contender has a copy, and zarr-python reads back what it wrote.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from contenders import OURS, PIPELINES, REFERENCE, CannotError, Pipeline, Store
from fields import following
from selections import EVERYTHING
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    from cases import Case, Operation
    from contenders import Contender
    from selections import Values

SLOW_S = 4.0
"""Who has spent so long on one operation, after at least one round, takes no more turns."""


class WrongAnswerError(Exception):
    """An answer is not what numpy says."""


@dataclass
class Cell:
    """The times of one operation on one layout."""

    case: str
    operation: str
    limit: float
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Who could not do it, and why."""
    encoded_bytes: dict[str, int] = field(default_factory=dict)
    """After a write of everything: bytes of all files."""
    fallbacks: dict[str, int] = field(default_factory=dict)
    """Chunks that wazarr left to Python, by reason."""
    fetched_bytes: dict[str, int] = field(default_factory=dict)
    """With a cold page cache: bytes that came from the disk in the last turn."""

    def rivals(self) -> list[str]:
        """Return the other pipelines that took part."""
        return [name for name in self.times_ms if name in PIPELINES and name != OURS]

    def best(self, name: str) -> float:
        """Return the shortest time of a contender."""
        return min(self.times_ms[name])

    def ratio(self, *, medians: bool = False) -> float | None:
        """Return our time over that of the fastest other pipeline, None where either is missing."""
        reduce = statistics.median if medians else min
        if OURS not in self.times_ms or not self.rivals():
            return None
        return reduce(self.times_ms[OURS]) / min(reduce(self.times_ms[name]) for name in self.rivals())

    def spread(self) -> tuple[float, float] | None:
        """Return the quartiles of the ratio taken round by round."""
        if OURS not in self.times_ms or not self.rivals():
            return None
        ratios = [
            ours / min(self.times_ms[name][turn] for name in self.rivals() if turn < len(self.times_ms[name]))
            for turn, ours in enumerate(self.times_ms[OURS])
            if any(turn < len(self.times_ms[name]) for name in self.rivals())
        ]
        first, third = np.quantile(ratios, [0.25, 0.75])
        return float(first), float(third)

    def ratio_to(self, library: str) -> float | None:
        """Return our time over that of a library outside zarr-python."""
        if OURS not in self.times_ms or library not in self.times_ms:
            return None
        return self.best(OURS) / self.best(library)


def rotated(names: list[Any], turn: int) -> list[Any]:
    """Return the list starting at another element each turn."""
    start = turn % len(names) if names else 0
    return names[start:] + names[:start]


def run_case(case: Case, folder: Path, contenders: list[Contender], rounds: int) -> list[Cell]:
    """Measure every operation of a case.

    Parameters
    ----------
    case : Case
        What to measure.
    folder : Path
        An empty folder of its own; emptied again afterwards.
    contenders : list of Contender
        Who takes part.
    rounds : int
        Turns of each.

    Raises
    ------
    WrongAnswerError
        wazarr's answer, or that of zarr-python's default pipeline, is wrong. Another contender that is
        wrong is left out of the operation and reported.
    """
    bench = _Bench(case, folder, rounds)
    try:
        return [bench.run(operation, contenders) for operation in case.operations]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    """The arrays and the values of one case."""

    def __init__(self, case: Case, folder: Path, rounds: int) -> None:
        self.case = case
        self.folder = folder
        self.rounds = rounds
        self.values = case.make_data()
        self.versions = (self.values, following(self.values))
        self.reference = Pipeline(REFERENCE, PIPELINES[REFERENCE])
        self.source = self.new_store("source")
        case.create(self.source, self.values)
        if not case.is_empty:
            with self.reference.engaged():
                self.reference.open(self.source).write(EVERYTHING, self.values)

    def new_store(self, name: str) -> Store:
        return MemoryStore() if self.case.is_in_memory else self.folder / name

    def run(self, operation: Operation, contenders: list[Contender]) -> Cell:
        """Measure one operation."""
        cell = Cell(self.case.name, operation.name, operation.limit)
        places: dict[str, Any] = {}
        before = fallbacks()
        taking_part = []
        for contender in contenders:  # the turn that does not count
            try:
                places[contender.name] = self.place(operation, contender)
                self.turn(operation, contender, places, 0)
            except WrongAnswerError:
                if contender.name in (OURS, REFERENCE):
                    raise
                cell.left_out[contender.name] = "wrong answer"
            except Exception as error:
                # Whatever a rival raises is its reason.
                if contender.name == OURS:
                    raise
                cell.left_out[contender.name] = reason_of(error)
            else:
                taking_part.append(contender)
        cell.times_ms = {contender.name: [] for contender in taking_part}
        if operation.action != "read":
            os.sync()  # let the files of the set-up reach the disk first
        for turn in range(self.rounds):
            for contender in rotated(taking_part, turn):
                times = cell.times_ms[contender.name]
                if sum(times) > SLOW_S * 1e3:
                    continue
                elapsed_s, fetched = self.turn(operation, contender, places, turn + 1)
                times.append(elapsed_s * 1e3)
                if self.case.is_cold:
                    cell.fetched_bytes[contender.name] = fetched
        cell.fallbacks = fallbacks_since(before)
        self.finish(operation, taking_part, places, cell)
        return cell

    def place(self, operation: Operation, contender: Contender) -> Any:
        """Return where a contender works: the common source to read, a copy of its own to write."""
        if operation.action != "write":
            return contender.adopt(self.source)
        if isinstance(self.source, MemoryStore):
            return contender.adopt(MemoryStore(dict(self.source._store_dict)))
        target = self.folder / contender.name
        shutil.rmtree(target, ignore_errors=True)  # of somebody who failed
        shutil.copytree(self.source, target)
        return contender.adopt(target)

    def turn(
        self, operation: Operation, contender: Contender, places: dict[str, Any], number: int
    ) -> tuple[float, int]:
        """Do the operation once; return the seconds and the bytes that came from the disk."""
        place = places[contender.name]
        if operation.action == "write":
            return self.written(operation, contender, place, number), 0
        if operation.action == "round trip":
            return self.copied(operation, contender, place), 0
        if self.case.is_cold and isinstance(self.source, Path):
            drop_from_page_cache(self.source)
        with contender.engaged():
            array = contender.open(place)
            fetched = _bytes_from_disk()
            start = time.perf_counter()
            answers = [array.read(selection) for selection in operation.selections]
            elapsed_s = time.perf_counter() - start
        for selection, answer in zip(operation.selections, answers, strict=True):
            self.check(answer, selection.of(self.values), operation, contender)
        return elapsed_s, _bytes_from_disk() - fetched

    def written(self, operation: Operation, contender: Contender, place: Any, number: int) -> float:
        data = self.versions[(number + 1) % 2]
        parts = [selection.of(data) for selection in operation.selections]
        if operation.is_everything:
            expected = data
        else:
            expected = self.values.copy()
            for selection, part in zip(operation.selections, parts, strict=True):
                selection.assign(expected, part)
        with contender.engaged():
            array = contender.open(place)
            start = time.perf_counter()
            for selection, part in zip(operation.selections, parts, strict=True):
                array.write(selection, part)
            elapsed_s = time.perf_counter() - start
        self.check(self.read_back(contender, place), expected, operation, contender)
        return elapsed_s

    def copied(self, operation: Operation, contender: Contender, place: Any) -> float:
        store = self.new_store(f"{contender.name}-copy")
        if isinstance(store, Path):
            shutil.rmtree(store, ignore_errors=True)
        self.case.create(store, self.values)
        target_place = contender.adopt(store)
        with contender.engaged():
            source, target = contender.open(place), contender.open(target_place)
            start = time.perf_counter()
            for selection in operation.selections:
                target.write(selection, source.read(selection))
            elapsed_s = time.perf_counter() - start
        self.check(self.read_back(contender, target_place), self.values, operation, contender)
        return elapsed_s

    def read_back(self, contender: Contender, place: Any) -> Any:
        with self.reference.engaged():
            return self.reference.open(contender.give_back(place)).read(EVERYTHING)

    def check(self, answer: Any, expected: Values, operation: Operation, contender: Contender) -> None:
        found = np.asarray(answer)
        if found.shape != expected.shape or not np.array_equal(found, expected):
            raise WrongAnswerError(f"{self.case.name}, {operation.name}, under {contender.name}")

    def finish(
        self, operation: Operation, taking_part: list[Contender], places: dict[str, Any], cell: Cell
    ) -> None:
        """Note the sizes of what was written, and remove it."""
        if operation.action == "read":
            return
        for contender in taking_part:
            store = contender.give_back(places[contender.name])
            if operation.is_everything:
                cell.encoded_bytes[contender.name] = size_bytes(store)
            for name in (contender.name, f"{contender.name}-copy"):
                shutil.rmtree(self.folder / name, ignore_errors=True)


def size_bytes(store: Store) -> int:
    """Return the bytes of everything that belongs to an array."""
    if isinstance(store, MemoryStore):
        return sum(len(buffer) for buffer in store._store_dict.values())
    return sum(file.stat().st_size for file in store.rglob("*") if file.is_file())


def drop_from_page_cache(folder: Path) -> None:
    """Write files to the disk and ask the system to forget them; needs no rights."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _bytes_from_disk() -> int:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), 0)


def fallbacks() -> dict[str, int]:
    """Return what our engine has left to others, empty while it is not loaded."""
    module = sys.modules.get("wazarr")
    return dict(module.counters()["fallbacks"]) if module else {}


def fallbacks_since(before: dict[str, int]) -> dict[str, int]:
    """Return what it has left to others since `fallbacks` answered `before`."""
    return {
        reason: count - before.get(reason, 0)
        for reason, count in fallbacks().items()
        if count > before.get(reason, 0)
    }


def reason_of(error: Exception) -> str:
    """Return an error on one line, short enough for a list, without the names of folders."""
    if isinstance(error, CannotError):
        return str(error)
    text = " ".join(str(error).partition(" [")[0].split())
    text = re.sub(r" object at 0x[0-9a-f]+", "", text)
    text = re.sub(r'(Error reading|Error opening) [^:]*"[^"]*"( driver)?: ', "", text)
    return f"{type(error).__name__}: {text or 'no message'}"[:200]
