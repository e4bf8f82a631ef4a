"""Random programs: an array and a list of steps on it, as plain data that JSON can hold.

`generate` draws a program from a random source (the fuzzer's, or hypothesis's), `execute` runs
it and compares each step with numpy, and for a share of the programs with zarr-python's default
pipeline as well. `shrink` takes steps away as long as the failure stays.
"""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import itertools
import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import zarr
import zarr.codecs as v3
import zarr.codecs.numcodecs as wrapped
from zarr.core.buffer.cpu import NDBuffer
from zarr.core.dtype import VariableLengthBytes

from tests.conformance.comparison import same_bits, value_of
from tests.conformance.steps import out_buffer
from tests.conformance.stores import STORE_KINDS, Location
from tests.conformance.values import WORDS, bits, records
from tests.pipelines import ORACLE_PATH, SUBJECT_IS_WAZARR, SUBJECT_PATH, ZARR_VERSION, pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

Json = dict[str, Any]

STRUCTURE = np.dtype([("a", "<i4"), ("b", "<f8"), ("c", "S3")])
INTEGERS = ("i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8")
SWAPPED = (">i2", ">u4", ">i8", ">f4", ">f8", ">c8")
FLOATS = ("<f2", "<f4", "<f8")
OTHERS = ("?", "<c8", "<c16", "<M8[ns]", "<M8[D]", "<m8[s]", "<U4", ">U3", "S5", "V3")
OBJECTS = ("text", "blobs")
DTYPES = (*INTEGERS, *INTEGERS, *FLOATS, *FLOATS, *SWAPPED, *OTHERS, "structure", *OBJECTS)

# ------------------------------------------------------------------------------------ codec chains


@dataclass(frozen=True)
class Chain:
    """A named codec chain: what `create_array` is told, and for which data types it is meant."""

    arguments: Callable[[str], Json]
    dtypes: tuple[str, ...] | None = None
    is_lossless: bool = True
    minimum_zarr: tuple[int, int] = (3, 1)


def _compressor(make: Callable[[], Any]) -> Chain:
    return Chain(lambda _dtype: {"compressors": make()})


def _filter(make: Callable[[str], Any], dtypes: tuple[str, ...], **options: Any) -> Chain:
    return Chain(lambda dtype: {"filters": make(dtype)}, dtypes, **options)


WIDE_INTEGERS = ("<i2", "<u2", "<i4", "<u4")
WIDE = ("<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")

