"""Codecs as WebAssembly modules, beside the same codecs native and beside numcodecs-wasm's own host.

**The tile.** A real satellite tile, zlib over TIFF's predictor 2, read through zarr with both steps as
modules (our own interface, and chonkle's components C and E), against numcodecs' zlib and numpy's running
sum called directly, which have no zarr above them.

**Native twins.** Arrays whose bytes are the same, once with our native codec and once with a module made of
the same C library (lz4, zstd) or doing the same (delta, shuffle, packbits); both through the same pipeline.

**Calls.** lz4 and zstd without zarr: numcodecs' own call of the C library, and ours of the same library as a
module.

**numcodecs-wasm.** zfp, pco and sz3, 4 MiB a chunk, through zarr: its packages on their own host under
zarr-python's default pipeline, against ours running the same components.

**Overheads.** What a module that changes nothing adds to a chunk of 1 KiB; how many instances 4096 chunks of
4 KiB take; two threads over one; how long a module takes to start that is compiled on disk.

Arrays are opened anew for each turn, which is not timed. Everything is on one thread unless it says
otherwise. Modules run trusted, without a time limit, and metered. Every answer is checked, and that each step
ran as a module and none natively.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from contenders import OURS, PIPELINES
from fresh import in_fresh_process
from measure import WrongAnswerError, rotated
from report import number, table, write_report
from wasm_cases import (
    METERED,
    NATIVE,
    PREDICTOR,
    TRUSTED,
    Case,
    Contender,
    call_cases,
    called,
    create,
    decode_many_natively,
    module,
    numcodecs_wasm_cases,
    opened,
    tile,
    tile_cases,
    twin_cases,
    write_tiles,
)

import wazarr
from scripts.build_guests import UnavailableError, build_guest
from wazarr import _native

if TYPE_CHECKING:
    import argparse


def measure(case: Case, rounds: int) -> None:
    """Have the contenders of a case take turns; the turn before the rounds is not timed."""
    for turn in range(rounds + 1):
        for name in rotated(list(case.contenders), turn):
            wazarr.reset_counters()
            with case.contenders[name]() as read:
                if case.is_warm:
                    read()
                    wazarr.reset_counters()
                start = time.perf_counter()
                answer = read()
                elapsed_ms = (time.perf_counter() - start) * 1e3
            if isinstance(answer, bytes):
                answer = np.frombuffer(answer, np.uint8)
            if case.expected is not None and not np.array_equal(answer, case.expected):
                raise WrongAnswerError(f"{case.name}, under {name}")
            if name in (TRUSTED, METERED) and case.wasm_steps:
                steps = wazarr.counters()["codec_steps"]["wasm"]
                if steps != case.wasm_steps:
                    raise WrongAnswerError(f"{case.name}, {name}: {steps} steps ran as modules")
            if turn:
                case.times_ms.setdefault(name, []).append(elapsed_ms)


# --- overheads -------------------------------------------------------------------------------------------


def overheads(folder: Path, rounds: int) -> dict[str, float]:
    """Measure what a call costs, how many instances many chunks take, and what a second thread brings."""
    encoded, image = tile()
    found: dict[str, float] = {}
    values = np.arange(4096 * 1024, dtype=np.uint32).astype(np.uint8)
    plain = create(folder / "plain", values, (1024,), compressors=None)
    same = create(folder / "same", values, (1024,), compressors=[module("identity")])
    contenders: dict[str, Contender] = {
        "bytes": partial(opened, plain),
        TRUSTED: partial(opened, same, is_trusted=True),
        METERED: partial(opened, same),
    }
    case = Case("identity of 1 KiB, 4096 chunks", contenders, values, wasm_steps=4096)
    measure(case, rounds)
    for name in (TRUSTED, METERED):
        found[f"call of a module, 1 KiB, {name} (µs)"] = (
            (case.best(name) or 0) - (case.best("bytes") or 0)
        ) / 4.096

    values = np.arange(4096 * 1024, dtype=np.uint32)
    many = create(folder / "many", values, (1024,), compressors=[module("identity")])
    before = _native.wasm_counters()["instances"]
    with opened(many, is_trusted=True) as read:
        if not np.array_equal(read(), values):
            raise WrongAnswerError("4096 chunks of 4 KiB")
    found["instances made for 4096 chunks of 4 KiB"] = _native.wasm_counters()["instances"] - before

    count = 8
    codecs = [module("tiff-predictor-2", parameters=PREDICTOR), module("zlib")]
    tiles = write_tiles(folder / "tiles", encoded, codecs, count)
    contenders = {
        f"{who}, {threads}": partial(opened, tiles, is_trusted=who == TRUSTED, threads=threads)
        for who in (TRUSTED, METERED)
        for threads in (1, 2)
    } | {f"{NATIVE}, {threads}": called(decode_many_natively, encoded, count, threads) for threads in (1, 2)}
    case = Case("tiles", contenders, np.tile(image, (count, 1)), is_warm=True)
    measure(case, max(3, rounds // 2))
    for who in (TRUSTED, METERED, NATIVE):
        found[f"two threads over one, {count} tiles, {who}"] = (case.best(f"{who}, 1") or 0) / (
            case.best(f"{who}, 2") or 1
        )

    found |= starts(folder, max(3, rounds // 2))

    code = "import sys, wazarr; print(sum(name.startswith('wazarr.wasm') for name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found["modules of wazarr.wasm that `import wazarr` loads"] = float(result.stdout)
    return found


def starts(folder: Path, rounds: int) -> dict[str, float]:
    """Measure what a module takes to start that is found compiled on disk: its first chunk over its second.

    A process's first module also has the engine made. The chunks are small: of large ones the first also
    takes memory that the system has to clear, whichever codec it is of.
    """
    values = np.arange(64, dtype=np.uint16)
    codecs = {"identity": module("identity"), "zstd": module("zstd")}
    arrays = {
        name: create(folder / f"start-{name}", values, values.shape, compressors=[codec])
        for name, codec in codecs.items()
    }
    arguments: dict[str, Any] = {
        "arrays": [str(array) for array in arrays.values()],
        "trusted": [codec.wasm_description.module for codec in codecs.values()],
        "cache": str(zarr.config.get("wazarr.wasm.cache_dir")),
    }
    times: list[list[float]] = []
    for turn in range(rounds + 1):  # the first compiles them
        answer = in_fresh_process("wasm:start_child", **arguments)
        if turn:
            times.append(answer["extra_ms"])
            if answer["compiled"] or answer["deserialized"] != len(codecs):
                raise WrongAnswerError(f"modules compiled on disk: {answer}")
    found = {}
    for place, which in enumerate(("the process's first", "another")):
        name = list(codecs)[place]
        kib = build_guest(name).stat().st_size >> 10
        label = f"start of a module that is compiled on disk, {which}, {kib} KiB (ms)"
        found[label] = statistics.median(extra[place] for extra in times)
    return found


def start_child(arrays: list[str], trusted: list[str], cache: str) -> dict[str, Any]:
    """Read each array twice; return how much longer the first time took, and what was compiled."""
    settings = {
        "codec_pipeline.path": PIPELINES[OURS],
        "wazarr.wasm.cache_dir": cache,
        "wazarr.wasm.trusted": trusted,
    }
    extra_ms = []
    with zarr.config.set(settings):
        opened_arrays = [zarr.open_array(array, mode="r") for array in arrays]
        for array in opened_arrays:
            moments = [time.perf_counter()]
            for _ in range(2):
                array[...]
                moments.append(time.perf_counter())
            extra_ms.append(((moments[1] - moments[0]) - (moments[2] - moments[1])) * 1e3)
    counters = _native.wasm_counters()
    return {
        "extra_ms": extra_ms,
        "compiled": counters["compiled"],
        "deserialized": counters["deserialized"],
    }


# --- the report ------------------------------------------------------------------------------------------


def run(rounds: int, options: argparse.Namespace) -> None:
    """Measure everything and report it."""
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as name:
        folder = Path(name) / "arrays"
        # Compiled modules of other runs would hide what compiling costs; nothing of it is timed, though.
        with zarr.config.set({"wazarr.wasm.cache_dir": str(Path(name) / "cache")}):
            for collect in (tile_cases, twin_cases, call_cases, numcodecs_wasm_cases):
                try:
                    cases += collect(folder)
                except UnavailableError as error:
                    print(f"left out: {collect.__name__}: {error}", file=sys.stderr)
            cases = [case for case in cases if not options.only or options.only in case.name]
            for case in cases:
                print(f"measuring: {case.name}", file=sys.stderr, flush=True)
                measure(case, rounds)
            others = {} if options.only else overheads(folder, rounds)
    header = ["case", "peer", "peer (ms)", "trusted (ms)", "ratio", "goal", "metered (ms)", "ratio", "goal"]
    rows = [
        [
            case.name,
            next(iter(case.contenders)),
            number(case.best(next(iter(case.contenders))), 2),
            number(case.best(TRUSTED), 2),
            f"**{number(case.ratio(TRUSTED), 2)}**",
            number(case.goal, 2),
            number(case.best(METERED), 2),
            number(case.ratio(METERED), 2),
            number(case.goal_metered, 2),
        ]
        for case in cases
    ]
    markdown = table(header, rows, 2)
    markdown += [
        "",
        f"Best of {rounds} interleaved rounds, on one thread of {os.cpu_count()}; goals are ratios.",
    ]
    if others:
        entries = [[name, number(value, 2)] for name, value in others.items()]
        markdown += ["", *table(["", "measured"], entries)]
    print("\n".join(markdown), flush=True)
    document = {
        "rounds": rounds,
        "rows": [
            {
                "case": case.name,
                "peer": next(iter(case.contenders)),
                "times_ms": case.times_ms,
                "ratio": case.ratio(TRUSTED),
                "ratio_metered": case.ratio(METERED),
                "goal": case.goal,
                "goal_metered": case.goal_metered,
            }
            for case in cases
        ],
        "overheads": others,
    }
    write_report(options.output, "wasm", markdown, document)
