"""Who gives up closes the requests, and the next one finds everything free."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.sync import _get_loop, _runner, sync
from zarr.storage import ObjectStore

from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, whenever
from tests.stores.readers import READERS, open_subject, serve

if TYPE_CHECKING:
    from tests.servers.files import FileServer

VALUES = np.arange(1, 401, dtype="i4")
SILENT_KEYS = 40


def all_abandoned(file_server: FileServer) -> bool:
    return all(request.is_abandoned for request in file_server.chunks())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("way", ["cancelled", "timed out", "one of them failed"])
async def test_requests_of_a_task_that_is_gone_are_closed(
    way: str, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    url = await asyncio.to_thread(serve, file_server, tmp_path, VALUES, chunks=(10,))
    array = await _open(reader, url)
    file_server.schedule = whenever(Fault("silence"))
    if way == "one of them failed":
        file_server.schedule = lambda request: (
            None
            if request.is_metadata
            else Fault("status", 403)
            if request.key.endswith("/39")
            else Fault("silence")
        )
    task = asyncio.ensure_future(array.getitem(slice(None)))
    if way == "one of them failed":
        with pytest.raises(Exception, match="39"):
            await asyncio.wait_for(task, 30)
    else:
        assert await asyncio.to_thread(file_server.wait, lambda: file_server.in_flight == SILENT_KEYS)
        if way == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 30)
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0.05)
    # The server would have waited for an hour.
    assert await asyncio.to_thread(file_server.wait, lambda: file_server.in_flight == 0)
    before = len(file_server.log)
    await asyncio.sleep(0.1)
    assert len(file_server.log) == before, "requests go on"
    file_server.behave()
    assert np.array_equal(np.asarray(await array.getitem(slice(None))), VALUES)
    if reader == "fsspec":
        await array.store.fs._session.close()


async def _open(reader: str, url: str) -> Any:
    """Open in this loop: a client of fsspec belongs to the loop that it was first used in."""
    if reader == "fsspec":
        from zarr.storage import FsspecStore

        options = {"skip_instance_cache": True}
        store: Any = FsspecStore.from_url(url, storage_options=options, read_only=True)
    else:
        store = READERS[reader](url)
    with pipeline(SUBJECT_PATH):
        return await zarr.api.asynchronous.open_array(store=store, mode="r")


@pytest.mark.parametrize("reader", READERS)
def test_a_timeout_of_sync_closes_the_requests(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    array = open_subject(READERS[reader](serve(file_server, tmp_path, VALUES, chunks=(10,))))
    file_server.schedule = whenever(Fault("silence"))
    with pytest.raises(TimeoutError):
        sync(array.async_array.getitem(slice(None)), timeout=0.3)
    assert file_server.wait(lambda: file_server.in_flight == 0)


@pytest.mark.parametrize("reader", READERS)
def test_a_caller_who_left_before_the_first_request(
    reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    """As after Ctrl-C at the very beginning: zarr's task for `sync` is there, and nobody waits for it."""
    array = open_subject(READERS[reader](serve(file_server, tmp_path, VALUES, chunks=(10,))))
    file_server.schedule = whenever(Fault("silence"))
    reading = array.async_array.getitem(slice(None))
    future = asyncio.run_coroutine_threadsafe(_runner(reading), _get_loop())
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(timeout=30)
    assert file_server.wait(lambda: file_server.in_flight == 0)
    file_server.behave()
    assert np.array_equal(np.asarray(array[...]), VALUES)


async def test_a_cancelled_write_closes_its_requests(file_server: FileServer, tmp_path: Path) -> None:
    from obstore.store import HTTPStore

    url = await asyncio.to_thread(serve, file_server, tmp_path, VALUES, chunks=(10,))
    store = ObjectStore(HTTPStore.from_url(url, client_options={"allow_http": True}))
    with pipeline(SUBJECT_PATH):
        array: Any = await zarr.api.asynchronous.open_array(store=store, mode="r+")
    file_server.schedule = whenever(Fault("silence"))
    task = asyncio.ensure_future(array.setitem(slice(None), np.arange(400)))
    assert await asyncio.to_thread(file_server.wait, lambda: file_server.in_flight == SILENT_KEYS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert await asyncio.to_thread(file_server.wait, lambda: file_server.in_flight == 0)
    file_server.behave()
    await asyncio.wait_for(array.setitem(slice(None), np.arange(400)), 30)
    assert np.array_equal(np.asarray(await array.getitem(slice(None))), np.arange(400))


@pytest.mark.serial
@pytest.mark.parametrize("reader", READERS)
def test_an_interrupt_closes_the_requests(reader: str, file_server: FileServer, tmp_path: Path) -> None:
    """The process lives on after Ctrl-C, so that its end is not what closes the connections."""
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    file_server.schedule = whenever(Fault("silence"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.interrupted_reader", reader, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert file_server.wait(lambda: file_server.in_flight == SILENT_KEYS, timeout_s=60)
        process.send_signal(signal.SIGINT)
        assert file_server.wait(lambda: file_server.in_flight == 0)
        assert process.poll() is None
        file_server.behave()
        answer, _ = process.communicate("go on\n", timeout=60)
        assert answer.split() == ["interrupted", str(VALUES.sum())]
    finally:
        process.kill()
        process.wait()
