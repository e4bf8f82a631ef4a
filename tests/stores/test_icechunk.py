"""Icechunk: sessions that write, commits, sessions that read, chunks that are elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.s3 import ACCESS_KEY, REGION, SECRET_KEY
from tests.stores.layouts import LAYOUTS, check_reads, check_round_trip, create, values

if TYPE_CHECKING:
    from pathlib import Path

icechunk = pytest.importorskip("icechunk")

V3_LAYOUTS = [layout for layout in LAYOUTS if layout.startswith("v3")]


def make_repository(kind: str, request: pytest.FixtureRequest, **options: Any) -> Any:
    if kind == "memory":
        storage = icechunk.in_memory_storage()
    elif kind == "local":
        storage = icechunk.local_filesystem_storage(str(request.getfixturevalue("tmp_path") / "repository"))
    else:
        bucket = request.getfixturevalue("bucket")
        storage = icechunk.s3_storage(
            bucket=bucket.name,
            prefix="repository",
            region=REGION,
            endpoint_url=bucket.endpoint,
            allow_http=True,
            force_path_style=True,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
        )
    return icechunk.Repository.create(storage, **options)


@pytest.mark.parametrize("layout", V3_LAYOUTS)
@pytest.mark.parametrize("kind", ["memory", "local"])
def test_round_trip_in_a_session_that_writes(kind: str, layout: str, request: pytest.FixtureRequest) -> None:
    session = make_repository(kind, request).writable_session("main")
    check_round_trip(
        lambda read_only: session.store.with_read_only(True) if read_only else session.store, layout
    )


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
def test_commits(kind: str, request: pytest.FixtureRequest) -> None:
    repository = make_repository(kind, request)
    session = repository.writable_session("main")
    with pipeline(SUBJECT_PATH):
        create(session.store, "v3, sharded")[...] = values()
        first = session.commit("first")
        session = repository.writable_session("main")
        array = zarr.open_array(session.store, mode="r+")
        array[2:9, 3] = 5
        session.commit("second")
    expected = values()
    check_reads(lambda _: repository.readonly_session(snapshot_id=first).store, expected)
    expected[2:9, 3] = 5
    check_reads(lambda _: repository.readonly_session("main").store, expected)


def test_a_session_that_reads_refuses_writes(request: pytest.FixtureRequest) -> None:
    repository = make_repository("memory", request)
    session = repository.writable_session("main")
    with pipeline(SUBJECT_PATH):
        create(session.store, "v3")[...] = values()
        session.commit("first")
        array = zarr.open_array(repository.readonly_session("main").store, mode="r")
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            array[...] = 1
        assert np.array_equal(np.asarray(array[...]), values())


def test_sessions_do_not_see_each_other(request: pytest.FixtureRequest) -> None:
    repository = make_repository("memory", request)
    session = repository.writable_session("main")
    with pipeline(SUBJECT_PATH):
        create(session.store, "v3")[...] = values()
        session.commit("first")
        one, two = (repository.writable_session("main") for _ in range(2))
        zarr.open_array(one.store, mode="r+")[...] = 1
        other = zarr.open_array(two.store, mode="r+")
        assert np.array_equal(np.asarray(other[...]), values())
        one.commit("ones")
        assert np.array_equal(np.asarray(other[...]), values())


@pytest.mark.filterwarnings("ignore:Passing `None` in:DeprecationWarning")
def test_virtual_chunks(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    heap = tmp_path / "elsewhere" / "heap.bin"
    heap.parent.mkdir()
    url = f"file://{heap.parent}/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(url, icechunk.local_filesystem_store(str(heap.parent)))
    )
    access = icechunk.containers_credentials({url: None})
    repository = make_repository("local", request, config=config, authorize_virtual_chunk_access=access)
    session = repository.writable_session("main")
    expected = np.arange(1, 31, dtype="<i4")
    heap.write_bytes(b"header" + expected.tobytes())
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(
            session.store, shape=(40,), chunks=(10,), dtype="<i4", compressors=None, fill_value=9
        )
        for number in range(3):
            session.store.set_virtual_ref(f"c/{number}", f"{url}heap.bin", offset=6 + 40 * number, length=40)
        both = np.concatenate([expected, np.full(10, 9, "<i4")])
        assert np.array_equal(np.asarray(array[...]), both)
        assert np.array_equal(np.asarray(array[5:35:3]), both[5:35:3])
        session.commit("virtual")
        # One of them becomes a chunk of its own.
        session = repository.writable_session("main")
        array = zarr.open_array(session.store, mode="r+")
        array[12:14] = both[12:14] = -1
        assert np.array_equal(np.asarray(array[...]), both)
        session.commit("own")
        heap.unlink()
        array = zarr.open_array(repository.readonly_session("main").store, mode="r")
        assert np.array_equal(np.asarray(array[10:20]), both[10:20])
        with pytest.raises(Exception) as failure:  # noqa: PT011 - what is gone is no fill value
            array[...]
        assert not isinstance(failure.value, (KeyError, FileNotFoundError))


def test_small_chunks_are_fetched_several_at_a_time(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository("memory", request)
    session = repository.writable_session("main")
    expected = np.arange(1, 1001, dtype="i4")
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(session.store, shape=(1000,), chunks=(10,), dtype="i4", fill_value=7)
        array[...] = expected
    groups: list[int] = []
    singles: list[str] = []
    cls = icechunk.IcechunkStore
    many, get = cls.get_partial_values, cls.get

    async def counted_many(self: Any, prototype: Any, key_ranges: Any) -> Any:
        groups.append(len(key_ranges))
        return await many(self, prototype, key_ranges)

    async def counted_get(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        singles.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(cls, "get_partial_values", counted_many)
    monkeypatch.setattr(cls, "get", counted_get)
    assert np.array_equal(np.asarray(array[...]), expected)
    assert groups == [8] * 12 + [4]
    assert not singles
    # Where one is missing they are fetched one by one.
    with pipeline(SUBJECT_PATH):
        array[100:110] = expected[100:110] = 7
    singles.clear()
    assert np.array_equal(np.asarray(array[...]), expected)
    assert "c/10" in singles
    assert len(singles) == len(set(singles))
