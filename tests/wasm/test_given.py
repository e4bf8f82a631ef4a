"""What a program hands to `wazarr.WasmCodec`: modules in every form, and where they are to travel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zarr
from zarr.storage import MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm import guests
from tests.wasm.places import VALUES
from wazarr.errors import CodecError, InvalidInputError, WasmModuleNotFoundError

if TYPE_CHECKING:
    from pathlib import Path


def test_modules_come_as_bytes_paths_addresses_and_digests(tmp_path: Path) -> None:
    module = guests.padded(guests.xor(), 10, seed=2)
    file = tmp_path / "flip.wasm"
    file.write_bytes(module)
    digest = guests.digest_of(module)
    inline = wazarr.WasmCodec(module).wasm_description.sources[0]
    for given in (
        module,
        bytearray(module),
        memoryview(module),
        file,
        str(file),
        file.as_uri(),
        inline,
        digest,
    ):
        assert wazarr.WasmCodec(given).wasm_description.module == digest
    assert wazarr.WasmCodec(file).wasm_description.codec == "flip"
    assert wazarr.WasmCodec(file, codec="other").wasm_description.codec == "other"
    assert wazarr.WasmCodec(module).wasm_description.codec == "wasm"


def test_an_address_is_a_hint_for_readers_and_a_path_is_not(tmp_path: Path) -> None:
    file = tmp_path / "flip.wasm"
    file.write_bytes(guests.xor())
    for embed, first in (("inline", "data:"), ("hierarchy", "hierarchy"), ("never", file.as_uri())):
        sources = wazarr.WasmCodec(file.as_uri(), embed=embed).wasm_description.sources
        assert sources[0].startswith(first)
        assert sources[-1] == file.as_uri()
    assert wazarr.WasmCodec(file, embed="never").wasm_description.sources == ()


def test_what_cannot_be_a_module(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wazarr.WasmCodec(tmp_path / "nothing.wasm")
    with pytest.raises(WasmModuleNotFoundError, match="not known here"):
        wazarr.WasmCodec(guests.digest_of(b"nobody has this"))
    with pytest.raises(WasmModuleNotFoundError, match="nothing"):
        wazarr.WasmCodec((tmp_path / "nothing.wasm").as_uri())
    with pytest.raises((CodecError, InvalidInputError)):
        wazarr.WasmCodec(b"no module at all")
    with pytest.raises(InvalidInputError, match="embed"):
        wazarr.WasmCodec(guests.xor(), embed="somewhere")
    with pytest.raises(InvalidInputError, match="parameters"):
        wazarr.WasmCodec(guests.xor(), parameters={"x": float("nan")})
    with pytest.raises(InvalidInputError, match="parameters"):
        wazarr.WasmCodec(guests.xor(), parameters={"x": b"bytes"})
    with zarr.config.set({"wazarr.wasm.module_limit": 100}), pytest.raises((CodecError, InvalidInputError)):
        wazarr.WasmCodec(guests.xor())


@pytest.mark.parametrize("limit", [0, 10_000_000])
def test_auto_goes_by_the_size_and_by_the_pipeline(limit: int) -> None:
    with zarr.config.set({"wazarr.wasm.inline_limit": limit}):
        with wazarr.enabled():
            assert wazarr.WasmCodec(guests.xor()).wasm_description.is_inline == (limit > 0)
        with pipeline(ORACLE_PATH):
            assert wazarr.WasmCodec(guests.xor()).wasm_description.is_inline


def test_auto_is_decided_when_the_array_is_made() -> None:
    codec = wazarr.WasmCodec(guests.padded(guests.xor()))
    store = MemoryStore()
    with wazarr.enabled():
        zarr.create_array(store, name="data", data=VALUES, compressors=codec)
    with pipeline(ORACLE_PATH):
        assert codec.wasm_description.sources == ("hierarchy",)
    assert "wasm_codecs/zarr.json" in store._store_dict
