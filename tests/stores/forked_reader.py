"""Reads and writes an array before and after forks. Usage: forked_reader.py FILE, the array pickled."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import wazarr

if TYPE_CHECKING:
    import zarr


def use(array: zarr.Array[Any], row: int) -> None:
    """Write a row, and read it with all others."""
    array[row] = expected = np.asarray(array[0]) + row
    read = np.asarray(array[...])
    assert np.array_equal(read[0], array[0])
    assert np.array_equal(read[row], expected)
    requests = wazarr.counters()["store_requests"]
    assert requests["native"] > 0
    assert requests["python"] == 0


def main() -> None:
    """Use it here, in a child, in a child's child, and here again."""
    array = pickle.loads(Path(sys.argv[1]).read_bytes())
    use(array, 1)
    child = os.fork()
    if child == 0:
        use(array, 2)
        grandchild = os.fork()
        if grandchild == 0:
            use(array, 3)
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    use(array, 4)
    again = pickle.loads(pickle.dumps(array))
    use(again, 5)
    print("done", flush=True)


if __name__ == "__main__":
    main()
