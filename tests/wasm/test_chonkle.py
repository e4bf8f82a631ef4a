"""chonkle's documents become Zarr codecs, and its kind of modules run from them."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec
from zarr.storage import MemoryStore

import wazarr
from tests.pipelines import ORACLE_PATH, pipeline
from tests.wasm.chonkle_guests import INTERFACES, Interface, predictor
from wazarr.errors import CodecError, InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm.chonkle import Step, parse

if TYPE_CHECKING:
    from pathlib import Path

OURS = "wazarr.CodecPipeline"
VALUES = (np.arange(24 * 16).reshape(24, 16) ** 2 % 60000).astype("<u2")

ZLIB = {"name": "zlib", "type": "numcodecs", "configuration": {"level": 9}}
BYTES = {
    "name": "bytes",
    "type": "numcodecs",
    "configuration": {"endian": "little", "data_type": "uint16", "shape": [12, 16]},
}


def predicted(values: np.ndarray[Any, Any]) -> bytes:
    """Return elements as TIFF stores them: differences along the rows, deflated."""
    differences = values.copy()
    differences[:, 1:] -= values[:, :-1]
    return zlib.compress(differences.tobytes(), 9)


def wasm(uri: str, **parameters: Any) -> dict[str, Any]:
    """Return the predictor's entry in a list."""
    return {"name": "tiff_predictor_2", "type": "wasm", "uri": uri, "configuration": parameters}