V3_CHAINS: dict[str, Chain] = {
    "none": _compressor(lambda: None),
    "zstd": _compressor(lambda: v3.ZstdCodec(level=1)),
    "zstd checksum": _compressor(lambda: v3.ZstdCodec(level=1, checksum=True)),
    "gzip": _compressor(lambda: v3.GzipCodec(level=1)),
    "blosc lz4 shuffle": _compressor(lambda: v3.BloscCodec(cname="lz4", shuffle="shuffle")),
    "blosc zstd bitshuffle": _compressor(lambda: v3.BloscCodec(cname="zstd", shuffle="bitshuffle")),
    "blosc blosclz": _compressor(lambda: v3.BloscCodec(cname="blosclz", shuffle="noshuffle")),
    "blosc zlib": _compressor(lambda: v3.BloscCodec(cname="zlib", shuffle="shuffle")),
    "crc32c": _compressor(lambda: v3.Crc32cCodec()),
    "zstd crc32c": _compressor(lambda: (v3.ZstdCodec(level=1), v3.Crc32cCodec())),
    "numcodecs.lz4": _compressor(lambda: wrapped.LZ4()),
    "numcodecs.zlib": _compressor(lambda: wrapped.Zlib(level=1)),
    "numcodecs.bz2": _compressor(lambda: wrapped.BZ2(level=1)),
    "numcodecs.lzma": _compressor(lambda: wrapped.LZMA(preset=0)),
    "numcodecs.zstd": _compressor(lambda: wrapped.Zstd(level=1)),
    "numcodecs.gzip": _compressor(lambda: wrapped.GZip(level=1)),
    "numcodecs.blosc": _compressor(lambda: wrapped.Blosc(cname="lz4", clevel=1, shuffle=1)),
    "numcodecs.shuffle": Chain(lambda _dtype: {"compressors": (wrapped.Shuffle(elementsize=4), v3.GzipCodec(level=1))}, ("<i4", "<u4", "<f4")),
    "numcodecs.crc32": _compressor(lambda: wrapped.CRC32()),
    "numcodecs.crc32c": _compressor(lambda: wrapped.CRC32C()),
    "numcodecs.adler32": _compressor(lambda: wrapped.Adler32()),
    "numcodecs.fletcher32": _compressor(lambda: wrapped.Fletcher32()),
    "numcodecs.jenkins_lookup3": _compressor(lambda: wrapped.JenkinsLookup3()),
    "bytes big": Chain(lambda _dtype: {"serializer": v3.BytesCodec(endian="big")}, (*WIDE, "<c8", "<M8[ns]")),
    "numcodecs.delta": _filter(lambda dtype: wrapped.Delta(dtype=dtype), INTEGERS),
    "numcodecs.packbits": _filter(lambda _dtype: wrapped.PackBits(), ("?",)),
    "numcodecs.pcodec": Chain(lambda _dtype: {"serializer": wrapped.PCodec(level=2), "compressors": None}, WIDE),
    "numcodecs.bitround": _filter(lambda _dtype: wrapped.BitRound(keepbits=5), FLOATS, is_lossless=False),
    "numcodecs.astype": _filter(lambda dtype: wrapped.AsType(encode_dtype="<i8", decode_dtype=dtype), WIDE_INTEGERS),
    "scale_offset": _filter(lambda _dtype: v3.ScaleOffset(offset=2, scale=1), ("<f4", "<f8"), is_lossless=False, minimum_zarr=(3, 4)),
    "cast_value": _filter(lambda _dtype: v3.CastValue(data_type="int64"), WIDE_INTEGERS, minimum_zarr=(3, 4)),
}  # fmt: skip

V2_CHAINS: dict[str, Chain] = {
    "none": _compressor(lambda: None),
    "zstd": _compressor(lambda: numcodecs.Zstd(level=1)),
    "gzip": _compressor(lambda: numcodecs.GZip(level=1)),
    "zlib": _compressor(lambda: numcodecs.Zlib(level=1)),
    "bz2": _compressor(lambda: numcodecs.BZ2(level=1)),
    "lz4": _compressor(lambda: numcodecs.LZ4()),
    "lzma": _compressor(lambda: numcodecs.LZMA(preset=0)),
    "blosc lz4": _compressor(lambda: numcodecs.Blosc(cname="lz4", clevel=1, shuffle=1)),
    "blosc zstd bitshuffle": _compressor(lambda: numcodecs.Blosc(cname="zstd", clevel=1, shuffle=2)),
    "delta": _filter(lambda dtype: [numcodecs.Delta(dtype)], INTEGERS),
    "astype": _filter(lambda dtype: [numcodecs.AsType("<i8", dtype)], WIDE_INTEGERS),
    "packbits": _filter(lambda _dtype: [numcodecs.PackBits()], ("?",)),
    # Not bitround: in order F zarr-python writes its elements in another order than it reads.
    "shuffle": _filter(lambda _dtype: [numcodecs.Shuffle(4)], ("<i4", "<u4", "<f4")),
    "quantize": _filter(lambda dtype: [numcodecs.Quantize(1, dtype)], FLOATS[1:], is_lossless=False),
}  # fmt: skip


def _chains(array: Json) -> dict[str, Chain]:
    return V2_CHAINS if array["zarr_format"] == 2 else V3_CHAINS


# ---------------------------------------------------------------------------------- random programs

STORE_WEIGHTS = {
    "memory": 54,
    "local": 30,
    "wrapper": 8,
    "witness-local": 4,
    "inverted-local": 4,
}


