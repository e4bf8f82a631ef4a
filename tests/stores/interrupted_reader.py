"""Reads until interrupted, waits for a line, and reads again. Usage: interrupted_reader.py READER URL."""

from __future__ import annotations

import signal
import sys

import numpy as np

import wazarr  # noqa: F401 - makes the pipeline known to zarr
from tests.stores.readers import READERS, open_subject


def main() -> None:
    """Do it."""
    # A process that was started in the background of a script inherits that interrupts are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reader, url = sys.argv[1:]
    array = open_subject(READERS[reader](url))
    try:
        array[...]
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.readline()
    print(int(np.asarray(array[...]).sum()))


if __name__ == "__main__":
    main()