@pytest.fixture(params=INTERFACES)
def interface(request: pytest.FixtureRequest) -> Interface:
    """One of chonkle's interfaces."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def module(interface: Interface, tmp_path: Path) -> Path:
    """The predictor in a file, from which modules may be taken."""
    path = tmp_path / "modules" / "predictor.wasm"
    path.parent.mkdir()
    path.write_bytes(predictor(interface))
    return path


@pytest.fixture
def allowed(module: Path) -> Any:
    """Let documents take modules from that folder."""
    with zarr.config.set({"wazarr.wasm.allow": [f"{module.parent.as_uri()}/"]}):
        yield module


# --- running -------------------------------------------------------------------------------------------


def round_trip(codecs: wazarr.wasm.chonkle.ChonkleCodecs) -> None:
    """Write and read with the codecs; what is stored is what TIFF would have stored."""
    content: dict[str, Any] = {}
    with pipeline(OURS):
        array = zarr.create_array(
            MemoryStore(content),
            shape=VALUES.shape,
            chunks=codecs.chunk_shape or (12, 16),
            dtype=codecs.data_type or VALUES.dtype,
            filters=codecs.filters,
            serializer=codecs.serializer,
            compressors=codecs.compressors,
        )
        array[...] = VALUES
        np.testing.assert_array_equal(zarr.open_array(array.store, mode="r")[...], VALUES)
        for row, key in enumerate(("c/0/0", "c/1/0")):
            content[key] = type(content[key]).from_bytes(predicted(VALUES[12 * row : 12 * row + 12]))
        np.testing.assert_array_equal(zarr.open_array(array.store, mode="r")[...], VALUES)
        engines = [codec.engine for codec in wazarr.codecs_used(array)]
    assert sorted(engines) == ["native", "native", "wasm"]
    with pipeline(ORACLE_PATH):
        np.testing.assert_array_equal(zarr.open_array(array.store, mode="r")[...], VALUES)


def test_list_after_the_bytes(allowed: Path) -> None:
    entry = wasm(allowed.as_uri(), bytes_per_sample=2, width=16)
    codecs = wazarr.from_chonkle({"codecs": [BYTES, entry, ZLIB]})
    assert codecs.data_type == np.dtype("u2")
    assert codecs.chunk_shape == (12, 16)
    assert [type(codec).__name__ for codec in codecs] == ["BytesCodec", "BytesBytesWasmCodec", "Zlib"]
    round_trip(codecs)


def test_list_before_the_bytes(allowed: Path) -> None:
    entry = wasm(allowed.as_uri(), bytes_per_sample=2, width=16)
    codecs = wazarr.from_chonkle({"codecs": [entry, BYTES, ZLIB]})
    assert [type(codec).__name__ for codec in codecs] == ["ArrayArrayWasmCodec", "BytesCodec", "Zlib"]
    round_trip(codecs)


def graph(uri: str, **constants: Any) -> dict[str, Any]:
    """Return the same pipeline as a graph, in the direction of decoding."""
    wires = {name: f"constant.{name}" for name in constants}
    return {
        "codec_id": "cog-decode",
        "direction": "decode",
        "sources": {"tiff-predictor-2": uri},
        "inputs": {"bytes": {"type": "bytes"}, "columns": {"type": "int"}},
        "constants": {name: {"type": "int", "value": value} for name, value in constants.items()},
        "outputs": {"bytes": "predictor2.bytes"},
        "steps": {
            "predictor2": {
                "codec_id": "tiff-predictor-2",
                "inputs": {"bytes": "inflate.bytes", "width": "input.columns", **wires},
            },
            "inflate": {"codec_id": "zlib", "inputs": {"bytes": "input.bytes"}},
        },
    }


def test_graph(allowed: Path) -> None:
    round_trip(wazarr.from_chonkle(graph(allowed.as_uri(), bytes_per_sample=2), inputs={"columns": 16}))


def test_file_and_digest(allowed: Path) -> None:
    sidecar = allowed.parent / "chunk.json"
    sidecar.write_text(json.dumps({"codecs": [BYTES, wasm(allowed.as_uri(), width=16)]}))
    for given in (sidecar, str(sidecar)):
        (codec,) = wazarr.from_chonkle(given, embed="never").compressors
        description = codec.wasm_description  # type: ignore[attr-defined]
        assert description.module == "sha256:" + hashlib.sha256(allowed.read_bytes()).hexdigest()
        assert description.sources == (allowed.as_uri(),)
        assert description.codec == "tiff_predictor_2"
        assert description.parameters == {"width": 16}


def test_defaults_are_filled_in_and_required_ports_insisted_on(allowed: Path) -> None:
    """The signature gives samples of two bytes; a width there has to be."""
    round_trip(wazarr.from_chonkle({"codecs": [BYTES, wasm(allowed.as_uri(), width=16), ZLIB]}))
    codecs = wazarr.from_chonkle({"codecs": [BYTES, wasm(allowed.as_uri(), bytes_per_sample=2), ZLIB]})
    with pipeline(OURS), pytest.raises((CodecError, InvalidInputError), match="width"):
        round_trip(codecs)


def test_what_the_guest_reports(allowed: Path, interface: Interface) -> None:
    """Core modules of this family cannot say why they fail, components can."""
    codecs = wazarr.from_chonkle({"codecs": [BYTES, wasm(allowed.as_uri(), width=7)]})
    with pipeline(OURS), pytest.raises(CodecError) as caught:
        round_trip(codecs)
    if interface in ("C", "E"):
        assert "whole number of rows" in str(caught.value)


@pytest.mark.parametrize("kind", ["C", "D"])
def test_without_a_signature(kind: Interface, tmp_path: Path) -> None:
    path = tmp_path / "unsigned.wasm"
    path.write_bytes(predictor(kind, is_signed=False))
    with zarr.config.set({"wazarr.wasm.allow": [tmp_path.as_uri()]}):
        entry = wasm(path.as_uri(), bytes_per_sample=2, width=16)
        round_trip(wazarr.from_chonkle({"codecs": [BYTES, entry, ZLIB]}))


# --- where modules may come from -----------------------------------------------------------------------


@pytest.mark.parametrize("interface", ["D"], indirect=True)
def test_nothing_is_fetched_that_is_not_allowed(module: Path) -> None:
    with pytest.raises(WasmModuleNotFoundError, match=r"wazarr\.wasm\.allow"):
        wazarr.from_chonkle({"codecs": [BYTES, wasm(module.as_uri(), width=16)]})


@pytest.mark.parametrize(
    "uri", ["http://example.org/x.wasm", "file:///nowhere/x.wasm", "x.wasm", "ftp://a/b"]
)
def test_addresses_that_are_none(uri: str) -> None:
    allow = ["http://example.org/", "file:///nowhere/"]
    with zarr.config.set({"wazarr.wasm.allow": allow}), pytest.raises(WasmModuleNotFoundError):
        wazarr.from_chonkle({"codecs": [BYTES, wasm(uri)]})


# --- documents -----------------------------------------------------------------------------------------

LIST = {"codecs": [wasm("file:///a.wasm", width=3), BYTES, wasm("file:///b.wasm"), ZLIB]}
GRAPH = graph("file:///p.wasm", bytes_per_sample=2)


def test_reads_lists() -> None:
    document = parse(LIST, {})
    assert document.steps == (
        Step("tiff_predictor_2", "file:///a.wasm", {"width": 3}, takes_array=True),
        Step("tiff_predictor_2", "file:///b.wasm"),
        Step("zlib", None, {"level": 9}),
    )
    assert (document.endian, document.data_type, document.chunk_shape) == ("little", np.dtype("u2"), (12, 16))


def test_reads_graphs_of_either_direction() -> None:
    expected = (
        Step("tiff-predictor-2", "file:///p.wasm", {"width": 3, "bytes_per_sample": 2}),
        Step("zlib", None),
    )
    assert parse(GRAPH, {"columns": 3}).steps == expected
    assert parse({**GRAPH, "direction": "encode"}, {"columns": 3}).steps == expected[::-1]


def test_big_endian() -> None:
    document = {"codecs": [{**BYTES, "configuration": {"endian": "big", "data_type": "int32"}}]}
    codecs = wazarr.from_chonkle(document)
    assert codecs.serializer == BytesCodec(endian="big")
    assert codecs.chunk_shape is None


def test_filters_of_numcodecs() -> None:
    delta = {"name": "delta", "type": "numcodecs", "configuration": {"dtype": "<u2"}}
    for entries in ([delta, BYTES, ZLIB], [BYTES, delta, ZLIB]):
        codecs = wazarr.from_chonkle({"codecs": entries})
        assert [type(codec).__name__ for codec in codecs] == ["Delta", "BytesCodec", "Zlib"]


def changed(**parts: Any) -> dict[str, Any]:
    """Return the graph with some of it changed."""
    return {**GRAPH, **parts}


STEPS: dict[str, Any] = GRAPH["steps"]

WRONG: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "neither"),
    "codecs that are no list": ({"codecs": {}}, "'codecs'"),
    "entry that is no object": ({"codecs": [3]}, "'name'"),
    "no name": ({"codecs": [{"type": "wasm", "uri": "file:///a"}]}, "'name'"),
    "no uri": ({"codecs": [{"type": "wasm", "name": "a"}]}, "'uri'"),
    "unknown type": ({"codecs": [{"type": "native", "name": "a"}]}, "'native'"),
    "unknown codec": ({"codecs": [{"type": "numcodecs", "name": "nobody"}]}, "nobody"),
    "two of bytes": ({"codecs": [BYTES, BYTES]}, "two codecs"),
    "unknown elements": ({"codecs": [{**BYTES, "configuration": {"data_type": "number"}}]}, "data_type"),
    "unknown order": ({"codecs": [{**BYTES, "configuration": {"endian": "middle"}}]}, "endian"),
    "shape": ({"codecs": [{**BYTES, "configuration": {"shape": "12"}}]}, "shape"),
    "bytes before arrays": ({"codecs": [ZLIB, BYTES]}, "cannot stand"),
    "arrays after bytes": (
        {"codecs": [BYTES, ZLIB, {"name": "delta", "type": "numcodecs", "configuration": {"dtype": "<u2"}}]},
        "made bytes",
    ),
    "arrays after swapped bytes": (
        {
            "codecs": [
                {**BYTES, "configuration": {"endian": "big", "data_type": "uint16"}},
                {"name": "delta", "type": "numcodecs", "configuration": {"dtype": "<u2"}},
            ]
        },
        "made bytes",
    ),
    "direction": (changed(direction="sideways"), "direction"),
    "no inputs": ({key: GRAPH[key] for key in GRAPH if key != "inputs"}, "'inputs'"),
    "two outputs": (changed(outputs={"a": "inflate.bytes", "b": "predictor2.bytes"}), "2 outputs"),
    "output of another port": (changed(outputs={"bytes": "predictor2.mask"}), "'mask'"),
    "output from nowhere": (changed(outputs={"bytes": "nobody.bytes"}), "leads nowhere"),
    "reference without a dot": (changed(outputs={"bytes": "predictor2"}), "no reference"),
    "a step apart": (changed(outputs={"bytes": "inflate.bytes"}), "predictor2"),
    "a circle": (
        changed(steps={**STEPS, "inflate": {"codec_id": "zlib", "inputs": {"bytes": "predictor2.bytes"}}}),
        "leads nowhere",
    ),
    "a second wire between steps": (
        changed(
            steps={
                **STEPS,
                "predictor2": {
                    "codec_id": "tiff-predictor-2",
                    "inputs": {"bytes": "inflate.bytes", "width": "inflate.width"},
                },
            }
        ),
        "wired",
    ),
    "a constant that is not there": (changed(constants={}), "wired"),
    "a constant without a value": (changed(constants={"bytes_per_sample": {"type": "int"}}), "no value"),
    "a source that is no text": (changed(sources={"tiff-predictor-2": 3}), "source"),
}


@pytest.mark.parametrize("name", WRONG)
def test_documents_that_are_none(name: str) -> None:
    document, message = WRONG[name]
    inputs = {"columns": 16} if "steps" in document and "inputs" in document else {}
    with pytest.raises(InvalidInputError, match=message):
        wazarr.from_chonkle(document, inputs=inputs)


def test_inputs() -> None:
    with pytest.raises(InvalidInputError, match=r"'columns'.*inputs="):
        wazarr.from_chonkle(GRAPH)
    with pytest.raises(InvalidInputError, match="rows"):
        wazarr.from_chonkle(GRAPH, inputs={"columns": 3, "rows": 4})
    with pytest.raises(InvalidInputError, match="no inputs"):
        wazarr.from_chonkle({"codecs": [BYTES]}, inputs={"columns": 3})
