"""Our own guests against numpy and numcodecs, and the page that describes their interface."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest

from tests.wasm.built import MOST_BYTES, ROOT, TILE, bind, guest_path, sources
from wazarr.errors import CodecError

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_SHA256 = "793e95ed73d0ac5170a5960a6e25e49045353c3d2cd59dd8781a820cc9b23cd0"
COUNTS = (0, 1, 7, 15, 16, 17, 1000, 4099)


def random_bytes(count: int) -> bytes:
    return np.random.default_rng(count).bytes(count)


def array_of(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"data_type": values.dtype.newbyteorder("<").str, "shape": list(values.shape)}


# --- the examples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("data_type", ["u1", "<i2", "<u4", "<i8"])
def test_delta_is_that_of_numcodecs(data_type: str, count: int) -> None:
    values = np.frombuffer(random_bytes(count * np.dtype(data_type).itemsize), data_type)
    codec = bind("delta", "array-array", decoded=array_of(values))
    encoded = codec.encode(values.tobytes())
    if count:
        assert encoded == numcodecs.Delta(dtype=data_type).encode(values).tobytes()
    assert codec.decode(encoded, values.nbytes, MOST_BYTES) == values.tobytes()


@pytest.mark.parametrize("data_type", ["<f4", "|b1", "<U4", "<i4"])
def test_delta_takes_integers_only(data_type: str) -> None:
    codec = bind("delta", "array-array", decoded={"data_type": data_type, "shape": [4]})
    if data_type in ("<i4", "|b1"):
        codec.encode(bytes(4 * np.dtype(data_type).itemsize))
    else:
        with pytest.raises(CodecError, match="integers of 1, 2, 4 or 8 bytes"):
            codec.encode(bytes(4 * np.dtype(data_type).itemsize))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("element_size", [1, 2, 3, 4, 8, 16])
def test_byte_shuffle_is_that_of_numcodecs(element_size: int, count: int) -> None:
    decoded = random_bytes(count * element_size)
    codec = bind("byte-shuffle", parameters={"elementsize": element_size})
    encoded = codec.encode(decoded)
    if count and element_size > 1:
        assert encoded == bytes(numcodecs.Shuffle(element_size).encode(decoded))
    assert codec.decode(encoded, len(decoded), MOST_BYTES) == decoded


def test_byte_shuffle_leaves_an_odd_end_where_it_is() -> None:
    codec = bind("byte-shuffle", parameters={"elementsize": 4})
    assert codec.encode(b"abcdABCDxyz") == b"aAbBcCdDxyz"
    assert codec.decode(b"aAbBcCdDxyz", 11, MOST_BYTES) == b"abcdABCDxyz"


@pytest.mark.parametrize("count", [1, 7, 8, 15, 16, 17, 1000, 4099])
def test_packbits_is_that_of_numcodecs(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 2, count).astype(bool)
    codec = bind("packbits", "array-bytes", decoded=array_of(values))
    encoded = codec.encode(values.tobytes())
    assert encoded == numcodecs.PackBits().encode(values).tobytes()
    assert codec.decode(encoded, count, MOST_BYTES) == values.tobytes()


@pytest.mark.parametrize("data_type", ["u1", "<u2", "<u4", "<u8"])
@pytest.mark.parametrize("width", [1, 5, 16, 37])
def test_the_predictor_sums_along_rows(width: int, data_type: str) -> None:
    item_size = np.dtype(data_type).itemsize
    differences = np.frombuffer(random_bytes(3 * width * item_size), data_type).reshape(3, width)
    values = np.cumsum(differences, axis=1, dtype=data_type)
    codec = bind("tiff-predictor-2", parameters={"bytes_per_sample": item_size, "width": width})
    assert codec.decode(differences.tobytes(), values.nbytes, MOST_BYTES) == values.tobytes()
    assert codec.encode(values.tobytes()) == differences.tobytes()


def test_the_tile_of_the_satellite() -> None:
    differences = bind("zlib").decode(TILE.read_bytes(), 1 << 21, MOST_BYTES)
    codec = bind("tiff-predictor-2", parameters={"bytes_per_sample": 2, "width": 1024})
    image = codec.decode(differences, 1 << 21, MOST_BYTES)
    assert hashlib.sha256(image).hexdigest() == IMAGE_SHA256


LIBRARIES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "zlib": (numcodecs.Zlib(), [{}, {"level": 1}, {"level": 12}]),
    "lz4": (numcodecs.LZ4(), [{}, {"acceleration": 50}]),
    "zstd": (numcodecs.Zstd(), [{}, {"level": -5}, {"level": 9, "checksum": True}]),
}


@pytest.mark.parametrize(
    ("name", "parameters"), [(name, each) for name, (_, all_) in LIBRARIES.items() for each in all_]
)
def test_libraries_understand_one_another(name: str, parameters: dict[str, Any]) -> None:
    native, codec = LIBRARIES[name][0], bind(name, parameters=parameters)
    for decoded in (b"x", b"ab" * 5000, random_bytes(70_000), TILE.read_bytes()[:300_000]):
        encoded = codec.encode(decoded)
        bound = codec.encoded_bound(len(decoded))
        assert bound is not None
        assert len(encoded) <= bound
        assert bytes(native.decode(encoded)) == decoded
        assert codec.decode(bytes(native.encode(decoded)), len(decoded), MOST_BYTES) == decoded
        assert codec.decode(encoded, None, MOST_BYTES) == decoded


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_report_damage(name: str) -> None:
    codec = bind(name)
    encoded = bytearray(codec.encode(b"the same again and again, " * 100))
    for damaged in (b"", b"\xff" * 40, bytes(encoded[: len(encoded) // 2])):
        with pytest.raises(CodecError) as caught:
            codec.decode(damaged, 2600, MOST_BYTES)
        assert type(caught.value) is CodecError  # reported, not trapped


@pytest.mark.parametrize("data_type", ["<f4", "<f8"])
@pytest.mark.parametrize("keepbits", [0, 1, 10, 23])
def test_bit_round_rounds_to_even(keepbits: int, data_type: str) -> None:
    values = np.random.default_rng(7).normal(size=999).astype(data_type)
    codec = bind("bit-round", "array-array", parameters={"keepbits": keepbits}, decoded=array_of(values))
    rounded = np.frombuffer(codec.encode(values.tobytes()), data_type)
    mantissa = 23 if data_type == "<f4" else 52
    fraction, exponent = np.frexp(values.astype(np.float64))
    scale = 2.0 ** (keepbits + 1)
    expected = np.ldexp(np.round(fraction * scale) / scale, exponent)
    assert np.array_equal(rounded, expected) or keepbits == mantissa
    assert codec.decode(rounded.tobytes(), values.nbytes, MOST_BYTES) == rounded.tobytes()


@pytest.mark.parametrize(
    ("parameters", "data_type"), [({}, "<f4"), ({"keepbits": 24}, "<f4"), ({"keepbits": 3}, "<i4")]
)
def test_bit_round_refuses(parameters: dict[str, Any], data_type: str) -> None:
    codec = bind(
        "bit-round", "array-array", parameters=parameters, decoded={"data_type": data_type, "shape": [2]}
    )
    with pytest.raises(CodecError, match="keep"):
        codec.encode(bytes(8))


def test_run_length_in_rust() -> None:
    codec = bind("run-length")
    decoded = b"aaab" + b"x" * 1000
    assert codec.decode(codec.encode(decoded), len(decoded), MOST_BYTES) == decoded


# --- the header --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"bytes_per_sample": 2, "width": 4}, None),
        (
            {
                "note": 'a "quoted" } text',
                "nested": {"width": [9, {"width": 3}]},
                "width": 4,
                "bytes_per_sample": 2,
            },
            None,
        ),
        ({"bytes_per_sample": 2, "width": "4"}, "parameter width is not an integer"),
        ({"bytes_per_sample": 2, "width": 4.5}, "parameter width is not an integer"),
        ({"bytes_per_sample": 2, "width": 0}, "parameter width is out of range"),
        ({"bytes_per_sample": 2, "width": 10**30}, "parameter width is"),
        ({"bytes_per_sample": 3, "width": 4}, "bytes_per_sample 1, 2, 4 or 8"),
        ({}, "width must be at least 1"),
    ],
)
def test_the_header_reads_parameters(parameters: dict[str, Any], problem: str | None) -> None:
    codec = bind("tiff-predictor-2", parameters=parameters)
    if problem is None:
        assert codec.decode(bytes([1, 0] * 4), 8, MOST_BYTES) == bytes([1, 0, 2, 0, 3, 0, 4, 0])
    else:
        with pytest.raises(CodecError, match=problem):
            codec.decode(bytes(8), 8, MOST_BYTES)


@pytest.mark.parametrize("shape", [[], [6], [2, 3], [1, 2, 3, 1]])
def test_the_header_reads_shapes(shape: list[int]) -> None:
    count = int(np.prod(shape))
    codec = bind("big-endian", "array-bytes", decoded={"data_type": "<u4", "shape": shape})
    values = np.arange(count, dtype="<u4")
    encoded = codec.encode(values.tobytes())
    assert encoded == b"\x04" + values.astype(">u4").tobytes()
    assert codec.decode(encoded, values.nbytes, MOST_BYTES) == values.tobytes()
    with pytest.raises(CodecError, match="another data type or shape"):
        codec.decode(encoded[:-1], values.nbytes, MOST_BYTES)


def test_the_header_tells_both_sides() -> None:
    values = np.array([0.5, -2.25, 100], "<f4")
    codec = bind(
        "quantize",
        "array-array",
        parameters={"scale": 4.0},
        decoded=array_of(values),
        encoded={"data_type": "<i2", "shape": [3]},
    )
    encoded = codec.encode(values.tobytes())
    assert np.frombuffer(encoded, "<i2").tolist() == [2, -9, 400]
    assert codec.decode(encoded, values.nbytes, MOST_BYTES) == values.tobytes()
    with pytest.raises(CodecError, match="out of range"):
        codec.encode(np.array([1e9, 0, 0], "<f4").tobytes())


def test_error_texts_arrive_in_full() -> None:
    with pytest.raises(CodecError, match="told to fail: é"):
        bind("misbehaving", parameters={"how": "fail"}).decode(b"abc", 3, MOST_BYTES)


def test_a_result_longer_than_was_guessed() -> None:
    codec = bind("growing")
    decoded = random_bytes(100_000)
    assert codec.encoded_bound(10) is None
    encoded = codec.encode(decoded)
    assert encoded == b"\x03" + 3 * decoded
    assert codec.decode(encoded, len(decoded), MOST_BYTES) == decoded


# --- what the documents say --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/guests/*/*")), ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    lines = [line.strip() for line in path.read_text().splitlines()]
    own = [line for line in lines if line and not line.startswith(("/*", "*", "//"))]
    assert len(own) < 60


def documented() -> tuple[str, dict[int, bytes]]:
    """Return the message of the documentation, and the memory that it draws."""
    page = (ROOT / "docs" / "reference" / "wasm-abi.md").read_text()
    message = page[page.index("## One message, byte by byte") :]
    memory: dict[int, bytes] = {}
    for address, digits in re.findall(r"^    0x([0-9A-F]{4})  ((?:[0-9A-F]{2} )+)", message, re.MULTILINE):
        memory[int(address, 16)] = bytes.fromhex(digits)
    return message, memory


def region(memory: dict[int, bytes], begin: int, end: int) -> bytes:
    return b"".join(part for address, part in sorted(memory.items()) if begin <= address < end)


def test_the_documented_message_is_what_happens() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    message, memory = documented()
    configuration = region(memory, 0x2000, 0x3000)
    assert json.loads(configuration)["decoded"] == {"data_type": "<u2", "shape": [3]}
    assert f"json_len = {len(configuration)})" in message

    store: Any = wasmtime.Store()
    instance = wasmtime.Instance(store, wasmtime.Module.from_file(store.engine, str(guest_path("delta"))), [])
    exports = instance.exports(store)
    if "_initialize" in exports:
        exports["_initialize"](store)
    assert exports["wazarr_abi"](store) == 1

    def place(content: bytes) -> int:
        pointer = exports["alloc"](store, len(content))
        exports["memory"].write(store, content, pointer)
        return int(pointer)

    json_pointer = place(configuration)
    assert exports["configure"](store, json_pointer, len(configuration)) == 0
    source, room = place(region(memory, 0x3000, 0x4000)), place(bytes(16))
    assert exports["decode"](store, source, 6, room, 6) == 6
    assert exports["memory"].read(store, room, room + 6) == region(memory, 0x4000, 0x5000)
    assert exports["decode"](store, source, 5, room, 6) == -1
    packed = exports["error_text"](store)
    text = exports["memory"].read(store, packed >> 32, (packed >> 32) + (packed & 0xFFFFFFFF))
    assert text == region(memory, 0x0480, 0x0500)
    assert f"_{len(text):08X}" in message
    assert exports["decode"](store, source, 6, room, 5) == -2


def test_every_export_of_the_header_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "wasm-abi.md").read_text()
    header = (ROOT / "include" / "wazarr_codec.h").read_text()
    exported = set(re.findall(r'WAZARR_EXPORT\("(\w+)"\)', header)) | {"decode", "encode"}
    assert exported >= {"wazarr_abi", "alloc", "dealloc", "configure", "error_text", "encoded_bound"}
    for name in exported:
        assert f"| `{name}` |" in page


def test_no_guest_but_the_curious_imports_anything() -> None:
    from wazarr.wasm import modules

    for name, path in sources().items():
        if path.suffix == ".rs":
            continue
        facts = modules.survey(guest_path(name).read_bytes())
        assert facts["interface"] == "wazarr", name
        assert bool(facts["imports"]) == (name == "curious"), name
