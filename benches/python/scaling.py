"""How the cost grows: with the number of chunks, with the number of threads, with the size of chunks.

**Number of chunks.** Chunks of 8 bytes in memory, missing or there, all read at once. Nothing is
decoded, so what remains is zarr-python's own work (indexer, keys, tuples) and what a pipeline adds to
it. The *floor* is a pipeline that only walks through the batch.

**Number of threads.** A fresh process for each contender and each number, since some of them size
their pools once.

**Size of chunks.** One array of 16 MiB, cut ever finer.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from cases import Case, cube, main_cases, read, write
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
from measure import SLOW_S, rotated, run_case
from report import number, table, write_report
from selections import EVERYTHING
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from selections import Values

CHUNK_BYTES = 8
FILL_VALUE = 7
FLOOR = "floor"
CHUNK_SIDES = (16, 32, 64, 128, 200)
THREAD_CASES = ("uncompressed", "zstd 1", "zstd 1, 32³ in 8 shards")


def run(rounds: int, options: argparse.Namespace) -> None:
    """Measure the three and report them."""
    contenders, absent = available(options.contenders)
    largest = 4 if options.quick else 6 if options.full else 5
    sides = CHUNK_SIDES[1:] if options.quick else CHUNK_SIDES
    counts = [10**power for power in range(2, largest + 1)]
    parts: dict[str, Any] = {
        kind: chunk_counts(contenders, counts, rounds, is_missing=kind == "missing chunks")
        for kind in ("missing chunks", "tiny chunks")
    }
    names = [entry.name for entry in contenders]
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as folder:
        parts["threads"] = threads(names, rounds, Path(folder))
        parts["chunk sizes"] = chunk_sizes(contenders, sides, rounds, Path(folder))
    markdown = _markdown(parts)
    if absent:
        markdown += ["", "Left out:", "", *(f"- {name}: {reason}" for name, reason in absent.items())]
    print("\n".join(markdown), flush=True)
    write_report(options.output, "scaling", markdown, {"rounds": rounds, "absent": absent} | parts)


# --- number of chunks ----------------------------------------------------------------------------


class EmptyPipeline(BatchedCodecPipeline):
    """Answers a read without looking at it, other than walking through the batch once."""

    async def read(
        self, batch_info: Iterable[tuple[Any, ...]], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> Any:
        """Return as many answers as there are chunks."""
        return tuple({"status": "missing"} for _ in batch_info)


def chunk_counts(
    contenders: list[Contender], counts: list[int], rounds: int, *, is_missing: bool
) -> dict[str, dict[str, float]]:
    """Return the best time in µs a chunk, by number of chunks and contender."""
    register_pipeline(EmptyPipeline)
    floor = Pipeline(FLOOR, f"{EmptyPipeline.__module__}.{EmptyPipeline.__qualname__}")
    figures: dict[str, dict[str, float]] = {}
    for count in counts:
        print(f"measuring: {count} {'missing' if is_missing else 'tiny'} chunks", file=sys.stderr, flush=True)
        store, expected = tiny_chunks(count, is_missing=is_missing)
        taking_part = [floor, *contenders]
        places = {entry.name: entry.adopt(store) for entry in taking_part}
        spent_s: dict[str, list[float]] = {entry.name: [] for entry in taking_part}
        for turn in range(-1 if count == counts[0] else 0, rounds):  # the first of all does not count
            for entry in rotated(taking_part, turn):
                times = spent_s[entry.name] if turn >= 0 else []
                if sum(times) > SLOW_S:
                    continue
                with entry.engaged():
                    array = entry.open(places[entry.name])
                    start = time.perf_counter()
                    answer = array.read(EVERYTHING)
                    times.append(time.perf_counter() - start)
                if entry is not floor and not np.array_equal(answer, expected):
                    sys.exit(f"WRONG: {count} chunks of {CHUNK_BYTES} bytes under {entry.name}")
        figures[str(count)] = {name: min(times) / count * 1e6 for name, times in spent_s.items()}
    return figures


def tiny_chunks(count: int, *, is_missing: bool) -> tuple[MemoryStore, Values]:
    """Return a store with an array of so many chunks of 8 bytes, and its values."""
    store = MemoryStore()
    zarr.create_array(
        store,
        shape=(count * CHUNK_BYTES,),
        chunks=(CHUNK_BYTES,),
        dtype="uint8",
        fill_value=FILL_VALUE,
        compressors=None,
    )
    if is_missing:
        return store, np.full(count * CHUNK_BYTES, FILL_VALUE, np.uint8)
    values = np.random.default_rng(6).integers(0, 256, count * CHUNK_BYTES, np.uint8)
    data, buffer = values.tobytes(), default_buffer_prototype().buffer
    for index in range(count):
        chunk = data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        store._store_dict[f"c/{index}"] = buffer.from_bytes(chunk)
    return store, values


# --- number of threads ---------------------------------------------------------------------------


def threads(names: list[str], rounds: int, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return MiB/s by case and operation, contender and number of threads."""
    most = len(os.sched_getaffinity(0))
    numbers = sorted({1, 2, most, *(2**power for power in range(8) if 2**power <= most)})
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for case in (case for case in main_cases() if case.name in THREAD_CASES):
        print(f"measuring: threads, {case.name}", file=sys.stderr, flush=True)
        source, values = folder / "threads", case.make_data()
        case.create(source, values)
        reference = Pipeline(REFERENCE, PIPELINES[REFERENCE])
        with reference.engaged():
            reference.open(source).write(EVERYTHING, values)
        np.save(folder / "values.npy", values)
        best: dict[str, dict[str, float]] = {}
        for turn in range(rounds):
            for name in rotated(names, turn):
                for count in numbers:
                    _, environment = thread_settings(count)
                    try:
                        answer = in_fresh_process(
                            "scaling:thread_child",
                            environment=environment,
                            name=name,
                            folder=str(source),
                            values_file=str(folder / "values.npy"),
                            threads=count,
                        )
                    except ChildError as error:
                        print(f"left out: {name}, {count} threads: {error}", file=sys.stderr)
                        continue
                    for operation, seconds in answer.items():
                        per_count = best.setdefault(f"{operation}|{name}", {})
                        rate = values.nbytes / 2**20 / seconds
                        per_count[str(count)] = max(rate, per_count.get(str(count), 0.0))
        for key, per_count in best.items():
            operation, _, name = key.partition("|")
            figures.setdefault(f"{case.name}, {operation}", {})[name] = per_count
        shutil.rmtree(source)
    return figures


