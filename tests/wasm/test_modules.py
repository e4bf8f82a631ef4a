"""From a digest to a module: caches, the order of the sources, and what the error says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm import guests
from tests.wasm.places import VALUES
from tests.wasm.servers import send, serving
from wazarr.errors import CodecError, InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm import modules, sources
from wazarr.wasm.description import Description

if TYPE_CHECKING:
    from pathlib import Path

_seeds = itertools.count(1000)


def unknown_module() -> bytes:
    """Return a module that this process has never seen."""
    return guests.padded(guests.xor(), 32, seed=next(_seeds))


def described(module: bytes, *where: str) -> Description:
    return Description("guest", "bytes-bytes", guests.digest_of(module), where)


def test_put_has_get(own_cache: Path) -> None:
    module = unknown_module()
    digest = guests.digest_of(module)
    assert not modules.has(digest)
    assert modules.get_bytes(digest) is None
    with pytest.raises((CodecError, InvalidInputError)):
        modules.put(module, guests.digest_of(b"another"))
    assert not modules.has(digest)
    assert modules.put(module, digest) == digest
    assert modules.has(digest)
    assert modules.get_bytes(digest) == module
    assert (own_cache / f"{digest[7:]}.wasm").read_bytes() == module


def test_without_a_folder_modules_are_in_memory() -> None:
    module = unknown_module()
    with zarr.config.set({"wazarr.wasm.cache_dir": False}):
        modules.put(module)
        assert modules.get_bytes(guests.digest_of(module)) == module


def test_surveys() -> None:
    facts = modules.survey(guests.xor())
    assert facts["digest"] == guests.digest_of(guests.xor())


def test_the_first_source_that_has_it_serves(tmp_path: Path) -> None:
    module, other = unknown_module(), unknown_module()
    file = tmp_path / "a.wasm"
    file.write_bytes(module)
    with (
        serving(lambda handler: send(handler, module)) as (address, asked),
        zarr.config.set({"wazarr.wasm.allow": [tmp_path.as_uri(), address]}),
    ):
        where = [sources.inline(other), "nonsense", (tmp_path / "no").as_uri(), file.as_uri(), f"{address}/a"]
        modules.load(described(module, *where))
        assert modules.has(guests.digest_of(module))
        assert not asked
        third = unknown_module()
        modules.put(third)
        modules.load(described(third, f"{address}/a"))
        assert not asked


def test_nothing_but_the_digest_decides() -> None:
    module, other = unknown_module(), unknown_module()
    with pytest.raises(WasmModuleNotFoundError) as caught:
        modules.load(described(module, sources.inline(other), sources.inline(b"\0asm"), sources.inline(b"")))
    assert all("something else" in place for place in caught.value.places[2:])
    assert len(caught.value.places) == 5
    assert not modules.has(guests.digest_of(other))


def test_bytes_of_the_right_digest_that_are_no_module() -> None:
    content = b"\0asm" + b"\xff" * 100
    with pytest.raises(CodecError):
        modules.load(described(content, sources.inline(content)))


def test_the_error_says_where_it_looked_and_what_to_do(own_cache: Path) -> None:
    module = unknown_module()
    digest = guests.digest_of(module)
    where = ["hierarchy", "https://good.org/codecs/a.wasm", "oci://ghcr.io/org/a:1", "file:///data/a.wasm"]
    with pytest.raises(WasmModuleNotFoundError) as caught:
        modules.load(described(module, *where))
    text = str(caught.value)
    for part in (digest, "'guest'", str(own_cache), "wazarr.fetch_codecs", "wasm_codecs", *where[1:]):
        assert part in text
    # What it says to set is what helps.
    assert "'wazarr.wasm.allow': ['https://good.org/codecs/']" in text
    assert caught.value.module == digest
    with (
        zarr.config.set({"wazarr.wasm.cache_dir": ""}),
        pytest.raises(WasmModuleNotFoundError, match="is off"),
    ):
        modules.load(described(module))


@pytest.mark.parametrize("scheme", ["data", "file", "http", "cache"])
@pytest.mark.parametrize("path", ["wazarr.CodecPipeline", ORACLE_PATH])
def test_arrays_read_through_every_source(scheme: str, path: str, tmp_path: Path) -> None:
    module = unknown_module()
    file = tmp_path / "a.wasm"
    file.write_bytes(module)
    store = MemoryStore()
    with serving(lambda handler: send(handler, module)) as (address, asked):
        where = {"data": sources.inline(module), "file": file.as_uri(), "http": f"{address}/a.wasm"}
        entry: Any = {
            "name": "wazarr.wasm",
            "configuration": described(module, *([where[scheme]] if scheme in where else [])).to_json(),
        }
        values = VALUES.astype("u1")
        with pipeline(path):
            array = zarr.create_array(store, name="data", shape=values.shape, dtype="u1", compressors=[entry])
            # The guest changes every byte: so this is how its chunk is stored.
            chunk = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes((values ^ 0x55).tobytes())
            store._store_dict["data/c/0/0"] = chunk
            if scheme in {"file", "http"}:
                with pytest.raises(WasmModuleNotFoundError, match=r"wazarr\.wasm\.allow"):
                    array[...]
                assert not asked
            if scheme == "cache":
                modules.put(module)
            with zarr.config.set({"wazarr.wasm.allow": [tmp_path.as_uri(), address]}):
                np.testing.assert_array_equal(array[...], values)
                np.testing.assert_array_equal(zarr.open_array(store, path="data")[...], values)
        assert asked == (["/a.wasm"] if scheme == "http" else [])


def test_a_hostile_source_costs_a_bounded_time() -> None:
    module = unknown_module()
    entry: Any = {
        "name": "wazarr.wasm",
        "configuration": described(module, *["file:///dev/zero"] * 16, *["file:///dev/stdin"] * 16).to_json(),
    }
    with wazarr.enabled(), zarr.config.set({"wazarr.wasm.allow": ["file:///"]}):
        array = zarr.create_array(MemoryStore(), shape=VALUES.shape, dtype="u2", compressors=[entry])
        with pytest.raises(WasmModuleNotFoundError, match="regular"):
            array[...] = VALUES