def generate(random: Random, *, steps: int = 40, oracle_share: float = 0.2) -> Json:
    """Draw an array and `steps` steps on it."""
    array = _generate_array(random)
    array["has_oracle"] = not _chains(array)[array["chain"]].is_lossless or (random.random() < oracle_share)
    shape = tuple(array["shape"])
    program: Json = {"array": array, "steps": []}
    is_ragged = False
    for _ in range(steps):
        step = _generate_step(random, array, shape, may_grow=array["has_oracle"] or not is_ragged)
        program["steps"].append(step)
        if step["do"] == "resize":
            new_shape = tuple(step["array_shape"])
            is_ragged |= any(new < old for new, old in zip(new_shape, shape, strict=True))
            shape = new_shape
        elif step["do"] == "append":
            axis = step["axis"]
            shape = (*shape[:axis], shape[axis] + step["count"], *shape[axis + 1 :])
    return program


def _generate_array(random: Random) -> Json:
    zarr_format = random.choice((2, 3, 3))
    dimensions = random.choice((0, 1, 1, 2, 2, 2, 2, 3, 3, 4))
    largest = (1, 40, 14, 8, 5)[dimensions]
    shape = [random.randint(0 if random.random() < 0.1 else 1, largest) for _ in range(dimensions)]
    inner = [random.randint(1, max(1, min(6, extent + 2))) for extent in shape]
    is_sharded = zarr_format == 3 and dimensions > 0 and random.random() < 0.45
    shards = [extent * random.randint(1, 3) for extent in inner] if is_sharded else None
    dtype = random.choice(DTYPES)
    if ZARR_VERSION < (3, 2) and is_sharded and dtype in ("structure", "V3"):
        dtype = "<i4"
    chains = V2_CHAINS if zarr_format == 2 else V3_CHAINS
    fitting = [
        name
        for name, chain in chains.items()
        if chain.minimum_zarr <= ZARR_VERSION and (chain.dtypes is None or dtype in chain.dtypes)
    ]
    special = [name for name in fitting if chains[name].dtypes is not None]
    if special and random.random() < 0.3:
        fitting = special
    names = list(STORE_WEIGHTS)
    can_transpose = zarr_format == 3 and dimensions > 1 and not is_sharded
    memory_order = random.choice("CCCF")
    if ZARR_VERSION < (3, 2):  # that zarr encodes the elements of chunks in order F wrongly
        can_transpose, memory_order = False, "C"
        if is_sharded:
            fitting = [name for name in fitting if name != "numcodecs.pcodec"]
    return {
        "zarr_format": zarr_format,
        "shape": shape,
        "chunks": inner,
        "shards": shards,
        "dtype": dtype,
        "chain": random.choice(fitting),
        "transpose": can_transpose and random.random() < 0.2,
        "order": random.choice("CF") if zarr_format == 2 else "C",
        "memory_order": memory_order,
        "has_odd_fill": random.random() < 0.4,
        "write_empty_chunks": random.random() < 0.3,
        "index_location": random.choice(("end", "end", "start")),
        "store": random.choices(names, [STORE_WEIGHTS[name] for name in names])[0],
    }


def _generate_step(random: Random, array: Json, shape: tuple[int, ...], *, may_grow: bool) -> Json:
    draw = random.random()
    if shape and draw < 0.02:
        new_shape = [
            random.choice((extent, random.randint(0, extent + 4 if may_grow else extent))) for extent in shape
        ]
        return {"do": "resize", "array_shape": new_shape}
    if shape and may_grow and draw < 0.035 and math.prod(shape) < 4000:
        axis = random.randrange(len(shape))
        return {"do": "append", "axis": axis, "count": random.randint(1, 4), "seed": _seed(random)}
    if draw < 0.05:
        return {"do": "reopen"}
    if draw < 0.07 and shape:
        dimension = random.randrange(len(shape))
        index = shape[dimension] + random.randint(0, 3)
        selection: list[Any] = [["s", None, None, None]] * dimension + [index]
        return {"do": "refuse", "selection": selection}
    kind = random.choice(
        ("basic", "basic", "basic", "orthogonal", "orthogonal", "coordinates", "mask", "blocks")
    )
    if not shape:
        kind = "basic"
    if 0 in shape and (kind != "orthogonal" or ZARR_VERSION < (3, 2)):
        kind = "basic"
    is_write = draw < 0.45
    has_broken_shards = ZARR_VERSION < (3, 2) and (array["has_oracle"] or not SUBJECT_IS_WAZARR)
    if is_write and array["shards"] and kind in ("orthogonal", "coordinates", "mask"):
        kind = "basic" if has_broken_shards else kind
    step: Json = {
        "do": "write" if is_write else "read",
        "kind": kind,
        "selection": _generate_selection(random, kind, array, shape, is_write=is_write),
    }
    if is_write:
        step["value"] = random.choice(("array", "array", "array", "scalar", "fill"))
        step["seed"] = _seed(random)
    elif random.random() < 0.15 and kind != "blocks" and shape:
        step["out"] = random.choice(("c", "fortran", "strided", "reversed", "transposed", "inside"))
    return step


