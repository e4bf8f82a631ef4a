"""Peak memory: each figure from a fresh process, over what the process had before the operation.

A process opens the array, reads a small one to start its thread pools, notes its resident memory, does
the operation once and notes the peak since then (the system counts it: nothing is missed between two
looks). The output itself is part of the figure.

With ``--full``: an array of 4 GiB, written and read in pieces while the process may not have more than
512 MiB of data (`RLIMIT_DATA`: heap, private mappings, stacks).
"""

from __future__ import annotations

import ctypes
import gc
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from cases import Case, cube, read, write
from contenders import OURS, PIPELINES, REFERENCE, CannotError, Contender, Pipeline, contender
from fields import field, following, quiet_field
from fresh import ChildError, in_fresh_process
from measure import rotated
from report import number, table, write_report
from selections import EVERYTHING, window
from zarr.codecs import BloscCodec, ZstdCodec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cases import Operation
    from selections import Values

MIB = 1 << 20
LIMIT_BYTES = 512 * MIB
PIECES = 128
PIECE_SHAPE = (16, 1024, 1024)
"""Of `uint16`: 32 MiB, so that all pieces are 4 GiB."""
ONE_ROW = "zstd 1 in chunks of 32 MiB, read 8³ across two"


@dataclass(frozen=True)
class Peak:
    """The peaks of one operation in MiB, by contender, one a round; reasons of who could not."""

    peaks_mib: dict[str, list[float]]
    left_out: dict[str, str]
    samples: dict[str, list[tuple[float, float]]]
    """Seconds since the start of the operation and MiB over the start, in the last round."""


def memory_cases() -> dict[str, Case]:
    """Return the rows: one operation each, by name."""
    zstd = ZstdCodec(level=1)
    blosc = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
    usual, large = partial(field, cube(320)), partial(field, (512, 256, 256))
    inside = window((252, 260), (120, 128), (120, 128))
    shards = {"chunks": cube(32), "shards": cube(160), "compressors": zstd}
    rows: list[tuple[str, Callable[[], Values], dict[str, Any], Operation]] = [
        (
            "uncompressed, read 62.5 MiB",
            usual,
            {"chunks": cube(80), "compressors": None},
            read("", EVERYTHING),
        ),
        (
            "uncompressed, write 62.5 MiB",
            usual,
            {"chunks": cube(80), "compressors": None},
            write("", EVERYTHING),
        ),
        ("zstd 1, read 62.5 MiB", usual, {"chunks": cube(80), "compressors": zstd}, read("", EVERYTHING)),
        ("zstd 1, write 62.5 MiB", usual, {"chunks": cube(80), "compressors": zstd}, write("", EVERYTHING)),
        ("zstd 1 in shards, read 62.5 MiB", usual, shards, read("", EVERYTHING)),
        ("zstd 1 in shards, write 62.5 MiB", usual, shards, write("", EVERYTHING)),
        (ONE_ROW, large, {"chunks": cube(256), "compressors": zstd}, read("", inside)),
        (
            "blosc lz4 in chunks of 32 MiB, read 8³ across two",
            large,
            {"chunks": cube(256), "compressors": blosc},
            read("", inside),
        ),
        (
            "uncompressed in chunks of 32 MiB, read 8³ across two",
            large,
            {"chunks": cube(256), "compressors": None},
            read("", inside),
        ),
    ]
    return {name: Case(name, data, layout, (operation,)) for name, data, layout, operation in rows}


def run(rounds: int, options: argparse.Namespace) -> None:
    """Measure every row and report it."""
    found: dict[str, Peak] = {}
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as folder:
        for name, case in memory_cases().items():
            if options.only and options.only not in name:
                continue
            print(f"measuring: memory, {name}", file=sys.stderr, flush=True)
            found[name] = peaks(case, options.contenders, rounds, Path(folder))
        limited = _limited(options.contenders, Path(folder)) if options.full else {}
    markdown = _markdown(found, options.contenders, limited)
    if not options.full:
        markdown += ["", "Not measured: 4 GiB in pieces under a limit of 512 MiB (`--full`)."]
    print("\n".join(markdown), flush=True)
    document = {
        "rounds": rounds,
        "rows": {
            name: {"peaks_mib": row.peaks_mib, "left_out": row.left_out, "samples": row.samples}
            for name, row in found.items()
        },
        "limited": limited,
    }
    write_report(options.output, "memory", markdown, document)


def peaks(case: Case, names: list[str], rounds: int, folder: Path) -> Peak:
    """Return the peaks of everybody in one row."""
    target, small = folder / "array", folder / "small"
    reference = Pipeline(REFERENCE, PIPELINES[REFERENCE])
    values = case.make_data()
    case.create(target, values)
    with reference.engaged():
        reference.open(target).write(EVERYTHING, values)
        if not small.exists():
            zarr.create_array(small, data=values[:16, :16, :16].copy(), chunks=(8, 8, 8))
    np.save(folder / "values.npy", values)  # quicker to load than to make
    del values
    row = Peak({}, {}, {})
    for turn in range(rounds):
        for name in rotated(names, turn):
            if name in row.left_out:
                continue
            try:
                answer = in_fresh_process(
                    "memory:peak_child",
                    is_watched=True,
                    name=name,
                    row=case.name,
                    folder=str(target),
                    small=str(small),
                    values_file=str(folder / "values.npy"),
                )
            except ChildError as error:
                row.left_out[name] = str(error)
                continue
            row.peaks_mib.setdefault(name, []).append(answer["peak_bytes"] / MIB)
            row.samples[name] = [
                (round(at - answer["begin"], 4), round((resident - answer["before_bytes"]) / MIB, 2))
                for at, resident in answer["samples"]
                if answer["begin"] - 0.01 <= at <= answer["end"]
            ]
    shutil.rmtree(target)
    return row


