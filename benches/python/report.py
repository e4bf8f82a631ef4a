"""Tables in Markdown, and what a reader has to know about a run: machine, versions, who is missing."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import platform
import statistics
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contenders import OURS, PIPELINES, REFERENCE

if TYPE_CHECKING:
    from measure import Cell

PACKAGES = ("zarr", "numpy", "numcodecs", "zarrs", "tensorstore", "zarrista", "wazarr")
MISSING = "-"
COMPARED_TO = ("tensorstore", "get")
"""Who is no pipeline, and yet has a column of ratios."""
LOOK_S = 1.0
NOTICEABLE = 0.2
"""Processors that others may keep busy without a word."""


def row(entries: list[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(entries)} |"


def table(header: list[str], rows: list[list[str]], text_columns: int = 1) -> list[str]:
    """Return a Markdown table whose columns after the first ones hold numbers."""
    rule = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    return [row(header), row(rule), *(row(entries) for entries in rows)]


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with so many digits after the point, a dash for None."""
    return MISSING if value is None else f"{value:.{digits}f}"


def processor() -> str:
    """Return the processor's name where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """Return a description of the machine: processor, how many, system."""
    return f"{processor()}, {os.cpu_count()} processors, {platform.system()}"


def versions(further: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the versions of what took part, further packages included."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *further):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def footer(further: tuple[str, ...] = ()) -> str:
    """Return the last line under every table."""
    described = ", ".join(f"{name} {number}" for name, number in versions(further).items())
    line = f"{machine()}; {described}."
    busy = processors_busy()
    if busy > NOTICEABLE:
        line += f" Other programs kept {busy:.1f} processors busy when the run began: times are rough."
    return line


@functools.cache
def processors_busy() -> float:
    """Return how many processors others keep busy: looked at once, when the run begins."""
    try:
        before = _processor_times()
        time.sleep(LOOK_S)
        after = _processor_times()
    except (OSError, ValueError):
        return 0.0
    spent = [late - early for early, late in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]  # idle, and waiting for a disk
    return (os.cpu_count() or 1) * (1 - idle / sum(spent)) if sum(spent) else 0.0


def _processor_times() -> list[int]:
    return [int(entry) for entry in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def write_report(
    folder: Path, group: str, markdown: list[str], document: dict[str, Any], further: tuple[str, ...] = ()
) -> None:
    """Write one group's table and figures, as `GROUP.md` and `GROUP.json`; `further` packages took part."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {
        "group": group,
        "machine": machine(),
        "versions": versions(further),
        "processors_busy_before": processors_busy(),
    } | document
    (folder / f"{group}.md").write_text("\n".join([*markdown, "", footer(further)]) + "\n")
    (folder / f"{group}.json").write_text(json.dumps(described, indent=1) + "\n")


def geometric_mean(ratios: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


# --- tables of cells -----------------------------------------------------------------------------


def cell_table(cells: list[Cell], names: list[str], absent: dict[str, str], conditions: str) -> list[str]:
    """Return the table of one group of cases, what it means and who is missing where.

    Names that are no pipelines stand behind the ratio and are not in it.
    """
    pipelines = [name for name in names if name in PIPELINES]
    libraries = [name for name in names if name not in PIPELINES]
    header = ["case", "operation", *(f"{name} (ms)" for name in pipelines)]
    header += ["ratio", "of medians", "quartiles", *(f"{name} (ms)" for name in libraries)]
    header += [f"to {name}" for name in libraries if name in COMPARED_TO]
    lines = table(header, [_cell_row(cell, pipelines, libraries) for cell in cells], 2)
    ratios = [ratio for cell in cells if (ratio := cell.ratio()) is not None]
    if ratios:
        lines += [
            "",
            f"Ratio: {OURS} over the fastest of the other pipelines. Geometric mean of {len(ratios)} ratios: "
            f"**{geometric_mean(ratios):.2f}**; largest: {max(ratios):.2f}.",
        ]
    to_tensorstore = [ratio for cell in cells if (ratio := cell.ratio_to("tensorstore")) is not None]
    if to_tensorstore:
        lines[-1] += (
            f" Over tensorstore, {len(to_tensorstore)} cells: {geometric_mean(to_tensorstore):.2f}; "
            f"largest: {max(to_tensorstore):.2f}."
        )
    sizes = [
        f"{cell.case} {cell.encoded_bytes[OURS] / cell.encoded_bytes[REFERENCE]:.3f}"
        for cell in cells
        if OURS in cell.encoded_bytes and REFERENCE in cell.encoded_bytes
    ]
    if sizes:
        lines += ["", f"Encoded bytes, {OURS} over {REFERENCE}: {', '.join(sizes)}."]
    cold = [cell for cell in cells if cell.fetched_bytes]
    if cold and not any(count for cell in cold for count in cell.fetched_bytes.values()):
        lines += ["", "The cold cases were not: nothing was fetched from a disk (a file system in memory?)."]
    return [*lines, *_left_out(cells, absent), "", conditions]


def _cell_row(cell: Cell, pipelines: list[str], libraries: list[str]) -> list[str]:
    def best(name: str) -> str:
        return number(cell.best(name)) if name in cell.times_ms else MISSING

    ratio, spread = cell.ratio(), cell.spread()
    entries = [cell.case, cell.operation, *(best(name) for name in pipelines)]
    entries.append(MISSING if ratio is None else f"**{ratio:.2f}**")
    entries.append(number(cell.ratio(medians=True), 2))
    entries.append(MISSING if spread is None else f"{spread[0]:.2f} to {spread[1]:.2f}")
    entries += [best(name) for name in libraries]
    return entries + [number(cell.ratio_to(name), 2) for name in libraries if name in COMPARED_TO]


def _left_out(cells: list[Cell], absent: dict[str, str]) -> list[str]:
    """Return a list of who is missing where, joined over cells with the same reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        for name, reason in cell.left_out.items():
            found.setdefault((name, reason), []).append(f"{cell.case} ({cell.operation})")
    lines = [f"- {name}, everywhere: {reason}" for name, reason in absent.items()]
    for (name, reason), where in found.items():
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        lines.append(f"- {name}: {'; '.join(where[:3])}{more}: {reason}")
    return ["", "Left out:", "", *lines] if lines else []


def cell_document(cells: list[Cell], rounds: int, absent: dict[str, str]) -> dict[str, Any]:
    """Return the figures of a group of cases."""
    ratios = [ratio for cell in cells if (ratio := cell.ratio()) is not None]
    return {
        "rounds": rounds,
        "geometric_mean": geometric_mean(ratios) if ratios else None,
        "absent": absent,
        "cells": [
            asdict(cell)
            | {
                "ratio": cell.ratio(),
                "ratio_of_medians": cell.ratio(medians=True),
                "ratio_quartiles": cell.spread(),
                "ratio_to_tensorstore": cell.ratio_to("tensorstore"),
            }
            for cell in cells
        ],
    }
