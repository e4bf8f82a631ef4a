"""Read and write a stack of satellite images the ways people do, checked and timed.

The image is a real tile of a Sentinel-2 scene (`data/README.md`). A 2 x 2 mosaic of it and its
mirror images stands for one band of one date; further bands and dates are derived from that by
integer scaling, shifting and a small drift, so that every value is known and no two planes are
equal. The stack becomes a sharded, zstd-compressed Zarr array in a temporary folder. Each operation
then runs under zarr-python's default pipeline and under wazarr, in turns, and every result is
compared with numpy.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
OURS = "wazarr.CodecPipeline"
TILE = Path(__file__).parent / "data" / "sentinel-2-b04-tile.zz"
TILE_WIDTH = 1024
TILE_SHA256 = "793e95ed73d0ac5170a5960a6e25e49045353c3d2cd59dd8781a820cc9b23cd0"

Image = npt.NDArray[np.uint16]


def decode_tile(path: Path) -> Image:
    """Decode the tile: zlib, then a running sum along each row modulo 2**16."""
    differences = np.frombuffer(zlib.decompress(path.read_bytes()), dtype="<u2")
    tile = np.cumsum(differences.reshape(-1, TILE_WIDTH), axis=1, dtype=np.uint16)
    if hashlib.sha256(tile.astype("<u2").tobytes()).hexdigest() != TILE_SHA256:
        sys.exit(f"{path} does not decode to the expected image")
    return tile


def build_stack(tile: Image, *, dates: int, bands: int) -> Image:
    """Derive a stack, shape (dates, bands, 2048, 2048), from one tile."""
    mosaic = np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]]).astype(np.uint32)
    stack = np.empty((dates, bands, *mosaic.shape), dtype=np.uint16)
    for date in range(dates):
        shifted = np.roll(mosaic, (37 * date, 59 * date), axis=(0, 1))
        for band in range(bands):
            scaled = shifted * (100 - 11 * band) // 100 + 3 * date
            stack[date, band] = np.minimum(scaled, 65535)
    return stack


@dataclass(frozen=True)
class Operation:
    """One line of the table.

    `run` does the work on an array; for a read, what it returns must equal `expected`. A write
    returns None, and the whole array as the default pipeline reads it must equal `expected`.
    """

    name: str
    run: Callable[[zarr.Array[Any]], Any]
    expected: Callable[[], npt.NDArray[Any]]


def operations(stack: Image) -> list[Operation]:
    """Return what people do with such a stack, and what numpy says comes out."""
    dates = stack.shape[0]
    some_dates = sorted({0, dates // 2, dates - 1})
    window = (dates // 2, slice(None), slice(300, 900), slice(700, 1500))
    bright = np.zeros(stack.shape, dtype=bool)
    bright[0, 0] = stack[0, 0] > np.percentile(stack[0, 0], 99)
    update = stack[window] // 2 + 7
    updated = stack.copy()
    updated[window] = update

    def write_all(array: zarr.Array[Any]) -> None:
        array[...] = stack

    def write_window(array: zarr.Array[Any]) -> None:
        array[window] = update

    return [
        Operation("write the whole stack", write_all, lambda: stack),
        Operation("read the whole stack", lambda a: a[...], lambda: stack),
        Operation("read a window of one date", lambda a: a[window], lambda: stack[window]),
        Operation("read every 4th pixel", lambda a: a[:, :, ::4, ::4], lambda: stack[:, :, ::4, ::4]),
        Operation(
            f"read dates {some_dates}",
            lambda a: a.oindex[np.array(some_dates)],
            lambda: stack[some_dates],
        ),
        Operation(
            "read the pixels under a mask",
            lambda a: a.get_mask_selection(bright),
            lambda: stack[bright],
        ),
        Operation(
            "read one pixel through time",
            lambda a: a[:, :, 1000, 1100],
            lambda: stack[:, :, 1000, 1100],
        ),
        Operation("update a window of one date", write_window, lambda: updated),
    ]


def digest(array: npt.NDArray[Any]) -> str:
    """Return the first 12 hex digits of the sha256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:12]


def engine_used(path: str) -> str:
    """Say which engine did the work since the counters were last reset."""
    if path != OURS:
        return path.rpartition(".")[2]
    import wazarr

    counters = wazarr.counters()
    words = []
    for what in ("codec_steps", "store_requests"):
        used = [engine for engine, count in counters[what].items() if count]
        words.append("+".join(used) or "none")
    engine = words[0] if words[0] == words[1] else f"{words[0]}, store {words[1]}"
    fallbacks = sum(counters["fallbacks"].values())
    return f"{engine}, {fallbacks} fallbacks" if fallbacks else engine


