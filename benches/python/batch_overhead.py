"""Cost per chunk of reading chunks that are not there, from memory: the price of the batch itself.

Nothing is decoded and nothing found, so what remains is zarr-python's own work (indexer, keys,
tuples) and what the pipeline adds to it. The floor is measured with a pipeline that does nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from first_check import PIPELINES, is_installed, rotated
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK_LENGTH = 8
FILL_VALUE = 7


class EmptyPipeline(BatchedCodecPipeline):
    """Answers a read without looking at it, other than walking through the batch once."""

    async def read(
        self, batch_info: Iterable[tuple[Any, ...]], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> Any:
        """Return as many answers as there are chunks."""
        return tuple({"status": "missing"} for _ in batch_info)


def measure(path: str, chunks: int) -> float:
    """Return the seconds of one read of `chunks` missing chunks; check the answer."""
    with zarr.config.set({"codec_pipeline.path": path}):
        array = zarr.create_array(
            MemoryStore(),
            shape=(chunks * CHUNK_LENGTH,),
            chunks=(CHUNK_LENGTH,),
            dtype="uint8",
            fill_value=FILL_VALUE,
            compressors=None,
        )
        start = time.perf_counter()
        answer = array[...]
        elapsed = time.perf_counter() - start
    if not path.endswith("EmptyPipeline") and not np.all(np.asarray(answer) == FILL_VALUE):
        sys.exit(f"WRONG: {chunks} missing chunks under {path}")
    return elapsed


def main() -> None:
    """Print one line for each number of chunks, in microseconds a chunk."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="best of so many rounds (5)")
    parser.add_argument("--largest", type=int, default=5, help="up to 10**LARGEST chunks (5)")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()

    register_pipeline(EmptyPipeline)
    floor = f"{EmptyPipeline.__module__}.{EmptyPipeline.__qualname__}"
    paths = {"floor": floor} | {name: path for name, path in PIPELINES.items() if is_installed(path)}
    names = list(paths)
    figures: dict[int, dict[str, float]] = {}
    print("| chunks |", " | ".join(f"{name} (µs/chunk)" for name in names), "|")
    print("| ---: |", " | ".join("---:" for _ in names), "|")
    for chunks in (10**power for power in range(2, options.largest + 1)):
        best = dict.fromkeys(names, float("inf"))
        for turn in range(options.rounds):
            for name in rotated(names, turn):
                best[name] = min(best[name], measure(paths[name], chunks))
        figures[chunks] = {name: seconds / chunks * 1e6 for name, seconds in best.items()}
        print(
            f"| {chunks} |",
            " | ".join(f"{figures[chunks][name]:.2f}" for name in names),
            "|",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
