"""A satellite image that carries its own decoder: written, read by somebody who knows nothing of it, timed.

The tile is that of `examples/data`. The modules are compiled from `examples/guests` (with the package
ziglang); nobody who reads the array needs more than wazarr.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import numpy.typing as npt
import zarr
from write import NAME, WIDTH, write

import wazarr

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TILE = ROOT / "examples" / "data" / "sentinel-2-b04-tile.zz"
TILE_SHA256 = "2c02e7e60074d6767ccb4c44de2da249d331fd82e107431e41cfe4069bae0d62"
IMAGE_SHA256 = "793e95ed73d0ac5170a5960a6e25e49045353c3d2cd59dd8781a820cc9b23cd0"
MODULES = ("tiff-predictor-2", "zlib")
OURS = "wazarr.CodecPipeline"

Image = npt.NDArray[np.uint16]


def build_modules() -> dict[str, Path]:
    """Compile the modules, once."""
    script = ROOT / "scripts" / "build_guests.py"
    result = subprocess.run(
        [sys.executable, script, *MODULES], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        sys.exit("the modules were not built")
    return dict(zip(MODULES, (ROOT / line for line in result.stdout.splitlines()), strict=True))


def read_elsewhere(store: Path) -> dict[str, Any]:
    """Read the array in a new process with an empty cache, and with nothing allowed."""
    with tempfile.TemporaryDirectory(prefix="wazarr-demo-cache-") as cache:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZARR_")}
        result = subprocess.run(
            [sys.executable, HERE / "read.py", store],
            env=environment | {"XDG_CACHE_HOME": cache},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def read_natively(encoded: bytes, tiles: int, threads: int) -> Image:
    """Decode the tiles with numcodecs and numpy, in so many threads."""
    zlib = numcodecs.Zlib()
    image = np.empty((tiles * WIDTH, WIDTH), np.uint16)

    def decode(number: int) -> None:
        differences = np.frombuffer(zlib.decode(encoded), "<u2").reshape(WIDTH, WIDTH)
        np.cumsum(differences, axis=1, dtype=np.uint16, out=image[number * WIDTH : (number + 1) * WIDTH])

    if threads == 1:
        for number in range(tiles):
            decode(number)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(tiles)))
    return image


def read_with_wazarr(store: Path, digests: list[str], threads: int) -> Image:
    """Read the array with our pipeline; the modules of `digests` run without a time limit."""
    settings = {
        "codec_pipeline.path": OURS,
        "threading.max_workers": threads,
        "wazarr.wasm.trusted": digests,
    }
    with zarr.config.set(settings):
        array = zarr.open_array(store, path=NAME, mode="r")
        return np.asarray(array[...], dtype=np.uint16)


def measure(
    contenders: dict[str, Callable[[int], Image]], threads: list[int], tiles: int, rounds: int
) -> dict[str, dict[int, float]]:
    """Return the best time of a tile in milliseconds, by contender and threads, taken in turns."""
    best: dict[str, dict[int, float]] = {name: {} for name in contenders}
    for turn in range(rounds + 1):
        for count in threads:
            for name, read in contenders.items():
                start = time.perf_counter()
                image = read(count)
                elapsed_ms = (time.perf_counter() - start) * 1e3 / tiles
                for number in range(tiles):
                    tile = image[number * WIDTH : (number + 1) * WIDTH]
                    if hashlib.sha256(tile.astype("<u2").tobytes()).hexdigest() != IMAGE_SHA256:
                        sys.exit(f"WRONG: {name}, tile {number}")
                if turn:  # the first compiles, starts threads and is not counted
                    best[name][count] = min(best[name].get(count, float("inf")), elapsed_ms)
    return best


def main() -> int:
    """Run the demonstration; return 1 when a result was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few tiles, few rounds")
    parser.add_argument("--rounds", type=int, help="the best of so many (7)")
    # What else `make demo` hands on is for the other demonstration.
    options, _ = parser.parse_known_args()
    rounds = options.rounds or (2 if options.quick else 7)
    tiles = 2 if options.quick else 8
    encoded = TILE.read_bytes()
    if hashlib.sha256(encoded).hexdigest() != TILE_SHA256:
        sys.exit(f"{TILE} is another tile")
    modules = build_modules()

    with tempfile.TemporaryDirectory(prefix="wazarr-demo-") as folder:
        store, many = Path(folder) / "one", Path(folder) / "many"
        write(TILE, store, *modules.values())
        stored = (store / NAME / "c" / "0" / "0").read_bytes()
        answer = read_elsewhere(store)
        engines = {"bytes": "native"} | dict.fromkeys(MODULES, "wasm")
        is_right = (answer["sha256"], answer["engines"]) == (IMAGE_SHA256, engines)
        is_right &= answer["wasm_steps"] == len(MODULES)
        print(f"A tile of a COG as a Zarr chunk, {len(stored)} bytes, unchanged: {stored == encoded}.")
        print("A new process with an empty cache and nothing allowed read it with")
        print("\n".join(f"  {codec}, from {places[0]}" for codec, places in answer["modules"].items()))
        print(f"sha256 {answer['sha256'][:12]} {'(checked)' if is_right else 'is WRONG'}\n")

        write(TILE, many, *modules.values(), tiles=tiles)
        digests = ["sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() for path in modules.values()]
        contenders: dict[str, Callable[[int], Image]] = {
            "native: numcodecs zlib, numpy": partial(read_natively, encoded, tiles),
            "wazarr.wasm, trusted": partial(read_with_wazarr, many, digests),
            "wazarr.wasm, with a time limit": partial(read_with_wazarr, many, []),
        }
        threads = sorted({1, min(2, os.cpu_count() or 1)})
        best = measure(contenders, threads, tiles, rounds)
        print(
            f"{'ms a tile':<32}"
            + "".join(f"{count} thread{'s' * (count > 1):<4}  ratio   " for count in threads)
        )
        first = best[next(iter(contenders))]
        for name, times in best.items():
            cells = (f"{times[count]:>8.1f}{times[count] / first[count]:>8.2f}   " for count in threads)
            print(f"{name:<32}" + "".join(cells))
        print(f"\n{tiles} tiles, best of {rounds} rounds in turns; wazarr {wazarr.__version__}.")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
