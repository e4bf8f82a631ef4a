"""The first speed check: reading and writing local arrays under every pipeline, interleaved.

Seven layouts, three operations each. In every round each pipeline does the same operation once,
in an order that rotates, so that a slow moment of the machine hits all alike; the best of the
rounds counts. Every answer is compared with the data, every write read back by zarr-python's
default pipeline. Writes replace chunks that exist, with other values each time.

Pipelines that are not installed are left out. See `benches/README.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINES = {
    "Batched": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "Fused": "zarr.core.codec_pipeline.FusedCodecPipeline",
    "zarrs-python": "zarrs.ZarrsCodecPipeline",
    "wazarr": "wazarr.CodecPipeline",
}
OURS = "wazarr"
OPERATIONS = ("read all", "read window", "write all")

Data = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Case:
    """One layout: cubes of `side` elements in chunks of `chunk`, maybe inside shards."""

    name: str
    side: int
    chunk: int
    shard: int | None
    compressor: Any
    window: tuple[int, int]
    """First and last-but-one coordinate of the window, along each axis."""

    def create(self, folder: Path) -> None:
        """Create the array, without chunks."""
        zarr.create_array(
            folder,
            shape=(self.side,) * 3,
            dtype="uint16",
            chunks=(self.chunk,) * 3,
            shards=None if self.shard is None else (self.shard,) * 3,
            compressors=self.compressor,
            fill_value=0,
        )


def cases() -> list[Case]:
    """Return the layouts: 62.5 MiB in all but the small ones, which have 4 MiB."""
    large, small = (70, 170), (30, 80)
    blosc = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
    return [
        Case("uncompressed", 320, 80, None, None, large),
        Case("zstd 1", 320, 80, None, ZstdCodec(level=1), large),
        Case("blosc lz4 shuffle", 320, 80, None, blosc, large),
        Case("gzip 1", 320, 80, None, GzipCodec(level=1), large),
        Case("zstd 1, 32³ in 8 shards", 320, 32, 160, ZstdCodec(level=1), large),
        Case("512 small, uncompressed", 128, 16, None, None, small),
        Case("512 small, zstd 1", 128, 16, None, ZstdCodec(level=1), small),
    ]


def make_data(side: int) -> Data:
    """Return a smooth field with noise: compressible, but not by much.

    gzip and zstd at level 1 keep about 0.9 of it, as they do of raw sensor data.
    """
    axis = np.linspace(0, 2 * math.pi, side)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    smooth = 30000 + 9000 * np.sin(x) * np.cos(y) + 4000 * np.sin(2 * z)
    noise = np.random.default_rng(20240607).normal(0, 200, size=(side,) * 3)
    noisy: Data = (smooth + noise).astype(np.uint16)
    return noisy


@dataclass
class Cell:
    """The times of one operation on one layout."""

    case: str
    operation: str
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    def best(self, pipeline: str) -> float:
        """Return the shortest time of a pipeline."""
        return min(self.times_ms[pipeline])

    def ratio(self, *, medians: bool = False) -> float | None:
        """Return our time over that of the fastest rival, None where either is missing."""
        reduce = statistics.median if medians else min
        rivals = [reduce(times) for name, times in self.times_ms.items() if name != OURS]
        if not rivals or OURS not in self.times_ms:
            return None
        return reduce(self.times_ms[OURS]) / min(rivals)

    def limit(self) -> float:
        """Return the ratio that is accepted: gzip writes cost more for better compression."""
        return 1.3 if self.case.startswith("gzip") and self.operation == "write all" else 1.1


def is_installed(path: str) -> bool:
    """Tell whether the class at a dotted path can be imported."""
    module, _, name = path.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


@contextlib.contextmanager
def opened(folder: Path, pipeline: str) -> Iterator[zarr.Array[Any]]:
    """Open an array anew under a pipeline."""
    with zarr.config.set({"codec_pipeline.path": PIPELINES[pipeline]}):
        yield zarr.open_array(folder, mode="r+")


def check(answer: Any, expected: Data, case: Case, operation: str, pipeline: str) -> None:
    """Stop the run when an answer is wrong."""
    if not np.array_equal(answer, expected):
        sys.exit(f"WRONG: {case.name}, {operation}, under {pipeline}")


def size_bytes(folder: Path) -> int:
    """Return the bytes of all files of an array."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def run_case(
    case: Case, folder: Path, pipelines: list[str], rounds: int
) -> tuple[list[Cell], dict[str, int]]:
    """Measure the three operations on one layout; return the cells and the encoded sizes."""
    base = make_data(case.side)
    versions = (base, base + np.uint16(1))
    window = (slice(*case.window),) * 3
    folders = {pipeline: folder / pipeline for pipeline in pipelines}
    for target in folders.values():
        case.create(target)
        with opened(target, "Batched") as array:
            array[...] = base

    cells = {operation: Cell(case.name, operation) for operation in OPERATIONS}
    for cell in cells.values():
        cell.times_ms = {pipeline: [] for pipeline in pipelines}

    for operation, selection in (("read all", ...), ("read window", window)):
        for turn in range(rounds):
            for pipeline in rotated(pipelines, turn):
                with opened(folders[pipeline], pipeline) as array:
                    start = time.perf_counter()
                    answer = array[selection]
                    elapsed = time.perf_counter() - start
                cells[operation].times_ms[pipeline].append(elapsed * 1e3)
                check(answer, base[selection], case, operation, pipeline)
                del answer

    os.sync()  # let the files of the set-up reach the disk first
    for turn in range(rounds):
        data = versions[(turn + 1) % 2]
        for pipeline in rotated(pipelines, turn):
            with opened(folders[pipeline], pipeline) as array:
                start = time.perf_counter()
                array[...] = data
                elapsed = time.perf_counter() - start
            cells["write all"].times_ms[pipeline].append(elapsed * 1e3)
            with opened(folders[pipeline], "Batched") as array:
                check(array[...], data, case, "write all", pipeline)
    return list(cells.values()), {name: size_bytes(path) for name, path in folders.items()}


