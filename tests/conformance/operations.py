"""The table of operations: selections x data types x codecs x stores x formats x order x sharding.

Each row is an `Operation`: how the array is made, what it holds, and the steps that a user
takes. There are no expected values here: zarr-python's default pipeline is the oracle.
Read a section by its head line; to add a case, add a line.
"""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numcodecs
import numpy as np
import zarr
import zarr.codecs as v3
import zarr.codecs.numcodecs as wrapped
from zarr.core.dtype import VariableLengthBytes

from tests.conformance import python_codecs
from tests.conformance.runner import Operation, chunk_keys
from tests.conformance.steps import Append, Call, Read, ReadInto, Reopen, Resize, Write
from tests.conformance.values import bits, blobs, counting, records, smooth, texts
from tests.pipelines import ZARR_VERSION

if TYPE_CHECKING:
    from tests.conformance.steps import Scene, SelectionKind, Step

python_codecs.register()

Layout = Mapping[str, Any]

# ---------------------------------------------------------------- layouts, 2-D: 13 x 11, edges cut

PLAIN: Layout = {"shape": (13, 11), "chunks": (4, 3), "dtype": "int32"}
SHARDED: Layout = {"shape": (13, 11), "chunks": (2, 3), "shards": (8, 6), "dtype": "int32"}
RAW: Layout = {**PLAIN, "compressors": None}
RAW_SHARDED: Layout = {**SHARDED, "compressors": None}
V2: Layout = {**PLAIN, "zarr_format": 2}
V2_F: Layout = {**PLAIN, "zarr_format": 2, "order": "F", "compressors": None}
ONE_CHUNK: Layout = {"shape": (13, 11), "chunks": (20, 16), "dtype": "int32"}
GRID = counting(13, 11)

SHARD_WRITES_BY_ARRAYS = (3, 2)
"""The oldest zarr whose default pipeline writes into shards by index arrays without an error."""

SHARDED_UNHASHABLES = (3, 2)
"""The oldest zarr that can shard arrays whose fill value Python cannot hash."""

RECTILINEAR: Layout = {"shape": (13, 11), "chunks": [[1, 4, 6, 2], [5, 5, 1]], "dtype": "int32"}
RECTILINEAR_CONFIG = {"array.rectilinear_chunks": True}

CUBE_LAYOUT: Layout = {"shape": (5, 7, 6), "chunks": (2, 3, 4), "dtype": "float32"}
CUBE_SHARDED: Layout = {**CUBE_LAYOUT, "chunks": (2, 3, 2), "shards": (4, 6, 6)}
CUBE = counting(5, 7, 6, dtype="float32")

LINE_LAYOUT: Layout = {"shape": (29,), "chunks": (5,), "dtype": "float64"}
LINE = counting(29, dtype="float64")

# ------------------------------------------------------------------------------- reads, selections

GRID_MASK = GRID % 3 == 0
ROWS = np.arange(13) % 2 == 0
COLUMNS = np.arange(11) > 6

READS_2D: tuple[tuple[str, SelectionKind, Any], ...] = (
    ("everything", "getitem", ...),
    ("everything by slices", "getitem", np.s_[:, :]),
    ("a chunk exactly", "getitem", np.s_[4:8, 3:6]),
    ("a window across chunks", "getitem", np.s_[3:9, 2:10]),
    ("a window inside a chunk", "getitem", np.s_[5:7, 4:5]),
    ("the last edge chunk", "getitem", np.s_[12:, 9:]),
    ("negative bounds", "getitem", np.s_[-5:-1, -4:]),
    ("bounds past the end", "getitem", np.s_[10:99, 8:99]),
    ("one row", "getitem", 5),
    ("the last row", "getitem", -1),
    ("one column", "getitem", np.s_[:, 4]),
    ("one column by ellipsis", "getitem", np.s_[..., 4]),
    ("a row and a slice", "getitem", np.s_[3, 2:9]),
    ("one element", "getitem", np.s_[7, 7]),
    ("one element, numpy integers", "getitem", (np.int64(7), np.uint8(3))),
    ("steps", "getitem", np.s_[::3, ::2]),
    ("steps that skip chunks", "getitem", np.s_[1::6, 2::7]),
    ("a step of one dimension", "getitem", np.s_[::5]),
    ("an empty slice", "getitem", np.s_[5:5, :]),
    ("an empty slice, backwards", "getitem", np.s_[9:2, 3]),
    ("a slice wholly past the end", "getitem", np.s_[50:60]),
    ("a length-one slice", "getitem", np.s_[2:3, 10:11]),
    ("a list of rows", "getitem", [1, 5, 12]),
    ("a mask of rows and a slice", "orthogonal", (ROWS, slice(2, 9))),
    ("a full mask by getitem", "getitem", GRID_MASK),
    ("two lists by getitem", "getitem", ([1, 5, 12], [0, 4, 10])),
    ("rows by list, columns by slice", "getitem", ([0, 3, 4], slice(1, 7))),
    ("sorted rows", "orthogonal", ([0, 3, 4, 12], slice(None))),
    ("unsorted rows", "orthogonal", ([12, 0, 7, 3], slice(None))),
    ("repeated rows", "orthogonal", ([3, 3, 0, 3, 12, 12], slice(None))),
    ("negative rows", "orthogonal", ([-1, -13, 2], slice(1, 3))),
    ("no rows, untyped", "orthogonal", ([], slice(None))),
    ("no rows", "orthogonal", (np.array([], int), slice(None))),
    ("no rows by mask", "orthogonal", (np.zeros(13, bool), slice(None))),
    ("outer product", "orthogonal", ([1, 4, 11], [0, 2, 10])),
    ("outer product, unsorted and repeated", "orthogonal", ([11, 1, 1, 4], [10, 0, 2, 0])),
    ("outer product of masks", "orthogonal", (ROWS, COLUMNS)),
    ("a mask and a list", "orthogonal", (ROWS, [9, 1])),
    ("a list and an integer", "orthogonal", ([9, 1, 1], 4)),
    ("an integer and a mask", "orthogonal", (4, COLUMNS)),
    ("a list and a step", "orthogonal", ([9, 1, 5], slice(1, 10, 3))),
    ("a step and a list", "orthogonal", (slice(0, 13, 4), [10, 2])),
    ("orthogonal slices", "orthogonal", (slice(2, 9), slice(None, None, 2))),
    ("points", "coordinates", ([0, 5, 12], [10, 4, 0])),
    ("points, unsorted and repeated", "coordinates", ([12, 0, 5, 0, 12], [1, 10, 4, 10, 1])),
    ("points, negative", "coordinates", ([-1, -13], [-11, 10])),
    (
        "points in a square",
        "coordinates",
        (np.array([[0, 5], [12, 3]]), np.array([[1, 2], [3, 4]])),
    ),
    ("points, broadcast", "coordinates", (np.array([[0], [5], [12]]), np.array([[1, 9]]))),
    ("points, one column for all", "coordinates", ([0, 5, 12], 3)),
    ("one point", "coordinates", (3, 4)),
    ("no points, untyped", "coordinates", ([], [])),
    ("no points", "coordinates", (np.array([], int), np.array([], int))),
    ("vindex by mask", "coordinates", GRID_MASK),
    ("a mask", "mask", GRID_MASK),
    ("a mask of nothing", "mask", np.zeros((13, 11), bool)),
    ("a mask of everything", "mask", np.ones((13, 11), bool)),
    ("a block", "blocks", (1, 2)),
    ("a row of blocks", "blocks", 1),
    ("the last block", "blocks", (-1, -1)),
    ("blocks by slice", "blocks", (slice(0, 2), slice(1, None))),
    ("a block and a slice", "blocks", (slice(1, 2), 0)),
    # What zarr-python refuses: the same exception class is wanted.
    ("a row past the end", "getitem", 13),
    ("a row before the start", "getitem", -14),
    ("too many indices", "getitem", np.s_[1, 2, 3]),
    ("a negative step", "getitem", np.s_[::-1]),
    ("a zero step", "getitem", np.s_[::0]),
    ("a float", "getitem", 1.5),
    ("text", "getitem", "x"),
    ("a new axis", "getitem", np.s_[None, 1]),
    ("two ellipses", "getitem", (..., ...)),
    ("rows past the end", "orthogonal", ([0, 13], slice(None))),
    ("a mask too short", "orthogonal", (np.ones(5, bool), slice(None))),
    ("a mask of a wrong shape", "mask", np.ones((11, 13), bool)),
    ("points past the end", "coordinates", ([0, 13], [0, 0])),
    ("points that do not broadcast", "coordinates", ([0, 1, 2], [0, 1])),
    ("a block past the end", "blocks", (9, 0)),
    ("blocks with a step", "blocks", (slice(0, 3, 2), 0)),
)