def reset_engine(path: str) -> None:
    """Set the counters to zero."""
    if path == OURS:
        import wazarr

        wazarr.reset_counters()


def create(store: Path, stack: Image) -> None:
    """Create the array, filled with the stack, under the default pipeline."""
    with zarr.config.set({"codec_pipeline.path": DEFAULT}):
        array = zarr.create_array(
            store,
            shape=stack.shape,
            dtype=stack.dtype,
            chunks=(1, 1, 256, 256),
            shards=(1, 1, 1024, 1024),
            compressors=ZstdCodec(level=3),
            fill_value=0,
        )
        array[...] = stack


@dataclass
class Line:
    """What one operation measured."""

    name: str
    engine: str
    default_s: float
    ours_s: float
    checked: str


def measure(operation: Operation, stores: dict[str, Path], paths: tuple[str, str], rounds: int) -> Line:
    """Run one operation under both pipelines in turns, best of `rounds`, and check the result."""
    best = dict.fromkeys(stores, float("inf"))
    expected = operation.expected()
    expected_digest = digest(expected)
    checked = expected_digest
    engine = ""
    for _ in range(rounds):
        for (role, store), path in zip(stores.items(), paths, strict=True):
            with zarr.config.set({"codec_pipeline.path": path}):
                array = zarr.open_array(store, mode="r+")
                reset_engine(path)
                start = time.perf_counter()
                result = operation.run(array)
                best[role] = min(best[role], time.perf_counter() - start)
                if role == "ours":
                    engine = engine_used(path)
            if result is not None and digest(np.asarray(result)) != expected_digest:
                checked = f"WRONG under {path}"
    if result is None:
        for store, path in zip(stores.values(), paths, strict=True):
            with zarr.config.set({"codec_pipeline.path": DEFAULT}):
                stored = zarr.open_array(store, mode="r")[...]
            if digest(np.asarray(stored)) != expected_digest:
                checked = f"WRONG under {path}"
    return Line(operation.name, engine, best["default"], best["ours"], checked)


def print_table(lines: list[Line]) -> None:
    """Print the lines in columns."""
    header = ("operation", "engine", "default ms", "ours ms", "ratio", "sha256 (checked)")
    rows = [header] + [
        (
            line.name,
            line.engine,
            f"{line.default_s * 1e3:.1f}",
            f"{line.ours_s * 1e3:.1f}",
            f"{line.ours_s / line.default_s:.2f}",
            line.checked,
        )
        for line in lines
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        cells = [
            cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
        if row is header:
            print("  ".join("-" * width for width in widths))


def main() -> int:
    """Run the demonstration; return 1 when a result was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--tile", type=Path, default=TILE, help="the encoded tile")
    parser.add_argument("--quick", action="store_true", help="a small stack, one round")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many (3)")
    parser.add_argument("--ours", default=OURS, help=f"pipeline to compare with ({OURS})")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds

    stack = build_stack(
        decode_tile(options.tile), dates=2 if options.quick else 4, bands=2 if options.quick else 4
    )
    print("Sentinel-2 band B04, 1024 x 1024 pixels; contains Copernicus Sentinel data.")
    print(
        f"Derived stack: {stack.shape[0]} dates x {stack.shape[1]} bands x {stack.shape[2]} x "
        f"{stack.shape[3]} uint16, {stack.nbytes / 2**20:.0f} MiB; chunks of 256 x 256 in shards "
        "of 1024 x 1024, zstd."
    )
    with tempfile.TemporaryDirectory(prefix="wazarr-demo-") as folder:
        stores = {role: Path(folder) / role for role in ("default", "ours")}
        for store in stores.values():
            create(store, stack)
        encoded = sum(file.stat().st_size for file in stores["default"].rglob("*") if file.is_file())
        print(
            f"Encoded: {encoded / 2**20:.0f} MiB. zarr {zarr.__version__}, "
            f"{os.cpu_count()} processors, best of {rounds}.\n"
        )
        lines = [
            measure(operation, stores, (DEFAULT, options.ours), rounds) for operation in operations(stack)
        ]
    print_table(lines)
    wrong = [line.name for line in lines if line.checked.startswith("WRONG")]
    print(f"\n{len(lines) - len(wrong)} of {len(lines)} operations gave numpy's values under both pipelines.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