def _seed(random: Random) -> int:
    return random.randint(0, 2**20)


def _generate_slice(random: Random, extent: int) -> list[Any]:
    if random.random() < 0.25:
        return ["s", None, None, None]
    start, stop = sorted((random.randint(0, extent), random.randint(0, extent)))
    if random.random() < 0.1:
        stop += 5
    if random.random() < 0.1 and extent:
        start -= extent
    step = random.randint(2, 5) if random.random() < 0.3 else None
    return ["s", start, stop, step]


def _generate_selection(
    random: Random, kind: str, array: Json, shape: tuple[int, ...], *, is_write: bool
) -> list[Any]:
    if kind == "basic":
        selection = [
            random.randint(-extent, extent - 1) if extent and random.random() < 0.25
            else _generate_slice(random, extent)
            for extent in shape
        ]  # fmt: skip
        if random.random() < 0.15:
            selection = selection[: random.randint(0, len(selection))]
        return selection
    if kind == "orthogonal":
        return [_generate_indexer(random, extent, is_write=is_write) for extent in shape]
    if kind == "coordinates":
        count = random.randint(1, 12)
        points = list({tuple(random.randrange(extent) for extent in shape) for _ in range(count)})
        if not is_write:
            points += random.choices(points, k=random.randint(0, 3))
            random.shuffle(points)
        return [["a", list(column)] for column in zip(*points, strict=True)]
    if kind == "mask":
        return [["mask", _seed(random), random.choice((0.0, 0.1, 0.5, 1.0))]]
    grid = [
        -(-extent // chunk) for extent, chunk in zip(shape, array["shards"] or array["chunks"], strict=True)
    ]
    return [
        random.randrange(count) if random.random() < 0.6
        else ["s", *sorted((random.randint(0, count - 1), random.randint(1, count))), None]
        for count in grid
    ]  # fmt: skip


def _generate_indexer(random: Random, extent: int, *, is_write: bool) -> Any:
    draw = random.random()
    if extent == 0 or draw < 0.35:
        return _generate_slice(random, extent)
    if draw < 0.5:
        return random.randint(-extent, extent - 1)
    if draw < 0.65:
        return ["m", [random.random() < 0.5 for _ in range(extent)]]
    indexes = [random.randrange(extent) for _ in range(random.randint(1, 8))]
    if is_write:
        indexes = list(dict.fromkeys(indexes))
    elif random.random() < 0.3:
        indexes = [index - extent if random.random() < 0.5 else index for index in indexes]
    if random.random() < 0.4:
        indexes.sort()
    return ["a", indexes]


# ---------------------------------------------------------------------------------------- execution


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return numpy's data type for a name of `DTYPES`."""
    match name:
        case "text":
            return np.dtypes.StringDType()
        case "blobs":
            return np.dtype(object)
        case "structure":
            return STRUCTURE
    return np.dtype(name)


def _zarr_dtype(name: str) -> Any:
    match name:
        case "text":
            return str
        case "blobs":
            return VariableLengthBytes()
    return numpy_dtype(name)


def fill_value(array: Json) -> Any:
    """Return the array's fill value: the data type's own, or an odd one.

    NaN is left to programs with an oracle: zarr-python drops a chunk of any NaNs then.
    """
    dtype, is_odd = numpy_dtype(array["dtype"]), array["has_odd_fill"]
    match dtype.kind:
        case "T":
            return "fill" if is_odd else ""
        case "O":
            return b"fill" if is_odd else b""
        case "b":
            return is_odd
        case "i" | "u":
            return 7 if is_odd else 0
        case "f":
            if array["has_oracle"]:
                return np.nan if is_odd else 0.0
            return -0.0 if is_odd else 0.0
        case "c":
            return complex(1, -2) if is_odd else complex(0, 0)
        case "M" | "m":
            return np.array(5 if is_odd else 0, "<i8").view(dtype.newbyteorder("<"))[()]
        case "U":
            return "ab" if is_odd else ""
        case "S":
            return b"ab" if is_odd else b""
    return np.zeros((), dtype)[()]


def values(array: Json, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """Return contents for `shape` that depend on nothing but the data type and `seed`."""
    dtype = numpy_dtype(array["dtype"])
    if not _chains(array)[array["chain"]].is_lossless:
        generator = np.random.default_rng(seed)
        return generator.integers(-100, 100, shape).astype(dtype)
    if array["chain"] in ("numcodecs.pcodec",) and dtype.kind == "f":
        generator = np.random.default_rng(seed)
        return generator.integers(-100, 100, shape).astype(dtype)
    size = math.prod(shape)
    if dtype.kind in "TO":
        pool = np.array([*WORDS] if dtype.kind == "T" else [word.encode() for word in WORDS], dtype)
        return pool[np.random.default_rng(seed).integers(0, len(pool), size)].reshape(shape)
    if dtype.names is not None:
        return records(*shape, dtype=dtype, seed=seed)
    if dtype.kind == "U":
        texts = np.array([word.replace("\0", "_") for word in WORDS], dtype)
        return texts[np.random.default_rng(seed).integers(0, len(texts), size)].reshape(shape)
    result = bits(size, dtype=dtype.str, seed=seed)
    if size < 4 and size:
        result = bits(4 + size, dtype=dtype.str, seed=seed)[4:]
    return result.reshape(shape)


def _decoded(item: Any) -> Any:
    """Turn the JSON form of one dimension's selection into what Python users write."""
    if isinstance(item, list):
        if item[0] == "s":
            return slice(*item[1:])
        return np.array(item[1], dtype=bool if item[0] == "m" else np.int64)
    return item


def _selection(step: Json, shape: tuple[int, ...]) -> Any:
    items = step["selection"]
    if items and isinstance(items[0], list) and items[0][0] == "mask":
        return np.random.default_rng(items[0][1]).random(shape) < items[0][2]
    return tuple(_decoded(item) for item in items)


def _numpy_selection(step: Json, array: Json, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...] | None]:
    """Return numpy's form of the selection, and for outer products the shape after dropping."""
    selection = _selection(step, shape)
    match step["kind"]:
        case "orthogonal":
            columns, kept = [], []
            for item, extent in zip(selection, shape, strict=True):
                if isinstance(item, slice):
                    columns.append(np.arange(extent)[item])
                    kept.append(True)
                elif isinstance(item, np.ndarray):
                    columns.append(np.flatnonzero(item) if item.dtype == bool else item)
                    kept.append(True)
                else:
                    columns.append(np.array([item]))
                    kept.append(False)
            result_shape = tuple(
                len(column) for column, is_kept in zip(columns, kept, strict=True) if is_kept
            )
            return np.ix_(*columns), result_shape
        case "blocks":
            chunks = array["shards"] or array["chunks"]
            slices = []
            for item, chunk in zip(selection, chunks, strict=True):
                first, last = (item.start, item.stop) if isinstance(item, slice) else (item, item + 1)
                slices.append(slice(first * chunk, max(first, last) * chunk))
            return tuple(slices), None
    return selection, None


def model_read(model: np.ndarray[Any, Any], step: Json, array: Json) -> np.ndarray[Any, Any]:
    """Read from the numpy model what `step` asks of the array."""
    selection, result_shape = _numpy_selection(step, array, model.shape)
    result = np.asarray(model[selection])
    return result if result_shape is None else result.reshape(result_shape)


def model_write(model: np.ndarray[Any, Any], step: Json, array: Json, value: Any) -> None:
    """Write to the numpy model what `step` writes to the array."""
    selection, result_shape = _numpy_selection(step, array, model.shape)
    if result_shape is not None and np.ndim(value):
        value = np.broadcast_to(value, result_shape).reshape(model[selection].shape)
    model[selection] = value


def array_read(array: zarr.Array[Any], step: Json) -> Any:
    """Read from the zarr array what `step` asks of it."""
    selection = _selection(step, array.shape)
    match step["kind"]:
        case "basic":
            return array[selection]
        case "orthogonal":
            return array.oindex[selection]
        case "coordinates":
            return array.vindex[selection]
        case "mask":
            return array.get_mask_selection(selection)
    return array.blocks[selection]


def array_read_into(array: zarr.Array[Any], step: Json, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Read into a buffer of an unusual layout; return the view that was read into."""
    selection = _selection(step, array.shape)
    _, view = out_buffer(step["out"], shape, array.dtype)
    out = NDBuffer.from_numpy_array(view)
    match step["kind"]:
        case "basic":
            array.get_basic_selection(selection, out=out)
        case "orthogonal":
            array.get_orthogonal_selection(selection, out=out)
        case "coordinates":
            array.get_coordinate_selection(selection, out=out)
        case "mask":
            array.get_mask_selection(selection, out=out)
    return np.asarray(view)


def array_write(array: zarr.Array[Any], step: Json, value: Any) -> None:
    """Write to the zarr array what `step` says."""
    selection = _selection(step, array.shape)
    match step["kind"]:
        case "basic":
            array[selection] = value
        case "orthogonal":
            array.oindex[selection] = value
        case "coordinates":
            array.vindex[selection] = value
        case "mask":
            array.set_mask_selection(selection, value)
        case "blocks":
            array.blocks[selection] = value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


class Mismatch(AssertionError):
    """A step gave something else than numpy or the default pipeline."""


@dataclass
class Target:
    """An array under one pipeline, in its own store."""

    description: Json
    path: str
    location: Location
    array: zarr.Array[Any] = field(init=False)

    def create(self) -> None:
        """Create the array."""
        about = self.description
        arguments: Json = dict(_chains(about)[about["chain"]].arguments(about["dtype"]))
        if about["transpose"]:
            order = tuple(reversed(range(len(about["shape"]))))
            filters = arguments.pop("filters", None)
            filters = () if filters is None else (filters,)
            arguments["filters"] = (v3.TransposeCodec(order=order), *filters)
        if about["shards"]:
            arguments["shards"] = {
                "shape": tuple(about["shards"]),
                "index_location": about["index_location"],
            }
        if about["zarr_format"] == 2:
            arguments["order"] = about["order"]
        with pipeline(self.path, **self._config()):
            self.array = zarr.create_array(
                STORE_KINDS[about["store"]].open(self.location, False),
                shape=tuple(about["shape"]),
                chunks=tuple(about["chunks"]),
                dtype=_zarr_dtype(about["dtype"]),
                fill_value=fill_value(about),
                zarr_format=about["zarr_format"],
                **arguments,
            )
        self.reopen()

    def _config(self) -> Json:
        return {
            "array.order": self.description["memory_order"],
            "array.write_empty_chunks": self.description["write_empty_chunks"],
        }

    def reopen(self) -> None:
        """Open store and array anew."""
        about = self.description
        with pipeline(self.path, **self._config()):
            store = STORE_KINDS[about["store"]].open(self.location, False)
            self.array = zarr.open_array(store, mode="r+", zarr_format=about["zarr_format"])


def _value(step: Json, array: Json, shape: tuple[int, ...]) -> Any:
    kind = step["value"]
    if array["dtype"] == "text" and step["kind"] != "basic" and ZARR_VERSION < (3, 2):
        kind = "array"  # numpy of that time crashes where one text is written to many indexes
    match kind:
        case "fill":
            value = np.empty((), numpy_dtype(array["dtype"]))
            value[()] = fill_value(array)
        case "scalar":
            value = values(array, (), step["seed"])
        case _:
            value = values(array, shape, step["seed"])
    return value[()] if value.ndim == 0 and value.dtype.kind in "TO" else value


def _check(expected: Any, actual: Any, where: str) -> None:
    expected, actual = np.asarray(expected), np.asarray(actual)
    is_text = expected.dtype.kind in "TO" or (expected.ndim == 0 and expected.dtype.kind in "US")
    if is_text:  # a single text has no length of its own in numpy
        is_same = expected.shape == actual.shape and expected.tolist() == actual.tolist()
    elif expected.ndim == 0:  # a scalar of numpy's has no byte order
        native = expected.dtype.newbyteorder("=")
        is_same = same_bits(expected.astype(native), actual.astype(actual.dtype.newbyteorder("=")))
    else:
        is_same = same_bits(expected, actual)
    if not is_same:
        raise Mismatch(f"{where}:\n  expected {value_of(expected)!r}\n  but got  {value_of(actual)!r}")


def execute(program: Json, folder: Path, counts: Counter[str] | None = None) -> None:
    """Run `program` in `folder`; raises `Mismatch`, or whatever the pipeline raised wrongly."""
    about = program["array"]
    counts = Counter() if counts is None else counts
    subject = Target(about, SUBJECT_PATH, Location(folder / "subject"))
    oracle = Target(about, ORACLE_PATH, Location(folder / "oracle")) if about["has_oracle"] else None
    is_exact = _chains(about)[about["chain"]].is_lossless and not _is_nan(fill_value(about))
    for target in (subject, oracle):
        if target is not None:
            target.create()
    model = np.empty(about["shape"], subject.array.dtype)
    model[...] = subject.array.fill_value
    if SUBJECT_IS_WAZARR:
        import wazarr

        wazarr.reset_counters()
    run = _Run(about, subject, oracle, model, is_exact=is_exact)
    for position, step in enumerate(program["steps"]):
        run.step(step, f"step {position} {step}")
        counts["operations"] += 1
        counts[f"store {about['store']}"] += 1
        counts[f"dtype {about['dtype']}"] += 1
        counts[f"codec v{about['zarr_format']} {about['chain']}"] += 1
        counts[f"selection {step['do']} {step.get('kind', '')}".rstrip()] += 1
        counts["layout " + ("sharded" if about["shards"] else "unsharded")] += 1
        counts["compared with " + ("the default pipeline" if oracle else "numpy")] += 1
    run.finish()
    if SUBJECT_IS_WAZARR and STORE_KINDS[about["store"]].engine == "native":
        import wazarr

        counters = wazarr.counters()
        if oracle is None and (counters["fallbacks"] or counters["codec_steps"]["python"]):
            raise Mismatch(f"native work fell back: {counters}")


@dataclass
class _Run:
    about: Json
    subject: Target
    oracle: Target | None
    model: np.ndarray[Any, Any]
    is_exact: bool

    def step(self, step: Json, where: str) -> None:
        match step["do"]:
            case "read":
                self._read(step, where)
            case "write":
                self._write(step)
            case "refuse":
                self._refuse(step, where)
            case "resize":
                self._resize(tuple(step["array_shape"]))
            case "append":
                self._append(step)
            case "reopen":
                for target in self._targets():
                    target.reopen()

    def _targets(self) -> list[Target]:
        return [self.subject] if self.oracle is None else [self.subject, self.oracle]

    def _read(self, step: Json, where: str) -> None:
        expected = model_read(self.model, step, self.about)
        if "out" in step and expected.shape:  # zarr-python answers scalars by value
            actual = array_read_into(self.subject.array, step, expected.shape)
        else:
            actual = array_read(self.subject.array, step)
        if self.is_exact:
            _check(expected, actual, where)
        if self.oracle is not None:
            _check(array_read(self.oracle.array, step), actual, where + " (default pipeline)")

    def _write(self, step: Json) -> None:
        shape = model_read(self.model, step, self.about).shape
        if shape == () and self.about["dtype"] == "blobs":
            return  # zarr-python's own pipelines cannot write one element of this type
        value = _value(step, self.about, shape)
        model_write(self.model, step, self.about, value)
        for target in self._targets():
            array_write(target.array, step, value)

    def _refuse(self, step: Json, where: str) -> None:
        selection = _selection(step, self.subject.array.shape)
        try:
            self.subject.array[selection]
        except IndexError:
            return
        raise Mismatch(f"{where}: an index out of bounds was accepted")

    def _resize(self, shape: tuple[int, ...]) -> None:
        for target in self._targets():
            target.array.resize(shape)
        self._take_shape(shape)

    def _append(self, step: Json) -> None:
        axis = step["axis"]
        shape = list(self.model.shape)
        shape[axis] = step["count"]
        data = values(self.about, tuple(shape), step["seed"])
        first = self.model.shape[axis]
        for target in self._targets():
            target.array.append(data, axis=axis)
        shape[axis] += first
        self._take_shape(tuple(shape))
        if self.oracle is None:
            index = [slice(None)] * len(shape)
            index[axis] = slice(first, None)
            self.model[tuple(index)] = data

    def _take_shape(self, shape: tuple[int, ...]) -> None:
        """Resize the model; what grows back into an edge chunk only zarr-python can say."""
        if self.oracle is not None:
            self.model = np.asarray(self.oracle.array[...])
            if self.model.flags.writeable is False or not shape:
                self.model = self.model.copy()
            return
        model = np.empty(shape, self.model.dtype)
        model[...] = fill_value(self.about)
        common = tuple(slice(min(old, new)) for old, new in zip(self.model.shape, shape, strict=True))
        model[common] = self.model[common]
        self.model = model

    def finish(self) -> None:
        """Read everything once more, and let the default pipeline read what ours wrote."""
        everything = np.asarray(self.subject.array[...])
        if self.is_exact:
            _check(self.model, everything, "everything at the end")
        reader = Target(self.about, ORACLE_PATH, self.subject.location)
        reader.reopen()
        _check(reader.array[...], everything, "our bytes, read by the default pipeline")
        if self.oracle is not None:
            _check(self.oracle.array[...], everything, "everything at the end (default pipeline)")
            self._compare_keys()

    def _compare_keys(self) -> None:
        from tests.conformance.runner import chunk_keys

        assert self.oracle is not None
        theirs, ours = chunk_keys(self.oracle.array.store), chunk_keys(self.subject.array.store)
        if theirs != ours:
            raise Mismatch(f"chunk keys: missing {sorted(theirs - ours)}, extra {sorted(ours - theirs)}")


def failure_of(program: Json) -> str | None:
    """Run `program` in a folder of its own; return what went wrong, or None."""
    with tempfile.TemporaryDirectory(prefix="wazarr-fuzz-") as folder:
        try:
            execute(program, Path(folder))
        except Exception as exception:  # noqa: BLE001 - any exception is a finding
            return f"{type(exception).__name__}: {exception}"
    return None


def is_valid(program: Json) -> bool:
    """Whether every step fits the shape that the array then has."""
    model = np.zeros(program["array"]["shape"], np.uint8)
    try:
        for step in program["steps"]:
            if step["do"] == "resize":
                model = np.zeros(step["array_shape"], np.uint8)
            elif step["do"] == "append":
                shape = list(model.shape)
                shape[step["axis"]] += step["count"]
                model = np.zeros(shape, np.uint8)
            elif step["do"] == "refuse":
                if step["selection"][-1] < model.shape[len(step["selection"]) - 1]:
                    return False
            elif step["do"] in ("read", "write"):
                model_read(model, step, program["array"])
    except (IndexError, ValueError):
        return False
    return True


def _still_fails(program: Json, kind: str) -> bool:
    failure = failure_of(program) if is_valid(program) else None
    return failure is not None and failure.split(":")[0] == kind


def shrink(program: Json, *, attempts: int = 400) -> Json:
    """Take away as many steps as possible, in ever smaller pieces, while the program fails."""
    kind = (failure_of(program) or "").split(":")[0]
    steps = list(program["steps"])
    size = max(1, len(steps) // 2)
    budget = itertools.count()
    while size and next(budget) < attempts:
        for start in range(0, len(steps), size):
            fewer = steps[:start] + steps[start + size :]
            if len(fewer) < len(steps) and _still_fails({**program, "steps": fewer}, kind):
                steps = fewer
                break
            next(budget)
        else:
            size //= 2
    smaller: Json = {**program, "steps": steps}
    for key, simple in (
        ("store", "memory"),
        ("memory_order", "C"),
        ("has_odd_fill", False),
        ("transpose", False),
        ("write_empty_chunks", False),
    ):
        simpler: Json = {**smaller, "array": {**smaller["array"], key: simple}}
        if _still_fails(simpler, kind):
            smaller = simpler
    return smaller