READS_3D: tuple[tuple[str, SelectionKind, Any], ...] = (
    ("everything", "getitem", ...),
    ("integers around a slice", "getitem", np.s_[2, :, 3]),
    ("an integer in the middle", "getitem", np.s_[:, 4, 1:5]),
    ("an element", "getitem", np.s_[4, 6, 5]),
    ("steps everywhere", "getitem", np.s_[::2, 1::3, ::4]),
    ("ellipsis in the middle", "getitem", np.s_[1, ..., 2]),
    ("an array, a slice, an integer", "orthogonal", ([4, 0, 0], slice(1, 6), 2)),
    ("an integer, a mask, an array", "orthogonal", (3, np.arange(7) % 2 == 1, [5, 0])),
    ("three arrays", "orthogonal", ([4, 0], [6, 1, 1], [0, 5, 3, 2])),
    ("a slice, an array, a step", "orthogonal", (slice(1, 4), [6, 0], slice(None, None, 3))),
    ("two integers and an array", "orthogonal", (1, 2, [5, 1, 1])),
    ("a mask, a step, a slice", "orthogonal", (np.arange(5) > 2, slice(0, 7, 2), slice(3))),
    ("points", "coordinates", ([4, 0, 2], [6, 1, 1], [0, 5, 3])),
    ("a mask", "mask", CUBE % 5 == 0),
    ("blocks", "blocks", (1, slice(0, 2), -1)),
)

READS_1D: tuple[tuple[str, SelectionKind, Any], ...] = (
    ("everything", "getitem", ...),
    ("an element", "getitem", 17),
    ("a long step", "getitem", np.s_[3::11]),
    ("a list", "getitem", [28, 0, 5, 5]),
    ("a mask", "getitem", LINE % 4 == 0),
    ("a sorted list", "orthogonal", [0, 4, 5, 9, 10]),
    ("points", "coordinates", np.array([28, 0, 14])),
    ("points in a square", "coordinates", np.array([[28, 0], [14, 14]])),
    ("a block", "blocks", 5),
    ("an empty list", "getitem", []),
)


def _reads() -> list[Operation]:
    rows = []
    for layout_name, layout, store in (
        ("plain", PLAIN, "local"),
        ("sharded", SHARDED, "memory"),
        ("v2 F", V2_F, "memory"),
    ):
        for name, kind, selection in READS_2D:
            title = f"read {layout_name}: {kind}, {name}"
            rows.append(Operation(title, layout, (Read(selection, kind),), GRID, store))
    for name, kind, selection in READS_2D[:10] + READS_2D[26:40]:
        title = f"read raw sharded: {kind}, {name}"
        rows.append(Operation(title, RAW_SHARDED, (Read(selection, kind),), GRID, "local"))
    for layout_name, layout, store in (
        ("plain 3-D", CUBE_LAYOUT, "memory"),
        ("sharded 3-D", CUBE_SHARDED, "local"),
    ):
        for name, kind, selection in READS_3D:
            title = f"read {layout_name}: {kind}, {name}"
            rows.append(Operation(title, layout, (Read(selection, kind),), CUBE, store))
    for name, kind, selection in READS_1D:
        title = f"read plain 1-D: {kind}, {name}"
        rows.append(Operation(title, LINE_LAYOUT, (Read(selection, kind),), LINE, "local"))
    return rows


# ------------------------------------------------------------------------------------------ writes

WRITES_2D: tuple[tuple[str, SelectionKind, Any, Any], ...] = (
    ("everything", "getitem", ..., counting(13, 11, start=500)),
    ("everything, a scalar", "getitem", ..., 42),
    ("everything, the fill value", "getitem", ..., 0),
    ("everything, a 0-d array", "getitem", ..., np.array(9)),
    ("a chunk exactly", "getitem", np.s_[4:8, 3:6], counting(4, 3, start=500)),
    ("a chunk, the fill value", "getitem", np.s_[4:8, 3:6], 0),
    ("a window across chunks", "getitem", np.s_[3:9, 2:10], counting(6, 8, start=500)),
    ("an edge chunk", "getitem", np.s_[12:, 9:], counting(1, 2, start=500)),
    ("one row, broadcast", "getitem", np.s_[2:9, :], counting(11, start=500)),
    ("one row", "getitem", 5, counting(11, start=500)),
    ("one column", "getitem", np.s_[:, 4], counting(13, start=500)),
    ("one element", "getitem", np.s_[7, 7], -1),
    ("steps", "getitem", np.s_[::3, ::2], counting(5, 6, start=500)),
    ("steps, a scalar", "getitem", np.s_[1::5, ::4], -7),
    ("nothing", "getitem", np.s_[5:5, :], counting(0, 11)),
    ("nothing, a scalar", "getitem", np.s_[5:5, :], 3),
    ("a list of rows", "getitem", [1, 5, 12], counting(3, 11, start=500)),
    ("a full mask", "getitem", GRID_MASK, -3),
    ("rows by list", "orthogonal", ([0, 3, 12], slice(2, 5)), counting(3, 3, start=500)),
    ("unsorted rows", "orthogonal", ([12, 0, 3], slice(None)), counting(3, 11, start=500)),
    ("repeated rows", "orthogonal", ([3, 3, 0, 3], slice(None)), counting(4, 11, start=500)),
    ("rows by mask", "orthogonal", (ROWS, slice(None)), counting(7, 11, start=500)),
    ("outer product", "orthogonal", ([1, 11], [0, 2, 10]), counting(2, 3, start=500)),
    ("outer product, a scalar", "orthogonal", ([1, 11], [0, 2, 10]), 77),
    ("outer product of masks", "orthogonal", (ROWS, COLUMNS), counting(7, 4, start=500)),
    ("a list and an integer", "orthogonal", ([9, 1], 4), counting(2, start=500)),
    ("points", "coordinates", ([0, 5, 12], [10, 4, 0]), counting(3, start=500)),
    ("points, a scalar", "coordinates", ([0, 5, 12], [10, 4, 0]), -9),
    ("points, repeated", "coordinates", ([5, 0, 5], [4, 1, 4]), counting(3, start=500)),
    (
        "points in a square",
        "coordinates",
        (np.array([[0, 5], [9, 3]]), 2),
        counting(2, 2, start=500),
    ),
    ("no points", "coordinates", (np.array([], int), np.array([], int)), counting(0)),
    ("no rows", "orthogonal", (np.array([], int), slice(None)), 3),
    ("a mask", "mask", GRID_MASK, counting(int(GRID_MASK.sum()), start=500)),
    ("a mask, a scalar", "mask", GRID_MASK, 0),
    ("a block", "blocks", (1, 2), counting(4, 3, start=500)),
    ("a block, a scalar", "blocks", (1, 1), 6),
    ("the last block", "blocks", (-1, -1), 8),
    ("another data type", "getitem", np.s_[2:5, 1:4], np.full((3, 3), 7.9)),
    ("big-endian values", "getitem", np.s_[2:9, 1:9], counting(7, 8, dtype=">i4")),
    ("Fortran-ordered values", "getitem", np.s_[2:9, 1:9], np.asfortranarray(counting(7, 8))),
    ("reversed values", "getitem", np.s_[2:9, 1:9], counting(7, 8)[::-1, ::-1]),
    ("strided values", "getitem", np.s_[2:9, 1:9], counting(14, 24)[::2, ::3]),
    ("a broadcast view", "getitem", ..., np.broadcast_to(counting(11), (13, 11))),
    ("a list of lists", "getitem", np.s_[0:2, 0:2], [[1, 2], [3, 4]]),
    ("a boolean", "getitem", np.s_[0:2, 0:2], True),
    # What zarr-python refuses.
    ("a wrong shape", "getitem", np.s_[0:4, 0:4], counting(3, 4)),
    ("a row past the end", "getitem", 13, 1),
    ("too many points", "coordinates", ([0, 1], [0, 1]), counting(3)),
    ("a mask with a wrong count", "mask", GRID_MASK, counting(3)),
    ("text", "getitem", np.s_[0, 0], "x"),
    ("a negative step", "getitem", np.s_[::-1], 1),
)


RAISES_PARTWAY = frozenset({"a wrong shape", "a mask with a wrong count", "one row, broadcast", "text"})
"""Refused chunk by chunk: what other chunks then hold is a matter of chance in zarr-python."""


