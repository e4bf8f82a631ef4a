"""How a contender behaves towards the rest of the program, and what it does with a second thread.

- Two threads over one: many chunks, one big shard, one big blosc chunk.
- The longest time that another Python thread had to wait during a partial read.
- A large gzip read while another Python thread is busy: who holds the interpreter lock pays.
- Ten threads reading ten arrays, against one array after another; and how many processors are busy when
  only one worker is allowed.
- Importing: how long, and whether threads or files are opened by it.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from cases import Case, cube, main_cases
from contenders import (
    OURS,
    PIPELINES,
    REFERENCE,
    CannotError,
    Contender,
    Pipeline,
    available,
    contender,
    thread_settings,
)
from fields import field
from fresh import ChildError, in_fresh_process
from measure import rotated
from report import number, table, write_report
from selections import EVERYTHING, window
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from selections import Values

Figures = dict[str, dict[str, float]]
"""By row and contender."""

HEARTBEAT_S = 0.0005
ARRAYS = 10
MODULES = {"zarrs-python": "zarrs", "wazarr": "wazarr", "tensorstore": "tensorstore", "zarrista": "zarrista"}


def run(rounds: int, options: argparse.Namespace) -> None:
    """Measure all of it and report it."""
    contenders, absent = available(options.contenders)
    parts: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as folder:
        at = Path(folder)
        for title, measure in (
            ("Two threads over one (times as fast)", partial(speedups, options.contenders)),
            ("Longest wait of another Python thread (ms, median)", partial(stalls, contenders)),
            (
                "Reading gzip beside a busy Python thread (s, best)",
                partial(beside_busy_thread, contenders, side=256 if options.quick else 512),
            ),
            ("Ten threads, ten arrays", partial(ten_arrays, options.contenders)),
            ("Importing after zarr", imports),
        ):
            print(f"measuring: {title}", file=sys.stderr, flush=True)
            parts[title] = measure(rounds=rounds, folder=at)
    markdown = _markdown(parts, [entry.name for entry in contenders])
    absent |= failures
    if absent:
        markdown += ["", "Left out:", "", *(f"- {name}: {reason}" for name, reason in absent.items())]
    print("\n".join(markdown), flush=True)
    write_report(options.output, "manners", markdown, {"rounds": rounds, "absent": absent, "parts": parts})


def filled(case: Case, folder: Path) -> Values:
    """Create the array of a case with zarr-python's default pipeline; return its values."""
    values = case.make_data()
    shutil.rmtree(folder, ignore_errors=True)
    case.create(folder, values)
    reference = Pipeline(REFERENCE, PIPELINES[REFERENCE])
    with reference.engaged():
        reference.open(folder).write(EVERYTHING, values)
    return values


failures: dict[str, str] = {}
"""What a fresh process could not do, and what it said: goes under the tables."""


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """Note that a fresh process failed, and go on."""
    try:
        yield
    except ChildError as error:
        failures[what] = str(error)


def check(answer: Any, expected: Values, what: str) -> None:
    """Stop when an answer is wrong."""
    if not np.array_equal(np.asarray(answer), expected):
        sys.exit(f"WRONG: {what}")


# --- threads -------------------------------------------------------------------------------------


def speedup_cases() -> dict[str, Case]:
    """Return what two threads should share: many chunks, one shard of many, one chunk."""
    zstd = ZstdCodec(level=1)
    blosc = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")
    data = partial(field, cube(256))
    layouts: dict[str, dict[str, Any]] = {
        "many chunks, zstd 1": {"chunks": cube(64), "compressors": zstd},
        "one big shard, zstd 1": {"chunks": cube(64), "shards": cube(256), "compressors": zstd},
        "one big blosc zstd chunk": {"chunks": cube(256), "compressors": blosc},
    }
    return {name: Case(name, data, layout, ()) for name, layout in layouts.items()}


def speedups(names: list[str], *, rounds: int, folder: Path) -> Figures:
    """Return the time with one thread over that with two, by row and contender."""
    found: Figures = {}
    for row, case in speedup_cases().items():
        np.save(folder / "values.npy", filled(case, folder / "array"))
        best: dict[tuple[str, str, int], float] = {}
        for turn in range(rounds):
            for name in rotated(names, turn):
                for count in (1, 2):
                    with reported(f"{name}, {row}, {count} threads"):
                        answer = in_fresh_process(
                            "manners:speedup_child",
                            environment=thread_settings(count)[1],
                            name=name,
                            values_file=str(folder / "values.npy"),
                            folder=str(folder / "array"),
                            threads=count,
                        )
                        for action, seconds in answer.items():
                            key = (action, name, count)
                            best[key] = min(seconds, best.get(key, seconds))
        for action, name, count in best:
            if count == 2 and (action, name, 1) in best:
                ratio = best[action, name, 1] / best[action, name, 2]
                found.setdefault(f"{row}, {action}", {})[name] = ratio
    return found


