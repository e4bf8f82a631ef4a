"""numcodecs-wasm's codecs in arrays of both formats: equal to what their own packages write and read."""

from __future__ import annotations

import base64
import json
import pickle
import textwrap
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec
from zarr.storage import LocalStore, MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm.foreign import QUICK, VECTORS, needs_packages, recorded, run_program
from tests.wasm.numcodecs_cases import CASES
from wazarr import _native
from wazarr.errors import CodecError, InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm.any_numcodecs import AnyArrayArrayCodec, AnyArrayBytesCodec, AnyBytesBytesCodec

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [needs_packages, pytest.mark.filterwarnings("error:Codec.*not configured")]

OURS = "wazarr.CodecPipeline"
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]


def wasm_engines(array: zarr.Array[Any]) -> list[str]:
    """Return the engines of the codecs that are numcodecs-wasm's."""
    codecs = wazarr.codecs_used(array)
    return [codec.engine for codec in codecs if codec.module is not None]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("path", [OURS, ORACLE_PATH])
@pytest.mark.parametrize("name", NAMES)
def test_reads_what_the_packages_wrote(name: str, path: str) -> None:
    store, _, expected = recorded(name)
    with pipeline(path):
        array = zarr.open_array(store, mode="r")
        read: Any = array[...]
        part: Any = array[1:6, 3:8]
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(part, expected[1:6, 3:8])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("path", [OURS, ORACLE_PATH])
@pytest.mark.parametrize("name", NAMES)
def test_writes_what_the_packages_write(name: str, path: str) -> None:
    _, expected, _ = recorded(name)
    content: dict[str, Any] = {}
    with pipeline(path):
        CASES[name].create(MemoryStore(content))
    chunks = [key for key in expected if "zarr" not in key and "zarray" not in key]
    assert {key: content[key].to_bytes() for key in chunks} == {
        key: expected[key].to_bytes() for key in chunks
    }


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["zfp", "three", "sharded", "v2 round, zfp"])
def test_runs_on_our_host(name: str) -> None:
    store, _, expected = recorded(name)
    with pipeline(OURS, **{"codec_pipeline.strict": True}):
        array = zarr.open_array(store, mode="r")
        wazarr.reset_counters()
        np.testing.assert_array_equal(array[...], expected)
    assert wasm_engines(array) == ["wasm"] * len(CASES[name].ids)
    counters = wazarr.counters()
    assert {key: count for key, count in counters.items() if "python" in key and count} == {}


@pytest.mark.usefixtures("installed")
def test_instances_are_kept_between_chunks_and_reads() -> None:
    values = np.arange(64 * 64, dtype="<i4").reshape(64, 64)
    with pipeline(OURS, **{"threading.max_workers": 2}):
        array = create(
            shape=values.shape, chunks=(8, 8), dtype="i4", configuration={"id": "zlib.rs", "level": 1}
        )
        array[...] = values
        before = _native.wasm_counters()
        for _ in range(3):
            np.testing.assert_array_equal(array[...], values)
        after = _native.wasm_counters()
    assert after["calls"] - before["calls"] == 3 * 64
    # As many as there are threads at the most, of which another may serve each time.
    assert after["instances"] - before["instances"] <= 3 * 2


@pytest.mark.usefixtures("installed")
def test_explain_names_module_and_trust(capsys: pytest.CaptureFixture[str]) -> None:
    store, _, _ = recorded("zfp")
    with pipeline(OURS):
        explanation = wazarr.explain(zarr.open_array(store, mode="r"))
    (codec,) = explanation.codecs
    assert (codec.name, codec.engine) == ("any-numcodecs.array-bytes", "wasm")
    assert "zfp.rs" in str(codec.reason)
    assert "trusted" in str(codec.reason)
    assert "wasm" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_metadata_stay_as_they_were_written() -> None:
    for name in ("zfp", "three", "sharded", "v2 round, zfp"):
        store, content, _ = recorded(name)
        key = "zarr.json" if "zarr.json" in content else ".zarray"
        before = json.loads(content[key].to_bytes())
        zarr.open_array(store, mode="r+").resize((14, 10))
        after = json.loads(content[key].to_bytes())
        assert {**after, "shape": before["shape"]} == before


# --- without the package -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zfp", "reinterpret as bytes", "linear-quantize", "sharded", "v2 zfp"])
def test_opens_and_tells_of_itself_without_the_package(name: str) -> None:
    store, _, expected = recorded(name)
    with pipeline(OURS):
        array = zarr.open_array(store, mode="r")
        assert array.shape == expected.shape
        assert array.dtype == expected.dtype
        assert "7, 10" in str(array.info)
        with pytest.raises(WasmModuleNotFoundError, match=r"pip install numcodecs-wasm-") as caught:
            array[...]
    assert "wasm_codecs" in str(caught.value)
    # How long a row linear-quantize makes, only the module knows: there zarr itself is the first to complain.
    error, match = (
        (ValueError, None) if name == "linear-quantize" else (WasmModuleNotFoundError, "fetch_codecs")
    )
    with pipeline(ORACLE_PATH), pytest.raises(error, match=match):
        zarr.open_array(store, mode="r")[...]