def _write(
    title: str, layout: Layout, case: tuple[str, SelectionKind, Any, Any], *rest: Any, **more: Any
) -> Operation:
    """Make the operation of one row of `WRITES_2D`: write, then read everything."""
    name, kind, selection, value = case
    title = f"{title}: {kind}, {name}"
    if name in RAISES_PARTWAY:
        steps: tuple[Step, ...] = (Write(selection, value, kind),)
        more["is_state_compared"] = False
        return Operation(title, layout, steps, *rest, **more)
    is_by_arrays = kind in ("orthogonal", "mask", "coordinates") or isinstance(selection, list)
    if "shards" in layout and is_by_arrays:
        more.setdefault("minimum_zarr", SHARD_WRITES_BY_ARRAYS)
    return Operation(title, layout, (Write(selection, value, kind), Read()), *rest, **more)


def _writes() -> list[Operation]:
    rows = []
    for layout_name, layout, store in (
        ("plain", PLAIN, "local"),
        ("sharded", SHARDED, "memory"),
        ("v2", V2, "memory"),
    ):
        rows += [
            _write(f"write {layout_name}", layout, case, GRID, store)
            for case in WRITES_2D
            # Into shards zarr-python broadcasts each inner chunk's part by itself, and may accept.
            if not ("shards" in layout and case[0] == "a wrong shape")
        ]
    # zarr-python cuts the value by chunks before broadcasting, and raises after some were written.
    column: tuple[Step, ...] = (Write(np.s_[:, 3:8], counting(13, 1, start=500)),)
    for layout_name, layout in (("plain", PLAIN), ("sharded", SHARDED), ("v2", V2)):
        title = f"write {layout_name}: one column, broadcast"
        rows.append(Operation(title, layout, column, GRID, is_state_compared=False))
    for case in WRITES_2D[4:16] + WRITES_2D[18:28]:
        rows.append(_write("write into nothing, sharded", RAW_SHARDED, case, None, "local"))
    return rows


# --------------------------------------------------------------------------------- a user's buffer


def _out_buffers() -> list[Operation]:
    rows = []
    window = np.s_[3:9, 2:10]
    for layout_name, layout in (("raw", RAW), ("sharded", SHARDED), ("v2 F", V2_F)):
        for out in ("c", "fortran", "strided", "reversed", "transposed", "inside", "wide-type"):
            steps: tuple[Step, ...] = (
                ReadInto(out, (13, 11)),
                ReadInto(out, (6, 8), window),
                ReadInto(out, (5, 4), np.s_[::3, ::3]),
            )
            rows.append(Operation(f"out= {out}: {layout_name}", layout, steps, GRID, "local"))
            missing = f"out= {out}, missing chunks: {layout_name}"
            rows.append(Operation(missing, {**layout, "fill_value": 7}, steps, None))
    fancy: tuple[Step, ...] = (
        ReadInto("fortran", (3, 8), ([12, 0, 0], slice(2, 10)), "orthogonal"),
        ReadInto("reversed", (3,), ([12, 0, 5], [1, 2, 10]), "coordinates"),
        ReadInto("strided", (int(GRID_MASK.sum()),), GRID_MASK, "mask"),
        ReadInto("transposed", (4, 3), (1, 1), "blocks"),
        ReadInto("c", (13, 12)),
        ReadInto("c", (11,), 3),
        ReadInto("c", (), (3, 4)),
    )
    rows.append(Operation("out= other selections and refusals", PLAIN, fancy, GRID, "local"))
    return rows


# ------------------------------------------------------------------------------------------ codecs


def _all_steps(data: np.ndarray[Any, Any], part: Any) -> tuple[Step, ...]:
    """Write whole, read whole and in parts, write a part, read what came of it."""
    window = tuple(slice(1, max(2, extent - 2)) for extent in data.shape)
    steps = tuple(slice(None, None, 2) for _ in data.shape)
    return (
        Write(..., data),
        Read(),
        Read(window),
        Read(steps),
        Write(window, part),
        Read(),
        Read(([5, 1, 1],), "orthogonal"),
        Reopen(),
        Read(),
    )


NUMBERS: Layout = {"shape": (21, 13), "chunks": (8, 5), "dtype": "int32"}
FLOATS: Layout = {**NUMBERS, "dtype": "float64"}
SINGLES: Layout = {**NUMBERS, "dtype": "float32"}
BYTES: Layout = {**NUMBERS, "dtype": "uint8"}
BOOLEANS: Layout = {**NUMBERS, "dtype": "bool"}
NUMBERS_SHARDED: Layout = {
    "shape": (21, 13),
    "chunks": (4, 5),
    "shards": (16, 10),
    "dtype": "int32",
}

Codec = Callable[[], Any]


def _sharding(**options: Any) -> Codec:
    return lambda: {
        "serializer": v3.ShardingCodec(chunk_shape=(4, 5), **options),
        "chunks": (8, 10),
        "compressors": None,
        "filters": None,
    }


BLOSC_NAMES = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
BLOSC_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")

V3_COMPRESSORS: tuple[tuple[str, Codec], ...] = (
    ("none", lambda: None),
    ("zstd", lambda: v3.ZstdCodec()),
    ("zstd 19", lambda: v3.ZstdCodec(level=19)),
    ("zstd -5", lambda: v3.ZstdCodec(level=-5)),
    ("zstd with checksum", lambda: v3.ZstdCodec(level=3, checksum=True)),
    ("gzip 0", lambda: v3.GzipCodec(level=0)),
    ("gzip 1", lambda: v3.GzipCodec(level=1)),
    ("gzip 9", lambda: v3.GzipCodec(level=9)),
    ("blosc default", lambda: v3.BloscCodec()),
    ("blosc level 0", lambda: v3.BloscCodec(clevel=0)),
    ("blosc block size", lambda: v3.BloscCodec(blocksize=64)),
    ("blosc typesize 3", lambda: v3.BloscCodec(typesize=3, shuffle="shuffle")),
    ("crc32c", lambda: v3.Crc32cCodec()),
    ("zstd then crc32c", lambda: (v3.ZstdCodec(), v3.Crc32cCodec())),
    (
        "crc32c then gzip then crc32c",
        lambda: (v3.Crc32cCodec(), v3.GzipCodec(level=2), v3.Crc32cCodec()),
    ),
    *(
        (
            f"blosc {name} {shuffle}",
            lambda name=name, shuffle=shuffle: v3.BloscCodec(cname=name, shuffle=shuffle),
        )
        for name, shuffle in itertools.product(BLOSC_NAMES, BLOSC_SHUFFLES)
    ),
    ("numcodecs.blosc", lambda: wrapped.Blosc(cname="lz4", clevel=5, shuffle=1, blocksize=0)),
    ("numcodecs.blosc bitshuffle", lambda: wrapped.Blosc(cname="zstd", clevel=3, shuffle=2)),
    ("numcodecs.blosc autoshuffle", lambda: wrapped.Blosc(cname="lz4", clevel=5, shuffle=-1)),
    ("numcodecs.lz4", lambda: wrapped.LZ4(acceleration=1)),
    ("numcodecs.zstd", lambda: wrapped.Zstd(level=4)),
    ("numcodecs.zlib", lambda: wrapped.Zlib(level=1)),
    ("numcodecs.gzip", lambda: wrapped.GZip(level=6)),
    ("numcodecs.bz2", lambda: wrapped.BZ2(level=1)),
    ("numcodecs.lzma", lambda: wrapped.LZMA(preset=1)),
    ("numcodecs.lzma alone", lambda: wrapped.LZMA(format=2, preset=1)),
    ("numcodecs.shuffle", lambda: wrapped.Shuffle(elementsize=4)),
    ("numcodecs.shuffle, size from the type", lambda: (wrapped.Shuffle(), wrapped.Zlib(level=1))),
    ("numcodecs.crc32", lambda: wrapped.CRC32()),
    ("numcodecs.crc32 at the end", lambda: wrapped.CRC32(location="end")),
    ("numcodecs.crc32c", lambda: wrapped.CRC32C()),
    ("numcodecs.crc32c at the start", lambda: wrapped.CRC32C(location="start")),
    ("numcodecs.adler32", lambda: wrapped.Adler32()),
    ("numcodecs.adler32 at the end", lambda: wrapped.Adler32(location="end")),
    ("numcodecs.fletcher32", lambda: wrapped.Fletcher32()),
    ("numcodecs.jenkins_lookup3", lambda: wrapped.JenkinsLookup3(initval=13)),
    ("numcodecs.lz4 then fletcher32", lambda: (wrapped.LZ4(), wrapped.Fletcher32())),
)

