"""Read the array: with wazarr and zarr alone, and without a word about its codecs.

``read.py STORE`` prints, as JSON, the sha256 of the values and which engine ran the codecs.
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import zarr

import wazarr

if __name__ == "__main__":
    wazarr.enable()
    array = zarr.open_group(sys.argv[1], mode="r")["B04"]
    assert isinstance(array, zarr.Array)
    values = np.asarray(array[...])
    used = wazarr.codecs_used(array)
    answer = {
        "sha256": hashlib.sha256(values.astype("<u2").tobytes()).hexdigest(),
        "shape": values.shape,
        "engines": {codec.codec or codec.name: codec.engine for codec in used},
        "modules": {codec.codec: codec.places for codec in used if codec.module},
        "wasm_steps": wazarr.counters()["codec_steps"]["wasm"],
    }
    print(json.dumps(answer))
