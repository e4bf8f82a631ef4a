"""A process that has never seen a module: reads arrays with what travels with them, and nothing else.

Usage: ``python -m tests.wasm.stranger CACHE [PIPELINE STORE PATH]…``. Prints a list with, for each array, the
sum of its values or the error. Nothing is imported but wazarr, zarr and numpy, and obstore for S3.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import zarr

import wazarr


def opened(store: str) -> Any:
    """Return a folder, a zip, or ``s3:BUCKET:ENDPOINT`` as zarr takes it."""
    if store.startswith("s3:"):
        from tests.servers.s3 import Bucket

        _, name, endpoint = store.split(":", 2)
        return zarr.storage.ObjectStore(Bucket(endpoint, name).obstore(), read_only=True)
    return zarr.storage.ZipStore(store, mode="r") if store.endswith(".zip") else store


def read(pipeline: str, store: str, path: str) -> dict[str, Any]:
    """Read an array."""
    wazarr.reset_counters()
    where = opened(store)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        try:
            values = np.asarray(zarr.open_array(where, path=path, mode="r")[...])
        except wazarr.errors.CodecError as error:
            return {"error": type(error).__name__, "text": str(error)}
    return {"sum": int(values.sum()), "steps": wazarr.counters()["codec_steps"]}


if __name__ == "__main__":
    cache, *arrays = sys.argv[1:]
    zarr.config.set({"wazarr.wasm.cache_dir": cache})
    print(json.dumps([read(*arrays[at : at + 3]) for at in range(0, len(arrays), 3)]))
