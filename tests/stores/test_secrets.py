"""Credentials stay where they were given: not in errors, `repr`, `explain`, counters or logs, nor abroad."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore, ObjectStore

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, whenever
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY
from tests.stores.readers import READERS, move_chunks, open_subject, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.files import FileServer

SECRET = "s3cr3t-T0ken"
VALUES = np.arange(1, 401, dtype="i4")


def texts_of(error: BaseException) -> Iterator[str]:
    """Everything that a program might print of an exception."""
    yield str(error)
    yield repr(error)
    yield repr(error.args)
    yield "".join(traceback.format_exception_only(error))
    yield from getattr(error, "__notes__", [])
    yield repr(vars(error).get("message", ""))
    for inner in (error.__cause__, error.__context__):
        if inner is not None:
            yield from texts_of(inner)


HEADERS = {"Authorization": f"Bearer {SECRET}"}
FAULTS = [Fault("status", 403), Fault("status", 500), Fault("reset in mid-body"), Fault("short body")]
CASES = [
    (reader, fault)
    for reader in READERS
    for fault in FAULTS
    if reader != "fsspec" or fault.kind != "status"  # in test_store_errors.py
]


@pytest.mark.parametrize(("reader", "fault"), CASES)
def test_errors_and_logs(
    reader: str, fault: Fault, file_server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    array = open_subject(READERS[reader](url, HEADERS))
    assert any(SECRET in request.headers.get("authorization", "") for request in file_server.log)
    file_server.schedule = whenever(fault)
    with caplog.at_level(logging.INFO), pytest.raises(Exception) as failure:  # noqa: PT011
        array[...]
    assert not [text for text in texts_of(failure.value) if SECRET in text]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("reader", READERS)
def test_explain_and_counters(
    reader: str, file_server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(file_server, tmp_path, VALUES, chunks=(10,))
    array = open_subject(READERS[reader](url, HEADERS))
    assert np.array_equal(np.asarray(array[...]), VALUES)
    explained = wazarr.explain(array)
    printed = capsys.readouterr()
    for text in (str(explained), repr(explained), printed.out, printed.err, repr(wazarr.counters())):
        assert SECRET not in text


@pytest.mark.parametrize("kind", ["obstore", "s3fs"])
def test_keys_of_object_stores(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = request.getfixturevalue("bucket")
    if kind == "obstore":
        store: Any = ObjectStore(bucket.obstore())
    else:
        store = FsspecStore.from_url(f"s3://{bucket.name}", storage_options=bucket.s3fs_options())
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(store, shape=(40,), chunks=(10,), dtype="i4")
        array[...] = np.arange(40)
    explained = wazarr.explain(array)
    printed = capsys.readouterr()
    texts = [str(explained), repr(explained), printed.out, printed.err, repr(wazarr.counters())]
    # A bucket that is not there: a 404 of its own, not that of a chunk.
    if kind == "obstore":
        no_bucket = type(bucket)(bucket.endpoint, "no-such-bucket")
        with pipeline(SUBJECT_PATH), pytest.raises(Exception) as failure:  # noqa: PT011
            zarr.create_array(ObjectStore(no_bucket.obstore()), shape=(4,), chunks=(1,), dtype="i4")[...] = 1
        texts += texts_of(failure.value)
    assert not [text for text in texts if SECRET_KEY in text]
    assert not [text for text in texts_of_errors(texts) if ACCESS_KEY in text]


def texts_of_errors(texts: list[str]) -> list[str]:
    return [text for text in texts if "rror" in text]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_redirects_do_not_take_credentials_to_another_host(
    reader: str, is_elsewhere: bool, file_server: FileServer, tmp_path: Path
) -> None:
    """As the same server has two names, it sees what each of them is sent."""
    url = serve(file_server, tmp_path, VALUES, chunks=(100,))
    array = open_subject(READERS[reader](url, HEADERS))
    host = "localhost" if is_elsewhere else "127.0.0.1"
    move_chunks(file_server, host)
    assert np.array_equal(np.asarray(array[...]), VALUES)
    moved = [request for request in file_server.chunks() if request.key.startswith("moved")]
    assert len(moved) == 4
    for request in moved:
        assert request.headers["host"].startswith(host)
        assert (SECRET in repr(request.headers)) is not is_elsewhere
