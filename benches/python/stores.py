"""Reads through other stores than a folder: in memory, in a zip, behind Python, behind HTTP far away.

**Near.** Read everything, 64 chunks of 1 MiB (*big*) or 512 of 8 KiB (*small*), zstd 1, through each store.

**Far.** Over HTTP where every answer takes 50 ms, so that only the number of requests in flight counts; and
over a link of 100 MB/s, where the ideal is the time of the bytes alone.

**In pieces.** An array of 1 GiB behind HTTP, read in pieces, each pipeline in a process of its own: what it
holds in memory beside the piece.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from cases import LIMIT
from contenders import OURS, PIPELINES, REFERENCE, CannotError, available, contender
from fresh import ChildError, in_fresh_process
from link import served
from measure import SLOW_S, Cell, WrongAnswerError, fallbacks, fallbacks_since, reason_of, rotated
from memory import MIB, reset_peak, status_bytes
from places import NAME, PACKAGES, far_cases, is_there, near_cases, open_far
from report import MISSING, cell_document, cell_table, number, table, write_report
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

if TYPE_CHECKING:
    import argparse

    from places import StoreCase
    from zarr.abc.store import Store

GET = "get"
TEN = f"{OURS}, 10 in flight"
IN_FLIGHT = 64
PATIENCE_S = 30
"""Who needs longer for one far read is left out: retries may take minutes."""
PLANES = 256
"""A piece of the array of 1 GiB: 128 MiB."""
REPEATED = 4
HELD = 64 * MIB
CONDITIONS = (
    "Best of {rounds} interleaved rounds; *get* is the store's own `get` of all chunks, "
    f"{IN_FLIGHT} in flight, without decoding. Each keeps its store, with its connections, from round to "
    "round."
)


@dataclass(frozen=True)
class Reader:
    """One pipeline with its settings, or, without a pipeline, the store's own `get`."""

    name: str
    pipeline: str | None
    settings: dict[str, Any] = field(default_factory=dict)

    def read(self, case: StoreCase, store: Store) -> float:
        """Read what the case says, check it, and return the seconds of the read alone."""
        if self.pipeline is None:
            keys = case.keys()
            start = time.perf_counter()
            sync(get_all(store, keys))
            return time.perf_counter() - start
        with contender(self.pipeline).engaged(), zarr.config.set(self.settings):
            array: Any = zarr.open_array(store, path=NAME, mode="r")
            start = time.perf_counter()
            answer = array[case.selection]
            elapsed_s = time.perf_counter() - start
        if not np.array_equal(answer, case.values[case.selection]):
            raise WrongAnswerError(f"{case.name}, {case.operation}, under {self.name}")
        return elapsed_s


async def get_all(store: Store, keys: list[str]) -> None:
    """Get values, so many at a time."""
    prototype, remaining = default_buffer_prototype(), iter(keys)
    await store._ensure_open()  # a zip's own `get` does not

    async def lane() -> None:
        for key in remaining:
            if await store.get(key, prototype) is None:
                raise CannotError(f"nothing under {key}")

    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))


# --- measuring -----------------------------------------------------------------------------------


def run(rounds: int, options: argparse.Namespace) -> None:
    """Measure every case and report it."""
    taking_part, absent = available([name for name in options.contenders if name in PIPELINES])
    readers = [Reader(entry.name, entry.name) for entry in taking_part]
    if any(reader.name == OURS for reader in readers):
        readers.append(Reader(TEN, OURS, {"wazarr.store_concurrency": 10}))
    readers.append(Reader(GET, None))
    absent |= {package: "not installed" for package in PACKAGES if not is_there(package)}
    cells: list[Cell] = []
    with (
        tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as name,
        ExitStack() as links,
    ):
        folder = Path(name)
        cases = near_cases(folder, is_quick=options.quick)
        cases += far_cases(folder, links, is_quick=options.quick)
        for case in cases:
            if options.only and options.only not in case.name:
                continue
            print(f"measuring: {case.name}, {case.operation}", file=sys.stderr, flush=True)
            cells.append(measure(case, [reader for reader in readers if does(reader, case)], rounds))
        pieces = {}
        if is_there("obstore") and not options.only:
            pieces = in_pieces(folder, [entry.name for entry in taking_part], links)
    names = [reader.name for reader in readers]
    markdown = cell_table(cells, names, absent, CONDITIONS.format(rounds=rounds))
    through_python = dict.fromkeys(case for cell in cells for case in cell.fallbacks)
    if through_python:
        markdown += ["", f"Not native in {OURS}: {'; '.join(through_python)}."]
    markdown += pieces_table(pieces)
    print("\n".join(markdown), flush=True)
    document = cell_document(cells, rounds, absent) | {"pieces": pieces}
    write_report(options.output, "stores", markdown, document, PACKAGES)


def does(reader: Reader, case: StoreCase) -> bool:
    """Tell whether a reader beside the pipelines has a part in a case."""
    if reader.name == TEN:
        return case.far is not None and not case.is_sharded
    return reader.pipeline is not None or not case.is_sharded


def far_child(name: str, kind: str, url: str, first: list[int]) -> dict[str, int]:
    """Read an array once, up to `first` of each axis; return the checksum of its elements."""
    with contender(name).engaged():
        array: Any = zarr.open_array(open_far(kind, url), path=NAME, mode="r")
        answer = array[tuple(slice(0, stop) for stop in first)]
    return {"crc32": zlib.crc32(np.ascontiguousarray(answer))}