V3_CHAINS: tuple[tuple[str, Layout, Codec, Any], ...] = (
    # name, layout, create_array arguments, data
    ("bytes little", NUMBERS, lambda: {"serializer": v3.BytesCodec(endian="little")}, counting(21, 13)),
    ("bytes big", NUMBERS, lambda: {"serializer": v3.BytesCodec(endian="big")}, counting(21, 13)),
    ("bytes big, raw", FLOATS, lambda: {"serializer": v3.BytesCodec(endian="big"), "compressors": None}, bits(21, 13, dtype="f8")),
    ("transpose", NUMBERS, lambda: {"filters": v3.TransposeCodec(order=(1, 0))}, counting(21, 13)),
    ("transpose, raw", NUMBERS, lambda: {"filters": v3.TransposeCodec(order=(1, 0)), "compressors": None}, counting(21, 13)),
    ("transpose, no change", NUMBERS, lambda: {"filters": v3.TransposeCodec(order=(0, 1))}, counting(21, 13)),
    ("transpose twice", NUMBERS, lambda: {"filters": (v3.TransposeCodec(order=(1, 0)), v3.TransposeCodec(order=(1, 0)))}, counting(21, 13)),
    ("numcodecs.delta", NUMBERS, lambda: {"filters": wrapped.Delta(dtype="<i4")}, counting(21, 13)),
    ("numcodecs.delta, floats", FLOATS, lambda: {"filters": wrapped.Delta(dtype="<f8")}, smooth(21, 13)),
    ("numcodecs.delta, narrower", NUMBERS, lambda: {"filters": wrapped.Delta(dtype="<i4", astype="<i2")}, counting(21, 13)),
    ("numcodecs.delta, bytes", BYTES, lambda: {"filters": wrapped.Delta(dtype="u1")}, bits(21, 13, dtype="u1")),
    ("numcodecs.delta after transpose", NUMBERS, lambda: {"filters": (v3.TransposeCodec(order=(1, 0)), wrapped.Delta(dtype="<i4"))}, counting(21, 13)),
    ("numcodecs.bitround", SINGLES, lambda: {"filters": wrapped.BitRound(keepbits=7)}, smooth(21, 13, dtype="f4")),
    ("numcodecs.bitround, doubles", FLOATS, lambda: {"filters": wrapped.BitRound(keepbits=20)}, smooth(21, 13)),
    ("numcodecs.bitround, all bits", SINGLES, lambda: {"filters": wrapped.BitRound(keepbits=23)}, smooth(21, 13, dtype="f4")),
    ("numcodecs.fixedscaleoffset", FLOATS, lambda: {"filters": wrapped.FixedScaleOffset(offset=10, scale=10, dtype="<f8", astype="<i2")}, smooth(21, 13)),
    ("numcodecs.fixedscaleoffset, singles", SINGLES, lambda: {"filters": wrapped.FixedScaleOffset(offset=10, scale=2.5, dtype="<f4", astype="u1")}, smooth(21, 13, dtype="f4")),
    ("numcodecs.fixedscaleoffset, no astype", FLOATS, lambda: {"filters": wrapped.FixedScaleOffset(offset=1000, scale=7, dtype="<f8")}, smooth(21, 13)),
    ("numcodecs.fixedscaleoffset, integers", NUMBERS, lambda: {"filters": wrapped.FixedScaleOffset(offset=3, scale=2, dtype="<i4", astype="<i4")}, counting(21, 13)),
    ("numcodecs.quantize", FLOATS, lambda: {"filters": wrapped.Quantize(digits=2, dtype="<f8")}, smooth(21, 13)),
    ("numcodecs.quantize, singles", SINGLES, lambda: {"filters": wrapped.Quantize(digits=1, dtype="<f4")}, smooth(21, 13, dtype="f4")),
    ("numcodecs.astype", NUMBERS, lambda: {"filters": wrapped.AsType(encode_dtype="<i2", decode_dtype="<i4")}, counting(21, 13)),
    ("numcodecs.astype, floats to integers", FLOATS, lambda: {"filters": wrapped.AsType(encode_dtype="<i4", decode_dtype="<f8")}, smooth(21, 13)),
    ("numcodecs.astype, wider", SINGLES, lambda: {"filters": wrapped.AsType(encode_dtype="<f8", decode_dtype="<f4")}, smooth(21, 13, dtype="f4")),
    ("numcodecs.packbits", BOOLEANS, lambda: {"filters": wrapped.PackBits()}, bits(21, 13, dtype="?")),
    ("numcodecs.pcodec", NUMBERS, lambda: {"serializer": wrapped.PCodec(level=4, mode_spec="auto"), "compressors": None}, counting(21, 13)),
    ("numcodecs.pcodec, doubles", FLOATS, lambda: {"serializer": wrapped.PCodec(level=8), "compressors": None}, smooth(21, 13)),
    ("numcodecs.pcodec, classic, then zstd", SINGLES, lambda: {"serializer": wrapped.PCodec(mode_spec="classic", delta_spec="none")}, smooth(21, 13, dtype="f4")),
    ("numcodecs.pcodec, half", {**NUMBERS, "dtype": "float16"}, lambda: {"serializer": wrapped.PCodec(), "compressors": None}, smooth(21, 13, dtype="f2")),
    # sharding
    ("sharding", NUMBERS, _sharding(), counting(21, 13)),
    ("sharding, index at the start", NUMBERS, _sharding(index_location="start"), counting(21, 13)),
    ("sharding, index without checksum", NUMBERS, _sharding(index_codecs=(v3.BytesCodec(),)), counting(21, 13)),
    ("sharding, big-endian index", NUMBERS, _sharding(index_codecs=(v3.BytesCodec(endian="big"), v3.Crc32cCodec())), counting(21, 13)),
    ("sharding, inner zstd", NUMBERS, _sharding(codecs=(v3.BytesCodec(), v3.ZstdCodec())), counting(21, 13)),
    ("sharding, inner zstd and crc32c, index at the start", NUMBERS, _sharding(index_location="start", codecs=(v3.BytesCodec(), v3.ZstdCodec(), v3.Crc32cCodec())), counting(21, 13)),
    ("sharding, inner blosc", FLOATS, _sharding(codecs=(v3.BytesCodec(), v3.BloscCodec(typesize=8))), smooth(21, 13)),
    ("sharding, inner blosc without typesize", FLOATS, _sharding(codecs=(v3.BytesCodec(), v3.BloscCodec())), smooth(21, 13)),
    ("sharding, inner gzip, big endian", NUMBERS, _sharding(codecs=(v3.BytesCodec(endian="big"), v3.GzipCodec(level=1))), counting(21, 13)),
    ("sharding, inner transpose", NUMBERS, _sharding(codecs=(v3.TransposeCodec(order=(1, 0)), v3.BytesCodec(), v3.ZstdCodec())), counting(21, 13)),
    ("sharding, inner delta and lz4", NUMBERS, _sharding(codecs=(wrapped.Delta(dtype="<i4"), v3.BytesCodec(), wrapped.LZ4())), counting(21, 13)),
    ("sharding, inner pcodec", NUMBERS, _sharding(codecs=(wrapped.PCodec(),)), counting(21, 13)),
    ("sharding, nested", NUMBERS, _sharding(codecs=(v3.ShardingCodec(chunk_shape=(2, 5), codecs=(v3.BytesCodec(), v3.ZstdCodec())),)), counting(21, 13)),
    ("sharding, nested thrice", NUMBERS, _sharding(codecs=(v3.ShardingCodec(chunk_shape=(4, 1), index_location="start", codecs=(v3.ShardingCodec(chunk_shape=(2, 1)),)),)), counting(21, 13)),
    ("sharding under gzip", NUMBERS, lambda: {**_sharding()(), "compressors": v3.GzipCodec(level=1)}, counting(21, 13)),
    ("sharding under transpose", {**NUMBERS, "chunks": (10, 10)}, lambda: {"filters": v3.TransposeCodec(order=(1, 0)), "serializer": v3.ShardingCodec(chunk_shape=(5, 2)), "compressors": None}, counting(21, 13)),
    ("sharding, one inner chunk", NUMBERS, lambda: {**_sharding()(), "chunks": (4, 5)}, counting(21, 13)),
    ("sharding by create_array", NUMBERS_SHARDED, lambda: {}, counting(21, 13)),
    ("sharding by create_array, blosc", {**NUMBERS_SHARDED, "dtype": "float32"}, lambda: {"compressors": v3.BloscCodec(cname="zstd", shuffle="bitshuffle")}, smooth(21, 13, dtype="f4")),
    ("sharding by create_array, filters", NUMBERS_SHARDED, lambda: {"filters": (v3.TransposeCodec(order=(1, 0)),)}, counting(21, 13)),
)  # fmt: skip

OLDEST_ZARR = {
    "numcodecs.delta after transpose": (3, 2),  # 3.1 encodes the elements in another order
    "numcodecs.pcodec, classic, then zstd": (3, 2),  # the numcodecs of that time refuses
}

