"""Hierarchies that carry the modules of their codecs, and what they tell of those."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ShardingCodec
from zarr.storage import LocalStore, MemoryStore, ZipStore

import wazarr
from scripts.build_guests import build_guest
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm.foreign import FOLDER, needs_packages, run_program
from wazarr.errors import StoreError, WasmModuleNotFoundError
from wazarr.wasm.any_numcodecs import AnyArrayBytesCodec
from wazarr.wasm.modules import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "wazarr.CodecPipeline"
VALUES = np.arange(48, dtype="<i4").reshape(6, 8)

READ = textwrap.dedent("""
    import sys
    import numpy as np
    import wazarr, zarr

    wazarr.enable()
    zarr.config.set({"wazarr.wasm.cache_dir": sys.argv[1], "wazarr.wasm.allow": []})
    for path in sys.argv[3:]:
        array = zarr.open_array(sys.argv[2], path=path, mode="r")
        assert (array[...] == np.arange(48).reshape(6, 8)).all()
        print(path, *[codec.engine for codec in wazarr.codecs_used(array) if codec.module])
""")


@pytest.fixture(autouse=True)
def our_pipeline() -> Iterator[None]:
    """Write and read with ours."""
    with pipeline(OURS):
        yield


@pytest.fixture(scope="module")
def guest() -> Path:
    """A module that does nothing."""
    return build_guest("identity")


def create(node: Any, guest: Path, *, embed: Any = "never", **settings: Any) -> zarr.Array[Any]:
    """Make an array whose compressor is the module, and fill it."""
    zarr_format = (
        settings.get("zarr_format") or (getattr(node, "metadata", None) and node.metadata.zarr_format) or 3
    )
    codec = wazarr.WasmCodec(guest, codec="identity", embed=embed, zarr_format=zarr_format)
    common: dict[str, Any] = {"shape": VALUES.shape, "chunks": (4, 4), "dtype": "i4", "compressors": [codec]}
    common |= settings
    if isinstance(node, zarr.Group):
        array = node.create_array("array", **common)
    else:
        array = zarr.create_array(node, **common)
    array[...] = VALUES
    return array


def documents(store: MemoryStore) -> dict[str, Any]:
    """Return the metadata documents of a store."""
    return {
        key: json.loads(value.to_bytes())
        for key, value in store._store_dict.items()
        if key.rpartition("/")[2] in {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
    }


def sources_of(array: zarr.Array[Any]) -> list[tuple[str, ...]]:
    """Return where the metadata of an array say that its modules are."""
    return [codec.places for codec in wazarr.codecs_used(array) if codec.module is not None]


# --- embedding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_group_in_a_folder_read_by_a_fresh_process(guest: Path, tmp_path: Path, zarr_format: Any) -> None:
    root = zarr.create_group(LocalStore(tmp_path / "data"), zarr_format=zarr_format)
    create(root, guest)
    create(root.create_group("deep").create_group("deeper"), guest)
    embedded = wazarr.embed_codecs(root)
    assert [(codec.array, codec.name, codec.codec) for codec in embedded] == [
        ("array", "wazarr.wasm", "identity"),
        ("deep/deeper/array", "wazarr.wasm", "identity"),
    ]
    assert all(codec.is_self_contained for codec in embedded)
    digest = embedded[0].module
    assert digest is not None
    assert f"hierarchy: wasm_codecs/{digest.removeprefix('sha256:')}" in embedded[0].places
    assert not (tmp_path / "data/deep/wasm_codecs").exists(), "once is enough"
    program = run_program(READ, tmp_path / "cache", tmp_path / "data", "array", "deep/deeper/array")
    assert program.splitlines() == ["array wasm", "deep/deeper/array wasm"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_array_alone_has_the_group_beside_it(guest: Path, tmp_path: Path, zarr_format: Any) -> None:
    root = zarr.create_group(LocalStore(tmp_path / "data"), zarr_format=zarr_format)
    array = create(root.create_group("deep"), guest)
    assert len(wazarr.embed_codecs(array)) == 1
    assert (tmp_path / "data/deep/wasm_codecs").is_dir()
    assert run_program(READ, tmp_path / "cache", tmp_path / "data", "deep/array") == "deep/array wasm"
    at_root = create(LocalStore(tmp_path / "single"), guest, zarr_format=zarr_format)
    assert len(wazarr.embed_codecs(at_root)) == 1
    assert run_program(READ, tmp_path / "cache", tmp_path / "single", "") == "wasm"


def test_a_group_inside_carries_what_is_below_it(guest: Path) -> None:
    store = MemoryStore()
    root = zarr.create_group(store)
    create(root, guest)
    inner = root.create_group("inner")
    create(inner, guest)
    assert [codec.array for codec in wazarr.embed_codecs(inner)] == ["inner/array"]
    assert "inner/wasm_codecs/zarr.json" in documents(store)
    assert "wasm_codecs/zarr.json" not in documents(store)
    assert [codec.array for codec in wazarr.embed_codecs(root)] == ["array"]


def test_module_from_where_metadata_say_it_is(guest: Path, tmp_path: Path) -> None:
    """A file: only where that is allowed, and then for good."""
    source = tmp_path / "modules" / "mine.wasm"
    source.parent.mkdir()
    # Bytes of its own, so that no other test has brought this module into memory.
    source.write_bytes(guest.read_bytes() + b"\x00\x05\x04mine")
    root = zarr.create_group(LocalStore(tmp_path / "data"))
    create(root, Path(source), compressors=[wazarr.WasmCodec(source.as_uri(), codec="mine", embed="never")])
    program = textwrap.dedent("""
        import sys
        import wazarr, zarr

        wazarr.enable()
        zarr.config.set({"wazarr.wasm.cache_dir": sys.argv[3]})
        root = zarr.open_group(sys.argv[1], mode="r+")
        try:
            wazarr.embed_codecs(root)
        except wazarr.errors.WasmModuleNotFoundError as error:
            assert "wazarr.wasm.allow" in str(error), error
        else:
            raise AssertionError
        with zarr.config.set({"wazarr.wasm.allow": [sys.argv[2]]}):
            (used,) = wazarr.embed_codecs(root)
        print(used.places[0].partition(":")[0], used.places[-1])
    """)
    answer = run_program(program, tmp_path / "data", source.parent.as_uri(), tmp_path / "other")
    assert answer == f"hierarchy {source.as_uri()}"
    source.unlink()
    assert run_program(READ, tmp_path / "cache", tmp_path / "data", "array") == "array wasm"


def test_codecs_inside_shards(guest: Path) -> None:
    inner: list[Any] = [BytesCodec(), wazarr.WasmCodec(guest, codec="identity", embed="never")]
    serializer = ShardingCodec(chunk_shape=(2, 4), codecs=inner)
    array = create(MemoryStore(), guest, serializer=serializer, compressors=None)
    assert [codec.name for codec in wazarr.embed_codecs(array)] == ["sharding_indexed/wazarr.wasm"]
    again = zarr.open_array(array.store, mode="r")
    assert sources_of(again)[0][0].startswith("hierarchy: wasm_codecs/")
    np.testing.assert_array_equal(again[...], VALUES)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_say_it_too(guest: Path, zarr_format: Any) -> None:
    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=zarr_format)
    create(root.create_group("deep"), guest)
    zarr.consolidate_metadata(store, zarr_format=zarr_format)
    wazarr.embed_codecs(zarr.open_group(store, mode="r+"))
    array: Any = zarr.open_consolidated(store)["deep/array"]
    metadata = array.metadata.to_dict()
    codec = metadata["codecs"][-1]["configuration"] if zarr_format == 3 else metadata["compressor"]
    assert codec["sources"][0] == "hierarchy"
    np.testing.assert_array_equal(array[...], VALUES)


def test_a_second_time_writes_nothing(guest: Path) -> None:
    store = MemoryStore()
    root = zarr.create_group(store)
    create(root, guest)
    wazarr.embed_codecs(root)
    before = dict(store._store_dict)
    assert wazarr.embed_codecs(zarr.open_group(store, mode="r+")) == []
    assert store._store_dict == before


def test_inline_modules_and_other_codecs_need_nothing(guest: Path) -> None:
    store = MemoryStore()
    root = zarr.create_group(store)
    create(root, guest, embed="inline")
    root.create_array("plain", shape=(3,), dtype="f8")
    before = dict(store._store_dict)
    assert wazarr.embed_codecs(root) == []
    assert store._store_dict == before


def test_read_only_stores(guest: Path) -> None:
    store = MemoryStore()
    create(zarr.create_group(store), guest)
    before = dict(store._store_dict)
    read_only = zarr.open_group(store.with_read_only(read_only=True), mode="r")
    with pytest.raises(StoreError, match="read-only"):
        wazarr.embed_codecs(read_only)
    assert store._store_dict == before
    # What needs nothing is no error.
    wazarr.embed_codecs(zarr.open_group(store, mode="r+"))
    assert wazarr.embed_codecs(read_only) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_files(guest: Path, tmp_path: Path) -> None:
    with ZipStore(tmp_path / "data.zip", mode="w") as store:
        create(zarr.create_group(store), guest)
    with ZipStore(tmp_path / "data.zip", mode="r") as store, pytest.raises(StoreError, match="read-only"):
        wazarr.embed_codecs(zarr.open_group(store, mode="r"))
    with ZipStore(tmp_path / "data.zip", mode="a") as store:
        assert len(wazarr.embed_codecs(zarr.open_group(store, mode="r+"))) == 1
    program = READ.replace(
        "zarr.open_array(sys.argv[2], path", "zarr.open_array(zarr.storage.ZipStore(sys.argv[2]), path"
    )
    assert run_program(program, tmp_path / "cache", tmp_path / "data.zip", "array") == "array wasm"


def test_a_module_that_is_nowhere(tmp_path: Path) -> None:
    metadata = {"codec": "lost", "kind": "bytes-bytes", "module": "sha256:" + "ab" * 32}
    root = zarr.create_group(LocalStore(tmp_path))
    array = root.create_array("array", shape=(4,), chunks=(4,), dtype="i4", compressors=None)
    document = json.loads((tmp_path / "array/zarr.json").read_text())
    document["codecs"].append({"name": "wazarr.wasm", "configuration": metadata})
    (tmp_path / "array/zarr.json").write_text(json.dumps(document))
    root = zarr.open_group(LocalStore(tmp_path), mode="r+")
    for function in (wazarr.embed_codecs, wazarr.fetch_codecs):
        with pytest.raises(WasmModuleNotFoundError, match="abababab"):
            function(root)
    (used,) = [codec for codec in wazarr.codecs_used(root) if codec.module]
    assert (used.engine, used.places, used.is_self_contained) == ("wasm", (), False)
    assert array.shape == (4,)


@pytest.mark.parametrize("node", [3, "path", MemoryStore(), None])
def test_what_is_no_node(node: Any) -> None:
    for function in (wazarr.embed_codecs, wazarr.fetch_codecs, wazarr.codecs_used):
        with pytest.raises(TypeError, match=r"zarr\.Group"):
            function(node)


# --- what is used --------------------------------------------------------------------------------------


def test_lists_every_codec(guest: Path) -> None:
    root = zarr.create_group(MemoryStore())
    create(root, guest, embed="inline")
    root.create_array("plain", shape=(4, 4), shards=(4, 4), chunks=(2, 2), dtype="f4")
    create(root.create_group("two"), guest, embed="hierarchy")
    used = [(codec.array, codec.name, codec.engine, codec.codec) for codec in wazarr.codecs_used(root)]
    assert used == [
        ("array", "bytes", "native", None),
        ("array", "wazarr.wasm", "wasm", "identity"),
        ("plain", "sharding_indexed", "native", None),
        ("plain", "sharding_indexed/bytes", "native", None),
        ("plain", "sharding_indexed/zstd", "native", None),
        ("plain", "sharding_indexed/index/bytes", "native", None),
        ("plain", "sharding_indexed/index/crc32c", "native", None),
        ("two/array", "bytes", "native", None),
        ("two/array", "wazarr.wasm", "wasm", "identity"),
    ]
    inline, in_hierarchy = [codec for codec in wazarr.codecs_used(root) if codec.module]
    assert inline.places == ("inline", "cache")
    assert inline.module == in_hierarchy.module == digest_of(guest.read_bytes())
    assert in_hierarchy.places[0].startswith("hierarchy: two/wasm_codecs/")
    assert all(codec.is_self_contained for codec in wazarr.codecs_used(root))


def test_lists_codecs_of_zarr_v2(guest: Path) -> None:
    array = create(MemoryStore(), guest, zarr_format=2, filters=None)
    assert [(codec.name, codec.engine) for codec in wazarr.codecs_used(array)] == [("wazarr.wasm", "wasm")]


# --- fetching ------------------------------------------------------------------------------------------


def test_fetched_modules_serve_zarrs_own_pipelines(guest: Path, tmp_path: Path) -> None:
    root = zarr.create_group(LocalStore(tmp_path / "data"))
    create(root, guest, embed="hierarchy")
    fetch = "import sys, wazarr, zarr; zarr.config.set({'wazarr.wasm.cache_dir': sys.argv[1]});"
    fetch += "print(*wazarr.fetch_codecs(zarr.open_group(sys.argv[2], mode='r')))"
    read = READ.replace("wazarr.enable()", "").replace("print(", "(")
    with pytest.raises(AssertionError, match="fetch_codecs"):
        run_program(read, tmp_path / "cache", tmp_path / "data", "array")
    answer = run_program(fetch, tmp_path / "cache", tmp_path / "data")
    assert answer == digest_of(guest.read_bytes())
    run_program(read, tmp_path / "cache", tmp_path / "data", "array")


# --- codecs that are known by name ---------------------------------------------------------------------


def named(node: Any, **settings: Any) -> zarr.Array[Any]:
    """Make an array with a codec of numcodecs-wasm, and fill it."""
    codec = AnyArrayBytesCodec({"id": "zstd.rs", "level": 3})
    common: dict[str, Any] = {"shape": VALUES.shape, "chunks": (4, 4), "dtype": "i4", "compressors": None}
    array: zarr.Array[Any] = node.create_array("array", serializer=codec, **{**common, **settings})
    array[...] = VALUES
    return array


@needs_packages
def test_manifest_names_codecs_of_numcodecs_wasm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = zarr.create_group(LocalStore(tmp_path / "data"))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        named(root)
        before = (tmp_path / "data/array/zarr.json").read_text()
        (used,) = wazarr.embed_codecs(root)
        assert wazarr.embed_codecs(root) == []
    assert (tmp_path / "data/array/zarr.json").read_text() == before
    assert (used.codec, used.name) == ("zstd.rs", "any-numcodecs.array-bytes")
    assert "package: numcodecs_wasm_zstd" in used.places
    assert used.is_self_contained
    manifest = json.loads((tmp_path / "data/wasm_codecs/zarr.json").read_text())["attributes"]["wazarr"]
    assert manifest["codecs"]["zstd.rs"]["module"] == used.module
    assert manifest["codecs"]["zstd.rs"]["parameters"] == {}
    assert run_program(READ, tmp_path / "cache", tmp_path / "data", "array") == "array wasm"
    # zarr's own pipelines, in the process that fetched.
    fetched = READ.replace("wazarr.enable()", "wazarr.fetch_codecs(zarr.open_group(sys.argv[2], mode='r'))")
    assert run_program(fetched, tmp_path / "cache", tmp_path / "data", "array") == "array wasm"
    unfetched = READ.replace("wazarr.enable()", "")
    with pytest.raises(AssertionError, match=r"pip install numcodecs-wasm-zstd"):
        run_program(unfetched, tmp_path / "cache", tmp_path / "data", "array")


@needs_packages
def test_another_module_under_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    root = zarr.create_group(store)
    monkeypatch.syspath_prepend(str(FOLDER))
    named(root)
    entry: Any = {"module": "sha256:" + "0" * 64, "kind": "array-bytes", "parameters": {}}
    root.create_group("wasm_codecs").attrs["wazarr"] = {"codecs": {"zstd.rs": entry}}
    before = dict(store._store_dict)
    with pytest.raises(StoreError, match=r"zstd\.rs.*sha256:0000"):
        wazarr.embed_codecs(root)
    assert store._store_dict == before


def test_default_pipeline_is_asked_for_nothing(guest: Path) -> None:
    """The functions do not depend on which pipeline the program uses."""
    array = create(MemoryStore(), guest)
    with pipeline(ORACLE_PATH):
        again = zarr.open_array(array.store, mode="r+")
        assert [codec.engine for codec in wazarr.codecs_used(again)] == ["native", "wasm"]
        assert len(wazarr.embed_codecs(again)) == 1
        assert len(wazarr.fetch_codecs(again)) == 1