def peak_child(name: str, row: str, folder: str, small: str, values_file: str) -> dict[str, float]:
    """Do the operation of one row once; return the peak over the start, in bytes."""
    case = memory_cases()[row]
    operation = case.operations[0]
    chosen = contender(name)
    with chosen.engaged():
        chosen.open(chosen.adopt(Path(small))).read(EVERYTHING)
        array = chosen.open(chosen.adopt(Path(folder)))
        values = np.load(values_file)
        part = np.ascontiguousarray(operation.selections[0].of(following(values)))
        expected = operation.selections[0].of(values).copy()
        del values
        before_bytes = reset_peak()
        begin = time.monotonic()
        answer = None
        if operation.action == "read":
            answer = array.read(operation.selections[0])
        else:
            array.write(operation.selections[0], part)
        end = time.monotonic()
        peak_bytes = status_bytes("VmHWM") - before_bytes
        if operation.action == "write":
            answer, expected = array.read(operation.selections[0]), part
    if not np.array_equal(np.asarray(answer), expected):
        raise CannotError(f"wrong answer under {name}")
    return {"peak_bytes": peak_bytes, "before_bytes": before_bytes, "begin": begin, "end": end}


def reset_peak() -> int:
    """Give back what is free, forget the peak so far, and return the resident bytes."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def status_bytes(key: str) -> int:
    """Return a line of the process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise CannotError(f"the system does not tell {key}")


# --- under a limit -------------------------------------------------------------------------------


def _limited(names: list[str], folder: Path) -> dict[str, dict[str, float | str]]:
    """Write and read 4 GiB in pieces under the limit, each contender in a process of its own."""
    found: dict[str, dict[str, float | str]] = {}
    for name in names:
        print(f"measuring: 4 GiB under a limit, {name}", file=sys.stderr, flush=True)
        target = folder / "limited"
        try:
            found[name] = in_fresh_process(
                "memory:limited_child",
                environment={"OPENBLAS_NUM_THREADS": "1"},
                name=name,
                folder=str(target),
            )
        except ChildError as error:
            found[name] = {"failed": str(error)}
        shutil.rmtree(target, ignore_errors=True)
    return found


def limited_child(name: str, folder: str) -> dict[str, float]:
    """Write and read 4 GiB in pieces of 32 MiB; return the seconds and the peak over the start in MiB."""
    chosen: Contender = contender(name)
    target = Path(folder)
    zarr.create_array(
        target,
        shape=(PIECES * PIECE_SHAPE[0], *PIECE_SHAPE[1:]),
        dtype="uint16",
        chunks=(16, 512, 512),
        compressors=ZstdCodec(level=1),
        fill_value=0,
    )
    piece = quiet_field(PIECE_SHAPE)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    before_bytes = reset_peak()
    write_s = read_s = 0.0
    with chosen.engaged():
        array = chosen.open(chosen.adopt(target))
        for position in range(PIECES):
            start = time.perf_counter()
            array.write(_piece(position), piece)
            write_s += time.perf_counter() - start
            piece += 1
        piece -= PIECES
        for position in range(PIECES):
            start = time.perf_counter()
            answer: Values = array.read(_piece(position))
            read_s += time.perf_counter() - start
            if not np.array_equal(answer, piece):
                raise CannotError(f"wrong answer under {name}")
            del answer
            piece += 1
    peak_bytes = status_bytes("VmHWM") - before_bytes
    return {"write_s": write_s, "read_s": read_s, "peak_mib": peak_bytes / MIB}


def _piece(position: int) -> Any:
    first = position * PIECE_SHAPE[0]
    return window((first, first + PIECE_SHAPE[0]), *((0, length) for length in PIECE_SHAPE[1:]))


# --- tables --------------------------------------------------------------------------------------


def _markdown(
    found: dict[str, Peak], names: list[str], limited: dict[str, dict[str, float | str]]
) -> list[str]:
    def median(row: Peak, name: str) -> float | None:
        return statistics.median(row.peaks_mib[name]) if name in row.peaks_mib else None

    rows = []
    for what, row in found.items():
        rivals = [value for name in PIPELINES if name != OURS and (value := median(row, name)) is not None]
        ours = median(row, OURS)
        ratio = ours / min(rivals) if rivals and ours is not None else None
        rows.append([what, *(number(median(row, name)) for name in names), number(ratio, 2)])
    lines = ["Peak memory in MiB over the start of the operation, its result included (median).", ""]
    lines += table(["operation", *names, "ratio"], rows)
    missing = [
        f"- {name}: {what}: {why}" for what, row in found.items() for name, why in row.left_out.items()
    ]
    if missing:
        lines += ["", "Left out:", "", *missing]
    if limited:
        lines += [
            "",
            "4 GiB written and read in pieces of 32 MiB, at most 512 MiB of data in the process:",
            "",
        ]
        entries = []
        for name, figures in limited.items():
            if "failed" in figures:
                entries.append([name, "-", "-", "-", str(figures["failed"])])
            else:
                shown = [number(float(figures[key])) for key in ("write_s", "read_s", "peak_mib")]
                entries.append([name, *shown, "worked"])
        lines += table(
            ["contender", "write (s)", "read (s)", "peak over the start (MiB)", "outcome"], entries
        )
    return lines