def thread_child(name: str, folder: str, values_file: str, threads: int) -> dict[str, float]:
    """Read and write everything with a number of threads; return the best seconds of each."""
    configuration, _ = thread_settings(threads)
    values = np.load(values_file)
    reader = contender(name, threads)
    best = {"read all": float("inf"), "write all": float("inf")}
    with zarr.config.set(configuration), reader.engaged():
        for _ in range(3):
            array = reader.open(reader.adopt(Path(folder)))
            start = time.perf_counter()
            answer = array.read(EVERYTHING)
            best["read all"] = min(best["read all"], time.perf_counter() - start)
            if not np.array_equal(answer, values):
                raise CannotError(f"wrong answer under {name}")
            del answer
        for _ in range(2):
            start = time.perf_counter()
            array.write(EVERYTHING, values)
            best["write all"] = min(best["write all"], time.perf_counter() - start)
        if not np.array_equal(array.read(EVERYTHING), values):
            raise CannotError(f"wrong answer after a write under {name}")
    return best


# --- size of chunks ------------------------------------------------------------------------------


def chunk_sizes(
    contenders: list[Contender], sides: tuple[int, ...], rounds: int, folder: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """Return MiB/s by codec and operation, contender and KiB of a chunk."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for codec_name, codec in (("uncompressed", None), ("zstd 1", ZstdCodec(level=1))):
        for side in sides:
            print(f"measuring: chunks of {side}³, {codec_name}", file=sys.stderr, flush=True)
            case = Case(
                f"chunks of {side}³, {codec_name}",
                partial(field, cube(200)),
                {"chunks": cube(side), "compressors": codec},
                (read("read all", EVERYTHING), write("write all", EVERYTHING)),
            )
            for cell in run_case(case, folder / "sizes", contenders, rounds):
                for name in cell.times_ms:
                    rate = 200**3 * 2 / 2**20 / cell.best(name) * 1e3
                    per_size = figures.setdefault(f"{codec_name}, {cell.operation}", {})
                    per_size.setdefault(name, {})[f"{side**3 * 2 / 1024:g}"] = rate
    return figures


# --- tables --------------------------------------------------------------------------------------


def _markdown(parts: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for kind in ("missing chunks", "tiny chunks"):
        names = list(next(iter(parts[kind].values())))
        rows = [
            [
                count,
                *(number(figures.get(name), 2) for name in names),
                number(figures[OURS] - figures[FLOOR], 2) if OURS in figures else number(None),
            ]
            for count, figures in parts[kind].items()
        ]
        lines += [f"### Reading {kind} of {CHUNK_BYTES} bytes from memory, µs a chunk", ""]
        lines += [*table([kind, *names, f"{OURS} over the floor"], rows, 0), ""]
    for part, unit in (("threads", "threads"), ("chunk sizes", "KiB a chunk")):
        lines += [f"### Throughput in MiB/s, by {unit}", ""]
        columns = list(
            dict.fromkeys(at for who in parts[part].values() for per in who.values() for at in per)
        )
        rows = [
            [what, name, *(number(per.get(at), 0) for at in columns)]
            for what, who in parts[part].items()
            for name, per in who.items()
        ]
        lines += [*table(["operation", "contender", *columns], rows, 2), ""]
    return lines