def rotated(names: list[str], turn: int) -> list[str]:
    """Return the names starting at another one each turn."""
    start = turn % len(names)
    return names[start:] + names[:start]


def geometric_mean(ratios: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


def markdown(cells: list[Cell], pipelines: list[str], sizes: dict[str, dict[str, int]]) -> str:
    """Return the table, with the ratios to the fastest rival where ours took part."""
    compares = OURS in pipelines and len(pipelines) > 1
    header = ["case", "operation", *(f"{name} (ms)" for name in pipelines)]
    if compares:
        header += ["ratio", "ratio of medians"]
    lines = [row(header), row(["---"] * 2 + ["---:"] * (len(header) - 2))]
    for cell in cells:
        entries = [cell.case, cell.operation, *(f"{cell.best(name):.1f}" for name in pipelines)]
        ratio, of_medians = cell.ratio(), cell.ratio(medians=True)
        if ratio is not None and of_medians is not None:
            entries += [f"**{ratio:.2f}**", f"{of_medians:.2f}"]
        lines.append(row(entries))
    ratios = [ratio for cell in cells if (ratio := cell.ratio()) is not None]
    if ratios:
        lines += [
            "",
            f"Ratio: wazarr over the fastest of the others. Geometric mean of {len(ratios)} "
            f"ratios: **{geometric_mean(ratios):.2f}**; largest: {max(ratios):.2f}.",
        ]
        larger = [
            f"{case} {encoded[OURS] / encoded['Batched']:.3f}"
            for case, encoded in sizes.items()
            if "Batched" in encoded
        ]
        if larger:
            lines += ["", f"Encoded bytes, wazarr over Batched: {', '.join(larger)}."]
    return "\n".join(lines)


def row(entries: list[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(entries)} |"


def processor() -> str:
    """Return the processor's name where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("zarr", "numpy", "numcodecs", "zarrs", "wazarr"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def fallbacks() -> dict[str, int]:
    """Return what our engine left to others since the start, empty without our engine."""
    if not is_installed(PIPELINES[OURS]):
        return {}
    import wazarr

    return dict(wazarr.counters()["fallbacks"])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="best of so many rounds (9)")
    parser.add_argument("--quick", action="store_true", help="three rounds: a rough look")
    parser.add_argument("--only", metavar="TEXT", help="cases whose name contains TEXT")
    parser.add_argument("--pipelines", metavar="NAMES", help=f"comma-separated, of {', '.join(PIPELINES)}")
    parser.add_argument("--folder", type=Path, help="where to keep the arrays, e.g. a RAM disk")
    parser.add_argument("--json", type=Path, help="write all times there")
    parser.add_argument("--markdown", type=Path, help="write the table there as well")
    parser.add_argument("--check", action="store_true", help="fail when a ratio is over its limit")
    return parser.parse_args()


def main() -> int:
    """Run the check; return 1 with ``--check`` when a ratio is over its limit."""
    options = parse_arguments()
    rounds = 3 if options.quick else options.rounds
    wanted = options.pipelines.split(",") if options.pipelines else list(PIPELINES)
    if unknown := set(wanted) - set(PIPELINES):
        sys.exit(f"no such pipeline: {', '.join(sorted(unknown))}")
    pipelines = [name for name in wanted if is_installed(PIPELINES[name])]
    if absent := [name for name in wanted if name not in pipelines]:
        print(f"not installed here, left out: {', '.join(absent)}", file=sys.stderr)
    if not pipelines:
        sys.exit("nothing to measure")
    chosen = [case for case in cases() if not options.only or options.only in case.name]
    if not chosen:
        sys.exit(f"no case has {options.only!r} in its name")

    cells: list[Cell] = []
    sizes: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as folder:
        for number, case in enumerate(chosen):
            print(f"measuring: {case.name}", file=sys.stderr, flush=True)
            measured, sizes[case.name] = run_case(case, Path(folder) / str(number), pipelines, rounds)
            cells += measured

    machine = f"{processor()}, {os.cpu_count()} processors, {platform.system()}"
    described = ", ".join(f"{name} {number}" for name, number in versions().items())
    table = (
        f"{markdown(cells, pipelines, sizes)}\n\nBest of {rounds} interleaved rounds, local files, "
        f"warm page cache. {machine}; {described}.\n"
    )
    print(table)
    left_to_others = fallbacks()
    if left_to_others:
        print(f"wazarr fell back: {left_to_others}", file=sys.stderr)
    if options.markdown:
        options.markdown.write_text(table)
    if options.json:
        ratios = [ratio for cell in cells if (ratio := cell.ratio()) is not None]
        document = {
            "machine": machine,
            "versions": versions(),
            "rounds": rounds,
            "cells": [asdict(cell) | {"ratio": cell.ratio()} for cell in cells],
            "encoded_bytes": sizes,
            "geometric_mean": geometric_mean(ratios) if ratios else None,
            "fallbacks": left_to_others,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    over = [cell for cell in cells if (cell.ratio() or 0) > cell.limit()]
    for cell in over:
        print(f"over {cell.limit()}: {cell.case}, {cell.operation}", file=sys.stderr)
    return 1 if options.check and (over or left_to_others) else 0


if __name__ == "__main__":
    sys.exit(main())
