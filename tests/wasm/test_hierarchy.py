"""Modules in the group `wasm_codecs`: where, when and how they are written, and what is not taken for one."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import jsonschema
import numpy as np
import pytest
import xarray
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ShardingCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore, ZipStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm import guests
from tests.wasm.places import VALUES, create
from wazarr.errors import StoreError, WasmModuleNotFoundError
from wazarr.wasm import hierarchy, storing
from wazarr.wasm.description import Description

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.abc.store import Store

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "reference" / "wasm-codec.schema.json").read_text())


def valid(name: str) -> Any:
    """Return a validator for one of the schema's definitions."""
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})


def document(store: MemoryStore, key: str) -> Any:
    return json.loads(store._store_dict[key].to_bytes())


def put(store: MemoryStore, key: str, value: bytes) -> None:
    store._store_dict[key] = default_buffer_prototype().buffer.from_bytes(value)


class Recording(MemoryStore):
    """Remembers the order in which keys were stored."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
        self.order.append(key)
        await super().set(key, value, byte_range)


@pytest.fixture(autouse=True)
def enabled() -> Any:
    with wazarr.enabled():
        yield


def found(store: Store, path: str, digest: str) -> hierarchy.Found:
    return asyncio.run(hierarchy.read_module(store, hierarchy.directories(path), digest))


# --- where ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "groups"),
    [
        ("a/b/c", ("a/b/wasm_codecs", "a/wasm_codecs", "wasm_codecs", "a/b/c/wasm_codecs")),
        ("a", ("wasm_codecs", "a/wasm_codecs")),
        ("", ("wasm_codecs",)),
    ],
)
def test_groups_of_a_path(path: str, groups: tuple[str, ...]) -> None:
    assert hierarchy.directories(path) == groups


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ["data", "a/b/data", None])
def test_a_module_is_an_array_beside_the_array(zarr_format: Any, name: str | None) -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.trim())
    create(store, zarr_format, "compressor", name=name, embed="hierarchy")[...] = VALUES
    group = hierarchy.directories(name or "")[0]
    prefix = f"{group}/{digest[7:]}"
    assert found(store, name or "", digest).module == guests.trim() or zarr_format == 3
    if zarr_format == 3:
        digest = guests.digest_of(guests.xor())
        prefix = f"{group}/{digest[7:]}"
        valid("manifest").validate(document(store, f"{group}/zarr.json")["attributes"])
        valid("module_v3").validate(document(store, f"{prefix}/zarr.json"))
        valid("v3").validate(document(store, f"{name + '/' if name else ''}zarr.json")["codecs"][-1])
        manifest = document(store, f"{group}/zarr.json")["attributes"]["wazarr"]["codecs"]
    else:
        valid("manifest").validate(document(store, f"{group}/.zattrs"))
        valid("module_v2").validate(document(store, f"{prefix}/.zarray"))
        valid("v2").validate(document(store, f"{name + '/' if name else ''}.zarray")["compressor"])
        manifest = document(store, f"{group}/.zattrs")["wazarr"]["codecs"]
    assert manifest["guest"]["module"] == digest
    assert manifest["guest"]["kind"] == "bytes-bytes"
    module = zarr.open_array(store, path=prefix, mode="r")
    assert module[...].tobytes() in {guests.trim(), guests.xor()}  # type: ignore[union-attr]
    assert module.metadata.zarr_format == zarr_format


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_in_a_folder_opens_from_inside_and_from_above(zarr_format: Any, tmp_path: Path) -> None:
    digest = guests.digest_of(guests.xor() if zarr_format == 3 else guests.trim())
    zarr.create_group(tmp_path / "scene", zarr_format=zarr_format)
    # Written from above, opened from inside: the group is outside of the store that zarr makes then.
    create(LocalStore(tmp_path / "scene"), zarr_format, "compressor", name="a/b", embed="hierarchy")[...] = (
        VALUES
    )
    inside = LocalStore(tmp_path / "scene" / "a" / "b")
    assert asyncio.run(hierarchy.search(inside, hierarchy.directories(""), digest)).module is not None
    np.testing.assert_array_equal(zarr.open_array(inside)[...], VALUES)
    zarr.open_array(inside)[...] = VALUES
    assert not (tmp_path / "scene" / "a" / "b" / "wasm_codecs").exists()
    # Written from inside, opened from above.
    other = LocalStore(tmp_path / "scene2" / "c")
    create(other, zarr_format, "compressor", name=None, embed="hierarchy")[...] = VALUES
    zarr.create_group(tmp_path / "scene2", zarr_format=zarr_format)
    above = LocalStore(tmp_path / "scene2")
    assert found(above, "c", digest).module is not None
    np.testing.assert_array_equal(zarr.open_array(above, path="c")[...], VALUES)


def test_what_is_around_a_store(tmp_path: Path) -> None:
    groups = hierarchy.directories("x")
    assert hierarchy.outer(MemoryStore(), groups) is None
    assert hierarchy.outer(LocalStore(tmp_path), groups) is None
    zarr.create_group(tmp_path / "g")
    zarr.create_group(tmp_path / "g" / "h")
    around = hierarchy.outer(LocalStore(tmp_path / "g" / "h" / "i"), groups)
    assert around is not None
    store, outer_groups = around
    assert store.root == tmp_path / "g"
    assert store.read_only
    assert outer_groups == ("h/i/wasm_codecs", "h/wasm_codecs", "wasm_codecs", "h/i/x/wasm_codecs")


def test_the_module_is_stored_before_the_first_chunk() -> None:
    store = Recording()
    array = create(store, 3, "two compressors", embed="hierarchy")
    assert not [key for key in store.order if "wasm_codecs" in key]
    array[...] = VALUES
    kinds = [
        "group" if key == "wasm_codecs/zarr.json" else "module" if "wasm_codecs" in key else "chunk"
        for key in store.order
        if "wasm_codecs" in key or key.startswith("data/c")
    ]
    assert kinds[0] == "group"
    last_of_modules = len(kinds) - 1 - kinds[::-1].index("module")
    assert kinds.index("chunk") > last_of_modules
    for digest in (guests.digest_of(guests.trim()), guests.digest_of(guests.xor())):
        prefix = f"wasm_codecs/{digest[7:]}"
        # Icechunk takes chunks only of arrays that it knows.
        assert store.order.index(f"{prefix}/zarr.json") < store.order.index(f"{prefix}/c/0")


def test_a_module_above_is_not_stored_again() -> None:
    store = MemoryStore()
    create(store, 3, "compressor", name="first", embed="hierarchy")[...] = VALUES
    create(store, 3, "compressor", name="group/second", embed="hierarchy")[...] = VALUES
    assert not [key for key in store._store_dict if key.startswith("group/wasm_codecs")]
    np.testing.assert_array_equal(zarr.open_array(store, path="group/second")[...], VALUES)


def test_one_write_for_one_array() -> None:
    store = Recording()
    array = create(store, 3, "compressor", embed="hierarchy")
    array[...] = VALUES
    before = len([key for key in store.order if "wasm" in key])
    array[...] = VALUES + 1
    zarr.open_array(store, path="data")[...] = VALUES
    assert len([key for key in store.order if "wasm" in key]) == before


def test_an_overwritten_hierarchy_gets_the_module_again() -> None:
    store = MemoryStore()
    for _ in range(2):
        zarr.create_group(store, overwrite=True)
        create(store, 3, "compressor", embed="hierarchy")[...] = VALUES
        assert "wasm_codecs/zarr.json" in store._store_dict


def test_something_else_at_the_place_of_the_group() -> None:
    store = MemoryStore()
    zarr.create_array(store, name="wasm_codecs", data=VALUES)
    array = create(store, 3, "compressor", embed="hierarchy")
    with pytest.raises(StoreError, match="inline"):
        array[...] = VALUES
    assert not [key for key in store._store_dict if key.startswith("data/c")]


def test_a_damaged_module_is_stored_again() -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    create(store, 3, "compressor", embed="hierarchy")[...] = VALUES
    chunk = f"wasm_codecs/{digest[7:]}/c/0"
    put(store, chunk, gzip.compress(b"x" * len(guests.xor())))
    assert "something else" in found(store, "data", digest).places[0]
    zarr.open_array(store, path="data")[...] = VALUES
    assert found(store, "data", digest).module == guests.xor()


def test_a_module_that_was_not_stored_to_the_end() -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    create(store, 3, "compressor", embed="hierarchy")[...] = VALUES
    del store._store_dict[f"wasm_codecs/{digest[7:]}/c/0"]
    assert found(store, "data", digest).module is None
    zarr.open_array(store, path="data")[...] = VALUES
    assert found(store, "data", digest).module == guests.xor()


@pytest.mark.parametrize("name", ["data", "a/b/data", None])
def test_icechunk(name: str | None, tmp_path: Path) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path)))
    session = repository.writable_session("main")
    create(session.store, 3, "two compressors", name=name, embed="hierarchy")[...] = VALUES
    session.commit("values")
    store = repository.readonly_session("main").store
    np.testing.assert_array_equal(zarr.open_array(store, path=name or "", mode="r")[...], VALUES)
    for module in (guests.trim(), guests.xor()):
        assert found(store, name or "", guests.digest_of(module)).module == module


# --- what is not taken for a module --------------------------------------------------------------------


def _module_document(**changes: Any) -> dict[str, Any]:
    store = MemoryStore()
    zarr.create_array(
        store, data=np.frombuffer(guests.xor(), "u1"), chunks=(len(guests.xor()),), compressors=None
    )
    return {**document(store, "zarr.json"), **changes}


def _grid(length: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": [length]}}


_SELF = {
    "name": "wazarr.wasm",
    "configuration": {
        "codec": "itself",
        "kind": "bytes-bytes",
        "module": guests.digest_of(guests.xor()),
        "sources": ["hierarchy"],
    },
}

HOSTILE: dict[str, dict[str, Any]] = {
    "names itself as its codec": _module_document(codecs=[{"name": "bytes"}, _SELF]),
    "names itself inside a shard": _module_document(
        codecs=[
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [len(guests.xor())],
                    "codecs": [{"name": "bytes"}, _SELF],
                    "index_codecs": [{"name": "bytes"}],
                },
            }
        ]
    ),
    "names itself in a shard's index": _module_document(
        codecs=[
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [len(guests.xor())],
                    "codecs": [{"name": "bytes"}],
                    "index_codecs": [{"name": "bytes"}, _SELF],
                },
            }
        ]
    ),
    "a codec of somebody's": _module_document(codecs=[{"name": "bytes"}, {"name": "numcodecs.zlib"}]),
    "pickle": {
        "zarr_format": 2,
        "shape": [351],
        "chunks": [351],
        "dtype": "|u1",
        "compressor": {"id": "pickle"},
        "fill_value": 0,
        "order": "C",
        "filters": None,
    },
    "filters of v2": {
        "zarr_format": 2,
        "shape": [351],
        "chunks": [351],
        "dtype": "|u1",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": [{"id": "pickle"}],
    },
    "storage transformers": _module_document(storage_transformers=[{"name": "x"}]),
    "objects": _module_document(data_type="string"),
    "two axes": _module_document(shape=[1, 351]),
    "an exbibyte": _module_document(shape=[1 << 60], chunk_grid=_grid(1 << 60)),
    "a chunk of an exbibyte": _module_document(chunk_grid=_grid(1 << 60)),
    "a million chunks": _module_document(shape=[1 << 20], chunk_grid=_grid(1)),
    "chunks of nothing": _module_document(chunk_grid=_grid(0)),
    "no chunks": _module_document(chunk_grid=None),
    "a length that is true": _module_document(shape=[True], chunk_grid=_grid(1)),
    "a negative length": _module_document(shape=[-1]),
    "a group": {"zarr_format": 3, "node_type": "group"},
    "a list": [],  # type: ignore[dict-item]
    "codecs is a text": _module_document(codecs="bytes"),
    "nothing": {},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_modules_are_passed_over(name: str) -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    prefix = f"wasm_codecs/{digest[7:]}"
    put(store, f"{prefix}/c/0", guests.xor())
    put(store, f"{prefix}/0", guests.xor())
    is_v2 = isinstance(HOSTILE[name], dict) and HOSTILE[name].get("zarr_format") == 2
    put(store, f"{prefix}/{'.zarray' if is_v2 else 'zarr.json'}", json.dumps(HOSTILE[name]).encode())
    answer = found(store, "data", digest)
    assert answer.module is None
    place, below = answer.places
    assert digest[7:15] in place
    assert below.endswith("not there") != place.endswith("not there")


def test_documents_that_are_none_or_huge() -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    for content in (b"", b"{", b"\xff", b" " * (5 << 20)):
        put(store, f"wasm_codecs/{digest[7:]}/zarr.json", content)
        assert found(store, "data", digest).module is None


def test_a_chunk_that_decodes_to_too_much() -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    prefix = f"wasm_codecs/{digest[7:]}"
    put(
        store,
        f"{prefix}/zarr.json",
        json.dumps(
            _module_document(codecs=[{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}])
        ).encode(),
    )
    put(store, f"{prefix}/c/0", gzip.compress(bytes(50 << 20)))
    assert found(store, "data", digest).module is None


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_modules_are_read_by_our_pipeline_whatever_is_configured(zarr_format: Any) -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.trim())
    place = "compressor" if zarr_format == 2 else "compressor of any length"
    create(store, zarr_format, place, embed="hierarchy")[...] = VALUES
    with pipeline(ORACLE_PATH):
        wazarr.reset_counters()
        assert found(store, "data", digest).module == guests.trim()
        assert wazarr.counters()["read"]["chunks"] == 1


def test_something_with_another_digest() -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    prefix = f"wasm_codecs/{digest[7:]}"
    put(store, f"{prefix}/zarr.json", json.dumps(_module_document()).encode())
    put(store, f"{prefix}/c/0", guests.xor(7)[:351].ljust(351))
    answer = found(store, "data", digest)
    assert answer.module is None
    assert "something else" in answer.places[0]


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": ZstdCodec(), "chunks": (64,)},
        {"compressors": [BloscCodec(), Crc32cCodec()]},
        {"serializer": ShardingCodec(chunk_shape=(13,)), "chunks": (39,), "compressors": None},
        {"zarr_format": 2, "compressors": {"id": "zlib", "level": 1}, "chunks": (100,)},
    ],
)
def test_modules_that_other_tools_stored_their_way(options: dict[str, Any]) -> None:
    store, digest = MemoryStore(), guests.digest_of(guests.xor())
    values = np.frombuffer(guests.xor(), "u1")
    zarr.create_array(store, name=f"wasm_codecs/{digest[7:]}", data=values, **options)
    assert found(store, "a/b", digest).module == guests.xor()


# --- the manifest --------------------------------------------------------------------------------------


def test_names_that_stand_for_another_module_are_kept() -> None:
    store = MemoryStore()
    create(store, 3, "compressor", name="first", embed="hierarchy")[...] = VALUES
    create(store, 3, "compressor of any length", name="second", embed="hierarchy")[...] = VALUES
    manifest = asyncio.run(hierarchy.read_manifest(store, "wasm_codecs"))
    trimmed = guests.digest_of(guests.trim())
    assert manifest["guest"]["module"] == guests.digest_of(guests.xor())
    assert manifest[f"guest-{trimmed[7:19]}"]["module"] == trimmed


def test_attributes_of_others_stay() -> None:
    store = MemoryStore()
    attributes = {"title": "x", "wazarr": {"other": 1, "codecs": {"old": {"module": "sha256:" + "0" * 64}}}}
    zarr.create_group(store, path="wasm_codecs", attributes=attributes)
    create(store, 3, "compressor", embed="hierarchy")[...] = VALUES
    now = dict(zarr.open_group(store, path="wasm_codecs").attrs)
    assert now["title"] == "x"
    assert now["wazarr"]["other"] == 1  # type: ignore[call-overload, index]
    assert set(now["wazarr"]["codecs"]) == {"old", "guest"}  # type: ignore[call-overload, index, arg-type]


def test_codecs_are_found_by_the_names_in_the_nearest_manifest() -> None:
    store = MemoryStore()
    entry = {"module": guests.digest_of(guests.xor()), "kind": "array-bytes", "interface": "wazarr"}
    zarr.create_group(store, path="wasm_codecs", attributes={"wazarr": {"codecs": {"zfp.rs": entry}}})
    near = {
        "wazarr": {"codecs": {"zfp.rs": {**entry, "kind": "bytes-bytes"}, "bad": {"module": 1}, "worse": 7}}
    }
    zarr.create_group(store, path="a/wasm_codecs", attributes=near)

    def named(path: str, name: str) -> Description | None:
        return asyncio.run(hierarchy.find_named(store, hierarchy.directories(path), name))

    for path, kind in (("a/x", "bytes-bytes"), ("x", "array-bytes")):
        description = named(path, "zfp.rs")
        assert description is not None
        assert (description.kind, description.module) == (kind, entry["module"])
    for name in ("bad", "worse", "nothing"):
        assert named("a/x", name) is None


def test_concurrent_writers_lose_no_entry() -> None:
    store = MemoryStore()
    entries = []
    for seed in range(6):
        module = guests.padded(guests.xor(), 10, seed=100 + seed)
        description = Description(f"codec {seed}", "bytes-bytes", guests.digest_of(module))
        entries.append(storing.Entry(f"codec {seed}", description, module))

    async def write_all() -> None:
        writers = [storing.store_modules(store, "wasm_codecs", [entry], 3) for entry in entries]
        await asyncio.gather(*writers)

    asyncio.run(write_all())
    assert set(asyncio.run(hierarchy.read_manifest(store, "wasm_codecs"))) == {e.name for e in entries}
    for entry in entries:
        assert found(store, "x", entry.description.module).module == entry.module


# --- copies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_copies_bring_the_module(zarr_format: Any) -> None:
    module = guests.padded(guests.trim(), seed=11 * zarr_format)
    first, second = MemoryStore(), MemoryStore()
    dataset = xarray.Dataset({"t": (("y", "x"), VALUES), "u": (("y", "x"), VALUES + 1)})
    codec = wazarr.WasmCodec(module, codec="trim", zarr_format=zarr_format)
    encoding = {"t": {"compressors": [codec], "chunks": (4, 6)}, "u": {"compressors": [codec]}}
    dataset.to_zarr(first, encoding=encoding, zarr_format=zarr_format)
    opened = xarray.open_zarr(first)
    opened.to_zarr(second, zarr_format=zarr_format)
    for store in (first, second):
        assert found(store, "t", guests.digest_of(module)).module == module
        copied = xarray.open_zarr(store)
        np.testing.assert_array_equal(copied["t"].values, VALUES)
        np.testing.assert_array_equal(copied["u"].values, VALUES + 1)
        assert zarr.open_array(store, path="t").compressors[0].wasm_description.sources == ("hierarchy",)  # type: ignore[union-attr]
    # xarray consolidates before dask writes the first chunk.
    tree = xarray.open_datatree(second, engine="zarr", consolidated=False)  # type: ignore[arg-type]
    assert set(tree.children) == {"wasm_codecs"}


@pytest.mark.parametrize("make", [MemoryStore, None, "zip"])
def test_stores(make: Callable[[], Store] | str | None, tmp_path: Path) -> None:
    if make is None:
        store: Store = LocalStore(tmp_path / "store")
    elif make == "zip":
        store = ZipStore(tmp_path / "store.zip", mode="w")
    else:
        store = make()  # type: ignore[operator]
    create(store, 3, "two compressors", embed="hierarchy")[...] = VALUES
    create(store, 3, "two compressors", name="b", embed="hierarchy")[...] = VALUES
    if make == "zip":
        store.close()
        store = ZipStore(tmp_path / "store.zip", mode="r")
    np.testing.assert_array_equal(zarr.open_array(store, path="data", mode="r")[...], VALUES)
    assert found(store, "data", guests.digest_of(guests.trim())).module == guests.trim()


def test_a_codec_carries_its_module_to_a_store_it_was_never_read_from() -> None:
    first, second = MemoryStore(), MemoryStore()
    module = guests.padded(guests.xor(), seed=12)
    name = f"deep/er/wasm_codecs/{guests.digest_of(module)[7:]}"
    zarr.create_array(first, name=name, data=np.frombuffer(module, "u1"))
    entry: Any = {
        "name": "wazarr.wasm",
        "configuration": {
            "codec": "x",
            "kind": "bytes-bytes",
            "module": guests.digest_of(module),
            "sources": ["hierarchy"],
        },
    }
    created = zarr.create_array(
        first, name="deep/er/data", shape=VALUES.shape, dtype="u2", compressors=[entry]
    )
    opened = zarr.open_array(first, path="deep/er/data", mode="r")
    copy = zarr.create_array(second, name="data", data=VALUES, compressors=opened.compressors)
    np.testing.assert_array_equal(copy[...], VALUES)
    assert found(second, "data", guests.digest_of(module)).module == module
    assert created.shape == VALUES.shape


# --- a module that is nowhere --------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("seed", [21, 22])
def test_an_array_without_its_module_opens_and_says_how_to_supply_it(zarr_format: Any, seed: int) -> None:
    store, alone = MemoryStore(), MemoryStore()
    module = guests.padded(guests.xor(), 50, seed=seed * zarr_format)
    digest = guests.digest_of(module)
    codec = wazarr.WasmCodec(guests.xor(), embed="hierarchy", zarr_format=zarr_format)
    zarr.create_array(store, name="data", data=VALUES, compressors=codec, zarr_format=zarr_format)
    for key, value in store._store_dict.items():
        if not key.startswith("wasm_codecs"):
            content = value.to_bytes()
            if key.endswith((".json", ".zarray")):
                content = content.replace(guests.digest_of(guests.xor()).encode(), digest.encode())
            put(alone, key, content)
    array = zarr.open_array(alone, path="data", mode="r")
    assert array.shape == VALUES.shape
    assert "data" in zarr.open_group(alone, mode="r")
    assert digest in str(array.metadata.to_dict())
    with pytest.raises(WasmModuleNotFoundError) as caught:
        array[...]
    error = caught.value
    assert error.module == digest
    assert error.chunk_key is not None
    for part in (digest, "wasm_codecs", "not there", "fetch_codecs", "WasmCodec(module="):
        assert part in str(error), part
    assert any("hierarchy" in place for place in error.places)
    explanation = wazarr.explain(array)
    assert explanation.codecs[-1].engine == "wasm"
    assert digest in str(explanation.codecs[-1].reason)
    with pytest.raises(WasmModuleNotFoundError):
        zarr.open_array(alone, path="data", mode="r+")[...] = VALUES + 1
    # Once it is known, the same objects read.
    wazarr.WasmCodec(module)
    np.testing.assert_array_equal(array[...], VALUES)