def measure(case: StoreCase, readers: list[Reader], rounds: int) -> Cell:
    """Let each reader take its turns; the first of each is not timed."""
    cell = Cell(case.name, case.operation, LIMIT)
    before = fallbacks()
    places: dict[str, Store] = {}
    for reader in readers:
        try:
            if case.far is not None and reader.pipeline is not None:
                try_alone(case, reader)
            places[reader.name] = case.open_store()
            reader.read(case, places[reader.name])
        except Exception as error:
            # Whatever a rival raises is its reason.
            if reader.name in (OURS, TEN, REFERENCE):
                raise
            places.pop(reader.name, None)
            cell.left_out[reader.name] = reason_of(error)
    taking_part = [reader for reader in readers if reader.name in places]
    cell.times_ms = {reader.name: [] for reader in taking_part}
    for turn in range(rounds):
        for reader in rotated(taking_part, turn):
            times = cell.times_ms[reader.name]
            if sum(times) <= SLOW_S * 1e3:
                times.append(reader.read(case, places[reader.name]) * 1e3)
    cell.fallbacks = fallbacks_since(before)
    return cell


def try_alone(case: StoreCase, reader: Reader) -> None:
    """Read once in a process that can be ended."""
    assert case.far is not None
    assert reader.pipeline is not None
    expected = case.values[case.selection]
    answer = in_fresh_process(
        "stores:far_child",
        timeout_s=PATIENCE_S,
        name=reader.pipeline,
        first=list(expected.shape),
        kind=case.far["kind"],
        url=case.far["url"],
    )
    if answer["crc32"] != zlib.crc32(np.ascontiguousarray(expected)):
        raise WrongAnswerError(f"{case.name}, {case.operation}, under {reader.name}")


# --- in pieces -----------------------------------------------------------------------------------


def in_pieces(folder: Path, names: list[str], links: ExitStack) -> dict[str, dict[str, float | str]]:
    """Read 1 GiB in pieces under each pipeline; return the seconds, and the MiB held beside the piece."""
    place = repeated(folder)
    url = links.enter_context(served(place))
    held = [(name, name, 0) for name in names]
    held += [(f"{name}, {HELD // MIB} MiB in flight", name, HELD) for name in names if name == OURS]
    found: dict[str, dict[str, float | str]] = {}
    for label, name, bytes_in_flight in held:
        print(f"measuring: 1 GiB in pieces, {label}", file=sys.stderr, flush=True)
        try:
            found[label] = in_fresh_process(
                "stores:pieces_child",
                timeout_s=2 * PATIENCE_S,
                name=name,
                url=url,
                bytes_in_flight=bytes_in_flight,
            )
        except ChildError as error:
            found[label] = {"failed": str(error)}
    checksums = {figures["crc32"] for figures in found.values() if "crc32" in figures}
    if len(checksums) > 1:
        raise WrongAnswerError(f"the pieces differ from pipeline to pipeline: {found}")
    return found


def repeated(folder: Path) -> Path:
    """Return a folder with an array four times as long as that of `far_cases`: links to its chunks."""
    source, target = folder / "large" / NAME, folder / "pieces" / NAME
    target.mkdir(parents=True)
    metadata = json.loads((source / "zarr.json").read_text())
    metadata["shape"][0] *= REPEATED
    (target / "zarr.json").write_text(json.dumps(metadata))
    planes = [plane.name for plane in (source / "c").iterdir()]
    for copy, plane in itertools.product(range(REPEATED), planes):
        number_of_plane = copy * len(planes) + int(plane)
        shutil.copytree(source / "c" / plane, target / "c" / str(number_of_plane), copy_function=os.link)
    return target.parent


def pieces_child(name: str, url: str, bytes_in_flight: int) -> dict[str, float]:
    """Read an array in pieces; return the seconds, and the peak over the start without the piece in MiB."""
    settings = {"wazarr.bytes_in_flight": bytes_in_flight} if bytes_in_flight else {}
    checksums, read_s = set(), 0.0
    with contender(name).engaged(), zarr.config.set(settings):
        array: Any = zarr.open_array(open_far("obstore HTTP", url), path=NAME, mode="r")
        piece = array[0, 0]  # starts the thread pools
        before_bytes = reset_peak()
        for first in range(0, array.shape[0], PLANES):
            del piece
            start = time.perf_counter()
            piece = array[first : first + PLANES]
            read_s += time.perf_counter() - start
            checksums.add(zlib.crc32(piece))
        held_bytes = status_bytes("VmHWM") - before_bytes - piece.nbytes
    if len(checksums) != 1:
        raise WrongAnswerError(f"pieces that are alike differ under {name}")
    return {"read_s": read_s, "held_mib": held_bytes / MIB, "crc32": checksums.pop()}


def pieces_table(pieces: dict[str, dict[str, float | str]]) -> list[str]:
    """Return the table of what was held in memory."""
    if not pieces:
        return []
    rows = [
        [label, MISSING, MISSING, str(found["failed"])]
        if "failed" in found
        else [label, number(float(found["read_s"]), 2), number(float(found["held_mib"])), "right"]
        for label, found in pieces.items()
    ]
    head = f"An array behind HTTP, read {PLANES} planes at a time: what is held in memory beside the piece."
    return ["", head, "", *table(["contender", "read (s)", "held (MiB)", "answer"], rows)]