def test_missing_chunks_need_no_module() -> None:
    store, content, _ = recorded("zfp")
    for key in [key for key in content if key != "zarr.json"]:
        del content[key]
    with pipeline(OURS):
        array: Any = zarr.open_array(store, mode="r")
        assert not array[...].any()


@pytest.mark.parametrize("name", ["zfp", "three", "linear-quantize", "sharded", "v2 round, zfp", "v2 zlib"])
def test_reads_with_modules_that_travel_with_the_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written where the packages are, embedded, and read by a program that has none of it."""
    _, content, expected = recorded(name)
    zarr_format: Any = CASES[name].zarr_format
    group = zarr.open_group(LocalStore(tmp_path / "data"), mode="w", zarr_format=zarr_format)
    for key, value in content.items():
        (tmp_path / "data" / "deep" / "array" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "deep" / "array" / key).write_bytes(value.to_bytes())
    group.require_group("deep")
    with monkeypatch.context() as patch:
        from tests.wasm.foreign import FOLDER

        patch.syspath_prepend(str(FOLDER))
        embedded = wazarr.embed_codecs(group)
    assert {codec.codec for codec in embedded} == CASES[name].ids
    program = textwrap.dedent("""
        import sys
        import numpy as np
        import wazarr, zarr
        from zarr.core.config import config

        wazarr.enable()
        config.set({"wazarr.wasm.cache_dir": sys.argv[2], "wazarr.wasm.allow": []})
        array = zarr.open_array(sys.argv[1], path="deep/array", mode="r")
        np.save(sys.argv[3], array[...])
        print({codec.engine for codec in wazarr.codecs_used(array) if codec.module})
    """)
    out = tmp_path / "read.npy"
    assert run_program(program, tmp_path / "data", tmp_path / "empty", out) == "{'wasm'}"
    np.testing.assert_array_equal(np.load(out), expected)


# --- errors --------------------------------------------------------------------------------------------


def create(**settings: Any) -> zarr.Array[Any]:
    """Make a small array with zfp."""
    codec = AnyArrayBytesCodec(settings.pop("configuration", {"id": "zfp.rs", "mode": "reversible"}))
    common: dict[str, Any] = {"shape": (4, 4), "chunks": (4, 4), "dtype": "f4", "compressors": None}
    return zarr.create_array(MemoryStore(), serializer=codec, **{**common, **settings})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("path", [OURS, ORACLE_PATH])
@pytest.mark.parametrize("dtype", ["bool", "f2", "c8", "M8[s]"])
def test_elements_that_the_interface_does_not_know(dtype: str, path: str) -> None:
    with pipeline(path):
        array = create(dtype=dtype)
        with pytest.raises((InvalidInputError, CodecError), match=r"integers|data type"):
            array[...] = np.ones((4, 4)).astype(dtype)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("path", [OURS, ORACLE_PATH])
def test_parameters_that_the_module_refuses(path: str) -> None:
    with pipeline(path):
        array = create(configuration={"id": "zfp.rs", "mode": "nonsense"})
        with pytest.raises(CodecError, match="unknown variant"):
            array[...] = 1


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("path", [OURS, ORACLE_PATH])
def test_damaged_chunks(path: str) -> None:
    store, content, _ = recorded("zlib")
    content["c/0/0"] = content["c/0/0"][:30]
    content["c/0/1"] = type(content["c/0/1"]).from_bytes(b"")
    with pipeline(path):
        array = zarr.open_array(store, mode="r")
        for selection in (np.s_[:4, :5], np.s_[:4, 5:]):
            with pytest.raises(CodecError):
                array[selection]
        # The other chunks, and the host, live on.
        np.testing.assert_array_equal(array[4:], recorded("zlib")[2][4:])


def test_configuration_without_an_id() -> None:
    with pytest.raises(InvalidInputError, match="'id'"):
        AnyBytesBytesCodec({})


# --- the classes ---------------------------------------------------------------------------------------


def test_equality_hash_and_pickle() -> None:
    codec = AnyArrayBytesCodec({"id": "zfp.rs", "mode": "reversible"})
    same = AnyArrayBytesCodec.from_dict(codec.to_dict())
    assert same == codec
    assert hash(same) == hash(codec)
    assert pickle.loads(pickle.dumps(codec)) == codec
    assert codec != AnyArrayBytesCodec({"id": "zfp.rs", "mode": "expert"})


def test_codecs_of_numcodecs_itself_run_as_in_the_package() -> None:
    """The package wraps any codec that numcodecs knows, not only modules."""
    values = np.arange(20, dtype="<i4").reshape(4, 5)
    chain: dict[str, Any] = {
        "filters": [AnyArrayArrayCodec({"id": "astype", "encode_dtype": "<i8", "decode_dtype": "<i4"})],
        "serializer": BytesCodec(),
        "compressors": [AnyBytesBytesCodec({"id": "zlib", "level": 1})],
    }
    for path in (OURS, ORACLE_PATH):
        content: dict[str, Any] = {}
        with pipeline(path):
            array = zarr.create_array(
                MemoryStore(content), shape=values.shape, chunks=values.shape, dtype="i4", **chain
            )
            array[...] = values
            np.testing.assert_array_equal(zarr.open_array(MemoryStore(content))[...], values)
        stored = numcodecs.Zlib().decode(content["c/0/0"].to_bytes())
        np.testing.assert_array_equal(np.frombuffer(stored, "<i8").reshape(4, 5), values)


# --- beside the packages' own classes ------------------------------------------------------------------


@pytest.mark.slow
def test_vectors_are_what_the_packages_make(tmp_path: Path) -> None:
    """The recorded bytes and values, made again by the real packages."""
    program = "import runpy; runpy.run_module('tests.fixtures.make_numcodecs_vectors', run_name='__main__')"
    run_program(program, tmp_path / "vectors.json", has_packages=True, PYTHONWARNINGS="ignore")
    made = json.loads((tmp_path / "vectors.json").read_text())
    assert made.keys() == VECTORS.keys()
    for name, vector in made.items():
        assert vector["values"] == VECTORS[name]["values"], name
        for key, value in vector["store"].items():
            if "zarr" in key:
                mine, theirs = (
                    json.loads(base64.b64decode(text)) for text in (VECTORS[name]["store"][key], value)
                )
                assert mine.get("codecs") == theirs.get("codecs"), name
            else:
                assert value == VECTORS[name]["store"][key], (name, key)


@pytest.mark.slow
def test_takes_the_packages_own_classes_over() -> None:
    """Arrays that a program makes with the real classes; classes derived from them stay the program's."""
    program = textwrap.dedent("""
        import numpy as np, zarr, wazarr
        import numcodecs_wasm_round, numcodecs_wasm_zfp
        import zarr_any_numcodecs as theirs
        from zarr.storage import MemoryStore

        def engines(array):
            return [codec.engine for codec in wazarr.explain(array).codecs]

        values = np.linspace(0, 1, 40, dtype="f4").reshape(5, 8)
        chain = dict(
            filters=[theirs.AnyNumcodecsArrayArrayCodec(numcodecs_wasm_round.Round(precision=0.125))],
            serializer=theirs.AnyNumcodecsArrayBytesCodec(numcodecs_wasm_zfp.Zfp(mode="reversible")),
            compressors=None,
        )
        contents = []
        for path in ("zarr.core.codec_pipeline.BatchedCodecPipeline", "wazarr.CodecPipeline"):
            with zarr.config.set({"codec_pipeline.path": path}):
                content = {}
                array = zarr.create_array(
                    MemoryStore(content), shape=(5, 8), chunks=(3, 8), dtype="f4", **chain
                )
                array[...] = values
                assert type(array.metadata.codecs[1]) is theirs.AnyNumcodecsArrayBytesCodec
                contents.append({key: value.to_bytes() for key, value in content.items()})
                read = array[...]
        assert contents[0] == contents[1]
        assert np.abs(read - values).max() <= 0.0625
        assert engines(array) == ["wasm", "wasm"], engines(array)

        v2 = zarr.create_array(
            MemoryStore(), shape=(5, 8), chunks=(3, 8), dtype="f4", zarr_format=2,
            compressors=numcodecs_wasm_zfp.Zfp(mode="reversible"),
        )
        wazarr.enable()
        v2 = zarr.open_array(v2.store)
        assert type(v2.metadata.compressor) is numcodecs_wasm_zfp.Zfp
        v2[...] = values
        assert (v2[...] == values).all()
        assert engines(v2) == ["native", "wasm"], engines(v2)

        class Derived(theirs.AnyNumcodecsArrayBytesCodec):
            pass

        class Zfp(numcodecs_wasm_zfp.Zfp):
            pass

        for serializer in (
            Derived(numcodecs_wasm_zfp.Zfp(mode="reversible")),
            theirs.AnyNumcodecsArrayBytesCodec(Zfp(mode="reversible")),
        ):
            array = zarr.create_array(
                MemoryStore(), shape=(5, 8), chunks=(3, 8), dtype="f4", compressors=None,
                serializer=serializer,
            )
            array[...] = values
            assert (array[...] == values).all()
            assert engines(array) == ["python"], engines(array)
        print("done")
    """)
    assert run_program(program, has_packages=True).endswith("done")


@pytest.mark.slow
def test_opening_imports_neither_package_nor_host(tmp_path: Path) -> None:
    """Also where zarr-any-numcodecs is installed, whose classes would."""
    for name in ("zfp", "v2 zfp"):
        _, content, _ = recorded(name)
        for key, value in content.items():
            path = tmp_path / name / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.to_bytes())
    program = textwrap.dedent("""
        import sys, warnings
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*specification.*")
        import wazarr, zarr

        wazarr.enable()
        for name in ("zfp", "v2 zfp"):
            array = zarr.open_array(sys.argv[1] + "/" + name, mode="r")
            array[...]
        print([name for name in sys.modules if name.startswith(("numcodecs_wasm", "zarr_any_numcodecs"))])
    """)
    assert run_program(program, tmp_path, has_packages=True) in ("[]", "['zarr_any_numcodecs']")
