"""Many reads from a server that often fails: right values or an error, no hang, nothing left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from tests.servers.faults import Fault, at_random
from tests.stores.readers import READERS, open_subject, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zarr.abc.store import Store

    from tests.servers.files import FileServer

VALUES = np.arange(1, 801, dtype="i4")
FAULTS = [
    Fault("status", 429),
    Fault("status", 429, {"Retry-After": "0"}),
    Fault("status", 500),
    Fault("status", 503),
    Fault("status", 403),
    Fault("reset before the head"),
    Fault("reset in mid-body"),
    Fault("short body"),
    Fault("drip", pause_s=0.001),
]
OPENERS: dict[str, Callable[[str], Store]] = {
    **READERS,
    # An option makes it one of those that are reached through Python.
    "fsspec, through Python": lambda url: READERS["fsspec"](url, {"X-Option": "1"}),
}
SELECTIONS: list[Any] = [slice(None), slice(33, 700), slice(5, 800, 90), slice(250, 251)]


def soak(reader: str, requests: int, file_server: FileServer, folder: Path) -> None:
    """Read until the server had so many requests."""
    urls = [
        serve(file_server, folder, VALUES, "chunks", chunks=(20,), compressors=None),
        serve(file_server, folder, VALUES, "shards", chunks=(10,), shards=(200,)),
    ]
    arrays = [open_subject(OPENERS[reader](url)) for url in urls]
    assert all(np.array_equal(np.asarray(array[...]), VALUES) for array in arrays)
    threads_before = threading.active_count()
    sockets_before = file_server.open_sockets
    file_server.forget()
    answers = turn = 0
    errors: list[Exception] = []
    with zarr.config.set({"array.sharding_coalesce_max_gap_bytes": 0}):
        while len(file_server.log) < requests:
            # Another seed each time, or the same keys would always fail.
            file_server.schedule = at_random(turn, 0.02, FAULTS)
            for array in arrays:
                selection = SELECTIONS[turn % len(SELECTIONS)]
                try:
                    read = np.asarray(array[selection])
                except Exception as error:  # noqa: BLE001 - whatever the client raises
                    errors.append(error)
                else:
                    assert np.array_equal(read, VALUES[selection])
                    answers += 1
            turn += 1
    assert answers
    assert errors
    assert not [error for error in errors if isinstance(error, FileNotFoundError | KeyError)]
    file_server.behave()
    assert file_server.wait(lambda: file_server.in_flight == 0)
    # Each store may keep as many as it had in flight.
    assert file_server.most_in_flight <= 64
    assert file_server.open_sockets <= sockets_before + 2 * 64
    assert threading.active_count() <= threads_before + 4


@pytest.mark.parametrize("reader", OPENERS)
def test_a_server_that_often_fails(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    soak(reader, 1000, file_server, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("reader", OPENERS)
def test_ten_thousand_requests(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    soak(reader, 10_000, file_server, tmp_path)