def speedup_child(name: str, values_file: str, folder: str, threads: int) -> dict[str, float]:
    """Read and write everything with a number of threads; return the best seconds of three."""
    values = np.load(values_file)
    chosen = contender(name, threads)
    found = {}
    with zarr.config.set(thread_settings(threads)[0]), chosen.engaged():
        array = chosen.open(chosen.adopt(Path(folder)))
        check(array.read(EVERYTHING), values, f"threads under {name}")
        found["read"] = min(_seconds(partial(array.read, EVERYTHING)) for _ in range(3))
        found["write"] = min(_seconds(partial(array.write, EVERYTHING, values)) for _ in range(3))
        check(array.read(EVERYTHING), values, f"threads under {name}")
    return found


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


# --- other Python threads ------------------------------------------------------------------------


class Heartbeat(threading.Thread):
    """A Python thread that wants to run every half millisecond and notes when it could not."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest_s = 0.0
        self.is_over = False

    def run(self) -> None:
        """Sleep, and note by how much the waking was late."""
        before = time.perf_counter()
        while not self.is_over:
            time.sleep(HEARTBEAT_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - before - HEARTBEAT_S)
            before = now


def stalls(contenders: list[Contender], *, rounds: int, folder: Path) -> Figures:
    """Return the median over the rounds of the longest wait in ms, by partial read and contender."""
    zstd, inside = ZstdCodec(level=1), window((100, 220), (100, 220), (100, 220))
    large = partial(field, cube(320))
    layouts: dict[str, dict[str, Any]] = {
        "window of zstd chunks of 1 MiB": {"chunks": cube(80), "compressors": zstd},
        "window of zstd chunks of 8 MiB": {"chunks": cube(160), "compressors": zstd},
        "window of uncompressed chunks of 8 MiB": {"chunks": cube(160), "compressors": None},
        "window of shards of 8 MiB": {"chunks": cube(32), "shards": cube(160), "compressors": zstd},
    }
    found: Figures = {}
    for row, layout in layouts.items():
        values = filled(Case(row, large, layout, ()), folder / "array")
        expected = values[inside.index]
        waits: dict[str, list[float]] = {name: [] for name in (*(e.name for e in contenders), "nobody")}
        for turn in range(rounds + 1):
            heartbeat = Heartbeat()
            heartbeat.start()
            time.sleep(0.03)
            heartbeat.is_over = True
            heartbeat.join()
            waits["nobody"].append(heartbeat.longest_s * 1e3)
            for entry in rotated(contenders, turn):
                with entry.engaged():
                    array = entry.open(entry.adopt(folder / "array"))
                    heartbeat = Heartbeat()
                    heartbeat.start()
                    time.sleep(0.005)
                    answer = array.read(inside)
                    heartbeat.is_over = True
                    heartbeat.join()
                check(answer, expected, f"{row} under {entry.name}")
                if turn:  # the first turn starts the thread pools
                    waits[entry.name].append(heartbeat.longest_s * 1e3)
        found[row] = {name: statistics.median(times) for name, times in waits.items()}
    return found


@contextlib.contextmanager
def busy_thread() -> Iterator[None]:
    """Keep one Python thread counting."""
    is_over = False

    def count() -> None:
        number = 0
        while not is_over:
            number += 1

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over = True
        thread.join()


def beside_busy_thread(contenders: list[Contender], *, rounds: int, folder: Path, side: int) -> Figures:
    """Return the best seconds of reading gzip while another thread computes, and while none does."""
    data = partial(field, (side, 512, 512))
    layout = {"chunks": (side // 4, 128, 128), "compressors": GzipCodec(level=1)}
    size = f"{side * 512 * 512 * 2 >> 20} MiB"
    values = filled(Case("gzip", data, layout, ()), folder / "array")
    found: Figures = {}
    for row, is_busy in ((f"{size}, a thread is busy", True), (f"{size}, nobody else", False)):
        best: dict[str, float] = {}
        for turn in range(min(rounds, 2)):
            for entry in rotated(contenders, turn):
                with entry.engaged():
                    array = entry.open(entry.adopt(folder / "array"))
                    with busy_thread() if is_busy else contextlib.nullcontext():
                        start = time.perf_counter()
                        answer = array.read(EVERYTHING)
                        seconds = time.perf_counter() - start
                check(answer, values, f"gzip under {entry.name}")
                del answer
                best[entry.name] = min(seconds, best.get(entry.name, seconds))
        found[row] = best
    return found


# --- ten arrays ----------------------------------------------------------------------------------


def ten_arrays(names: list[str], *, rounds: int, folder: Path) -> Figures:
    """Return times of ten threads over one after another, and processors busy with one worker."""
    case = next(case for case in main_cases() if case.name == "zstd 1")
    small = Case("ten", partial(field, cube(160)), {**case.layout, "chunks": cube(40)}, ())
    for index in range(ARRAYS):
        filled(small, folder / f"ten{index}")
    found: Figures = {
        "ten threads, time over one after another": {},
        "ten threads, one worker allowed: processors busy": {},
    }
    for name in names:
        for row, workers in zip(found, (None, 1), strict=True):
            with reported(f"{name}, {row}"):
                answer = in_fresh_process(
                    "manners:ten_child",
                    environment=thread_settings(1)[1] if workers else None,
                    name=name,
                    folder=str(folder),
                    workers=workers,
                    rounds=rounds,
                )
                found[row][name] = answer["processors_busy" if workers else "ratio"]
    return found


def ten_child(name: str, folder: str, workers: int | None, rounds: int) -> dict[str, float]:
    """Read ten arrays in ten threads and one after another; return the ratio and the load."""
    chosen = contender(name, workers)
    configuration = thread_settings(workers)[0] if workers else {}
    expected = field(cube(160))
    together, apart, busy = [], [], []
    with zarr.config.set(configuration), chosen.engaged():
        arrays = [chosen.open(chosen.adopt(Path(folder) / f"ten{index}")) for index in range(ARRAYS)]
        for array in arrays:
            check(array.read(EVERYTHING), expected, f"ten arrays under {name}")
        with ThreadPoolExecutor(ARRAYS) as pool:
            for _ in range(rounds):
                start, used = time.perf_counter(), time.process_time()
                answers = list(pool.map(lambda array: array.read(EVERYTHING), arrays))
                together.append(time.perf_counter() - start)
                busy.append((time.process_time() - used) / together[-1])
                for answer in answers:
                    check(answer, expected, f"ten threads under {name}")
                del answer, answers
                start = time.perf_counter()
                for array in arrays:
                    array.read(EVERYTHING)
                apart.append(time.perf_counter() - start)
    return {"ratio": min(together) / min(apart), "processors_busy": statistics.median(busy)}


# --- importing -----------------------------------------------------------------------------------


def imports(*, rounds: int, folder: Path) -> Figures:
    """Return milliseconds, threads and open files that an import of a module costs after zarr."""
    del folder
    found: Figures = {"milliseconds (best)": {}, "threads started": {}, "files opened": {}}
    for name, module in MODULES.items():
        answers = []
        for _ in range(max(rounds, 3)):
            with reported(f"import of {module}"):
                answers.append(in_fresh_process("manners:import_child", module=module))
        if not answers:
            continue
        found["milliseconds (best)"][name] = min(answer["seconds"] for answer in answers) * 1e3
        found["threads started"][name] = max(answer["threads"] for answer in answers)
        found["files opened"][name] = max(answer["files"] for answer in answers)
    return found


def import_child(module: str) -> dict[str, float]:
    """Import a module after zarr; return the seconds, and the threads and files that came with it."""
    import importlib

    if module in sys.modules:
        raise CannotError(f"{module} is imported already")
    threads, files = _count("task"), _count("fd")
    start = time.perf_counter()
    importlib.import_module(module)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "threads": _count("task") - threads, "files": _count("fd") - files}


def _count(kind: str) -> int:
    return len(list(Path("/proc/self", kind).iterdir()))


# --- tables --------------------------------------------------------------------------------------


def _markdown(parts: dict[str, Figures], names: list[str]) -> list[str]:
    lines: list[str] = []
    for title, figures in parts.items():
        columns = [*names, *(("nobody",) if any("nobody" in row for row in figures.values()) else ())]
        with_ratio = "gzip" in title
        rows = []
        for row, by_name in figures.items():
            entries = [row, *(number(by_name.get(name), 2) for name in columns)]
            if with_ratio:
                rivals = [by_name[name] for name in PIPELINES if name != OURS and name in by_name]
                ratio = by_name[OURS] / min(rivals) if rivals and OURS in by_name else None
                entries.append(number(ratio, 2))
            rows.append(entries)
        lines += [f"### {title}", ""]
        lines += [*table(["", *columns, *(["ratio"] if with_ratio else [])], rows), ""]
    return lines
