"""Which codecs of a chain are modules, and how the array's path is told from a chunk's."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec
from zarr.codecs._v2 import V2Codec
from zarr.storage import MemoryStore

import wazarr
from tests.wasm import guests
from tests.wasm.places import PLACES, VALUES, create
from wazarr.wasm import hierarchy, steps

if TYPE_CHECKING:
    from wazarr.wasm.description import Description


@pytest.mark.parametrize("name", ["data", "a/b/data", "c", "a/c", "0", "1/2", None])
@pytest.mark.parametrize("shape", [(), (4,), (4, 4), (2, 2, 2)])
@pytest.mark.parametrize(
    ("zarr_format", "encoding"),
    [
        (3, {"name": "default", "separator": "/"}),
        (3, {"name": "default", "separator": "."}),
        (3, {"name": "v2", "separator": "/"}),
        (3, {"name": "v2", "separator": "."}),
        (2, {"name": "v2", "separator": "/"}),
        (2, {"name": "v2", "separator": "."}),
    ],
)
def test_paths_of_arrays(name: str | None, shape: tuple[int, ...], zarr_format: Any, encoding: Any) -> None:
    store = MemoryStore()
    array = zarr.create_array(
        store,
        name=name,
        data=np.ones(shape),
        chunks=tuple(1 for _ in shape) or "auto",
        zarr_format=zarr_format,
        chunk_key_encoding=encoding,
    )
    chunks = [
        key for key in store._store_dict if not key.endswith((".json", ".zarray", ".zattrs", ".zgroup"))
    ]
    trailing = steps.trailing_parts(array.metadata)
    assert {steps.array_path(key, len(shape), trailing) for key in chunks} == {name or ""}
    # Without the metadata it is a guess, and a good one but for arrays whose name looks like a chunk's.
    if name in {"data", "a/b/data", None}:
        assert {steps.array_path(key, len(shape), None) for key in chunks} == {name or ""}


def test_an_encoding_that_is_not_known() -> None:
    class Metadata:
        zarr_format = 3
        shape = (4, 4)
        chunk_key_encoding = object()

    assert steps.trailing_parts(Metadata()) is None


@pytest.mark.parametrize(("zarr_format", "place"), PLACES)
def test_modules_are_found_in_every_place(zarr_format: int, place: str) -> None:
    with wazarr.enabled():
        array = create(MemoryStore(), zarr_format, place)
        pipeline: Any = array.async_array.codec_pipeline
        assert pipeline.wasm is not None
        assert pipeline.wasm.zarr_format == zarr_format
        assert pipeline.wasm.trailing == (1 if zarr_format == 2 else 3)
        assert all(isinstance(codec, wazarr.WasmCodec) for codec in pipeline.wasm.codecs)
        again = pipeline.__class__.from_codecs(list(pipeline))
        assert again == pipeline
        assert again.wasm.trailing is None


def test_other_arrays_have_none() -> None:
    with wazarr.enabled():
        array = zarr.create_array(MemoryStore(), shape=4, dtype="u2", compressors=ZstdCodec())
        assert array.async_array.codec_pipeline.wasm is None  # type: ignore[attr-defined]
    sharded = ShardingCodec(chunk_shape=(2,), codecs=[BytesCodec(), ZstdCodec()])
    assert steps.Steps.of([sharded]) is None
    assert steps.Steps.of([V2Codec(filters=None, compressor=None)]) is None
    assert "wazarr.wasm" in sys.modules


class Named:
    """A codec of other software: metadata hold its name, and a manifest says which module it is."""

    wasm_label = "zfp.rs"
    wasm_name = "zfp.rs"
    wasm_description = None

    async def wasm_locate(self, store: Any, groups: Any) -> Description | None:
        """Look into the manifests."""
        return await hierarchy.find_named(store, groups, self.wasm_name)


def test_codecs_that_only_have_a_name_are_looked_up_in_manifests() -> None:
    store, codec = MemoryStore(), Named()
    with wazarr.enabled():
        create(store, 3, "compressor", name="other", embed="hierarchy")[...] = VALUES
    found = steps.Steps((codec,), 3)
    asyncio.run(found.prepare_at(store, "data"))
    assert found.description_of(codec) is None
    group = zarr.open_group(store, path="wasm_codecs")
    entry = {"module": guests.digest_of(guests.xor()), "kind": "bytes-bytes"}
    group.attrs["wazarr"] = {"codecs": {"zfp.rs": entry}}
    asyncio.run(found.prepare_at(store, "data"))
    description = found.description_of(codec)
    assert description is not None
    assert description.module == entry["module"]
    assert found.absence_of(codec) is None
