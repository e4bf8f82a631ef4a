"""What stores of the three clouds send, and what they make of failures, over a server that does as told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, first, whenever
from tests.stores.clouds import CLOUDS, SECRET, over_files, prefix_of
from tests.stores.readers import RETRIES, open_subject, serve
from tests.stores.test_secrets import texts_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.files import FileServer

VALUES = np.arange(1, 801, dtype="i4")

pytestmark = pytest.mark.parametrize("cloud", CLOUDS)


def open_served(cloud: str, server: FileServer, folder: Path, **options: Any) -> zarr.Array[Any]:
    serve(server, folder, VALUES, prefix_of(cloud) + "array", **options)
    return open_subject(over_files(cloud, server))


def fill(array: zarr.Array[Any]) -> None:
    array[...] = 7


def test_as_many_requests_as_allowed_are_in_flight(
    cloud: str, file_server: FileServer, tmp_path: Path
) -> None:
    array = open_served(cloud, file_server, tmp_path, chunks=(8,))
    file_server.forget()
    file_server.hold(64)
    assert np.array_equal(np.asarray(array[...]), VALUES)
    assert file_server.most_in_flight == 64
    assert not file_server.gave_up


def test_a_missing_chunk_is_the_fill_value(cloud: str, file_server: FileServer, tmp_path: Path) -> None:
    array = open_served(cloud, file_server, tmp_path, chunks=(80,), fill_value=-1)
    del file_server.files[f"{prefix_of(cloud)}array/c/4"]
    expected = VALUES.copy()
    expected[320:400] = -1
    assert np.array_equal(np.asarray(array[...]), expected)


@pytest.mark.parametrize("code", ["NoSuchBucket", "ContainerNotFound"])
def test_a_missing_bucket_is_an_error(code: str, cloud: str, file_server: FileServer, tmp_path: Path) -> None:
    array = open_served(cloud, file_server, tmp_path, chunks=(80,))
    file_server.schedule = whenever(Fault("status", 404, body=f"<Error><Code>{code}</Code></Error>".encode()))
    with pytest.raises(wazarr.errors.StoreError) as failure:
        array[...]
    assert vars(failure.value)["status"] == 404


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 503])
@pytest.mark.parametrize("act", [lambda array: array[...], fill], ids=["read", "write"])
def test_a_status_is_a_store_error(
    act: Callable[[zarr.Array[Any]], Any],
    status: int,
    cloud: str,
    file_server: FileServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_served(cloud, file_server, tmp_path, chunks=(80,))
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(over_files(cloud, file_server, read_only=False), mode="r+")
    file_server.forget()
    file_server.schedule = whenever(Fault("status", status, body=SECRET.encode()), key="c/3")
    with caplog.at_level(logging.INFO), pytest.raises(wazarr.errors.StoreError, match="c/3") as failure:
        act(array)
    error: Any = failure.value
    assert error.status == status
    assert isinstance(error, PermissionError) == (status in (401, 403))
    tried = sum(request.key.endswith("c/3") for request in file_server.log)
    assert error.attempt == tried == (1 + RETRIES["max_retries"] if status in (429, 500, 503) else 1)
    assert not [text for text in [*texts_of(error), caplog.text] if SECRET in text]
    file_server.behave()
    expected = VALUES.copy()
    for key in getattr(error, "written", None) or ():
        number = int(key.rpartition("/")[2])
        expected[number * 80 : number * 80 + 80] = 7
    assert np.array_equal(np.asarray(array[...]), expected)


@pytest.mark.usefixtures("no_small_shards")
@pytest.mark.parametrize("stored", ["chunks", "shards, parts"])
@pytest.mark.parametrize(
    "fault",
    [Fault("status", 503), Fault("reset before the head"), Fault("reset in mid-body"), Fault("short body")],
    ids=lambda fault: fault.kind,
)
def test_what_passes_is_tried_again(
    fault: Fault, stored: str, cloud: str, file_server: FileServer, tmp_path: Path
) -> None:
    shards: dict[str, Any] = {} if stored == "chunks" else {"shards": (400,)}
    array = open_served(cloud, file_server, tmp_path, chunks=(20,), **shards)
    file_server.schedule = first(1, fault, key="c/")
    selection = slice(5, 795, 40) if "parts" in stored else slice(None)
    assert np.array_equal(np.asarray(array[selection]), VALUES[selection])


@pytest.mark.usefixtures("no_small_shards")
def test_parts_of_shards_are_ranges(cloud: str, file_server: FileServer, tmp_path: Path) -> None:
    array = open_served(cloud, file_server, tmp_path, chunks=(20,), shards=(400,), compressors=None)
    file_server.forget()
    assert np.array_equal(np.asarray(array[45:55]), VALUES[45:55])
    asked = [(request.method, request.range) for request in file_server.log]
    index = 20 * 16 + 4
    of_index = (
        [("HEAD", None), ("GET", f"1600-{1600 + index - 1}")]
        if cloud == "azure"  # no ranges that count from the end
        else [("GET", f"-{index}")]
    )
    assert asked == [*of_index, ("GET", "160-239")]


async def test_requests_of_a_cancelled_task_are_closed(
    cloud: str, file_server: FileServer, tmp_path: Path
) -> None:
    array = await asyncio.to_thread(open_served, cloud, file_server, tmp_path, chunks=(20,))
    file_server.schedule = whenever(Fault("silence"))
    task = asyncio.ensure_future(array.async_array.getitem(slice(None)))
    assert await asyncio.to_thread(file_server.wait, lambda: file_server.in_flight == 40)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert await asyncio.to_thread(file_server.wait, lambda: file_server.in_flight == 0)


def _deletes(code: str | None, chunk: str = "3") -> bytes:
    """Return S3's answer to a request to delete one chunk: done, or an error of that code."""
    key = f"<Key>array/c/{chunk}</Key>"
    said = f"<Error>{key}<Code>{code}</Code><Message>{SECRET}</Message></Error>"
    return f"<DeleteResult>{f'<Deleted>{key}</Deleted>' if code is None else said}</DeleteResult>".encode()