V2_COMPRESSORS: tuple[tuple[str, Codec], ...] = (
    ("none", lambda: None),
    ("zstd", lambda: numcodecs.Zstd(level=1)),
    ("zstd with checksum", lambda: numcodecs.Zstd(level=1, checksum=True)),
    ("blosc", lambda: numcodecs.Blosc()),
    *(
        (
            f"blosc {name} {shuffle}",
            lambda name=name, shuffle=shuffle: numcodecs.Blosc(cname=name, shuffle=shuffle),
        )
        for name, shuffle in itertools.product(BLOSC_NAMES, (0, 1, 2))
    ),
    ("lz4", lambda: numcodecs.LZ4(acceleration=2)),
    ("zlib", lambda: numcodecs.Zlib(level=1)),
    ("zlib 0", lambda: numcodecs.Zlib(level=0)),
    ("gzip", lambda: numcodecs.GZip(level=1)),
    ("bz2", lambda: numcodecs.BZ2(level=1)),
    ("lzma", lambda: numcodecs.LZMA(preset=1)),
    ("lzma raw", lambda: numcodecs.LZMA(format=3, filters=[{"id": 3, "dist": 4}, {"id": 33, "preset": 1}])),
    ("shuffle", lambda: numcodecs.Shuffle(elementsize=4)),
    ("crc32", lambda: _numcodec("CRC32")),
    ("crc32c", lambda: _numcodec("CRC32C")),
    ("adler32", lambda: _numcodec("Adler32")),
    ("fletcher32", lambda: _numcodec("Fletcher32")),
    ("jenkins_lookup3", lambda: _numcodec("JenkinsLookup3")),
)  # fmt: skip


def _numcodec(name: str, **options: Any) -> Any:
    """Make the numcodecs codec whose class is `name`, wherever its module is."""
    import numcodecs.checksum32
    import numcodecs.fletcher32
    import numcodecs.pcodec

    for module in (numcodecs, numcodecs.checksum32, numcodecs.fletcher32, numcodecs.pcodec):
        if hasattr(module, name):
            return getattr(module, name)(**options)
    raise AttributeError(name)


V2_FILTERS: tuple[tuple[str, Layout, Codec, Any], ...] = (
    ("delta", NUMBERS, lambda: [numcodecs.Delta("<i4")], counting(21, 13)),
    ("delta, big endian", {**NUMBERS, "dtype": ">i4"}, lambda: [numcodecs.Delta(">i4")], counting(21, 13)),
    ("delta, narrower", NUMBERS, lambda: [numcodecs.Delta("<i4", astype="<i2")], counting(21, 13)),
    ("fixedscaleoffset", FLOATS, lambda: [numcodecs.FixedScaleOffset(10, 10, "<f8", "<i2")], smooth(21, 13)),
    ("quantize", FLOATS, lambda: [numcodecs.Quantize(2, "<f8")], smooth(21, 13)),
    ("quantize, narrower", FLOATS, lambda: [numcodecs.Quantize(2, "<f8", "<f4")], smooth(21, 13)),
    ("astype", NUMBERS, lambda: [numcodecs.AsType("<i2", "<i4")], counting(21, 13)),
    ("bitround", SINGLES, lambda: [numcodecs.BitRound(9)], smooth(21, 13, dtype="f4")),
    ("packbits", BOOLEANS, lambda: [numcodecs.PackBits()], bits(21, 13, dtype="?")),
    ("pcodec", NUMBERS, lambda: [_numcodec("PCodec")], counting(21, 13)),
    ("shuffle", NUMBERS, lambda: [numcodecs.Shuffle(4)], counting(21, 13)),
    ("delta then shuffle", NUMBERS, lambda: [numcodecs.Delta("<i4"), numcodecs.Shuffle(4)], counting(21, 13)),
    ("scale, delta, zlib", FLOATS, lambda: [numcodecs.FixedScaleOffset(0, 100, "<f8", "<i4"), numcodecs.Delta("<i4"), numcodecs.Zlib(1)], smooth(21, 13)),
    ("crc32 as a filter", NUMBERS, lambda: [_numcodec("CRC32")], counting(21, 13)),
    ("fletcher32 as a filter", NUMBERS, lambda: [_numcodec("Fletcher32")], counting(21, 13)),
)  # fmt: skip


def _scale_cast_chains() -> list[tuple[str, Layout, Codec, Any]]:
    """Chains of zarr 3.4's own scaling and casting codecs."""
    if not hasattr(v3, "ScaleOffset"):
        return [
            (name, NUMBERS, lambda: {}, counting(21, 13))
            for name in ("scale_offset", "cast_value", "scale_offset then cast_value")
        ]
    packing = (
        v3.ScaleOffset(offset=10, scale=8),
        v3.CastValue(data_type="int16", rounding="nearest-even"),
    )
    wrapping = v3.CastValue(data_type="uint8", out_of_range="wrap", rounding="towards-zero")
    clamping = v3.CastValue(data_type="int8", out_of_range="clamp", rounding="nearest-even")
    with_nan = smooth(21, 13)
    with_nan[3, 4] = np.nan
    nan_map = v3.CastValue(
        data_type="int16",
        rounding="nearest-even",
        scalar_map={"encode": [("NaN", -9999)], "decode": [(-9999, "NaN")]},
    )
    return [
        ("scale_offset", FLOATS, lambda: {"filters": v3.ScaleOffset(offset=5, scale=0.1)}, smooth(21, 13)),
        ("scale_offset, singles", SINGLES, lambda: {"filters": v3.ScaleOffset(offset=5, scale=0.1)}, smooth(21, 13, dtype="f4")),
        ("scale_offset, integers", NUMBERS, lambda: {"filters": v3.ScaleOffset(offset=5, scale=3)}, counting(21, 13)),
        ("scale_offset, big endian", {**NUMBERS, "dtype": ">i4"}, lambda: {"filters": v3.ScaleOffset(offset=5, scale=3)}, counting(21, 13)),
        ("scale_offset, unsigned 64", {**NUMBERS, "dtype": "uint64"}, lambda: {"filters": v3.ScaleOffset(offset=1, scale=3), "fill_value": 1}, counting(21, 13, dtype="u8", start=2**60)),
        ("cast_value", NUMBERS, lambda: {"filters": v3.CastValue(data_type="int64")}, counting(21, 13)),
        ("cast_value, floats to integers", FLOATS, lambda: {"filters": v3.CastValue(data_type="int16", rounding="nearest-even")}, smooth(21, 13)),
        ("cast_value, wrap", NUMBERS, lambda: {"filters": wrapping}, counting(21, 13)),
        ("cast_value, clamp", NUMBERS, lambda: {"filters": clamping}, counting(21, 13)),
        ("cast_value, NaN by a scalar map", FLOATS, lambda: {"filters": nan_map}, with_nan),
        ("cast_value, to half", SINGLES, lambda: {"filters": v3.CastValue(data_type="float16", rounding="nearest-even")}, smooth(21, 13, dtype="f4")),
        ("scale_offset then cast_value", FLOATS, lambda: {"filters": packing}, smooth(21, 13)),
    ]  # fmt: skip


def _codecs() -> list[Operation]:
    rows = []
    whole = counting(21, 13)
    stores = itertools.cycle(("local", "memory"))
    for name, codec in V3_COMPRESSORS:
        array = {**NUMBERS, "compressors": codec}
        rows.append(Operation(f"codec v3 {name}", array, _all_steps(whole, 7), None, next(stores)))
    for name, layout, arguments, data in V3_CHAINS:
        array = {**layout, **_lazily(arguments)}
        steps = _all_steps(data, data.dtype.type(1))
        oldest = OLDEST_ZARR.get(name, (3, 1))
        title = f"chain v3 {name}"
        rows.append(Operation(title, array, steps, None, next(stores), minimum_zarr=oldest))
    for name, layout, arguments, data in _scale_cast_chains():
        array = {**layout, **_lazily(arguments)}
        steps = _all_steps(data, data.dtype.type(11))
        title = f"chain v3 {name}"
        rows.append(Operation(title, array, steps, None, next(stores), minimum_zarr=(3, 4)))
    for name, codec in V2_COMPRESSORS:
        for order in ("C", "F"):
            array = {**NUMBERS, "zarr_format": 2, "compressors": codec, "order": order}
            steps = _all_steps(whole, 7)
            title = f"codec v2 {name}, order {order}"
            rows.append(Operation(title, array, steps, None, next(stores)))
    for (name, layout, filters, data), order in itertools.product(V2_FILTERS, ("C", "F")):
        if (name, order) == ("bitround", "F"):
            continue  # zarr-python itself writes the elements in another order than it reads
        array = {**layout, "zarr_format": 2, "filters": filters, "order": order}
        steps = _all_steps(data, data.dtype.type(1))
        title = f"filter v2 {name}, order {order}"
        rows.append(Operation(title, array, steps, None, next(stores)))
    return rows


