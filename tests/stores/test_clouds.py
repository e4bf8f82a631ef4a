"""Object stores over servers that act like the clouds: moto, Azurite and fake-gcs-server."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

import wazarr
from tests.pipelines import ORACLE_PATH, SUBJECT_PATH, pipeline
from tests.stores.clouds import CLOUDS, container, no_container
from tests.stores.readers import open_subject
from tests.stores.test_secrets import texts_of

if TYPE_CHECKING:
    from tests.servers.emulators import AzureContainer, GoogleBucket

    Protected = AzureContainer | GoogleBucket

VALUES = np.arange(1, 6401, dtype="i4")
EVERY = pytest.mark.parametrize("cloud", CLOUDS)
PROTECTED = pytest.mark.parametrize("cloud", ["azure", "gcs"])
"""moto lets everybody in."""


def create(store: Any, values: np.ndarray[Any, Any] = VALUES, **options: Any) -> None:
    with pipeline(ORACLE_PATH):
        zarr.create_array(ObjectStore(store), shape=values.shape, dtype=values.dtype, **options)[...] = values


def fetched_bytes() -> int:
    return int(wazarr.counters()["store_requests"]["bytes_fetched"])


@EVERY
def test_more_chunks_than_requests_in_flight(cloud: str, request: pytest.FixtureRequest) -> None:
    store = container(request, cloud).obstore("many")
    create(store, chunks=(64,))
    store.delete("c/7")
    expected = VALUES.copy()
    expected[7 * 64 : 8 * 64] = 0
    assert np.array_equal(np.asarray(open_subject(ObjectStore(store, read_only=True))[...]), expected)
    with pipeline(SUBJECT_PATH):
        writable = zarr.open_array(ObjectStore(store), mode="r+")
        writable[...] = expected + 1
        writable[64:192] = 0
    assert {path for path in ("c/1", "c/2", "c/3") if exists(store, path)} == {"c/3"}
    expected += 1
    expected[64:192] = 0
    assert np.array_equal(np.asarray(open_subject(ObjectStore(store, read_only=True))[...]), expected)


def exists(store: Any, path: str) -> bool:
    try:
        store.head(path)
    except FileNotFoundError:
        return False
    return True


@EVERY
@pytest.mark.usefixtures("no_small_shards")
@pytest.mark.parametrize("location", ["start", "end"])
def test_parts_of_shards(location: Any, cloud: str, request: pytest.FixtureRequest) -> None:
    """Azure knows no ranges that count from the end: the length is asked for, and no more bytes fetched."""
    store = container(request, cloud).obstore("sharded")
    serializer = zarr.codecs.ShardingCodec(
        chunk_shape=(16,), codecs=[zarr.codecs.BytesCodec()], index_location=location
    )
    create(store, chunks=(1600,), compressors=None, serializer=serializer)
    array = open_subject(ObjectStore(store, read_only=True))
    wazarr.reset_counters()
    assert np.array_equal(np.asarray(array[3200:3210]), VALUES[3200:3210])
    assert fetched_bytes() == 100 * 16 + 4 + 16 * 4
    with pipeline(SUBJECT_PATH):
        zarr.open_array(ObjectStore(store), mode="r+")[3205:3300] = 5
    expected = VALUES.copy()
    expected[3205:3300] = 5
    assert np.array_equal(np.asarray(array[3100:3400]), expected[3100:3400])


@EVERY
def test_part_of_a_chunk(cloud: str, request: pytest.FixtureRequest) -> None:
    store = container(request, cloud).obstore()
    create(store, np.arange(1 << 16, dtype="i4"), chunks=(1 << 16,), compressors=None)
    array = open_subject(ObjectStore(store, read_only=True))
    wazarr.reset_counters()
    assert np.array_equal(np.asarray(array[5000:5010]), np.arange(5000, 5010))
    assert fetched_bytes() == 40


@EVERY
def test_forks_and_pickles(cloud: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store = container(request, cloud).obstore("a folder")
    create(store, np.arange(48, dtype="i4").reshape(6, 8), chunks=(1, 4))
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(ObjectStore(store), mode="r+")
    pickled = tmp_path / "array.pickle"
    pickled.write_bytes(pickle.dumps(array))
    done = subprocess.run(
        [sys.executable, "-m", "tests.stores.forked_reader", str(pickled)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
    assert np.array_equal(np.asarray(array[:, 0]), np.arange(6))


@PROTECTED
def test_who_is_not_let_in_gets_an_error(
    cloud: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    known: Any = container(request, cloud)
    create(known.obstore(), chunks=(640,))
    wrong = base64.b64encode(b"another secret, just as long as it has to be, for all that is known!").decode()
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(ObjectStore(known.obstore()), mode="r+")
        # Its metadata is known already.
        stranger = zarr.Array(
            replace(
                array.async_array,
                store_path=replace_store(
                    array.store_path, ObjectStore(replace(known, secret=wrong).obstore())
                ),
            )
        )
    status = {"azure": 403, "gcs": 401}[cloud]
    texts: list[str] = []
    for act in (lambda: stranger[...], lambda: stranger.__setitem__(slice(None), 3)):
        with pytest.raises(wazarr.errors.StoreError) as failure:
            act()
        assert isinstance(failure.value, PermissionError)
        assert vars(failure.value)["status"] == status
        texts += texts_of(failure.value)
    assert np.array_equal(np.asarray(array[...]), VALUES)
    printed = capsys.readouterr()
    texts += [str(wazarr.explain(stranger)), repr(wazarr.counters()), printed.out, printed.err]
    texts += [str(wazarr.explain(array)), str(array), repr(array)]
    assert not [text for text in texts if wrong in text or known.secret in text]


def replace_store(path: Any, store: Any) -> Any:
    return type(path)(store, path.path)


@EVERY
def test_a_container_that_is_not_there_is_no_missing_chunk(
    cloud: str, request: pytest.FixtureRequest
) -> None:
    known: Any = container(request, cloud)
    create(known.obstore(), chunks=(640,))
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(ObjectStore(known.obstore()), mode="r+")
        lost = zarr.Array(
            replace(
                array.async_array,
                store_path=replace_store(array.store_path, ObjectStore(no_container(known).obstore())),
            )
        )
    with pytest.raises(wazarr.errors.StoreError) as failure:
        lost[...] = 3
    assert vars(failure.value)["status"] == 404
    if cloud == "gcs":
        return  # fake-gcs-server does not say that it is the bucket
    with pytest.raises(wazarr.errors.StoreError) as failure:
        lost[...]
    assert vars(failure.value)["status"] == 404