@pytest.mark.parametrize(
    ("code", "status", "attempts"),
    [
        ("AccessDenied", 403, 1),
        ("SlowDown", 503, 1 + RETRIES["max_retries"]),
        ("InternalError", 500, 1 + RETRIES["max_retries"]),
        ("SomethingNew", None, 1),
        (SECRET, None, 1),
    ],
)
def test_a_refused_delete_is_a_store_error(
    code: str, status: int | None, attempts: int, cloud: str, file_server: FileServer, tmp_path: Path
) -> None:
    """S3 answers a request to delete many with 200, and says inside what became of each."""
    if cloud != "s3":
        pytest.skip("the others delete one by one, and have statuses for it")
    open_served(cloud, file_server, tmp_path, chunks=(80,))
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(over_files(cloud, file_server, read_only=False), mode="r+")
    file_server.schedule = lambda request: (
        Fault("status", 200, body=_deletes(code)) if request.method == "POST" else None
    )
    with pytest.raises(wazarr.errors.StoreError, match="c/3") as failure:
        array[240:320] = 0
    error: Any = failure.value
    assert error.status == status
    assert error.attempt == attempts == sum(request.method == "POST" for request in file_server.log)
    assert not [text for text in texts_of(error) if SECRET in text]


@pytest.mark.parametrize(
    "body",
    [_deletes("AccessDenied", "4"), _deletes("AccessDenied", f"/{SECRET}"), f"<{SECRET}/>".encode(), b"{"],
    ids=["another key", "no key", "another answer", "no answer"],
)
def test_an_unclear_answer_to_a_delete_is_a_store_error(
    body: bytes, cloud: str, file_server: FileServer, tmp_path: Path
) -> None:
    if cloud != "s3":
        pytest.skip("the others delete one by one")
    open_served(cloud, file_server, tmp_path, chunks=(80,))
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(over_files(cloud, file_server, read_only=False), mode="r+")
    file_server.schedule = lambda request: (
        Fault("status", 200, body=body) if request.method == "POST" else None
    )
    with pytest.raises(wazarr.errors.StoreError, match=r"c/3.*none of S3's") as failure:
        array[240:320] = 0
    assert not [text for text in texts_of(failure.value) if SECRET in text]


def test_a_delete_is_tried_again(cloud: str, file_server: FileServer, tmp_path: Path) -> None:
    if cloud != "s3":
        pytest.skip("the others delete one by one")
    open_served(cloud, file_server, tmp_path, chunks=(80,))
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(over_files(cloud, file_server, read_only=False), mode="r+")
    answers = iter([_deletes("InternalError"), _deletes(None)])
    file_server.schedule = lambda request: (
        Fault("status", 200, body=next(answers)) if request.method == "POST" else None
    )
    array[240:320] = 0
    assert next(answers, None) is None
