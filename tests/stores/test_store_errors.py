"""Failures of stores that the engine speaks to itself: one class, with the place, status and attempt."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, first, whenever
from tests.stores.readers import READERS, RETRIES, open_subject, serve
from tests.stores.test_secrets import HEADERS, SECRET, texts_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.files import FileServer

VALUES = np.arange(1, 401, dtype="i4")
BOTH = pytest.mark.parametrize("reader", READERS)


@BOTH
@pytest.mark.parametrize("stored", ["chunks", "shards, whole", "shards, parts"])
@pytest.mark.parametrize("status", [400, 401, 403, 409, 410, 429, 500, 503])
def test_a_status_is_a_store_error(
    status: int, stored: str, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    shards: dict[str, Any] = {} if stored == "chunks" else {"shards": (100,)}
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), **shards)
    file_server.schedule = whenever(Fault("status", status), key="c/3")
    array = open_subject(READERS[reader](url))
    selection = slice(5, 395, 20) if "parts" in stored else slice(None)
    with pytest.raises(wazarr.errors.StoreError) as failure:
        array[selection]
    error: Any = failure.value
    assert error.status == status
    assert re.search("c/3", str(error))
    assert str(status) in str(error)
    assert error.chunk_key.startswith("c/3")
    tried = sum(request.key == f"array/{error.chunk_key}" for request in file_server.chunks())
    assert error.attempt == tried
    # Only what may pass is tried again.
    assert (tried > 1) == (status in (429, 500, 503))
    again: Any = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.attempt) == (str(error), error.status, error.attempt)


@BOTH
@pytest.mark.parametrize("kind", ["reset before the head", "reset in mid-body", "short body"])
def test_a_broken_connection_is_a_store_error(
    kind: Any, reader: str, file_server: FileServer, tmp_path: Path
) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    file_server.schedule = whenever(Fault(kind), key="c/17")
    with pytest.raises(wazarr.errors.StoreError, match="c/17") as failure:
        open_subject(READERS[reader](url))[...]
    error: Any = failure.value
    assert error.status is None
    assert error.attempt > 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 429),
        Fault("status", 429, {"Retry-After": "0"}),
        Fault("status", 500),
        Fault("status", 502),
        Fault("status", 503),
        Fault("status", 504),
        Fault("reset in mid-body"),
        Fault("short body"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
@pytest.mark.parametrize("stored", ["chunks", "shards, parts"])
def test_what_passes_is_tried_again(
    stored: str, fault: Fault, file_server: FileServer, tmp_path: Path
) -> None:
    """fsspec's own HTTP never tries again; obstore's is in test_http_faults.py."""
    shards: dict[str, Any] = {} if stored == "chunks" else {"shards": (100,)}
    url = serve(file_server, tmp_path, VALUES, chunks=(10,), **shards)
    array = open_subject(READERS["fsspec"](url))
    file_server.schedule = first(1, fault, key="c/")
    selection = slice(5, 395, 20) if "parts" in stored else slice(None)
    assert np.array_equal(np.asarray(array[selection]), VALUES[selection])


def test_a_store_that_shall_not_try_again_does_not(file_server: FileServer, tmp_path: Path) -> None:
    """The limit is obstore's own `max_retries`."""
    from obstore.store import HTTPStore

    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    retries: Any = {**RETRIES, "max_retries": 0}
    store = HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config=retries)
    array = open_subject(ObjectStore(store, read_only=True))
    file_server.schedule = first(1, Fault("status", 503), key="c/")
    with pytest.raises(wazarr.errors.StoreError) as failure:
        array[0:10]
    assert vars(failure.value)["attempt"] == 1
    assert len(file_server.chunks()) == 1


def test_a_server_that_says_nothing_is_given_up(file_server: FileServer, tmp_path: Path) -> None:
    """obstore's own `timeout`."""
    from datetime import timedelta

    from obstore.store import HTTPStore

    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    retries: Any = {**RETRIES, "max_retries": 1}
    store = HTTPStore.from_url(
        url,
        client_options={"allow_http": True, "timeout": timedelta(seconds=0.2)},
        retry_config=retries,
    )
    array = open_subject(ObjectStore(store, read_only=True))
    file_server.schedule = whenever(Fault("silence"), key="c/3")
    with pytest.raises(wazarr.errors.StoreError, match="c/3"):
        array[...]
    assert file_server.wait(lambda: file_server.in_flight == 0)


@pytest.mark.parametrize("status", [403, 500])
def test_a_write_says_which_chunks_were_written(status: int, file_server: FileServer, tmp_path: Path) -> None:
    from obstore.store import HTTPStore

    url = serve(file_server, tmp_path, np.zeros(400, "i4"), chunks=(10,))
    store = HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config=RETRIES)
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(ObjectStore(store), mode="r+")
        file_server.schedule = whenever(Fault("status", status), key="c/7")
        with pytest.raises(wazarr.errors.StoreError, match="c/7") as failure:
            array[...] = 3
    error: Any = failure.value
    assert error.status == status
    there = {key.removeprefix("array/") for key in file_server.files if "/c/" in key}
    assert set(error.written) == there
    assert "c/7" not in error.written


@pytest.mark.parametrize("fault", [Fault("status", 403), Fault("status", 500)], ids=["403", "500"])
def test_headers_of_fsspec_are_not_shown(fault: Fault, file_server: FileServer, tmp_path: Path) -> None:
    """aiohttp's exception shows the request's headers in its `repr` and `args`."""
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    array = open_subject(READERS["fsspec"](url, HEADERS))
    file_server.schedule = whenever(fault)
    with pytest.raises(wazarr.errors.StoreError) as failure:
        array[...]
    assert not [text for text in texts_of(failure.value) if SECRET in text]


@BOTH
def test_passwords_in_urls_are_not_shown(
    reader: str, file_server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    url = url.replace("http://", f"http://user:{SECRET}@")
    array = open_subject(READERS[reader](url))
    explained = wazarr.explain(array)
    file_server.schedule = whenever(Fault("status", 403))
    with pytest.raises(wazarr.errors.StoreError) as failure:
        array[...]
    texts = [str(explained), repr(explained), capsys.readouterr().out, *texts_of(failure.value)]
    assert not [text for text in texts if SECRET in text]


def test_the_bridge_names_the_chunk_of_a_failure() -> None:
    """A store's own exception stays what it is, and says which chunk it was about."""

    class Own(zarr.storage.WrapperStore[Any]):
        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            if key == "c/3":
                raise ConnectionError("the line is dead")
            return await super().get(key, *args, **kwargs)

    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(Own(zarr.storage.MemoryStore()), shape=(40,), chunks=(10,), dtype="i4")
        with pytest.raises(ConnectionError) as failure:
            array[...]
    assert "c/3" in " ".join([str(failure.value), *getattr(failure.value, "__notes__", [])])