def _lazily(arguments: Codec) -> dict[str, Any]:
    """Split a function of several arguments into one function for each."""
    return {name: lambda name=name: arguments()[name] for name in arguments()}


def _python_codecs() -> list[Operation]:
    """Codecs of a user's own: Python runs them, and native codecs run around them."""
    data = counting(21, 13)
    return [
        Operation(f"python codec: {name}", {**NUMBERS, **array}, _all_steps(data, 3), data, store, config, is_native=False)
        for name, array, store, config in (
            ("bytes to bytes", {"compressors": lambda: python_codecs.Complement()}, "local", {}),
            ("between native codecs", {"compressors": lambda: (v3.GzipCodec(level=1), python_codecs.Complement(), v3.Crc32cCodec())}, "memory", {}),
            ("array to array", {"filters": lambda: (python_codecs.Negate(),)}, "memory", {}),
            ("inside a shard", {"chunks": (4, 5), "shards": (8, 10), "compressors": lambda: (python_codecs.Complement(), v3.ZstdCodec())}, "local", {}),
            ("a user's class for gzip", {"compressors": {"name": "gzip", "configuration": {"level": 1}}}, "memory", {"codecs.gzip": "tests.conformance.python_codecs.UserGzip"}),
            ("v2 compressor", {"zarr_format": 2, "compressors": lambda: python_codecs.ComplementV2()}, "local", {}),
            ("v2 filter before zlib", {"zarr_format": 2, "filters": lambda: [numcodecs.Delta("<i4"), python_codecs.ComplementV2()], "compressors": lambda: numcodecs.Zlib(1)}, "memory", {}),
            ("v2 base64", {"zarr_format": 2, "compressors": lambda: numcodecs.Base64()}, "memory", {}),
        )
    ]  # fmt: skip


# -------------------------------------------------------------------------------------- data types

# Not the big-endian time types without a unit: numpy itself drops their byte order on the way, so
# the default pipeline contradicts itself. zarr's own suite (`make conformance`) has cases of them.
FIXED_TYPES = (
    "?", "i1", "u1",
    "<i2", ">i2", "<u2", ">u2", "<i4", ">i4", "<u4", ">u4", "<i8", ">i8", "<u8", ">u8",
    "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16",
    "<M8", "<m8", "<M8[ns]", ">M8[ns]", "<M8[D]", "<M8[10us]", "<m8[s]", ">m8[s]", "<m8[ns]",
    "<U5", ">U5", "S5", "S1", "V4", "V11",
)  # fmt: skip

STRUCTURES = {
    "pair": np.dtype([("a", "<i4"), ("b", "<f8")]),
    "mixed endian": np.dtype([("a", ">i4"), ("b", "<f2"), ("c", "?")]),
    "nested": np.dtype([("a", "<i2"), ("n", [("x", "<f4"), ("y", "u1")])]),
    "text inside": np.dtype([("name", "<U4"), ("code", "S3")]),
    "date inside": np.dtype([("when", "<M8[s]"), ("value", "<f4")]),
}


def _type_steps(data: np.ndarray[Any, Any], *, is_sharded: bool = False) -> tuple[Step, ...]:
    by_arrays = Write(([8, 0, 5], slice(None)), data[:3], "orthogonal")
    has_by_arrays = not is_sharded or ZARR_VERSION >= SHARD_WRITES_BY_ARRAYS
    return (
        Write(..., data),
        Read(),
        Read(np.s_[2:8, ::2]),
        Read(np.s_[3, 4]),
        Read(([8, 0, 0], [1, 4, 2]), "coordinates"),
        Write(np.s_[1:4, 1:4], data[0:3, 0:3]),
        Write(np.s_[6, :], data[0, 0]),
        by_arrays if has_by_arrays else Read(),
        Reopen(),
        Read(),
    )


def _types() -> list[Operation]:
    rows = []
    stores = itertools.cycle(("local", "memory"))
    layouts: tuple[tuple[str, Layout], ...] = (
        ("v3", {"chunks": (4, 3)}),
        ("v3 sharded", {"chunks": (2, 3), "shards": (4, 6), "compressors": None}),
        ("v2", {"chunks": (4, 3), "zarr_format": 2}),
    )
    for layout_name, layout in layouts:
        is_sharded = "shards" in layout
        oldest_for_voids = SHARDED_UNHASHABLES if is_sharded else (3, 1)
        for dtype in FIXED_TYPES:
            data = bits(9, 7, dtype=dtype)
            array = {**layout, "shape": (9, 7), "dtype": dtype}
            title = f"type {layout_name} {dtype}"
            steps = _type_steps(data, is_sharded=is_sharded)
            oldest = oldest_for_voids if dtype.startswith("V") else (3, 1)
            rows.append(Operation(title, array, steps, None, next(stores), minimum_zarr=oldest))
        for name, structure in STRUCTURES.items():
            if name == "date inside" and layout_name == "v2":
                continue  # numcodecs takes no buffer of dates inside structures
            data = records(9, 7, dtype=structure)
            array = {**layout, "shape": (9, 7), "dtype": structure}
            title = f"type {layout_name} structure, {name}"
            steps = _type_steps(data, is_sharded=is_sharded)
            rows.append(Operation(title, array, steps, None, next(stores), minimum_zarr=oldest_for_voids))
        for name, data_type, data in (
            ("text", str, texts(9, 7)),
            ("text from objects", str, texts(9, 7).astype(object)),
            ("bytes objects", VariableLengthBytes, blobs(9, 7)),
        ):
            array = {**layout, "shape": (9, 7), "dtype": data_type}
            if data_type is VariableLengthBytes:
                array["dtype"] = VariableLengthBytes()
            title = f"type {layout_name} variable-length {name}"
            steps = _type_steps(data, is_sharded=is_sharded)
            rows.append(Operation(title, array, steps, None, next(stores)))
    for order, dtype in itertools.product("CF", ("<f8", ">i2", "<U5", "S5")):
        array = {
            "shape": (9, 7),
            "chunks": (4, 3),
            "zarr_format": 2,
            "order": order,
            "dtype": dtype,
        }
        title = f"type v2 order {order} {dtype}"
        rows.append(Operation(title, array, _type_steps(bits(9, 7, dtype=dtype)), None, next(stores)))
    fields: tuple[Step, ...] = (
        Read("a"),
        Read(("a", slice(2, 4))),
        Write("b", 3),
        Call(lambda scene: scene.array.set_basic_selection(..., np.float64(2), fields="b")),
        Call(lambda scene: scene.array.get_basic_selection(np.s_[1:3], fields=["a"])),
        Read(),
    )
    data = records(9, 7, dtype=STRUCTURES["pair"])
    for layout_name, layout in layouts[::2]:
        array = {**layout, "shape": (9, 7), "dtype": STRUCTURES["pair"]}
        rows.append(Operation(f"type {layout_name} fields", array, fields, data, "memory"))
    return rows


# ------------------------------------------------------------------------------------- fill values


def _float_of_bits(bit_pattern: int, dtype: str) -> Any:
    unsigned = {"<f2": "<u2", "<f4": "<u4", "<f8": "<u8"}[dtype]
    return np.array(bit_pattern, unsigned).view(dtype)[()]


QUIET_NAN = _float_of_bits(0x7FC00000, "<f4")
PAYLOAD_NAN = _float_of_bits(0x7FC00123, "<f4")
NEGATIVE_NAN = _float_of_bits(0xFFF8000000000ABC, "<f8")

FILL_VALUES: tuple[tuple[str, Any, Any, Any], ...] = (
    # name, data type, fill value, another value that is written and must not count as fill
    ("zero", "<f8", 0.0, -0.0),
    ("negative zero", "<f8", -0.0, 0.0),
    ("negative zero, half", "<f2", -0.0, 0.0),
    ("NaN", "<f4", np.nan, 1.0),
    ("NaN with payload", "<f4", PAYLOAD_NAN, QUIET_NAN),
    ("negative NaN with payload", "<f8", NEGATIVE_NAN, np.nan),
    ("infinity", "<f4", np.inf, -np.inf),
    ("complex NaN", "<c8", complex(np.nan, 1), complex(0, 0)),
    ("complex negative zero", "<c16", complex(-0.0, -0.0), complex(0, 0)),
    ("integer", "<i4", -7, 0),
    ("big-endian integer", ">i4", 258, 0),
    ("largest", "<u8", 2**64 - 1, 0),
    ("true", "?", True, False),
    ("date", "<M8[ns]", np.datetime64("2020-02-02", "ns"), np.datetime64("1970-01-01", "ns")),
    ("no date", "<M8[D]", np.datetime64("NaT", "D"), np.datetime64("1970-01-01", "D")),
    ("no date, no unit", "<M8", np.datetime64("NaT"), np.array(5, "<i8").view("<M8")[()]),
    ("span, no unit", "<m8", np.array(5, "<i8").view("<m8")[()], np.array(0, "<i8").view("<m8")[()]),
    ("span", "<m8[s]", np.timedelta64(5, "s"), np.timedelta64(0, "s")),
    ("text", "<U5", "né", ""),
    ("bytes", "S5", b"ab", b""),
    ("variable-length text", str, "nichts", ""),
    ("structure", STRUCTURES["pair"], np.array((3, 1.5), STRUCTURES["pair"])[()], np.array((0, 0.0), STRUCTURES["pair"])[()]),
)  # fmt: skip


def _fill_values() -> list[Operation]:
    rows = []
    for name, dtype, fill, other in FILL_VALUES:
        for layout_name, layout in (
            ("v3", {"chunks": (4,)}),
            ("v3 sharded", {"chunks": (2,), "shards": (4,)}),
            ("v2", {"chunks": (4,), "zarr_format": 2}),
        ):
            array = {**layout, "shape": (15,), "dtype": dtype, "fill_value": fill}
            steps: tuple[Step, ...] = (
                Read(),
                Write(slice(4, 8), other),
                Write(slice(8, 9), other),
                Read(),
                Write(slice(8, 12), fill),
                Write(slice(4, 5), fill),
                Read(),
                Write(..., fill),
                Read(np.s_[::3]),
                Call(lambda scene: sorted(chunk_keys(scene.store))),
            )
            oldest = (
                SHARDED_UNHASHABLES
                if layout_name == "v3 sharded" and name in ("structure", "span, no unit")
                else (3, 1)
            )
            title = f"fill {layout_name} {name}"
            rows.append(Operation(title, array, steps, None, "local", minimum_zarr=oldest))
            kept = {"array.write_empty_chunks": True}
            title = f"fill kept {layout_name} {name}"
            rows.append(Operation(title, array, steps, None, "memory", kept, minimum_zarr=oldest))
    for dtype in ("<i4", "<f8", "<U3", "S2", "?", "<M8[s]", str):
        array = {
            "shape": (15,),
            "chunks": (4,),
            "zarr_format": 2,
            "dtype": dtype,
            "fill_value": None,
        }
        value: Any = {"<U3": "x", "S2": b"x", "<M8[s]": np.datetime64(1, "s"), str: "x"}.get(dtype, 1)
        steps = (Read(), Write(slice(5, 9), value), Read(), Reopen(), Read())
        rows.append(Operation(f"fill v2 None {dtype}", array, steps, None, "local"))
    return rows


# ------------------------------------------------------------------------- shapes, grids, lifecycle


def _shapes() -> list[Operation]:
    rows = []
    shapes: tuple[tuple[str, Layout, Any], ...] = (
        ("0-d", {"shape": (), "chunks": (), "dtype": "<f8"}, np.array(3.5)),
        ("0-d v2", {"shape": (), "chunks": (), "dtype": "<i4", "zarr_format": 2}, np.array(3)),
        ("0-d text", {"shape": (), "chunks": (), "dtype": str}, np.array("zarr", dtype="T")),
        ("zero length", {"shape": (0,), "chunks": (3,), "dtype": "<i4"}, counting(0)),
        ("zero length v2", {"shape": (0,), "chunks": (3,), "dtype": "<i4", "zarr_format": 2}, counting(0)),
        ("a zero axis", {"shape": (4, 0, 3), "chunks": (2, 1, 3), "dtype": "<i4"}, counting(4, 0, 3)),
        ("one element", {"shape": (1,), "chunks": (1,), "dtype": "<i4"}, counting(1)),
        ("chunk larger than the array", ONE_CHUNK, GRID),
        ("chunk larger than the array, sharded", {**ONE_CHUNK, "chunks": (10, 8), "shards": (20, 16)}, GRID),
        ("chunk larger than the array, v2", {**ONE_CHUNK, "zarr_format": 2}, GRID),
        ("chunks of one", {"shape": (5, 4), "chunks": (1, 1), "dtype": "<i2"}, counting(5, 4, dtype="<i2")),
        ("five axes", {"shape": (3, 2, 4, 3, 2), "chunks": (2, 2, 3, 2, 1), "dtype": "<u2"}, counting(3, 2, 4, 3, 2, dtype="<u2")),
        ("five axes, sharded", {"shape": (3, 2, 4, 3, 2), "chunks": (1, 1, 2, 1, 1), "shards": (2, 2, 4, 2, 2), "dtype": "<u2"}, counting(3, 2, 4, 3, 2, dtype="<u2")),
    )  # fmt: skip
    for name, layout, data in shapes:
        steps: tuple[Step, ...] = (
            Read(),
            Read(()),
            Read(slice(None)),
            Write(..., data),
            Read(),
            Read(np.s_[:1]),
            Read(np.s_[0]),
            Read([0], "orthogonal"),
            Call(lambda scene: np.asarray(scene.array)),
            ReadInto("fortran", data.shape),
            Reopen(),
            Read(),
        )
        rows.append(Operation(f"shape: {name}", layout, steps, None, "local"))
    return rows


def _rectilinear() -> list[Operation]:
    rows = []
    for name, kind, selection in READS_2D[:16] + READS_2D[26:37] + READS_2D[51:56]:
        title = f"read rectilinear: {kind}, {name}"
        steps: tuple[Step, ...] = (Read(selection, kind),)
        rows.append(
            Operation(title, RECTILINEAR, steps, GRID, "local", RECTILINEAR_CONFIG, minimum_zarr=(3, 4))
        )
    about = {"config": RECTILINEAR_CONFIG, "minimum_zarr": (3, 4)}
    rows += [
        _write("write rectilinear", RECTILINEAR, case, GRID, "memory", **about)
        for case in WRITES_2D[:15] + WRITES_2D[18:25]
    ]
    for name, arguments in (
        ("transpose", {"filters": lambda: (v3.TransposeCodec(order=(1, 0)),)}),
        ("blosc", {"compressors": lambda: v3.BloscCodec()}),
        ("raw", {"compressors": None}),
    ):
        steps = (
            *_all_steps(GRID, 5),
            Resize((17, 11)),
            Read(),
            Resize((6, 7)),
            Read(),
            Resize((13, 11)),
            Read(),
        )
        array = {**RECTILINEAR, **arguments}
        rows.append(
            Operation(
                f"rectilinear {name}",
                array,
                steps,
                None,
                "local",
                RECTILINEAR_CONFIG,
                minimum_zarr=(3, 4),
            )
        )
    return rows  # fmt: skip


def _names_of_chunks(scene: Scene) -> list[str]:
    return sorted(chunk_keys(scene.store))


def _from_array(**options: Any) -> Callable[[Scene], Any]:
    """Copy the array into a new memory store by `zarr.from_array`, and read the copy."""
    return lambda scene: zarr.from_array(zarr.storage.MemoryStore(), data=scene.array, **options)[...]


def _asynchronous(scene: Scene) -> Any:
    from zarr.core.sync import sync

    return sync(scene.array.async_array.getitem(np.s_[2:9, 1:5]))


def _many_at_once(scene: Scene) -> Any:
    import asyncio

    from zarr.core.sync import sync

    async def gather() -> list[Any]:
        asynchronous = scene.array.async_array
        return list(await asyncio.gather(*(asynchronous.getitem(row) for row in range(13))))

    return np.stack(sync(gather()))


def _after_fork_of_config(scene: Scene) -> Any:
    import pickle

    return pickle.loads(pickle.dumps(scene.array))[...]


def _lifecycle() -> list[Operation]:
    rows = []
    layouts: tuple[tuple[str, Layout], ...] = (
        ("plain", PLAIN),
        ("sharded", SHARDED),
        ("raw sharded", RAW_SHARDED),
        ("v2", V2),
        ("v2 F", V2_F),
    )
    cases: tuple[tuple[str, tuple[Step, ...]], ...] = (
        ("resize down and up", (Resize((6, 5)), Read(), Resize((13, 11)), Read())),
        ("resize down, write the edge, and up", (
            Resize((6, 5)), Write(..., counting(6, 5, start=900)), Resize((13, 11)), Read())),
        ("resize down, write a part of the edge, and up", (
            Resize((6, 5)), Write(np.s_[5:, 4:], 7), Resize((13, 11)), Read())),
        ("resize up", (Resize((20, 15)), Read(), Write(np.s_[12:18, 9:14], 5), Read())),
        ("resize to nothing and back", (Resize((0, 11)), Read(), Resize((13, 11)), Read())),
        ("append rows", (Append(counting(6, 11, start=900)), Read())),
        ("append columns", (Append(counting(13, 5, start=900), axis=1), Read())),
        ("append, wrong shape", (Append(counting(6, 10)), Read())),
        ("append twice", (Append(counting(1, 11)), Append(counting(4, 11)), Read())),
        ("write after reopening", (Reopen(), Write(np.s_[3:9, 2:5], 77), Reopen(), Read())),
        ("delete chunks by fill", (
            Write(np.s_[0:8, 0:6], 0), Call(_names_of_chunks), Write(..., 0), Call(_names_of_chunks), Read())),
        ("opened read-only", (Reopen("r"), Write(np.s_[0, 0], 1), Write(..., 0), Read())),
        ("a read-only store", (Reopen("r", is_store_read_only=True), Write(np.s_[0, 0], 1), Append(counting(1, 11)), Read())),
        ("many small writes", (*tuple(Write(np.s_[row:row + 3, column:column + 2], row * column) for row in range(0, 12, 2) for column in range(0, 10, 3)), Read())),
        ("numpy, iteration, length", (
            Call(lambda scene: np.asarray(scene.array)),
            Call(lambda scene: np.stack(list(cast("Any", scene.array)))),
            Call(lambda scene: len(cast("Any", scene.array))))),
        ("arithmetic on the array", (Call(lambda scene: np.add(cast("Any", scene.array), 1)),)),
        ("asynchronous reads", (Call(_asynchronous), Call(_many_at_once))),
        ("pickled array", (Call(_after_fork_of_config),)),
        ("counts of chunks", (
            Call(lambda scene: (scene.array.nchunks, scene.array.nchunks_initialized)),)),
        ("copied by from_array", (
            Call(_from_array()),
            Call(_from_array(chunks=(5, 5), shards=None, compressors=None)),
            Call(_from_array(zarr_format=3, chunks=(3, 2), shards=(6, 6), filters="auto", compressors="auto", serializer="auto", order=None)))),
    )  # fmt: skip
    stores = itertools.cycle(("local", "memory"))
    for (layout_name, layout), (name, steps) in itertools.product(layouts, cases):
        # memory copies share nothing when pickled, and a copy is only made of a local store
        store = "local" if name == "pickled array" else next(stores)
        rows.append(Operation(f"lifecycle {layout_name}: {name}", layout, steps, GRID, store))
    for name, layout in layouts:
        kept = {"array.write_empty_chunks": True}
        steps = (Write(..., 0), Call(_names_of_chunks), Write(np.s_[0:5, 0:2], 0), Read())
        title = f"lifecycle {name}: empty chunks kept"
        rows.append(Operation(title, layout, steps, GRID, "local", kept))
        ordered = {"array.order": "F"}
        title = f"lifecycle {name}: memory order F"
        steps = (
            Read(),
            Read(np.s_[2:9, 1:5]),
            Write(np.s_[2:9, 1:5], 3),
            Read(),
            Read(([3, 1], [4, 9]), "orthogonal"),
        )
        rows.append(Operation(title, layout, steps, GRID, "local", ordered))
    missing = {"array.read_missing_chunks": False}
    for name, layout in (("plain", PLAIN), ("sharded", SHARDED), ("v2", V2)):
        steps = (
            Read(),
            Write(np.s_[0:8, 0:6], GRID[0:8, 0:6]),
            Read(np.s_[1:7, 1:5]),
            Read(),
            Read(np.s_[0:9, 0:6]),
            Write(np.s_[9:11, 1:2], 5),
            Read(np.s_[9:11, 1:2]),
        )
        title = f"lifecycle {name}: missing chunks are errors"
        rows.append(Operation(title, layout, steps, None, "local", missing, minimum_zarr=(3, 4)))
    for separator, zarr_format in ((".", 2), ("/", 2), (".", 3), ("/", 3)):
        encoding = {"name": "v2" if zarr_format == 2 else "default", "separator": separator}
        array = {**PLAIN, "zarr_format": zarr_format, "chunk_key_encoding": encoding}
        title = f"lifecycle: chunk keys of format {zarr_format} with {separator!r}"
        rows.append(Operation(title, array, _all_steps(GRID, 3), None, "local"))
    for location in ("name", "deep/er/name"):
        steps = (Call(_group_round_trip(location)),)
        rows.append(
            Operation(
                f"lifecycle: array at {location}",
                PLAIN,
                steps,
                GRID,
                "local",
                is_state_compared=False,
            )
        )
    return rows


def _group_round_trip(name: str) -> Callable[[Scene], Any]:
    """Make an array inside a group of a new memory store, write it and read it back."""

    def round_trip(_scene: Scene) -> Any:
        group = zarr.create_group(zarr.storage.MemoryStore())
        array = group.create_array(name, shape=(9, 8), chunks=(4, 4), dtype="int32")
        array[:] = counting(9, 8)
        array[2:5, 3:6] = 0
        copied = group[name]
        assert isinstance(copied, zarr.Array)
        return copied[...]

    return round_trip


# ------------------------------------------------------------------------------------------- stores


def _stores() -> list[Operation]:
    rows = []
    reads: tuple[Step, ...] = (
        Read(),
        Read(np.s_[3:9, 2:10]),
        Read(np.s_[7, 7]),
        Read(np.s_[::3, ::2]),
        Read(([12, 0, 0], [9, 1]), "orthogonal"),
        Read(([0, 5, 12], [10, 4, 0]), "coordinates"),
        Read(GRID_MASK, "mask"),
        ReadInto("fortran", (13, 11)),
    )
    writes: tuple[Step, ...] = (
        Write(np.s_[3:9, 2:10], counting(6, 8, start=700)),
        Write(([12, 0], slice(None)), 5, "orthogonal"),
        Read(),
        Write(np.s_[0:8, 0:6], 0),
        Resize((6, 5)),
        Resize((13, 11)),
        Append(counting(3, 11)),
        Reopen(),
        Read(),
        Reopen("r"),
        Write(np.s_[0, 0], 1),
    )
    names = (
        "zip", "wrapper", "wrapped-local", "logging", "inverted-local", "witness-local",
        "witness-memory", "obstore-memory", "obstore-local", "fsspec-memory",
    )  # fmt: skip
    layouts: tuple[tuple[str, Layout], ...] = (
        ("plain", PLAIN),
        ("sharded", SHARDED),
        ("raw sharded", RAW_SHARDED),
        ("v2", V2),
    )
    for store, (layout_name, layout) in itertools.product(names, layouts):
        rows.append(Operation(f"store {store}: read {layout_name}", layout, reads, GRID, store))
        missing = (Read(), Read(np.s_[3:9, 2:10]))
        rows.append(Operation(f"store {store}: read nothing, {layout_name}", layout, missing, None, store))
        if store == "zip":
            whole: tuple[Step, ...] = (
                Write(..., GRID),
                Read(),
                Reopen("r", is_store_read_only=True),
                Read(),
            )
            rows.append(Operation(f"store {store}: write {layout_name}", layout, whole, None, store))
        else:
            oldest = SHARD_WRITES_BY_ARRAYS if "shards" in layout else (3, 1)
            title = f"store {store}: write {layout_name}"
            rows.append(Operation(title, layout, writes, GRID, store, minimum_zarr=oldest))
    seen = Call(lambda scene: sorted(set(scene.store.seen) - {"zarr.json"}))  # type: ignore[attr-defined]
    for store in ("witness-local", "witness-memory"):
        watched: tuple[Step, ...] = (Read(np.s_[3:9, 2:10]), seen, Write(np.s_[1:2, 1:2], 4), seen)
        title = f"store {store}: the override saw the reads"
        rows.append(Operation(title, PLAIN, watched, GRID, store))
    text: Layout = {"shape": (9, 7), "chunks": (4, 3), "dtype": str}
    two = (Read(), Read(np.s_[2:5]))
    rows += [
        Operation(f"store {store}: text", text, two, texts(9, 7), store)
        for store in ("zip", "wrapper", "inverted-local")
    ]
    array = {**NUMBERS, "compressors": lambda: python_codecs.Complement()}
    mixed: tuple[Step, ...] = (Read(), Read(np.s_[2:5]), Write(np.s_[3:9, 2:5], 4), Read())
    for store in ("wrapper", "fsspec-memory"):
        title = f"store {store}: a python codec"
        rows.append(Operation(title, array, mixed, counting(21, 13), store, is_native=False))
    return rows


OPERATIONS: tuple[Operation, ...] = tuple(
    itertools.chain(
        _reads(),
        _writes(),
        _out_buffers(),
        _codecs(),
        _python_codecs(),
        _types(),
        _fill_values(),
        _shapes(),
        _rectilinear(),
        _lifecycle(),
        _stores(),
    )
)
